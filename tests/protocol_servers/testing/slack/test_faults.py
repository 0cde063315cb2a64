"""Trouble that a test scripts, and the record of calls by which limits are judged."""

from __future__ import annotations

import time
from http.client import RemoteDisconnected

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from trunkline.protocol_servers.testing import SlackWorkspace
from trunkline.protocol_servers.testing.slack import Call
from trunkline.protocol_servers.testing.slack.faults import bursts


def post(client: WebClient, channel: str, text: str = "x") -> str:
    """Say something; return "" or the error."""
    try:
        client.chat_postMessage(channel=f"#{channel}", text=text)
    except SlackApiError as error:
        return str(error.response["error"])
    return ""


def test_limits_and_errors_of_a_channel(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.room("one"), workspace.room("two")
    workspace.limit("chat.postMessage", 7, channel="one")
    workspace.fail("chat.postMessage", "internal_error", times=2, channel="#two")
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel=workspace.room("one").id, text="x")
    assert (caught.value.response.status_code, caught.value.response["error"]) == (429, "ratelimited")
    assert caught.value.response.headers["Retry-After"] == "7"
    assert [post(client, name) for name in ("one", "two", "two", "two")] == ["", "internal_error", "internal_error", ""]
    calls = workspace.called("chat.postMessage")
    assert [call.error for call in calls] == ["ratelimited", "", "internal_error", "internal_error", ""]
    assert [call.status for call in calls] == [429, 200, 200, 200, 200]
    assert all(call.ended is not None and call.ended >= call.time for call in calls)


def test_an_answer_that_is_no_json(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.fail("auth.test", status=503)
    with pytest.raises(SlackApiError) as caught:
        client.auth_test()
    assert caught.value.response.status_code == 503
    assert workspace.calls[0].error == "unreadable"


def test_connections_that_are_cut(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.room("general")
    client.retry_handlers.clear()
    workspace.cut("chat.postMessage")
    workspace.cut("chat.postMessage", done=True)
    for _ in range(2):
        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            client.chat_postMessage(channel="#general", text="x")
    assert workspace.texts("general") == ["x"]
    assert [(call.status, call.error) for call in workspace.calls] == [(None, "cut")] * 2


def test_an_answer_that_takes_longer(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.delay("auth.test", 0.2)
    started = time.monotonic()
    client.auth_test()
    assert time.monotonic() - started >= 0.2


def test_whatever_is_called_next(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.fail(error="fatal_error")
    with pytest.raises(SlackApiError, match="fatal_error"):
        client.team_info()
    client.team_info()


def test_the_limits_of_the_tiers(client: WebClient, workspace: SlackWorkspace) -> None:
    workspace.room("one"), workspace.room("two")
    workspace.enforce_limits(burst=2)
    assert [post(client, name) for name in ("one", "one", "two", "one")] == ["", "", "", "ratelimited"]
    retry = client.api_call
    with pytest.raises(SlackApiError) as caught:
        for _ in range(3):
            retry("users.list")
    assert int(caught.value.response.headers["Retry-After"]) >= 3  # 20 a minute
    for _ in range(5):
        client.api_call("pins.list")  # has no limit here


def call(method: str, at: float, room: str | None = None) -> Call:
    return Call(method, {}, at, room)


def test_bursts() -> None:
    even = [call("chat.postMessage", second, "C1") for second in range(10)]
    other = [call("chat.postMessage", second, "C2") for second in range(10)]
    assert bursts([*even, *other]) == {("chat.postMessage", "C1"): 1.0, ("chat.postMessage", "C2"): 1.0}
    at_once = [call("users.info", 5.0) for _ in range(7)]
    assert bursts([*at_once, call("pins.list", 5.0)]) == {("users.info", None): 7.0}
    twice_as_fast = [call("chat.postMessage", second / 2, "C1") for second in range(11)]
    assert bursts(twice_as_fast) == {("chat.postMessage", "C1"): pytest.approx(6.0)}
    assert bursts(twice_as_fast, speed=2.0) == {("chat.postMessage", "C1"): pytest.approx(1.0)}
    # Several short bursts, each forgotten by the time of the next.
    spaced = [call("reactions.remove", minute * 60.0) for minute in range(3) for _ in range(4)]
    assert bursts(spaced) == {("reactions.remove", None): 4.0}

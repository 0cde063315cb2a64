"""Slack's requests, byte by byte: what is taken, what is refused, and that nothing raises."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.slack.settings import PathsSettings
from trunkline.protocol_servers.testing.slack import SlackWorkspace

Start = Callable[..., Any]
Listen = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Eventually = Callable[..., Any]

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def running(start_slack: Start, memory_layer: MemoryLayer, listen: Listen) -> Any:
    """Our server, told by requests, and somebody who listens."""
    listen(memory_layer, "chat.message", "slack.event")
    return start_slack(memory_layer, http=True, sockets=False)


def event(workspace: SlackWorkspace, **event: Any) -> bytes:
    payload = {"type": "event_callback", "team_id": workspace.team_id, "event_id": "Ev1", "event": event}
    return json.dumps(payload).encode()


def test_the_address_is_verified(running: Any, workspace: SlackWorkspace) -> None:
    status, body = workspace.verify_url(running.address + "/slack/events")
    assert (status, body) == (200, b"challenge-of-slack")


def test_all_paths_take_all_that_slack_sends(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, take: Take
) -> None:
    """Some apps have one address for everything."""
    paths = PathsSettings(events="/in", commands="/in", interactivity="/in")
    start_slack(memory_layer, http=True, sockets=False, paths=paths)
    workspace.command("ann", "#dev", "/deploy")
    workspace.shortcut("ann", "help")
    assert take(memory_layer, "slack.command")[0]["command"] == "/deploy"
    assert take(memory_layer, "slack.shortcut")[0]["callback_id"] == "help"


def test_an_unsigned_challenge_is_not_answered(running: Any, workspace: SlackWorkspace) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "words"}).encode()
    status, answer = workspace.request(running.address + "/slack/events", body, {"X-Slack-Signature": "v0=" + "0" * 64})
    assert status == 401
    assert b"words" not in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Slack-Signature": "v0=" + "0" * 64}, 401),
        ({"X-Slack-Signature": "v0="}, 400),
        ({"X-Slack-Signature": "x" * 20_000}, 400),
        ({"X-Slack-Request-Timestamp": "soon"}, 400),
        ({"X-Slack-Request-Timestamp": "9" * 30}, 400),
        ({"X-Slack-Request-Timestamp": "1"}, 401),
        ({"X-Slack-Request-Timestamp": str(int(time.time()) + 3600)}, 401),
    ],
)
def test_requests_that_slack_did_not_sign_are_refused(
    headers: dict[str, str], status: int, running: Any, workspace: SlackWorkspace, memory_layer: MemoryLayer
) -> None:
    body = event(workspace, type="message", channel="C0DEV", user="U0ANN", text="hi", ts="1700000000.000100")
    assert workspace.request(running.address + "/slack/events", body, JSON | headers)[0] == status
    assert memory_layer.receive(["chat.message", "slack.event"]) == (None, None)
    assert running.stats["requests_refused"] == 1


def test_a_replayed_request_is_refused(running: Any, workspace: SlackWorkspace, memory_layer: MemoryLayer) -> None:
    """Byte by byte what Slack sent a moment ago, by whoever listened in."""
    body = event(workspace, type="message", channel="C0DEV", user="U0ANN", text="hi", ts="1700000000.000100")
    headers = workspace.sign(body) | JSON
    url = running.address + "/slack/events"
    assert workspace.request(url, body, headers)[0] == 200
    assert workspace.request(url, body, headers)[0] == 401
    old = workspace.sign(body, at=time.time() - 301) | JSON
    assert workspace.request(url, body, old)[0] == 401
    # Slack itself, whose acknowledgement was lost, signs anew: this is done, and acknowledged.
    again = JSON | {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}
    assert workspace.request(url, body, again)[0] == 200
    assert running.stats["retries"] == 1
    assert memory_layer.receive(["chat.message"])[0] is not None
    assert memory_layer.receive(["chat.message"]) == (None, None)


def test_another_workspaces_event_is_refused(
    running: Any, workspace: SlackWorkspace, memory_layer: MemoryLayer
) -> None:
    """The app is installed elsewhere, too, where we have no token to answer with."""
    url = running.address + "/slack/events"
    foreign: dict[str, Any] = {
        "type": "event_callback",
        "team_id": "T0OTHER",
        "event_id": "Ev1",
        "event": {"type": "x"},
    }
    foreign["authorizations"] = [{"team_id": "T0OTHER", "user_id": "U0", "is_bot": True}]
    assert workspace.request(url, json.dumps(foreign).encode(), JSON)[0] == 401
    shared = foreign | {"authorizations": [{"team_id": workspace.team_id, "user_id": "U0", "is_bot": True}]}
    assert workspace.request(url, json.dumps(shared).encode(), JSON)[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"null", JSON, 400),
        (b"[]", JSON, 400),
        (b"{", JSON, 400),
        (b"[" * 50_000, JSON, 400),
        (b'{"type": NaN}', JSON, 400),
        (b'{"type": "event_callback"}', JSON, 400),
        (b'{"type": "event_callback", "event": []}', JSON, 400),
        (b'{"type": "event_callback", "event": {"type": 7}}', JSON, 400),
        (b'{"type": "event_callback", "event": {"type": "x", "n": 1' + b"0" * 30 + b"}}", JSON, 400),
        (b'{"type": "url_verification"}', JSON, 400),
        (b'{"type": "url_verification", "challenge": 7}', JSON, 400),
        (b'{"type": "url_verification", "challenge": "' + b"x" * 2000 + b'"}', JSON, 400),
        (b'{"type": "unheard_of"}', JSON, 400),
        (b'{"type": "app_rate_limited"}', JSON, 200),
        (b"", FORM, 400),
        (b"payload", FORM, 400),
        (b"payload={", FORM, 400),
        (b"payload=[]", FORM, 400),
        (b"payload={}", FORM, 400),
        (b"command=", FORM, 400),
        (b"a=" + b"&a=".join([b"1"] * 1000), FORM, 400),
        (b"payload=%ff", FORM, 400),
        (b"ssl_check=1&token=x", FORM, 200),
        (urlencode({"payload": '{"type": "block_suggestion"}'}).encode(), FORM, 200),
        (urlencode({"payload": '{"type": "dialog_cancellation"}'}).encode(), FORM, 200),
        (urlencode({"payload": '{"type": "block_actions", "actions": 7}'}).encode(), FORM, 200),
        (b"x" * (1024 * 1024 + 1), JSON, 413),
    ],
)
def test_signed_nonsense_is_answered_and_hurts_nobody(
    body: bytes, headers: dict[str, str], status: int, running: Any, workspace: SlackWorkspace
) -> None:
    assert workspace.request(running.address + "/slack/events", body, headers)[0] == status
    assert running.stats["failures"] == 0
    good = event(workspace, type="message", channel="C0DEV", user="U0ANN", text="hi", ts="1700000000.000100")
    assert workspace.request(running.address + "/slack/events", good, JSON)[0] == 200


def test_other_paths_and_methods_are_refused(running: Any, workspace: SlackWorkspace) -> None:
    assert workspace.request(running.address + "/slack/other", b"{}", JSON)[0] == 404
    parts = urlsplit(running.address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("GET", "/slack/events")
        assert connection.getresponse().status == 405
    finally:
        connection.close()


def test_a_layer_that_is_full_is_said_with_503(
    start_slack: Start, workspace: SlackWorkspace, listen: Listen, take: Take
) -> None:
    with MemoryLayer(channel_capacity={"slack.command": 1}) as layer:
        running = start_slack(layer, http=True, sockets=False)
        url = running.address + "/slack/commands"
        form = {"command": "/a", "channel_id": "C0DEV", "user_id": "U0ANN", "team_id": workspace.team_id}
        first, second = (urlencode(form | {"trigger_id": each}).encode() for each in ("1", "2"))
        assert workspace.request(url, first, FORM)[0] == 200
        assert workspace.request(url, second, FORM)[0] == 503
        assert len(take(layer, "slack.command")) == 1
        headers = workspace.sign(second) | FORM
        assert workspace.request(url, second, headers)[0] == 200  # it was not acknowledged, so it is no replay
        assert running.stats["not_acknowledged"] == 1
        assert len(take(layer, "slack.command")) == 1
        running.stop()

"""What an app answers to commands and interactions, later and at once, sense or nonsense."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from slack_sdk import WebClient

from trunkline.protocol_servers.testing import SlackWorkspace

BUTTON = {"type": "button", "action_id": "approve", "value": "42"}


def respond(url: str, given: Any) -> tuple[int, str]:
    """Post to a response URL."""
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def answers(workspace: SlackWorkspace) -> Iterator[list[bytes]]:
    """What the app answers, one after the other."""
    answers: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers.pop(0))

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    workspace.use_http(commands=url, interactivity=url)
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_is_replaced_and_deleted(workspace: SlackWorkspace, client: WebClient) -> None:
    room = workspace.room("general", "ann")
    client.chat_postMessage(channel=room.id, text="?", blocks=[{"type": "section", "accessory": BUTTON}])
    (said,) = workspace.messages("general")
    url = workspace.click("ann", said, "approve").payload["response_url"]
    assert respond(url, {"replace_original": True, "text": "approved"}) == (200, "ok")
    assert (said.text, said.blocks) == ("approved", None)
    assert respond(url, {"delete_original": True}) == (200, "ok")
    assert workspace.messages("general") == []
    assert respond(url, {"delete_original": True}) == (400, "no_text")
    assert respond(url, {"text": "gone", "response_type": "in_channel"}) == (200, "ok")
    assert workspace.texts("general") == ["gone"]
    assert len(workspace.responses) == 4


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (b"{", (400, "invalid_payload")),
        ([], (400, "invalid_payload")),
        ({}, (400, "no_text")),
        ({"text": "x", "blocks": "{"}, (400, "invalid_blocks")),
    ],
)
def test_responses_that_make_no_sense(workspace: SlackWorkspace, given: Any, answer: tuple[int, str]) -> None:
    url = workspace.command("ann", "general", "/deploy").payload["response_url"]
    assert respond(url, given) == answer
    assert workspace.messages("general") == []
    other = url.replace(workspace.team_id, "T0")
    assert respond(other, {"text": "x"})[0] == 404


def test_a_button_of_a_view(workspace: SlackWorkspace, client: WebClient) -> None:
    blocks = [{"type": "actions", "block_id": "b", "elements": [BUTTON]}]
    view = client.views_open(trigger_id=workspace.new_trigger(), view={"type": "modal", "blocks": blocks})["view"]
    payload = workspace.click("ann", view, "approve", selected_option={"value": "1"}).payload
    assert payload["container"] == {"type": "view", "view_id": view["id"]}
    assert payload["actions"][0]["block_id"] == "b"
    assert payload["actions"][0]["selected_option"] == {"value": "1"}


@pytest.mark.parametrize(
    ("answer", "callbacks"),
    [
        (b"", []),
        (b'{"response_action": "clear"}', []),
        (b'{"response_action": "errors", "errors": {}}', ["form"]),
        (b'{"response_action": "update", "view": {"callback_id": "next"}}', ["next"]),
        (b'{"response_action": "push", "view": {"callback_id": "next"}}', ["form", "next"]),
        (b'{"response_action": "update"}', ["form"]),
        (b"<html>", []),
    ],
)
def test_views_after_their_submission(
    workspace: SlackWorkspace, client: WebClient, answers: list[bytes], answer: bytes, callbacks: list[str]
) -> None:
    content = {"type": "modal", "callback_id": "form"}
    view = client.views_open(trigger_id=workspace.new_trigger(), view=content)["view"]
    answers.append(answer)
    workspace.submit("ann", view)
    workspace.wait_delivered()
    assert [each["callback_id"] for each in workspace.views.values()] == callbacks


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"0", b'{"text": "x", "blocks": "{"}'])
def test_commands_answered_with_nothing_to_say(workspace: SlackWorkspace, answers: list[bytes], answer: bytes) -> None:
    answers.append(answer)
    workspace.command("ann", "general", "/deploy")
    workspace.wait_delivered()
    assert workspace.messages("general") == []

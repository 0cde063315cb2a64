"""Signed requests of the Slack in memory, as slack_sdk's verifier reads them, and what becomes of their answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from slack_sdk.signature import SignatureVerifier

from trunkline.protocol_servers.testing import SlackService, SlackWorkspace


@dataclass
class Taken:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """What an app listens with: it answers what it is told to."""

    url: str = ""
    taken: list[Taken] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    pause: float = 0.0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.taken.append(Taken(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(endpoint.pause)
            status, headers, content = endpoint.answers.pop(0) if endpoint.answers else (200, {}, b"")
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def told(workspace: SlackWorkspace, endpoint: Endpoint) -> SlackWorkspace:
    """A workspace whose app is told by requests."""
    workspace.use_http(
        events=f"{endpoint.url}/events", commands=f"{endpoint.url}/commands", interactivity=f"{endpoint.url}/actions"
    )
    return workspace


def test_what_is_signed(told: SlackWorkspace, endpoint: Endpoint) -> None:
    told.say("ann", "general", "grüße")
    told.command("ann", "general", "/deploy", "a&b=c")
    told.shortcut("ann", "help")
    told.wait_delivered()
    verifier = SignatureVerifier(told.signing_secret)
    assert all(verifier.is_valid_request(each.body, each.headers) for each in endpoint.taken)
    by_path = {each.path: each for each in endpoint.taken}
    assert json.loads(by_path["/events"].body)["event"]["text"] == "grüße"
    assert parse_qs(by_path["/commands"].body.decode())["text"] == ["a&b=c"]
    assert json.loads(parse_qs(by_path["/actions"].body.decode())["payload"][0])["callback_id"] == "help"
    assert by_path["/commands"].headers["content-type"] == "application/x-www-form-urlencoded"
    assert "x-slack-retry-num" not in by_path["/events"].headers


def test_retries(told: SlackWorkspace, endpoint: Endpoint) -> None:
    endpoint.answers = [(500, {}, b""), (302, {"Location": f"{endpoint.url}/loop"}, b""), (404, {}, b"")]
    endpoint.answers += [(200, {}, b"")]
    (event_id,) = told.say("ann", "general", "hi").event_ids
    told.wait_delivered()
    posted = [each for each in endpoint.taken if each.path == "/events"]
    seen = [(each.headers.get("x-slack-retry-num"), each.headers.get("x-slack-retry-reason")) for each in posted]
    assert seen[:2] == [(None, None), ("1", "http_error")]
    assert seen[-1][0] == str(len(posted) - 1)
    assert {json.loads(each.body)["event_id"] for each in posted} == {event_id}


def test_no_retry_is_asked_for(told: SlackWorkspace, endpoint: Endpoint) -> None:
    endpoint.answers = [(500, {"X-Slack-No-Retry": "1"}, b"")]
    (event_id,) = told.say("ann", "general", "hi").event_ids
    delivery = told.delivery(event_id)
    told.wait(lambda: delivery.given_up)
    assert [attempt.outcome for attempt in delivery.attempts] == ["http_error"]


def test_nobody_listens(told: SlackWorkspace) -> None:
    told.use_http(events="http://127.0.0.1:1/")
    (event_id,) = told.say("ann", "general", "hi").event_ids
    delivery = told.delivery(event_id)
    told.wait(lambda: delivery.given_up)
    assert [attempt.outcome for attempt in delivery.attempts] == ["connection_failed"] * 4
    command = told.command("ann", "general", "/deploy")
    told.wait(lambda: command.given_up)
    assert command.failure == "connection_failed"
    told.use_http()  # Socket Mode again
    told.retry_now()
    told.wait(lambda: len(delivery.attempts) == 5)


def test_an_answer_that_is_late(endpoint: Endpoint) -> None:
    with SlackService(patience=0.05, retries=[]) as service:
        workspace = service.workspace
        workspace.use_http(events=endpoint.url)
        endpoint.pause = 0.5
        (event_id,) = workspace.say("ann", "general", "hi").event_ids
        delivery = workspace.delivery(event_id)
        workspace.wait(lambda: delivery.given_up)
        assert delivery.failure == "http_timeout"


def test_order_in_a_room(told: SlackWorkspace, endpoint: Endpoint) -> None:
    for number in range(50):
        told.say("ann", "general", str(number))
    told.wait_delivered()
    assert [json.loads(each.body)["event"]["text"] for each in endpoint.taken] == [str(n) for n in range(50)]


def test_what_a_command_is_answered_at_once(told: SlackWorkspace, endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, b"plain words"), (200, {}, b'{"text": "open", "response_type": "in_channel"}')]
    told.command("ann", "general", "/deploy")
    told.wait_delivered()
    told.command("ann", "general", "/deploy")
    told.wait_delivered()
    seen = [(each.text, each.seen_by is None) for each in told.messages("general")]
    assert seen == [("plain words", False), ("open", True)]


def test_requests_of_a_test(told: SlackWorkspace, endpoint: Endpoint) -> None:
    assert told.request(f"{endpoint.url}/x", b"{}") == (200, b"")
    old = told.sign(b"{}", time.time() - 600)
    told.request(f"{endpoint.url}/x", b"{}", old)
    verifier = SignatureVerifier(told.signing_secret)
    assert [verifier.is_valid_request(each.body, each.headers) for each in endpoint.taken] == [True, False]


def test_the_challenge(workspace: SlackWorkspace, endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, b"challenge-of-slack")]
    assert workspace.verify_url(endpoint.url) == (200, b"challenge-of-slack")
    body = json.loads(endpoint.taken[0].body)
    assert (body["type"], body["challenge"]) == ("url_verification", "challenge-of-slack")

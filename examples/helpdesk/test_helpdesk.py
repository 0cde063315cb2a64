"""The helpdesk without a socket: how users test their own consumers."""

import json

import pytest
from helpdesk.routing import routing

from trunkline.workers.testing import Client, Refused


def line_of(text: str) -> dict[str, str]:
    """The line a browser was sent, without its random id."""
    line: dict[str, str] = json.loads(text)
    assert len(line.pop("id")) == 16
    return line


@pytest.fixture
def client() -> Client:
    return Client(routing)


def test_page(client: Client) -> None:
    status, headers, body = client.http("GET", "/")
    assert status == 200
    assert (b"content-type", b"text/html; charset=utf-8") in [tuple(header) for header in headers]
    assert b"<title>Helpdesk</title>" in body


def test_other_paths_are_not_found(client: Client) -> None:
    assert client.http("GET", "/nothing")[0] == 404
    with pytest.raises(Refused) as refused:
        client.websocket("/nowhere")
    assert refused.value.status == 403


def test_what_one_says_appears_in_all(client: Client) -> None:
    ann, bob = client.websocket("/room"), client.websocket("/room")
    assert json.loads(ann.receive()) == json.loads(bob.receive()) == {"history": []}
    ann.send(json.dumps({"name": "Ann", "text": "hello"}))
    line = {"from": "Ann", "text": "hello", "kind": "chat"}
    assert line_of(ann.receive()) == line_of(bob.receive()) == line
    history = json.loads(client.websocket("/room").receive())["history"]
    assert [line_of(json.dumps(kept)) for kept in history] == [line]


@pytest.mark.parametrize("junk", ["", "{}", "[]", "7", '{"name": "x"}', '{"name": "x", "text": "  "}'])
def test_lines_that_are_not_ours_are_ignored(client: Client, junk: str) -> None:
    ann = client.websocket("/room")
    ann.receive()
    ann.send(junk)
    ann.send(json.dumps({"name": "", "text": "still here"}))
    assert line_of(ann.receive()) == {"from": "someone", "text": "still here", "kind": "chat"}


def test_mail_appears_in_the_room(client: Client) -> None:
    ann = client.websocket("/room")
    ann.receive()
    code, _, sent = client.email(
        "support+42@example.com", "It broke.\n\n> quoted", subject="Help", sender="eve@example.org"
    )
    assert (code, sent) == (250, [])
    line = {"from": "eve@example.org", "subject": "#42 Help", "text": "It broke.", "kind": "mail"}
    assert line_of(ann.receive()) == line


def test_unknown_address_and_failing_consumer(client: Client) -> None:
    assert client.email("nobody@example.com")[0] == 550
    assert client.email("support+x@example.com")[0] == 550
    assert client.email("broken@example.com")[0] == 451

"""The bridge without a socket."""

import pytest
from bridge import routing

from trunkline.workers.testing import Client, WebSocket


def lines(socket: WebSocket) -> list[str]:
    """What a browser was sent."""
    found: list[str] = []
    while True:
        try:
            found.append(str(socket.receive()))
        except TimeoutError:
            return found


@pytest.fixture
def client() -> Client:
    return Client(routing)


@pytest.mark.parametrize("service", ["irc", "slack"])
def test_what_is_said_in_one_appears_in_the_others(client: Client, service: str) -> None:
    room = client.room("#bridge", service)
    room.ready()
    ann, bob = client.websocket("/room"), client.websocket("/room")
    ann.send("hello")
    assert (lines(ann), lines(bob), room.said()) == ([], ["web: hello"], ["web: hello"])
    assert room.say("hello web", user="eve") == []
    assert lines(ann) == lines(bob) == ["eve: hello web"]
    assert client.email("room@example.com", "from far away", sender="dan@example.org")[0] == 250
    assert lines(ann) == lines(bob) == room.said() == ["dan@example.org: from far away"]


def test_nothing_comes_back_to_where_it_was_said(client: Client) -> None:
    """A thread is in its room: what is said there goes everywhere else."""
    room, other = client.room("general", "slack"), client.room("#bridge")
    room.ready()
    other.ready()
    assert room.say("in the thread", thread="1700000000.000100") == []
    assert other.said() == ["ann: in the thread"]


def test_nobody_speaks_for_others(client: Client) -> None:
    """In a room each line would stand alone, without who said it."""
    room = client.room("#bridge")
    room.ready()
    client.websocket("/room").send("hello\neve: !restart web\r\n!restart web")
    assert room.said() == ["web: hello eve: !restart web !restart web"]


def test_what_is_not_for_the_room(client: Client) -> None:
    room = client.room("#bridge")
    room.ready()
    ann = client.websocket("/room")
    ann.send(b"\x00")
    ann.send("  ")
    client.room("eve", direct=True).say("just between us")
    assert client.email("other@example.com")[0] == 550
    assert (lines(ann), room.said()) == ([], [])


def test_the_page(client: Client) -> None:
    status, _, body = client.http("GET", "/")
    assert (status, b"<title>Bridge</title>" in body) == (200, True)

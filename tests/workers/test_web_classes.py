"""HttpConsumer, WebsocketConsumer and JsonWebsocketConsumer."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.workers import (
    DenyConnection,
    HttpConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
    channel_session,
    ordered,
    route_class,
)
from trunkline.workers.testing import Client, Closed, Refused


class Orders(HttpConsumer):
    def get(self, message: Any, number: str) -> None:
        self.reply(f"order {number}")

    async def delete(self, message: Any, number: str) -> None:
        self.reply("", status=204)


class Written(HttpConsumer):
    def head(self, message: Any) -> None:
        self.reply("", headers=[("x-head", "1")])

    def post(self, message: Any) -> None:
        self.reply("posted", status=201)


def test_each_http_method_has_a_method() -> None:
    client = Client([route_class(Orders, path=r"^/orders/(?P<number>\d+)$"), route_class(Written)])
    assert client.http("GET", "/orders/7")[::2] == (200, b"order 7")
    assert client.http("HEAD", "/orders/7")[0] == 200
    assert client.http("DELETE", "/orders/7")[0] == 204
    assert client.http("POST", "/")[::2] == (201, b"posted")
    assert (b"x-head", b"1") in client.http("HEAD", "/")[1]


@pytest.mark.parametrize("method", ["PUT", "REPLY", "HANDLE", "__INIT__"])
def test_any_other_is_not_allowed(method: str) -> None:
    client = Client([route_class(Orders, path=r"^/orders/(?P<number>\d+)$"), route_class(Written)])
    for path, allowed in (("/orders/7", b"GET, HEAD, DELETE"), ("/", b"HEAD, POST")):
        status, headers, _ = client.http(method, path)
        assert status == 405
        assert (b"allow", allowed) in headers


class Room(WebsocketConsumer):
    groups = ("everybody",)

    def connection_groups(self) -> list[str]:
        return [*super().connection_groups(), self.kwargs["name"]]

    def connect(self, message: Any, name: str) -> None:
        if name == "closed":
            raise DenyConnection()

    def receive(self, message: Any, name: str) -> None:
        if message["text"] == "bye":
            self.send("bye")
            self.close(4000)
        elif message["bytes"] is not None:
            self.send(message["bytes"])
        else:
            self.group_send(name, f"{name}: {message['text']}")

    def disconnect(self, message: Any, name: str) -> None:
        self.group_send("everybody", f"{name} left with {message['code']}")


def test_a_room_of_websockets() -> None:
    client = Client([route_class(Room, path=r"^/(?P<name>\w+)$")])
    one, two, other = client.websocket("/a"), client.websocket("/a"), client.websocket("/b")
    one.send("hello")
    assert [one.receive(), two.receive()] == ["a: hello"] * 2
    one.send(b"\x00")
    assert one.receive() == b"\x00"
    two.send("bye")
    assert two.receive() == "bye"
    with pytest.raises(Closed, match="4000"):
        two.receive()
    assert [one.receive(), other.receive()] == ["a left with 4000"] * 2
    with pytest.raises(Refused, match="403"):
        client.websocket("/closed")


def test_a_class_that_does_nothing_accepts_and_listens() -> None:
    client = Client([route_class(WebsocketConsumer, path="^/1$"), route_class(JsonWebsocketConsumer)])
    for path in ("/1", "/2"):
        socket = client.websocket(path)
        socket.send("{}")
        socket.close()
    assert client.worker.stats["failures"] == 0


@ordered
class Game(JsonWebsocketConsumer):
    groups = ("players",)

    @channel_session
    def receive_json(self, content: Any) -> None:
        session = self.message.channel_session
        session["moves"] = session.get("moves", 0) + 1
        self.send_json({"moves": session["moves"], "last": content})
        self.group_send_json("players", [content])


def test_frames_of_json() -> None:
    client = Client([route_class(Game)])
    assert client.worker.ordered >= {"websocket.receive"}
    socket = client.websocket("/")
    socket.send('"e4"')
    assert [socket.receive(), socket.receive()] == ['{"moves": 1, "last": "e4"}', '["e4"]']
    socket.send(b"1")
    assert [socket.receive(), socket.receive()] == ['{"moves": 2, "last": 1}', "[1]"]


@pytest.mark.parametrize("frame", ["no json", "", b"\xff", "[" * 100_000])
def test_what_is_not_json_closes_with_1007(frame: str | bytes) -> None:
    socket = Client([route_class(Game)]).websocket("/")
    socket.send(frame)
    with pytest.raises(Closed, match="1007"):
        socket.receive()


def test_a_decorator_without_a_message_says_so() -> None:
    with pytest.raises(TypeError, match="is called with a message"):
        channel_session(lambda number: None)(5)

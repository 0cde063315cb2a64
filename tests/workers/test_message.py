"""What a consumer is called with: keys and defaults, reply and stream (workers.md)."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline import Channel, FormatError, Message, StreamClosed, StreamTimeout
from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.workers import route, set_layer
from trunkline.workers.streams import open_stream

from .conftest import REPLIES, Bench

MakeBench = Callable[..., Bench]


def test_keys_and_documented_defaults(layer: MemoryLayer) -> None:
    message = Message({"path": "/x", "own": 1, "body": None, "nothing": None}, "http.request", layer)
    assert message["path"] == "/x"
    assert message["scheme"] == "http"
    assert message["body"] == b""
    assert message["client"] is None
    assert message["own"] == 1
    assert message["nothing"] is None
    assert message.get("nothing", "x") == "x"
    assert message.get("scheme") is None
    assert message.get("scheme", "x") == "x"
    assert ("path" in message, "scheme" in message) == (True, False)
    for key in ("method", "nonesuch"):
        with pytest.raises(KeyError, match=key):
            message[key]
    with pytest.raises(KeyError):
        Message({}, "jobs")["n"]
    assert repr(message) == "<Message on http.request: path, own, body, nothing>"


def test_channels_of_a_message(layer: MemoryLayer) -> None:
    message = Message({"reply_channel": "http.reply.x!1"}, "http.request", layer)
    assert (message.content, message.layer, message.delivery) == ({"reply_channel": "http.reply.x!1"}, layer, None)
    assert message.channel == "http.request"
    assert isinstance(message.channel, Channel)
    assert message.reply_channel == "http.reply.x!1"
    assert message.reply_channel is not None
    message.reply_channel.send({"status": 200})
    assert layer.receive(["http.reply.x!"]) == ("http.reply.x!1", {"status": 200})
    with pytest.raises(FormatError, match="status"):
        message.reply_channel.send({"status": "200"})
    for content in ({}, {"reply_channel": None}, {"reply_channel": ""}, {"reply_channel": 5}):
        assert Message(content, "http.request").reply_channel is None
    assert Message({"reply_channel": "a!b"}, "jobs").reply_channel == "a!b"


@pytest.mark.parametrize(
    ("channel", "arguments", "keys", "sent"),
    [
        (
            "http.request",
            ["hé"],
            {},
            {"status": 200, "headers": [[b"content-type", b"text/plain; charset=utf-8"]], "content": "hé".encode()},
        ),
        (
            "http.request",
            [{"a": 1}],
            {"status": 201},
            {"status": 201, "headers": [[b"content-type", b"application/json"]], "content": b'{"a": 1}'},
        ),
        ("websocket.receive", ["hi"], {}, {"text": "hi"}),
        ("websocket.connect", [b"hi"], {}, {"bytes": b"hi"}),
        ("chat.message", ["hi"], {"notice": True}, {"text": "hi", "notice": True}),
        ("udp.receive", [b"hi"], {}, {"data": b"hi"}),
    ],
)
def test_reply_by_protocol(
    layer: MemoryLayer, channel: str, arguments: list[Any], keys: dict[str, Any], sent: dict[str, Any]
) -> None:
    Message({"reply_channel": "a!b"}, channel, layer).reply(*arguments, **keys)
    assert layer.receive(["a!"]) == ("a!b", sent)


def test_reply_to_a_mail_is_a_mail_back(layer: MemoryLayer) -> None:
    layer.announce("smtp", {"channels": {"email.send": False}})
    content = {"reply_channel": "a!b", "from": "a@example.org", "address": "s@example.com", "subject": "Help"}
    message = Message({**content, "message_id": "<1@x>", "headers": {}}, "email.receive", layer)
    message.reply("Thank you.")
    sent = layer.receive(["email.send"])[1]
    assert sent is not None
    assert (sent["to"], sent["text"], sent["in_reply_to"]) == (["a@example.org"], "Thank you.", "<1@x>")
    Message({**message.content, "auto_submitted": True}, "email.receive", layer).reply("Thank you.")
    assert layer.receive(["email.send"])[1] is None


def test_replies_that_cannot_be(layer: MemoryLayer) -> None:
    for channel in ("http.disconnect", "jobs"):
        with pytest.raises(TypeError, match=f"nothing answers a message of {channel}"):
            Message({"reply_channel": "a!b"}, channel, layer).reply("x")
    with pytest.raises(FormatError, match="status"):
        Message({"reply_channel": "a!b"}, "http.request", layer).reply("x", status=99)
    with pytest.raises(TypeError):
        Message({"reply_channel": "a!b"}, "http.request", layer).reply(5)
    assert layer.receive(["a!"]) == (None, None)


def test_a_large_body_is_cut_and_held_whole(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        message.reply(b"x" * 150_000)
        assert layer.peek(REPLIES) == []

    worker = bench(route("http.request", consumer))
    worker.request()
    worker.run()
    replies = worker.replies()
    assert [len(reply["content"]) for reply in replies] == [65536, 65536, 150_000 - 2 * 65536]
    assert [reply.get("more_content") for reply in replies] == [True, True, None]


def test_streaming_sends_each_piece_at_once(bench: MakeBench, layer: MemoryLayer) -> None:
    seen = []

    def pieces() -> Iterator[bytes]:
        for n in range(3):
            seen.append(len(layer.peek(REPLIES)))
            yield b"%d" % n

    worker = bench(route("http.request", lambda message: message.reply(pieces())))
    worker.request()
    worker.run()
    assert seen == [1, 2, 3]
    assert [reply["content"] for reply in worker.replies()] == [b"", b"0", b"1", b"2", b""]
    assert worker.stats == {"messages": 1}


def test_streaming_waits_for_room_at_most_30_s(layer: MemoryLayer, clock: Any) -> None:
    small = MemoryLayer(clock=clock, channel_capacity={"http.reply*": 3}, expiry=1000)
    worker = Bench(small, clock, [route("http.request", lambda message: message.reply([b"x"] * 5))])
    started = clock()
    worker.request()
    worker.run()
    assert 30 <= clock() - started < 31
    assert worker.stats["failures"] == 1
    assert small.dead_letters()[0]["reason"].startswith("ChannelFull")
    assert [reply.get("content") for reply in worker.replies()] == [b"", b"x", b"x"]
    worker.advance(2)
    assert worker.replies() == [{"status": 500, **answer_rest()}], "the second status ends the response as an error"


def answer_rest() -> dict[str, Any]:
    return {"headers": [[b"content-type", b"text/plain; charset=utf-8"]], "content": b"Internal Server Error\n"}


def test_streaming_goes_on_when_there_is_room_again(layer: MemoryLayer, clock: Any) -> None:
    small = MemoryLayer(clock=clock, channel_capacity={"http.reply*": 2})
    got = []

    def make_room(seconds: float) -> None:
        got.append(small.receive([REPLIES])[1])

    worker = Bench(small, clock, [route("http.request", lambda message: message.reply([b"1", b"2", b"3"]))])
    worker.worker.wait_with(make_room)
    worker.request()
    worker.run()
    got += worker.replies()
    assert [reply["content"] for reply in got if reply] == [b"", b"1", b"2", b"3", b""]
    assert worker.stats == {"messages": 1}


def test_streaming_outside_a_consumer(layer: MemoryLayer) -> None:
    Message({"reply_channel": "a!b"}, "http.request", layer).reply(iter([b"1"]))
    assert [layer.receive(["a!"])[1] for _ in range(4)][-1] is None


# Bodies as files


def body(layer: MemoryLayer, *chunks: dict[str, Any]) -> str:
    name = layer.new_channel("http.request.body?")
    for chunk in chunks:
        layer.send(name, chunk)
    return name


def test_a_body_that_came_with_the_message() -> None:
    file = Message({"body": b"hello\nworld"}, "http.request").stream()
    assert file.readline() == b"hello\n"
    assert file.read() == b"world"
    assert Message({}, "http.request").stream().read() == b""


def test_a_body_first_then_its_channel(layer: MemoryLayer) -> None:
    name = body(
        layer, {"content": b"b\nc", "more_content": True}, {"content": b"", "more_content": True}, {"content": b"d"}
    )
    message = Message({"body": b"a", "body_channel": name}, "http.request", layer)
    file = message.stream()
    assert not message.streamed
    assert file.read(1) == b"a"
    assert message.stream() is file
    assert list(file) == [b"b\n", b"cd"]
    assert message.streamed
    assert file.read() == b""


def test_a_part_of_a_mail(layer: MemoryLayer) -> None:
    large = {"content-type": "image/png", "body_channel": body(layer, {"content": b"png"}), "size": 3}
    small = {"content-type": "text/plain", "body": b"text", "size": 4}
    content = {"content": {"content-type": "multipart/mixed", "parts": [large, small]}}
    message = Message(content, "email.receive", layer)
    assert message.stream(large).read() == b"png"
    assert message.stream(small).read() == b"text"
    assert message.stream(large) is not message.stream(small)
    with pytest.raises(ValueError, match="no body here"):
        message.stream(content["content"])
    with pytest.raises(ValueError, match="no body here"):
        message.stream()
    with pytest.raises(ValueError, match="body_key"):
        message.stream({"body_key": "x"})


def test_a_message_of_ones_own_finds_its_layer(layer: MemoryLayer, no_layer: None) -> None:
    name = body(layer, {"content": b"x"})
    message = Message({"body_channel": name}, "http.request")
    for ask in (lambda: message.layer, message.stream):
        with pytest.raises(RuntimeError, match="set_layer"):
            ask()
    set_layer(layer)
    assert message.layer is layer
    assert message.stream().read() == b"x"


def test_a_body_whose_sender_went_away(layer: MemoryLayer) -> None:
    name = body(layer, {"content": b"b", "more_content": True}, {"content": b"", "closed": True})
    file = Message({"body": b"a", "body_channel": name}, "http.request", layer).stream()
    assert file.read(2) == b"ab"
    with pytest.raises(StreamClosed, match="went away"):
        file.read()


@pytest.mark.parametrize("chunk", [{}, {"content": "text"}, {"content": None}, {"content": [1]}])
def test_chunks_that_are_none(layer: MemoryLayer, chunk: dict[str, Any]) -> None:
    with pytest.raises(StreamClosed):
        open_stream({"body_channel": body(layer, chunk)}, layer, 0).read()


def test_a_body_that_stopped_coming() -> None:
    with MemoryLayer() as layer:
        name = body(layer, {"content": b"b", "more_content": True})
        file = open_stream({"body_channel": name}, layer, 0.05)
        assert file.read(1) == b"b"
        with pytest.raises(StreamTimeout, match=r"within 0\.05 s"):
            file.read()


def test_a_body_that_comes_while_it_is_read() -> None:
    with MemoryLayer() as layer:
        name = layer.new_channel("http.request.body?")
        file = open_stream({"body_channel": name}, layer, 30)

        def send() -> None:
            for n in range(3):
                layer.send(name, {"content": b"%d" % n, "more_content": n < 2})

        thread = threading.Thread(target=send)
        thread.start()
        assert file.read() == b"012"
        thread.join()


def test_a_layer_that_is_away_for_a_while(layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    name = body(layer, {"content": b"b"})
    reader = layer.reader()
    real, failures = reader.receive_batch, [LayerUnavailable("away")] * 2

    def receive_batch(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(reader, "receive_batch", receive_batch)
    monkeypatch.setattr(layer, "reader", lambda: reader)
    assert open_stream({"body_channel": name}, layer, 30).read() == b"b"
    assert failures == []
    failures += [LayerUnavailable("away")] * 2
    with pytest.raises(StreamTimeout):
        open_stream({"body_channel": name}, layer, 0).read()


def test_memory_stays_bounded(layer: MemoryLayer) -> None:
    """However much waits on the channel, only a few chunks are taken at a time."""
    name = body(layer, *[{"content": b"x" * 65536, "more_content": True}] * 15, {"content": b"end"})
    file = open_stream({"body_channel": name}, layer, 0)
    assert isinstance(file, io.BufferedReader)
    assert file.read(10) == b"x" * 10
    assert layer.channel_statistics(name)["messages_pending"] == 12
    assert len(file.read()) == 15 * 65536 + 3 - 10

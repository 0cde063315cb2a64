"""What is kept in the layer: `put_blob`, messages that name it, and `stream()` that reads it again and again."""

from __future__ import annotations

import hashlib
import io
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MemoryLayer
from trunkline.layer.blobs import CHUNK, cut
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.testing import ManualClock
from trunkline.layer.testing.ipc import BusThread
from trunkline.workers import Channel, Message, StreamClosed, StreamTimeout, Worker, put_blob, route
from trunkline.workers.streams import open_stream

DATA = bytes(range(256)) * 640  # two chunks and a half


@pytest.fixture
def layer(clock: ManualClock) -> Iterator[MemoryLayer]:
    with MemoryLayer(clock=clock, durable=["email.*", "jobs.*"], blob_capacity=1 << 20) as layer:
        yield layer


def work(layer: MemoryLayer, channel: str, consumer: Any) -> Worker:
    worker = Worker(layer, [route(channel, consumer)])
    while worker.step():
        pass
    return worker


# reading


def test_a_kept_body_is_read_again_and_again(layer: MemoryLayer) -> None:
    node = {"content-type": "image/png", "body_key": put_blob(DATA, layer=layer), "size": len(DATA)}
    message = Message({"content": node}, "email.receive", layer)
    one, two = message.stream(node), message.stream(node)
    assert one is not two
    assert one.read(10) == DATA[:10]
    assert two.read() == DATA
    assert one.read() == DATA[10:]
    assert one.read() == b""
    assert message.stream(node).read() == DATA
    assert not message.streamed, "it can come again"
    assert Message(node, "jobs.a", layer).stream().read() == DATA


def test_it_can_be_sought_in(layer: MemoryLayer) -> None:
    file = open_stream({"body_key": put_blob(DATA, layer=layer)}, layer, 0)
    assert file.seekable()
    like = io.BytesIO(DATA)
    for offset, whence in ((CHUNK - 3, 0), (5, 1), (-7, 2), (0, 0), (CHUNK, 1), (9, 2), (-CHUNK, 1), (2 * CHUNK, 0)):
        assert file.seek(offset, whence) == like.seek(offset, whence) == file.tell()
        assert file.read(20) == like.read(20)
    for offset, whence in ((-1, 0), (-len(DATA) - 1, 2), (0, 7)):
        with pytest.raises(ValueError):
            file.seek(offset, whence)
    lines = open_stream({"body_key": put_blob(b"a\nb\n" * 40_000, layer=layer)}, layer, 0)
    assert list(lines) == [b"a\n", b"b\n"] * 40_000


def test_an_empty_body_is_kept_too(layer: MemoryLayer) -> None:
    file = open_stream({"body_key": put_blob(b"", layer=layer)}, layer, 0)
    assert file.read() == b""
    assert file.seek(0, 2) == 0


def test_what_is_not_kept_any_more(layer: MemoryLayer) -> None:
    key = put_blob(DATA, layer=layer)
    file, other = (open_stream({"body_key": key}, layer, 0) for _ in range(2))
    assert file.read(1) == DATA[:1]
    layer.drop_blob(key)
    for gone in (file, other):
        with pytest.raises(StreamClosed, match=f"there is no {key}"):
            gone.read()
    for wrong in ("x", 7, b"blob.0123456789abcdef"):
        with pytest.raises(ValueError, match="body_key: this is no key"):
            open_stream({"body_key": wrong}, layer, 0)


def test_a_layer_that_is_away_for_a_while(layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    key = put_blob(DATA, layer=layer)
    real, failures = layer.read_blob, [LayerUnavailable("away", uncertain=True)] * 2

    def read_blob(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(layer, "read_blob", read_blob)
    assert open_stream({"body_key": key}, layer, 30).read() == DATA
    assert failures == []
    failures += [LayerUnavailable("away")]
    with pytest.raises(StreamTimeout, match="away"):
        open_stream({"body_key": key}, layer, 0).read()


# keeping


@pytest.mark.parametrize("pieces", [1, 1000, CHUNK, CHUNK + 1, len(DATA)])
def test_anything_is_cut_into_chunks(pieces: int) -> None:
    parts = [DATA[at : at + pieces] for at in range(0, len(DATA), pieces)]
    whole = [DATA[:CHUNK], DATA[CHUNK : 2 * CHUNK], DATA[2 * CHUNK :]]
    assert list(cut(parts)) == list(cut(bytearray(part) for part in parts)) == whole
    assert list(cut(io.BytesIO(DATA))) == list(cut(memoryview(DATA))) == whole
    assert list(cut([])) == list(cut(b"")) == [b""]
    assert list(cut(bytes(CHUNK))) == [bytes(CHUNK)]


@pytest.mark.parametrize("wrong", ["text", ["text"], 7, None, io.StringIO("text")])
def test_what_cannot_be_kept(layer: MemoryLayer, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"not (str|int|NoneType)"):
        put_blob(wrong, layer=layer)
    assert layer.global_statistics()["blobs_count"] == 0


def test_what_failed_half_way_is_dropped(layer: MemoryLayer) -> None:
    with pytest.raises(ChannelFull, match="blob_capacity"):
        put_blob([bytes(CHUNK)] * 20, layer=layer)

    def broken() -> Iterator[bytes]:
        yield bytes(CHUNK)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        put_blob(broken(), layer=layer)
    assert layer.global_statistics()["blobs_count"] == 0


def test_a_consumer_sends_and_forwards_it(layer: MemoryLayer) -> None:
    """The message that names it holds it, through a channel, a consumer that fails, and on to another channel."""
    failures = [OSError("once")]

    def first(message: Message) -> None:
        key = put_blob(DATA, "jobs.next")
        Channel("jobs.next").send({"parts": [{"name": "x", "body_key": key}]})

    def following(message: Message) -> None:
        [part] = message["parts"]
        assert message.stream(part).read() == DATA
        Channel("jobs.last").send({"body_key": part["body_key"]})
        if failures:
            raise failures.pop()

    layer.send("jobs.first", {})
    work(layer, "jobs.first", first)
    assert layer.global_statistics()["blobs_count"] == 1
    worker = Worker(layer, [route("jobs.next", following)])
    worker.wait_with(layer.clock.advance)  # type: ignore[attr-defined]
    while layer.channel_statistics("jobs.next")["messages_pending"]:
        worker.step()
        layer.clock.advance(0.1)  # type: ignore[attr-defined]
    assert failures == []
    layer.clock.advance(10_000)  # type: ignore[attr-defined]
    [delivery] = layer.receive_batch(["jobs.last"])
    assert Message(delivery.message, "jobs.last", layer).stream().read() == DATA
    delivery.ack()
    assert layer.global_statistics()["blobs_count"] == 0


def test_a_mail_with_a_large_attachment(layer: MemoryLayer) -> None:
    layer.announce("mailer", {"channels": {"email.send": False}})
    key = put_blob(DATA, "email.send", layer=layer)
    attachment = {"filename": "report.pdf", "content-type": "application/pdf", "body_key": key}
    mail = {"to": ["ann@example.com"], "from": "us@example.com", "subject": "Report", "attachments": [attachment]}
    assert Channel("email.send", layer=layer).send(mail) is True
    layer.clock.advance(10_000)  # type: ignore[attr-defined]
    [delivery] = layer.receive_batch(["email.send"])
    message = Message(delivery.message, "email.send", layer, delivery)
    assert message.stream(message["attachments"][0]).read() == DATA
    delivery.ack()
    with pytest.raises(StreamClosed):
        message.stream(message["attachments"][0]).read()


def test_a_message_that_failed_for_good_keeps_it_among_the_dead_letters(layer: MemoryLayer, clock: ManualClock) -> None:
    def fail(message: Message) -> None:
        raise ValueError(message.stream().read(3))

    key = put_blob(DATA, layer=layer)
    layer.send("jobs.a", {"body_key": key})
    worker = Worker(layer, [route("jobs.a", fail)])
    worker.wait_with(clock.advance)
    while not layer.dead_letters():
        worker.step()
        clock.advance(1)
    clock.advance(10_000)
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0
    assert layer.blob_size(key) == len(DATA)
    layer.dead_letter_drop(layer.dead_letters()[0]["id"])
    assert layer.blob_size(key) is None


def test_memory_stays_bounded() -> None:
    """25 MiB in and out take a few chunks of this process, which is that of the bus as well."""
    size, piece = 25 * 1024 * 1024, 10_000
    block = bytes(range(250)) * 40
    whole = hashlib.sha256()

    def parts() -> Iterator[bytes]:
        for _ in range(size // piece):
            whole.update(block)
            yield block

    with tempfile.TemporaryDirectory(prefix="trunkline.") as folder:
        bus = BusThread(str(Path(folder, "s")))
        try:
            with IpcLayer(bus.path, durable=["jobs.*"]) as layer:
                tracemalloc.start()
                key = put_blob(parts(), "jobs.a", layer=layer)
                layer.send("jobs.a", {"body_key": key})
                [delivery] = layer.receive_batch(["jobs.a"], 1, 20)
                got = hashlib.sha256()
                with Message(delivery.message, "jobs.a", layer).stream() as file:
                    while data := file.read(piece):
                        got.update(data)
                _, most = tracemalloc.get_traced_memory()
                assert delivery.ack()
        finally:
            tracemalloc.stop()
            bus.close()
    assert got.digest() == whole.digest()
    print(f"25 MiB in and out: at most {most / 1e6:.1f} MB at a time")
    assert most < 8 * 1024 * 1024

"""The broker's socket: hostile clients are cut off, and the others do not notice."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.layer.ipc import frames, place, service
from trunkline.layer.ipc.frames import Splitter, Writer, unpack
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.testing.ipc import BusThread

from .conftest import WAIT, until

FRAME = Writer().frame


@pytest.fixture(params=["asyncio", "uvloop"])
def bus(request: pytest.FixtureRequest) -> Iterator[BusThread]:
    import asyncio

    new_loop: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    thread = BusThread(new_loop=new_loop[request.param], patience=0.4, clients=10)
    yield thread
    thread.close()


class Raw:
    """A client that sends what it likes."""

    def __init__(self, path: str, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(path)
        self._splitter = Splitter(1 << 30)
        self._frames: list[tuple[Any, ...]] = []
        if hello:
            assert self.read()[0] == frames.HELLO

    def read(self) -> tuple[Any, ...]:
        while not self._frames:
            data = self.socket.recv(65536)
            assert data, "the broker closed the connection"
            self._frames += [unpack(frame, bounded=False) for frame in self._splitter.feed(data)]
        return self._frames.pop(0)

    def cut_off(self) -> bool:
        """Wait for the end of the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.socket.close()
        return True

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_garbage_of_all_kinds_is_cut_off(bus: BusThread, layer: IpcLayer, caplog: pytest.LogCaptureFixture) -> None:
    kinds = [b"\xff" * 4, b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1\xc1", b"\0\0\0\0", FRAME(frames.CALLS, 1, ((5, 5),))]
    for number, garbage in enumerate(kinds, 1):
        raw = Raw(bus.path)
        raw.socket.sendall(garbage)
        assert raw.cut_off()
        layer.send("a", {"n": number})
        assert bus.bus.stats["cut_off"] == number
    assert "cut off process" in caplog.text
    assert len(layer.receive_batch(["a"], 10)) == len(kinds)


def test_garbage_byte_by_byte(bus: BusThread, layer: IpcLayer) -> None:
    with Raw(bus.path) as raw:
        for byte in FRAME(frames.CALLS, 1, (("put", ("a", "", b"\x81\xa1n\x01", 60.0, 10, None)),)):
            raw.socket.sendall(bytes([byte]))
        assert raw.read() == (frames.CALLS, 1, (True,), ())
    assert layer.receive(["a"]) == ("a", {"n": 1})


def test_half_a_frame_is_not_waited_for_forever(bus: BusThread, layer: IpcLayer) -> None:
    slow, half = Raw(bus.path), Raw(bus.path)
    half.socket.sendall(b"\0\1\0\0half")
    whole = FRAME(frames.CALLS, 1, (("purge", ("a",)),))
    slow.socket.sendall(whole[:10])
    until(lambda: layer.send("b", {}, once="x") is not None)
    slow.socket.sendall(whole[10:])
    assert slow.read()[0] == frames.CALLS
    assert half.cut_off()
    slow.socket.sendall(whole)
    assert slow.read()[0] == frames.CALLS, "who ended its frame is left alone"
    slow.socket.close()


def test_who_never_reads_is_cut_off_and_costs_little(bus: BusThread, layer: IpcLayer) -> None:
    layer.send("a", {"x": b"x" * 100_000})
    raw = Raw(bus.path)
    ask = FRAME(frames.CALLS, 1, (("peek", ("a", 10)),) * 10)
    raw.socket.setblocking(False)
    sent = 0
    began = time.monotonic()
    while bus.bus.stats["cut_off"] == 0 and time.monotonic() - began < WAIT:
        try:
            sent += raw.socket.send(ask * 50)
        except BlockingIOError:
            layer.send("b", {}, once="x")
        except OSError:
            break
    until(lambda: bus.bus.stats["cut_off"])
    assert sent < 4 << 20, "its requests waited in its own socket"
    raw.socket.close()


def test_a_flood_does_not_keep_others_waiting(bus: BusThread, layer: IpcLayer) -> None:
    frame = FRAME(frames.CALLS, 1, (("put", ("flood", "", b"x", 60.0, 10, None)),) * 1000)
    with Raw(bus.path) as raw:
        raw.socket.setblocking(False)
        answered = 0
        for _ in range(2000):
            try:
                raw.socket.send(frame)
            except BlockingIOError:
                pass
            if answered < 100:
                layer.send("a", {})
                answered += 1
        assert answered == 100
    assert layer.channel_statistics("a")["messages_pending"] == 100
    assert layer.channel_statistics("flood")["messages_pending"] == 10


def test_one_client_too_many(bus: BusThread, layer: IpcLayer) -> None:
    layer.send("a", {})
    raws = [Raw(bus.path) for _ in range(9)]
    assert Raw(bus.path, hello=False).cut_off()
    assert bus.bus.stats["crowded"] == 1
    raws.pop().socket.close()
    until(lambda: len(bus.bus._protocols) == 9)
    raws.append(Raw(bus.path))
    for raw in raws:
        raw.socket.close()


def test_other_users_are_refused_by_both(bus: BusThread, layer: IpcLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "is_trusted", lambda peer: False)
    assert Raw(bus.path, hello=False).cut_off()
    assert bus.bus.stats["refused"] == 1
    monkeypatch.setattr(service, "is_trusted", place.is_trusted)
    monkeypatch.setattr("trunkline.layer.ipc.connection.is_trusted", lambda peer: False)
    with pytest.raises(LayerUnavailable, match="belongs to another user"):
        layer.send("a", {})


def test_messages_are_as_large_as_the_bus_allows(bus: BusThread) -> None:
    with IpcLayer(bus.path, max_size=16 << 20) as layer:
        layer._calls.limits.adopt({})  # so that the send is the first that it hears of the bus
        big = {"x": b"x" * (3 << 20)}
        with pytest.raises(MessageTooLarge, match="the bus takes frames of"):
            layer.send("a", big)
        with pytest.raises(MessageTooLarge, match="max_size is 2097152"):
            layer.send("a", big)
        fits = {"x": b"x" * ((2 << 20) - 100)}
        batch = layer.batch()
        for _ in range(4):
            batch.send("a", fits)
        assert batch.run() == [True] * 4
        assert [len(delivery.message["x"]) for delivery in layer.receive_batch(["a"], 4)] == [len(fits["x"])]
    with IpcLayer(bus.path, max_size=16 << 20) as layer:
        layer._calls.limits.adopt({})
        batch = layer.batch()
        batch.send("b", {})
        batch.send("b", big)
        batch.send("b", {})
        assert [type(outcome) for outcome in batch.run()] == [bool, MessageTooLarge, bool]


def test_a_large_batch_leaves_in_frames(layer: IpcLayer) -> None:
    batch = layer.batch()
    for n in range(5000):
        batch.send("a", {"n": n})
    outcomes = batch.run()
    assert outcomes[:1000] == [True] * 1000
    assert {type(outcome) for outcome in outcomes[1000:]} == {ChannelFull}
    assert [delivery.message["n"] for delivery in layer.receive_batch(["a"], 2000)] == list(range(1000))


def test_an_idle_bus_does_nothing(bus: BusThread, layer: IpcLayer) -> None:
    layer.send("a", {})
    turns: list[None] = []
    turn = bus.bus.broker.turn
    reader = layer.reader()
    assert reader.receive_batch(["b"]) == []
    until(lambda: bus.bus._counted[1] == 1)
    bus.bus.broker.turn = lambda: turns.append(turn())  # type: ignore[method-assign]
    assert reader.receive_batch(["b"], 1, 0.3) == []
    until(lambda: len(turns) == 2)  # a credit, and its withdrawal
    assert reader.receive_batch(["b"], 1, 0.1) == []
    until(lambda: len(turns) == 4)
    scheduled = getattr(bus.loop, "_scheduled", [])
    assert [timer for timer in scheduled if not timer.cancelled()] == []


def test_what_is_held_is_on_file_before_anybody_is_told(bus: BusThread, layer: IpcLayer) -> None:
    def held() -> int:
        with open(f"{bus.path}.lock", "rb") as file:
            return int.from_bytes(file.read()[8:], sys.byteorder)

    assert held() == 0
    for n in range(5):
        layer.send("a", {"n": n})
        assert held() >= n + 1
    layer.receive_batch(["a"], 3)
    assert held() == 2
    until(lambda: bus.bus._counted[0] == 2)
    layer.receive_batch(["a"], 1)
    assert held() == 1
    layer.send("a", {})
    assert held() == 2
    layer.send("b", {}, expiry=0.01)
    assert held() == 3
    until(lambda: held() == 2)


def test_a_delayed_message_comes_on_time_from_a_clock_of_its_own(layer: IpcLayer) -> None:
    began = time.monotonic()
    layer.send("a", {"n": 2}, delay=0.2)
    layer.send("a", {"n": 1}, delay=0.05)
    reader = layer.reader()
    assert [d.message for d in reader.receive_batch(["a"], 1, WAIT)] == [{"n": 1}]
    assert time.monotonic() - began >= 0.04
    assert [d.message for d in reader.receive_batch(["a"], 1, WAIT)] == [{"n": 2}]
    assert time.monotonic() - began >= 0.18


def test_the_end_says_goodbye(bus: BusThread, layer: IpcLayer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    layer.send("a", {})
    raw = Raw(bus.path)
    assert bus.call(bus.bus.stop("enough")) == 1
    assert raw.read() == (frames.BYE, "enough")
    assert raw.cut_off()
    with pytest.raises(LayerUnavailable, match="no bus is at") as caught:
        layer.send("a", {})
    assert not caught.value.uncertain
    bus.bus = bus.call(restarted(bus))


async def restarted(bus: BusThread) -> service.Bus:
    again = service.Bus(bus.path, bus.loop)
    await again.start()
    return again

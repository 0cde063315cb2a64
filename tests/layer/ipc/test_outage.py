"""The broker dies, stands still, or is stopped: what is lost is counted, nothing hangs, and everybody comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

from trunkline.layer import ChannelFull, InboxItem, LayerError, LayerUnavailable, open_layer
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.ipc.stream import Stream
from trunkline.layer.testing import ManualClock
from trunkline.layer.testing.conformance.threads import Running, Threads
from trunkline.layer.testing.ipc import BusThread, IpcSubject

from .conftest import WAIT, Broker, again, until


class ProcessSubject(IpcSubject):
    """A broker as a process of its own, on the system's clock."""

    moves_time = False

    def __init__(self) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="trunkline.")
        self._broker = Broker(self._folder.name)
        self._broker.start()
        self._layers: list[IpcLayer] = []

    def make(self, **options: Any) -> IpcLayer:
        self._layers.append(IpcLayer(self._broker.path, **options))
        return self._layers[-1]

    def advance(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        for layer in self._layers:
            layer.close()
        self._broker.end()
        self._folder.cleanup()


class TestThreadsOnABrokerProcess(Threads):
    subject_class = ProcessSubject


class Server:
    """A server instance with a loop in a thread of its own."""

    def __init__(self, layer: IpcLayer, name: str = "server.1!", lasting: bool = False) -> None:
        self.items: list[tuple[str | None, list[str], Any]] = []
        self.heard: list[str] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

        async def open() -> Any:
            return layer.open_inbox(
                name,
                loop=self.loop,
                receive=self._receive,
                up=lambda: self.heard.append("up"),
                down=lambda reason: self.heard.append(reason),
                lasting=lasting,
            )

        self.inbox = asyncio.run_coroutine_threadsafe(open(), self.loop).result(WAIT)
        until(lambda: self.inbox._up)

    def _receive(self, items: list[InboxItem]) -> None:
        self.items += [(item.group, sorted(item.names), item.message) for item in items]

    def send(self, channel: str, message: dict[str, Any]) -> Any:
        """Send, and return the outcome."""
        outcomes: list[Any] = []
        self.run(lambda: self.inbox.send(channel, message, then=outcomes.append))
        until(lambda: outcomes)
        return outcomes[0]

    def run(self, call: Any) -> None:
        async def called() -> None:
            call()

        asyncio.run_coroutine_threadsafe(called(), self.loop).result(WAIT)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.inbox.close(), self.loop).result(WAIT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)
        self.loop.close()


def test_sigkill_under_load_with_counts(broker: Broker) -> None:
    """Sent, arrived, in doubt, lost: the numbers agree, nothing comes twice, and nobody hangs."""
    senders, readers, limit = 4, 2, 20
    layers = [IpcLayer(broker.path, capacity=200) for _ in range(senders + readers)]
    taken: list[set[str]] = [set() for _ in range(senders)]
    doubtful: list[set[str]] = [set() for _ in range(senders)]
    told: Counter[str] = Counter()
    stop, drained = threading.Event(), threading.Event()

    def send(number: int) -> None:
        layer, n = layers[number], 0
        while not stop.is_set():
            n += 1
            id = f"{number}.{n}"
            try:
                layer.send("work", {"id": id, "x": b"x" * 100})
                taken[number].add(id)
            except ChannelFull:
                time.sleep(0.001)
            except LayerUnavailable as error:
                told["uncertain" if error.uncertain else "certain"] += 1
                if error.uncertain:
                    doubtful[number].add(id)
                time.sleep(0.005)

    def read(number: int) -> list[str]:
        reader, got = layers[senders + number].reader(), []
        while not drained.is_set():
            try:
                got += [delivery.message["id"] for delivery in reader.receive_batch(["work"], limit, 0.1)]
            except LayerUnavailable:
                told["reader"] += 1
                time.sleep(0.005)
            time.sleep(0.002)  # slower than the senders, so that some wait
        return got

    reading = Running(*[lambda number=number: read(number) for number in range(readers)])
    with reading:
        sending = Running(*[lambda number=number: send(number) for number in range(senders)])
        with sending:
            for _ in range(2):
                until(lambda: sum(map(len, taken)) > 1000)
                broker.end(signal.SIGKILL)
                until(lambda: told["certain"] > 5)
                broker.start()
                before = sum(map(len, taken))
                until(lambda before=before: sum(map(len, taken)) > before + 500)  # type: ignore[misc]
            stop.set()
        again(lambda: layers[0].channel_statistics("work"))
        until(lambda: layers[0].channel_statistics("work")["messages_pending"] == 0)
        drained.set()
    arrived = [id for got in reading.results for id in got]
    sent, doubt = set().union(*taken), set().union(*doubtful)
    assert len(arrived) == len(set(arrived)), "nothing comes twice"
    assert set(arrived) <= sent | doubt
    lost = len(sent - set(arrived))
    bound = layers[0].lost
    counts = f"sent {len(sent)}, arrived {len(arrived)}, in doubt {len(doubt)}, lost {lost}, told at most {bound}"
    assert lost <= bound + 2 * readers * limit, counts
    assert 0 < bound < 5000, counts
    assert len(doubt) <= 2 * senders, counts
    assert told["reader"] > 0
    for layer in layers:
        layer.close()


def test_capacity_is_exact_under_eight_processes(broker: Broker) -> None:
    program = """
import sys
from trunkline.layer import ChannelFull, open_layer
layer, full = open_layer(sys.argv[1] + "?capacity=100"), 0
for n in range(50):
    try:
        layer.send("a", {"n": n})
    except ChannelFull:
        full += 1
print(full)
"""
    senders = [
        subprocess.Popen([sys.executable, "-c", program, f"ipc://{broker.path}"], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    assert sum(int(sender.communicate(timeout=WAIT)[0]) for sender in senders) == 300
    with open_layer(f"ipc://{broker.path}") as layer:
        assert len(layer.receive_batch(["a"], 1000)) == 100


def test_servers_come_back_with_their_members(broker: Broker) -> None:
    layer, other = IpcLayer(broker.path), IpcLayer(broker.path)
    server = Server(layer)
    for local, info in (("a", {"name": "Ada"}), ("b", None), ("c", 3)):
        other.group_add("g", f"server.1!{local}", info)
    other.announce("worker.1", {"channels": {"work": True}})
    until(lambda: len(server.inbox._membership.members()) == 3)
    until(lambda: dict(server.inbox.listening()) == {"work": True})
    broker.end(signal.SIGKILL)
    until(lambda: server.heard)
    outcome = server.send("work", {})
    assert isinstance(outcome, LayerUnavailable)
    assert not outcome.uncertain
    server.run(lambda: server.inbox.gone("c"))
    assert dict(server.inbox.listening()) == {"work": True}, "what was heard is remembered"
    broker.start()
    until(lambda: "up" in server.heard)
    until(lambda: again(lambda: other.group_members("g")) == {"server.1!a": {"name": "Ada"}, "server.1!b": None})
    other.send_group("g", {"n": 1})
    until(lambda: server.items)
    assert server.items == [("g", ["a", "b"], {"n": 1})]
    assert server.send("work", {"n": 2}) is True
    assert server.inbox.stats == {"outages": 1, "replays": 1, "in_doubt": 0}
    assert [text == "up" for text in server.heard] == [False, True]
    server.close()
    assert other.group_members("g") == {}
    layer.close()
    other.close()


def test_a_lasting_inbox_comes_back_too(broker: Broker) -> None:
    with IpcLayer(broker.path) as layer:
        server = Server(layer, lasting=True)
        layer.group_add("g", "server.1!a", "info")
        until(lambda: len(server.inbox._membership.members()) == 1)
        broker.end(signal.SIGKILL)
        broker.start()
        until(lambda: again(lambda: layer.group_members("g")) == {"server.1!a": "info"})
        server.close()
        assert layer.group_members("g") == {"server.1!a": "info"}


def test_a_process_that_stood_still_takes_its_lease_again(bus: BusThread, layer: IpcLayer) -> None:
    server = Server(layer)
    lapse = ("renew", ("server.1!", server.inbox._holder, -1.0))
    layer.group_add("g", "server.1!a", "info")
    until(lambda: len(server.inbox._membership.members()) == 1)
    assert layer._run([lapse, ("group_members", ("g",))]) == [True, {}]
    layer.send("server.1!b", {"n": 1})
    until(lambda: server.items)
    until(lambda: layer.group_members("g") == {"server.1!a": "info"})
    assert layer._run([lapse, ("group_members", ("g",))]) == [True, {}]
    server.run(lambda: server.inbox._renew())
    until(lambda: layer.group_members("g") == {"server.1!a": "info"})
    assert server.heard == []
    server.close()


def test_a_lease_that_another_process_took_is_waited_for(bus: BusThread, layer: IpcLayer) -> None:
    server = Server(layer, lasting=True)
    layer.group_add("g", "server.1!a")
    until(lambda: len(server.inbox._membership.members()) == 1)
    lapse = ("renew", ("server.1!", server.inbox._holder, -1.0))
    assert layer._run([lapse, layer._calls.lease("server.1!", "other", 60.0, True)])[0] is True
    server.run(lambda: server.inbox._renew())
    until(lambda: server.heard)
    assert "leased by another process" in server.heard[0]
    layer._call(("release", ("server.1!", "other")))
    server.run(lambda: server.inbox._renew())
    until(lambda: "up" in server.heard)
    layer.send_group("g", {"n": 1})
    until(lambda: server.items)
    server.close()


def test_a_connection_that_is_cut_off_comes_back_to_the_same_members(bus: BusThread, layer: IpcLayer) -> None:
    """The broker knows better here: who left and who joined meanwhile is not brought back."""
    server = Server(layer)
    for local in ("a", "b", "c"):
        layer.group_add("g", f"server.1!{local}")
    until(lambda: len(server.inbox._membership.members()) == 3)
    server.run(lambda: (server.inbox._stream._drop("test"), server.inbox.gone("a")))
    layer.group_discard("g", "server.1!b")
    layer.group_add("g", "server.1!d")
    until(lambda: "up" in server.heard)
    until(lambda: sorted(layer.group_channels("g")) == ["server.1!c", "server.1!d"])
    layer.send_group("g", {"n": 1})
    until(lambda: server.items)
    assert server.items == [("g", ["c", "d"], {"n": 1})]
    assert server.inbox.stats["replays"] == 0
    server.close()


def test_who_left_a_lasting_inbox_meanwhile_stays_away(bus: BusThread, layer: IpcLayer) -> None:
    server = Server(layer, lasting=True)
    for local in ("a", "b"):
        layer.group_add("g", f"server.1!{local}")
    until(lambda: len(server.inbox._membership.members()) == 2)
    server.run(lambda: server.inbox._stream._drop("test"))
    until(lambda: server.heard)
    server.run(lambda: server.inbox.gone("a"))
    until(lambda: layer.group_channels("g") == ["server.1!b"])
    server.close()
    assert layer.group_channels("g") == ["server.1!b"]


def test_what_is_sent_at_once_waits_for_the_connection(bus: BusThread, layer: IpcLayer) -> None:
    async def serve() -> list[Any]:
        outcomes: list[Any] = []
        loop = asyncio.get_running_loop()
        inbox = layer.open_inbox("x!", loop=loop, receive=lambda items: None)
        inbox.send("a", {"n": 1}, then=outcomes.append)
        await inbox.close()
        return outcomes

    assert asyncio.run(serve()) == [True]
    assert layer.receive(["a"]) == ("a", {"n": 1})


def test_closing_does_not_wait_for_a_broker_that_stands_still(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trunkline.layer.ipc.inbox._CLOSING", 0.1)
    with IpcLayer(broker.path) as layer:
        server = Server(layer)
        broker.send(signal.SIGSTOP)
        outcomes: list[Any] = []
        server.run(lambda: server.inbox.send("a", {}, then=outcomes.append))
        server.close()
        assert outcomes[0].uncertain
        assert "did not answer within 0.1 s of closing" in caplog.text
        broker.send(signal.SIGCONT)


def test_a_layer_is_closed_after_the_loop_of_its_inbox(bus: BusThread, layer: IpcLayer) -> None:
    server = Server(layer)
    server.loop.call_soon_threadsafe(server.loop.stop)
    server._thread.join(WAIT)
    server.loop.close()
    layer.close()
    with pytest.raises(LayerUnavailable, match="is closed"):
        layer.send("a", {})


def test_a_broker_that_stands_still_is_given_up(broker: Broker) -> None:
    layer = IpcLayer(broker.path, timeout=0.3)
    server = Server(layer)
    layer.send("a", {"n": 1})
    broker.send(signal.SIGSTOP)
    with pytest.raises(LayerUnavailable, match="does not answer") as caught:
        layer.send("a", {"n": 2})
    assert caught.value.uncertain
    with pytest.raises(LayerUnavailable) as caught:
        layer.receive(["b"])
    outcome = server.send("a", {"n": 3})
    assert isinstance(outcome, LayerUnavailable)
    assert outcome.uncertain
    assert server.inbox.stats["in_doubt"] == 1
    until(lambda: server.heard)
    broker.send(signal.SIGCONT)
    until(lambda: "up" in server.heard)
    got = {delivery.message["n"] for delivery in again(lambda: layer.receive_batch(["a"], 10))}
    assert {1} <= got <= {1, 2, 3}
    server.close()
    layer.close()


def test_a_blocked_receive_ends_with_its_broker(broker: Broker) -> None:
    with IpcLayer(broker.path) as layer:

        def receive() -> Any:
            try:
                return layer.reader().receive_batch(["a"], 1, None)
            except LayerUnavailable as error:
                return error

        with Running(receive) as running:
            until(lambda: layer.global_statistics() and True)
            time.sleep(0.05)
            broker.end(signal.SIGKILL)
        assert isinstance(running.results[0], LayerUnavailable)


def test_a_broker_that_is_stopped_leaves_nobody_in_doubt(broker: Broker) -> None:
    layer = IpcLayer(broker.path)
    reader = layer.reader()
    assert reader.receive_batch(["a"]) == []
    layer.send("a", {})
    code, said = broker.end(signal.SIGTERM)
    assert code == 0
    assert "1 messages that nobody took end with the bus" in said
    with pytest.raises(LayerUnavailable, match="no bus is at") as caught:
        layer.send("a", {})
    assert not caught.value.uncertain
    with pytest.raises(LayerUnavailable, match="no bus is at"):
        reader.receive_batch(["a"])
    batch = layer.batch()
    batch.send("a", {})
    outcomes: list[Any] = []
    with pytest.raises(LayerUnavailable):
        reader.receive_batch(["a"], flush=batch, flushed=outcomes.extend)
    assert [outcome.uncertain for outcome in outcomes] == [False]
    broker.start()
    assert layer.send("a", {"n": 1})
    assert [delivery.message for delivery in reader.receive_batch(["a"])] == [{"n": 1}]
    assert layer.lost == 1
    layer.close()


def test_the_layer_tells_what_was_lost(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with IpcLayer(broker.path) as layer:
        for n in range(7):
            layer.send("a", {"n": n})
        broker.end(signal.SIGKILL)
        said = broker.start()
        assert "the bus before this one was killed: 7 messages at most" in said
        assert layer.global_statistics()["messages_lost_count"] == 7
        assert layer.lost == 7
        layer.send("a", {})
        broker.end(signal.SIGTERM)
        broker.start()
        broker.end(signal.SIGKILL)
        broker.start()
        assert layer.global_statistics()["messages_lost_count"] == 8
        assert layer.lost == 8, "that of brokers it never met included"
        broker.end(signal.SIGTERM)
        os.unlink(f"{broker.path}.lock")
        broker.start()
        assert layer.send("a", {})
        assert layer.lost == 8
        assert "began anew: 7 messages at most that waited there are lost" in caplog.text


# receiving, with a flush


def test_a_flush_leaves_with_the_receive(layer: IpcLayer) -> None:
    reader = layer.reader()
    order: list[Any] = []
    batch = layer.batch()
    batch.send("a", {"n": 1})
    batch.put_state("k", 1, 60, if_version=5)
    got = reader.receive_batch(["a"], 10, WAIT, flush=batch, flushed=order.append)
    assert order == [[True, 0]]
    assert [delivery.message for delivery in got] == [{"n": 1}]
    for n in range(3000):
        batch.send("b", {"n": n})
    assert reader.receive_batch(["a"], flush=batch, flushed=order.append) == []
    assert order[1][:1000] == [True] * 1000
    reader.wake()
    batch.send("a", {"n": 2})
    assert reader.receive_batch(["a"], 1, None, flush=batch, flushed=order.append) == []
    assert order[2] == [True]
    assert [delivery.message for delivery in reader.receive_batch(["a"])] == [{"n": 2}]


def test_what_crosses_a_wake_or_the_end_is_put_back(layer: IpcLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    reader: Any = layer.reader()
    other = IpcLayer(layer.path)
    arrives = type(reader)._arrives

    def crossing(self: Any, connection: Any, until: float | None) -> bool:
        other.send("a", {"n": 1})  # it is on its way when the wait ends
        return False

    monkeypatch.setattr(type(reader), "_arrives", crossing)
    reader._woken = False
    assert [delivery.message for delivery in reader.receive_batch(["a"], 1, 0.01)] == [{"n": 1}]

    def woken(self: Any, connection: Any, until: float | None) -> bool:
        self.wake()
        return crossing(self, connection, until)

    monkeypatch.setattr(type(reader), "_arrives", woken)
    assert reader.receive_batch(["a"], 1, None) == []
    assert other.receive(["a"]) == ("a", {"n": 1})

    def closed(self: Any, connection: Any, until: float | None) -> bool:
        layer.close()
        return crossing(self, connection, until)

    monkeypatch.setattr(type(reader), "_arrives", closed)
    with pytest.raises(LayerUnavailable, match="is closed"):
        reader.receive_batch(["a"], 1, None)
    assert other.receive(["a"]) == ("a", {"n": 1})
    monkeypatch.setattr(type(reader), "_arrives", arrives)
    other.close()


def test_an_interrupted_call_leaves_no_answer_for_the_next(layer: IpcLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    reader: Any = layer.reader()

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(reader), "_arrives", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.receive_batch(["a"], 1, None)
    layer.send("a", {"n": 1})
    assert [delivery.message for delivery in reader.receive_batch(["a"])] == [{"n": 1}]


def test_a_signal_handler_may_wake_a_reader(layer: IpcLayer) -> None:
    reader = layer.reader()
    before = signal.signal(signal.SIGALRM, lambda *_: reader.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert reader.receive_batch(["a"], 1, None) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    for _ in range(100_000):
        reader.wake()
    assert reader.receive_batch(["a"], 1, None) == []


def test_closing_a_layer_ends_its_inboxes(layer: IpcLayer, bus: BusThread) -> None:
    server = Server(layer)
    layer.close()
    until(lambda: server.inbox._closed)
    assert isinstance(server.send("a", {}), LayerError)
    server.close()
    with pytest.raises(LayerUnavailable, match="is closed"):
        layer.send("a", {})
    with pytest.raises(LayerUnavailable, match="is closed"):
        layer.reader().receive_batch(["a"])
    with pytest.raises(LayerUnavailable, match="is closed"):
        layer.open_inbox("x!", loop=server.loop, receive=lambda items: None)


def test_what_is_no_bus_is_told(folder: str) -> None:
    import socket

    from trunkline.layer.ipc.frames import BYE, HELLO, VERSION, Writer

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/bus.sock")
    listener.listen()
    answers = [
        (Writer().frame(HELLO, 999, "e", 1, 0), "speaks version 999"),
        (Writer().frame(7), "is no Trunkline bus"),
        (b"\0\0\0\1\xc1", "no MessagePack"),
        (b"", "the connection was closed"),
    ]
    for answer, text in answers:

        def serve(answer: bytes = answer) -> None:
            connection, _ = listener.accept()
            connection.sendall(answer)
            connection.close()

        with Running(serve), IpcLayer(f"{folder}/bus.sock") as layer:
            with pytest.raises(LayerUnavailable, match=text) as caught:
                layer.send("a", {})
            assert not caught.value.uncertain, "nothing was sent"

    def say_goodbye() -> None:
        connection, _ = listener.accept()
        connection.sendall(Writer().frame(HELLO, VERSION, "e", 1 << 20, 0))
        connection.recv(65536)
        connection.sendall(Writer().frame(BYE, "enough"))
        connection.close()

    with Running(say_goodbye), IpcLayer(f"{folder}/bus.sock") as layer:
        layer._calls.limits.adopt({})
        with pytest.raises(LayerUnavailable, match="is away: enough") as caught:
            layer.send("a", {})
        assert not caught.value.uncertain, "what was not answered before was not done"

    def die() -> None:
        connection, _ = listener.accept()
        connection.sendall(Writer().frame(HELLO, VERSION, "e", 4 << 20, 0))
        left = 1_000_000  # the first message, and nothing of the third
        while left > 0:
            left -= len(connection.recv(left))
        connection.close()

    with Running(die), IpcLayer(f"{folder}/bus.sock") as layer:
        layer._calls.limits.adopt({})
        batch = layer.batch()
        for _ in range(3):
            batch.send("a", {"x": b"x" * 1_000_000})
        first, second, third = batch.run()
        assert {type(outcome) for outcome in (first, second, third)} == {LayerUnavailable}
        assert [outcome.uncertain for outcome in (first, third)] == [True, False], "the third one did not leave"
    listener.close()
    with IpcLayer(f"{folder}/bus.sock") as layer, pytest.raises(LayerUnavailable, match="trunkline bus unix:"):
        layer.send("a", {})
    long = f"{folder}/file"
    open(long, "w", encoding="utf-8").close()
    with IpcLayer(f"{long}/x") as layer, pytest.raises(LayerUnavailable, match="cannot be reached"):
        layer.send("a", {})


def test_a_fork_uses_connections_of_its_own(broker: Broker) -> None:
    """What a server that forks its processes did before must not mix up their answers."""
    program = """
import os, sys
from trunkline.layer import open_layer
layer = open_layer(sys.argv[1])
layer.send("a", {"n": 0})
assert layer.receive(["a"]) == ("a", {"n": 0})
child = os.fork()
for n in range(200):
    name = "child" if child == 0 else "parent"
    layer.send(name, {"n": n})
    assert layer.receive([name]) == (name, {"n": n})
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program, f"ipc://{broker.path}"], check=True, timeout=WAIT)


# the stream alone


def streaming(path: str, timeout: float = 5.0) -> tuple[asyncio.AbstractEventLoop, Stream, list[Any]]:
    loop = asyncio.new_event_loop()
    seen: list[Any] = []
    stream = Stream(
        loop,
        path,
        up=lambda hello: seen.append("up"),
        down=lambda reason: seen.append(reason),
        told=seen.append,
        timeout=timeout,
    )
    return loop, stream, seen


def run_until(loop: asyncio.AbstractEventLoop, condition: Any) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(wait(), WAIT))


def test_a_stream_goes_on_dialling(folder: str) -> None:
    loop, stream, seen = streaming(f"{folder}/bus.sock")
    stream.start()
    run_until(loop, lambda: len(seen) >= 2)
    assert all("no bus is at" in reason for reason in seen)
    outcomes: list[Any] = []
    stream.run([("statistics", ())] * 3, outcomes.extend)
    run_until(loop, lambda: outcomes)
    assert [outcome.uncertain for outcome in outcomes] == [False] * 3
    bus = BusThread(f"{folder}/bus.sock")
    run_until(loop, lambda: "up" in seen)
    many: list[Any] = []
    stream.run([("put", ("a", "", b"x", 60.0, 10_000, None))] * 3000, many.extend)
    run_until(loop, lambda: many)
    assert many == [True] * 3000
    bus.close()
    run_until(loop, lambda: seen[-1] != "up")
    assert "the bus was stopped" in seen[-1]
    stream.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_stream_refuses_what_the_bus_cannot_keep_up_with(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.layer.ipc.stream.UNSENT", 1 << 20)
    loop, stream, seen = streaming(broker.path)
    stream.start()
    run_until(loop, lambda: seen)
    broker.send(signal.SIGSTOP)
    outcomes: list[Any] = []
    for _ in range(40):
        stream.run([("put", ("a", "", b"x" * 100_000, 60.0, 10_000, None))], outcomes.extend)
    run_until(loop, lambda: outcomes)
    assert "does not keep up" in str(outcomes[0])
    assert not outcomes[0].uncertain
    stream.close()
    assert sum(outcome.uncertain for outcome in outcomes) > 5
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.mark.parametrize("answer", [b"", b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x07"])
def test_a_stream_does_not_trust_whatever_listens(folder: str, answer: bytes) -> None:
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/bus.sock")
    listener.listen()
    loop, stream, seen = streaming(f"{folder}/bus.sock", timeout=0.1)
    stream.start()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.sendall(answer)
        connection.recv(1)
        connection.close()

    with Running(serve):
        run_until(loop, lambda: seen)
    assert "up" not in seen
    stream.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    listener.close()


def test_a_stream_does_not_trust_other_users(bus: BusThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.layer.ipc.stream.is_trusted", lambda peer: False)
    loop, stream, seen = streaming(bus.path)
    stream.start()
    run_until(loop, lambda: seen)
    assert "belongs to another user" in seen[0]
    stream.close()
    stream.tell(1)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_moved_clock_outlives_its_bus() -> None:
    clock = ManualClock()
    BusThread(clock=clock).close()
    clock.advance(1)
    assert clock() > 0


@pytest.mark.usefixtures("descriptors")
def test_every_descriptor_is_closed(folder: str) -> None:
    bus = BusThread(f"{folder}/bus.sock")
    with IpcLayer(bus.path) as layer:
        for _ in range(40):
            reader = layer.reader()
            reader.receive_batch(["a"])
            del reader
        layer.send("a", {})
    bus.close()

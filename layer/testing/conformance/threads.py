"""Many threads: blocking, waking, exact capacity, order, and nobody left waiting."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ...base import Layer
from ...errors import ChannelFull, LayerUnavailable
from ..subject import PATIENCE, Subject
from .base import Part, drain, numbers


class Threads(Part):
    @pytest.mark.parametrize(("channel", "wanted"), [("a", "a"), ("a?b", "a?b"), ("x!1", "x!")])
    def test_a_blocked_receive_gets_what_is_sent(self, layer: Layer, channel: str, wanted: str) -> None:
        with Running(lambda: layer.receive_batch(["none", wanted], 1, PATIENCE)) as running:
            layer.send(channel, {"n": 1})
        [[delivery]] = running.results
        assert (delivery.channel, delivery.message) == (channel, {"n": 1})

    def test_a_blocked_receive_gets_what_is_sent_to_its_group(self, layer: Layer) -> None:
        with Running(lambda: layer.receive(["x!"], block=True)) as running:
            layer.group_add("g", "x!1")
            layer.send_group("g", {"n": 1})
        assert running.results == [("x!1", {"n": 1})]

    def test_a_blocked_receive_gets_what_is_put_back(self, layer: Layer) -> None:
        layer.send("a", {"n": 1})
        taken = layer.receive_batch(["a"])
        with Running(lambda: layer.receive(["a"], block=True)) as running:
            layer.put_back(taken)
        assert running.results == [("a", {"n": 1})]

    def test_a_blocked_receive_gets_what_becomes_due(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, delay=0.1)
        with Running(lambda: layer.receive(["a"], block=True)) as running:
            subject.advance(0.11)
        assert running.results == [("a", {"n": 1})]
        with Running(lambda: layer.receive_batch(["a"], 1, PATIENCE)) as running:
            layer.send("a", {"n": 2}, delay=0.1)
            subject.advance(0.11)
        assert running.results[0][0].message == {"n": 2}

    def test_a_timeout_ends_a_receive(self, layer: Layer) -> None:
        began = time.monotonic()
        assert layer.receive_batch(["a"], 1, 0.05) == []
        assert time.monotonic() - began >= 0.05

    def test_wake_ends_the_present_receive_or_the_next(self, layer: Layer) -> None:
        reader = layer.reader()
        with Running(lambda: reader.receive_batch(["a"], 1, None)) as running:
            reader.wake()
        assert running.results == [[]]
        layer.send("a", {"n": 1})
        reader.wake()
        assert reader.receive_batch(["a"], 1, None) == []
        assert [delivery.message for delivery in reader.receive_batch(["a"], 1, None)] == [{"n": 1}]

    def test_waking_one_reader_does_not_keep_a_message_from_another(self, layer: Layer) -> None:
        one, two = layer.reader(), layer.reader()
        with Running(
            lambda: one.receive_batch(["a"], 1, PATIENCE), lambda: two.receive_batch(["a"], 1, PATIENCE)
        ) as running:
            one.wake()
            layer.send("a", {"n": 1})
        assert sorted(len(result) for result in running.results) == [0, 1]

    def test_closing_a_layer_ends_its_blocked_receives(self, subject: Subject) -> None:
        layer, other = subject.make(), subject.make()

        def receive() -> Any:
            try:
                return layer.receive_batch(["a"], 1, None)
            except LayerUnavailable as error:
                return error

        with Running(receive, lambda: other.receive_batch(["a"], 1, PATIENCE)) as running:
            layer.close()
            other.send("a", {"n": 1})
        kinds = {type(result) for result in running.results}
        assert kinds == {LayerUnavailable, list}

    def test_each_of_a_burst_wakes_somebody(self, layer: Layer) -> None:
        receives = [lambda: layer.receive_batch(["a", "b"], 1, PATIENCE)] * 8
        with Running(*receives) as running:
            batch = layer.batch()
            for n in range(8):
                batch.send("a" if n % 2 else "b", {"n": n})
            batch.run()
        assert sorted(result[0].message["n"] for result in running.results) == list(range(8))

    def test_capacity_is_exact_under_eight_senders(self, subject: Subject) -> None:
        layer = subject.make(capacity=100)
        full = []

        def send() -> None:
            for n in range(50):
                try:
                    layer.send("a", {"n": n})
                except ChannelFull:
                    full.append(n)

        with Running(*[send] * 8):
            pass
        assert len(full) == 300
        assert len(drain(layer, "a")) == 100

    def test_nothing_is_lost_or_doubled_and_each_sender_keeps_its_order(self, subject: Subject) -> None:
        layer = subject.make(capacity=100_000)
        senders, readers, each = 4, 4, 300
        channels = ["a", "b", "c"]
        left = [senders * each]
        counting = threading.Lock()

        def sender(number: int) -> Callable[[], None]:
            def send() -> None:
                for n in range(each):
                    layer.send(channels[number % 3], {"sender": number, "n": n})

            return send

        def read() -> list[tuple[int, int]]:
            reader, got = layer.reader(), []
            while True:
                for delivery in reader.receive_batch(channels, 5, 0.5):
                    got.append((delivery.message["sender"], delivery.message["n"]))
                    with counting:
                        left[0] -= 1
                if not left[0]:
                    return got

        with Running(*[read] * readers, *map(sender, range(senders))) as running:
            pass
        taken = [result for result in running.results if result is not None]
        assert len(taken) == readers
        assert sorted(entry for got in taken for entry in got) == [(s, n) for s in range(senders) for n in range(each)]
        for got in taken:
            for number in range(senders):
                mine = [n for s, n in got if s == number]
                assert mine == sorted(mine), "what one reader gets of one sender is in order"

    def test_no_channel_starves(self, subject: Subject) -> None:
        layer = subject.make(capacity=10_000)
        for n in range(2000):
            layer.send("busy", {"n": n})
        for n in range(10):
            layer.send("quiet", {"n": n})
        reader = layer.reader()
        for turn in range(1, 30):
            reader.receive_batch(["busy", "quiet"], 10)
            if turn >= 3:
                break
        assert layer.channel_statistics("quiet")["messages_pending"] == 0
        assert numbers(layer, "quiet") == []

    def test_once_is_once_under_eight_senders(self, layer: Layer) -> None:
        with Running(*[lambda: [layer.send("a", {"n": n}, once=str(n)) for n in range(50)]] * 8) as running:
            pass
        assert sum(sum(result) for result in running.results) == 50
        assert sorted(numbers(layer, "a")) == list(range(50))

    def test_versions_decide_between_eight_writers(self, layer: Layer) -> None:
        def write() -> int:
            wrote = 0
            while wrote < 20:
                value, version = layer.get_state("k")
                wrote += bool(layer.put_state("k", (value or 0) + 1, 60, if_version=version))
            return wrote

        with Running(*[write] * 8):
            pass
        assert layer.get_state("k")[0] == 160
        with Running(*[lambda: [layer.incr_state("n", 60) for _ in range(50)]] * 8) as running:
            pass
        assert sorted(n for result in running.results for n in result) == list(range(1, 401))

    def test_broadcasts_and_joins_from_many_threads(self, subject: Subject) -> None:
        """After an add has returned, every later broadcast reaches the member exactly once, until a discard."""
        layer = subject.make(capacity=100_000)

        def run(number: int) -> Callable[[], list[tuple[str, str, bool]]]:
            def work() -> list[tuple[str, str, bool]]:
                expected = []
                for n in range(40):
                    group, channel = f"g{number}", f"x!{number}.{n % 5}"
                    layer.group_add(group, channel)
                    layer.send_group(group, {"id": f"{number}.{n}.in"})
                    expected.append((channel, f"{number}.{n}.in", True))
                    layer.group_discard(group, channel)
                    layer.send_group(group, {"id": f"{number}.{n}.out"})
                    expected.append((channel, f"{number}.{n}.out", False))
                return expected

            return work

        with Running(*map(run, range(6))) as running:
            pass
        got = [(channel, message["id"]) for channel, message in drain(layer, "x!")]
        assert len(got) == len(set(got))
        for channel, id, wanted in (entry for result in running.results for entry in result):
            assert ((channel, id) in got) is wanted


class Running:
    """Calls running in threads; at the end of `with` all of them must have returned.

    The body of the `with` runs when all of them are on their way, though perhaps not yet where they wait: it has to be
    right either way.
    """

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.results: list[Any] = []
        self._errors: list[BaseException] = []
        self._begun = threading.Barrier(len(calls) + 1)
        self._threads = [threading.Thread(target=self._run, args=(call,), daemon=True) for call in calls]

    def __enter__(self) -> "Running":
        for thread in self._threads:
            thread.start()
        self._begun.wait(PATIENCE)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            join(self._threads)
            for error in self._errors:
                raise error

    def _run(self, call: Callable[[], Any]) -> None:
        self._begun.wait(PATIENCE)
        try:
            self.results.append(call())
        except BaseException as error:
            self._errors.append(error)


def join(threads: Iterable[threading.Thread]) -> None:
    """Wait for threads, and fail if one does not end."""
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            pytest.fail("a thread was left waiting")

"""Several operations in one run: where a send finds no room, nothing of the run overtakes it."""

import threading
from typing import Any

import pytest

from ...base import Layer
from ...batch import Batch
from ...errors import ChannelFull
from ..subject import PATIENCE, Subject
from .base import Open, Part, numbers
from .threads import Running

MEBIBYTE = 1024 * 1024
QUEUES = ("a", "inbox!b", "body?c", "jobs")


def fill(layer: Layer, channel: str) -> int:
    """Send until there is no room; return how many were sent."""
    for sent in range(100):
        try:
            layer.send(channel, {"n": sent})
        except ChannelFull:
            return sent
    raise AssertionError(f"{channel} is never full")


def queue_of(channel: str) -> str:
    return channel[: channel.find("!") + 1] or channel


def told(outcomes: list[Any]) -> list[bool]:
    """Return which sends were taken; all others found no room."""
    assert all(outcome is True or isinstance(outcome, ChannelFull) for outcome in outcomes), outcomes
    return [outcome is True for outcome in outcomes]


class Runs(Part):
    @pytest.mark.parametrize("channel", QUEUES)
    def test_sends_are_taken_up_to_the_first_that_finds_no_room(self, subject: Subject, channel: str) -> None:
        layer = subject.make(capacity=20, durable=["jobs"])
        layer.send("other", {"n": 0})
        batch = layer.batch()
        for n in range(30):
            batch.send(channel, {"n": n})
            batch.send("other", {"n": n + 1})
        outcomes = batch.run()
        room = 16 if "?" in channel else 20
        assert told(outcomes[::2]) == [n < room for n in range(30)]
        assert told(outcomes[1::2]) == [n < 19 for n in range(30)]
        assert layer.channel_statistics(channel)["channel_full_count"] == 30 - room
        if channel != "jobs":
            assert numbers(layer, queue_of(channel)) == list(range(room))
        assert numbers(layer, "other") == list(range(20))

    def test_a_smaller_one_does_not_pass_one_that_is_too_large(self, layer: Layer) -> None:
        for _ in range(63):
            layer.send("a!b", {"x": b"x" * (MEBIBYTE - 10)})
        batch = layer.batch()
        batch.send("a!b", {"x": b"x" * (MEBIBYTE // 2)})
        batch.send("a!b", {"x": b"x" * MEBIBYTE})
        batch.send("a!b", {"n": 1})
        batch.send("a!c", {"n": 2}, expiry=30)
        batch.put_state("k", 1, 60)
        batch.send("a!d", {"n": 3}, once="o")
        batch.send("b!d", {"n": 4})
        kept = list(batch.calls)
        outcomes = batch.run()
        assert told(outcomes[:4]) == [True, False, False, False]
        assert outcomes[4] == layer.get_state("k")[1]
        assert told(outcomes[5:]) == [False, True]
        layer.send("a!e", {"n": 5})
        layer.receive(["a!"])
        batch.calls += kept[1:4] + kept[5:6]
        assert told(batch.run()) == [True] * 4, "what was refused has left no mark"
        found = [layer.receive(["a!"]) for _ in range(68)][62:]
        assert [(channel, (message or {}).get("n")) for channel, message in found] == [
            ("a!b", None), ("a!e", 5), ("a!b", None), ("a!b", 1), ("a!c", 2), ("a!d", 3),
        ]  # fmt: skip
        assert layer.receive(["a!"]) == (None, None)

    @pytest.mark.parametrize("channel", QUEUES)
    def test_nothing_overtakes_whatever_stands_between(self, subject: Subject, channel: str) -> None:
        layer = subject.make(capacity=16, durable=["jobs"])
        layer.group_add("g", "z")
        room = fill(layer, channel)
        options: list[dict[str, Any]] = [
            {}, {"expiry": 30}, {"once": "o"}, {"delay": 0.05}, {"delay": 0.05, "key": "k"}, {},
        ]  # fmt: skip
        batch = layer.batch()
        for n, each in enumerate(options):
            batch.send(channel, {"n": room + n}, **each)
            batch.send("z", {"n": n}, once=str(n))
            batch.send_group("g", {"n": n})
            batch.put_state("k", n, 60)
        outcomes = batch.run()
        assert told(outcomes[::4]) == [False] * len(options)
        assert told(outcomes[1::4]) == [True] * len(options)
        assert outcomes[2::4] == [None] * len(options)
        assert layer.get_state("k") == (len(options) - 1, outcomes[-1])
        layer.purge(queue_of(channel))
        assert layer.send(channel, {"n": 0}, once="o") is True, "what was refused has left no mark"

    @pytest.mark.parametrize("channel", QUEUES)
    def test_a_reader_that_makes_room_meanwhile_lets_nothing_overtake(self, subject: Subject, channel: str) -> None:
        """Of each run a reader gets what comes before some message, and nothing else of it."""
        layer = subject.make(capacity=16, durable=["jobs"])
        queue = queue_of(channel)
        ended = threading.Event()
        got: list[int] = []

        def read() -> None:
            reader = layer.reader()
            while True:
                over = ended.is_set()
                taken = reader.receive_batch([queue], 3, 0.01)
                for delivery in taken:
                    got.append(delivery.message["n"])
                    delivery.ack()
                if over and not taken:
                    return

        sent: list[int] = []

        def run(number: int, count: int) -> list[bool]:
            batch = layer.batch()
            for n in range(count):
                self.add(batch, channel, number * 1000 + n, many=count > 40)
            calls = list(batch.calls)
            outcomes = zip(calls, batch.run(), strict=True)
            taken = told([outcome for call, outcome in outcomes if Batch.channel_of(call) == channel])
            assert taken == sorted(taken, reverse=True), f"run {number}: a send was taken behind one that was not"
            sent.extend(range(number * 1000, number * 1000 + sum(taken)))
            return taken

        assert False in run(0, 40)
        with Running(read):
            try:
                for number in range(1, 60):
                    # Now and then so many that an engine may not carry them all at once.
                    run(number, 700 if number % 20 == 1 else 40)
            finally:
                ended.set()
        assert got == sent

    @staticmethod
    def add(batch: Batch, channel: str, n: int, many: bool) -> None:
        message = {"n": n, "x": b"x" * (1000 if many else 10)}
        if n % 3 == 1:
            batch.send(channel, message, expiry=50)
        elif n % 7 == 2:
            batch.send(channel, message, once=str(n))
        else:
            batch.send(channel, message)
        if n % 5 == 3:
            batch.put_state("k", n, 60)
        elif n % 5 == 4:
            batch.send("z", {}, once="z")

    def test_so_it_is_in_a_flush_before_a_receive(self, subject: Subject) -> None:
        layer = subject.make(capacity=16)
        batch = layer.batch()
        for n in range(20):
            batch.send("a", {"n": n})
            batch.put_state("k", n, 60)
        outcomes: list[Any] = []
        reader = layer.reader()
        assert len(reader.receive_batch(["a"], 20, PATIENCE, flush=batch, flushed=outcomes.extend)) == 16
        assert told(outcomes[::2]) == [True] * 16 + [False] * 4
        assert reader.receive_batch(["a"]) == []

    def test_so_it_is_in_a_turn_of_a_server(self, subject: Subject, open: Open) -> None:
        layer = subject.make(capacity=16)
        server = open(on=layer)
        outcomes: list[Any] = []
        for n in range(18):
            server.inbox.send("body?1", {"n": n}, credit="1", then=outcomes.append)
            server.inbox.append_blob(layer.new_blob(), b"", then=lambda size: None)
        server.inbox.send("body?1", {"n": 18}, last=True, then=outcomes.append)
        server.wait(lambda: len(outcomes) == 19)
        assert told(outcomes) == [True] * 16 + [False] * 3, "not even the last chunk: the body would have a hole"
        server.inbox.send("body?1", {"n": 16}, last=True, then=outcomes.append)
        server.wait(lambda: len(outcomes) == 20)
        assert numbers(layer, "body?1") == list(range(17))

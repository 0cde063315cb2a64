"""A flush and the next receive in one call: the flush first, its outcomes told before anything is waited for."""

import threading
from typing import Any

import pytest

from ...base import Layer
from ...batch import Batch
from ...errors import ChannelFull, LayerUnavailable
from ..subject import PATIENCE, Subject
from .base import Part, numbers
from .threads import Running


def sends(layer: Layer, channel: str, *values: int) -> Batch:
    batch = layer.batch()
    for n in values:
        batch.send(channel, {"n": n})
    return batch


class Flushes(Part):
    def test_what_is_flushed_is_there_for_the_receive_after_it(self, layer: Layer) -> None:
        reader, told = layer.reader(), list[Any]()
        layer.send("a", {"n": 1})
        batch = sends(layer, "a", 2, 3)
        taken = reader.receive_batch(["a"], 10, flush=batch, flushed=told.append)
        assert [delivery.message["n"] for delivery in taken] == [1, 2, 3]
        assert told == [[True, True]]
        assert len(batch) == 0

    def test_outcomes_are_those_of_a_run(self, subject: Subject) -> None:
        layer = subject.make(capacity=1)
        layer.send("z", {})
        [delivery] = layer.receive_batch(["z"])
        batch, told = layer.batch(), list[Any]()
        batch.send("a", {"n": 1}, once="o")
        batch.send("a", {"n": 2}, once="o")
        batch.ack(delivery)
        batch.send("a", {"n": 3})
        batch.put_state("k", "v", 60)
        batch.send_group("g", {"n": 4})
        assert layer.reader().receive_batch(["b"], 1, 0.01, flush=batch, flushed=told.extend) == []
        assert (told[:3], told[5]) == ([True, False, None], None)
        assert isinstance(told[3], ChannelFull)
        assert layer.get_state("k") == ("v", told[4])
        assert numbers(layer, "a") == [1]

    def test_a_flush_of_nothing_is_a_receive(self, layer: Layer) -> None:
        layer.send("a", {"n": 1})
        layer.send("z", {})
        batch, told = layer.batch(), list[Any]()
        batch.ack(layer.receive_batch(["z"])[0])
        for flush in (layer.batch(), batch):
            told.append(layer.reader().receive_batch(["a"], flush=flush, flushed=told.append))
        assert (told[0], told[2], told[3]) == ([], [None], [])
        assert [delivery.message for delivery in told[1]] == [{"n": 1}]

    def test_outcomes_are_told_before_messages_are_waited_for(self, layer: Layer) -> None:
        reader, told = layer.reader(), threading.Event()
        outcomes: list[Any] = []

        def flushed(found: list[Any]) -> None:
            outcomes.extend(found)
            told.set()

        batch = sends(layer, "b", 1)
        with Running(lambda: reader.receive_batch(["a"], 1, None, flush=batch, flushed=flushed)) as running:
            assert told.wait(PATIENCE)
            assert outcomes == [True]
            assert numbers(layer, "b") == [1]
            layer.send("a", {"n": 2})
        [[delivery]] = running.results
        assert delivery.message == {"n": 2}

    def test_a_reader_that_was_woken_still_flushes(self, layer: Layer) -> None:
        reader, told = layer.reader(), list[Any]()
        layer.send("a", {"n": 1})
        reader.wake()
        assert reader.receive_batch(["a"], 1, None, flush=sends(layer, "b", 2), flushed=told.extend) == []
        assert told == [True]
        assert numbers(layer, "b") == [2]
        assert numbers(layer, "a") == [1]

    def test_a_flush_while_the_layer_is_away_has_an_outcome_for_everything(self, subject: Subject) -> None:
        layer, other = subject.make(), subject.make()
        reader, told = layer.reader(), list[Any]()
        batch = sends(layer, "a", 1, 2)
        layer.close()
        with pytest.raises(LayerUnavailable):
            reader.receive_batch(["a"], 1, None, flush=batch, flushed=told.extend)
        assert [(type(outcome), outcome.uncertain) for outcome in told] == [(LayerUnavailable, False)] * 2
        assert numbers(other, "a") == []

    def test_what_cannot_be_received_from_flushes_nothing(self, layer: Layer) -> None:
        batch, told = sends(layer, "a", 1), list[Any]()
        for channels, error in (([], TypeError), (["a!b"], TypeError), ("a", TypeError)):
            with pytest.raises(error):
                layer.reader().receive_batch(channels, flush=batch, flushed=told.append)
        with pytest.raises(ValueError, match="limit"):
            layer.reader().receive_batch(["a"], 0, flush=batch, flushed=told.append)
        assert (len(batch), told) == (1, [])
        assert numbers(layer, "a") == []

    def test_two_readers_that_answer_each_other_lose_and_double_nothing(self, layer: Layer) -> None:
        rounds = 200

        def player(mine: str, theirs: str, serves: bool) -> Any:
            def play() -> list[int]:
                reader, got, told = layer.reader(), list[int](), list[Any]()
                batch = sends(layer, theirs, 0) if serves else layer.batch()
                while len(got) < rounds:
                    taken = reader.receive_batch([mine], 5, PATIENCE, flush=batch, flushed=told.extend)
                    assert taken, "nothing came back"
                    for delivery in taken:
                        got.append(delivery.message["n"])
                        batch.send(theirs, {"n": delivery.message["n"] + 1})
                assert told == [True] * len(told)
                batch.run()
                return got

            return play

        with Running(player("a", "b", True), player("b", "a", False)) as running:
            pass
        even, odd = sorted(running.results)
        assert even == list(range(0, 2 * rounds, 2))
        assert odd == list(range(1, 2 * rounds, 2))

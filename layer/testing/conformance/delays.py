"""Delayed messages, keys, and `once`."""

import pytest

from ...base import Layer
from ...errors import ChannelFull
from ..subject import Subject
from .base import Part, numbers


class Delays(Part):
    def test_a_delayed_message_arrives_when_it_is_due(self, subject: Subject, layer: Layer) -> None:
        assert layer.send("a", {"n": 1}, delay=0.3) is True
        layer.send("a", {"n": 2})
        assert numbers(layer, "a") == [2]
        subject.advance(0.15)
        assert layer.receive(["a"]) == (None, None)
        subject.advance(0.2)
        assert layer.receive_batch(["a"])[0].message == {"n": 1}
        assert layer.receive(["a"]) == (None, None)

    def test_delayed_messages_arrive_in_the_order_in_which_they_are_due(self, subject: Subject, layer: Layer) -> None:
        for n, delay in ((3, 0.3), (1, 0.1), (2, 0.2)):
            layer.send("a", {"n": n}, delay=delay)
        subject.advance(0.4)
        assert numbers(layer, "a") == [1, 2, 3]

    def test_expiry_counts_from_the_due_time(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, delay=0.3, expiry=0.3)
        layer.send("b", {"n": 1}, delay=0.3, expiry=0.3)
        subject.advance(0.45)
        assert numbers(layer, "a") == [1]
        subject.advance(0.3)
        assert numbers(layer, "b") == []

    def test_delayed_messages_count_against_capacity(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.send("a", {"n": 1}, delay=0.2)
        layer.send("a", {"n": 2})
        for delay in (0, 0.2):
            with pytest.raises(ChannelFull):
                layer.send("a", {"n": 3}, delay=delay)
        assert layer.channel_statistics("a")["messages_pending"] == 2
        subject.advance(0.3)
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 4})
        assert numbers(layer, "a") == [2, 1]

    def test_a_due_message_waits_for_room(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.send("a", {"n": 0})
        layer.send("a", {"n": 1})
        taken = layer.receive_batch(["a"], 2)
        layer.send("a", {"n": 2}, delay=0.2)
        layer.send("a", {"n": 3})
        layer.put_back(taken)
        subject.advance(0.3)
        assert layer.peek("a") == [{"n": 0}, {"n": 1}, {"n": 3}]
        assert numbers(layer, "a") == [0, 1, 3, 2]

    def test_a_delayed_message_reaches_an_inbox(self, subject: Subject, layer: Layer) -> None:
        layer.send("x!1", {"n": 1}, delay=0.2)
        assert layer.receive(["x!"]) == (None, None)
        subject.advance(0.3)
        assert layer.receive(["x!"]) == ("x!1", {"n": 1})

    def test_a_key_replaces_the_delayed_message_with_the_same_key(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.send("a", {"n": 0})
        layer.send("a", {"n": 1}, delay=0.1, key="k")
        layer.send("a", {"n": 2}, delay=0.3, key="k")
        layer.send("b", {"n": 3}, delay=0.1, key="k")
        subject.advance(0.2)
        assert numbers(layer, "a") == [0]
        assert numbers(layer, "b") == [3]
        subject.advance(0.2)
        assert numbers(layer, "a") == [2]

    def test_a_key_without_delay_replaces_it_now(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, delay=0.1, key="k")
        layer.send("a", {"n": 2}, key="k")
        subject.advance(0.2)
        assert numbers(layer, "a") == [2]

    def test_cancel(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, delay=0.1, key="k")
        layer.send("a", {"n": 2}, delay=0.1, key="l")
        assert layer.cancel("a", "k") is True
        assert layer.cancel("a", "k") is False
        assert layer.cancel("b", "l") is False
        subject.advance(0.2)
        assert layer.cancel("a", "l") is False, "it is due: it can be received, not cancelled"
        assert numbers(layer, "a") == [2]

    def test_a_key_is_free_again_once_its_message_was_due(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, delay=0.1, key="k")
        subject.advance(0.2)
        layer.send("a", {"n": 2}, delay=0.1, key="k")
        subject.advance(0.2)
        assert numbers(layer, "a") == [1, 2]

    # once

    def test_once(self, subject: Subject, layer: Layer) -> None:
        assert layer.send("a", {"n": 1}, once="o", window=0.3) is True
        assert layer.send("a", {"n": 2}, once="o", window=0.3) is False
        assert layer.send("a", {"n": 3}, once="p", window=0.3) is True
        assert layer.send("b", {"n": 4}, once="o", window=0.3) is True, "keys are per channel"
        assert numbers(layer, "a") == [1, 3]
        assert layer.send("a", {"n": 5}, once="o", window=0.3) is False, "received or not"
        subject.advance(0.4)
        assert layer.send("a", {"n": 6}, once="o", window=0.3) is True
        assert numbers(layer, "a") == [6]

    def test_a_refused_send_leaves_no_mark_and_replaces_nothing(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.send("a", {"n": 1}, delay=0.1, key="k")
        layer.send("a", {"n": 2})
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 3}, once="o")
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 4}, delay=0.1, key="other")
        subject.advance(0.2)
        assert numbers(layer, "a") == [2, 1]
        assert layer.send("a", {"n": 5}, once="o") is True

    def test_what_was_seen_is_told_even_when_the_channel_is_full(self, subject: Subject) -> None:
        layer = subject.make(capacity=1)
        layer.send("a", {"n": 1}, once="o")
        assert layer.send("a", {"n": 2}, once="o") is False

    def test_once_and_delay_together(self, subject: Subject, layer: Layer) -> None:
        assert layer.send("a", {"n": 1}, once="o", delay=0.1) is True
        assert layer.send("a", {"n": 2}, once="o") is False
        subject.advance(0.2)
        assert numbers(layer, "a") == [1]

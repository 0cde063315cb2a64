"""Single-reader channels: a body in chunks, whose sender is told as they are taken."""

import pytest

from ...base import Layer
from ...errors import ChannelFull
from ..subject import Subject
from .base import Open, Part, numbers


class Bodies(Part):
    def test_sixteen_chunks_even_with_another_capacity(self, subject: Subject) -> None:
        layer = subject.make(capacity=100)
        name = layer.new_channel("body?")
        for n in range(16):
            layer.send(name, {"n": n})
        with pytest.raises(ChannelFull):
            layer.send(name, {"n": 16})
        assert numbers(layer, name) == list(range(16))

    def test_it_expires_as_a_whole(self, subject: Subject) -> None:
        layer = subject.make(expiry=0.6)
        layer.send("body?1", {"n": 1})
        subject.advance(0.4)
        layer.send("body?1", {"n": 2})
        subject.advance(0.4)
        assert layer.receive(["body?1"]) == ("body?1", {"n": 1}), "each send renews it"
        subject.advance(0.4)
        assert layer.receive(["body?1"]) == ("body?1", {"n": 2}), "and each receive"

        layer.send("body?1", {"n": 3})
        layer.send("body?1", {"n": 4})
        subject.advance(0.7)
        assert layer.receive(["body?1"]) == (None, None)
        layer.send("body?1", {"n": 5})
        assert numbers(layer, "body?1") == [5]

    def test_put_back(self, subject: Subject) -> None:
        layer = subject.make(expiry=0.5)
        for n in range(3):
            layer.send("body?1", {"n": n})
        taken = layer.receive_batch(["body?1"], 3)
        layer.put_back(taken)
        subject.advance(0.3)
        assert numbers(layer, "body?1") == [0, 1, 2]
        layer.put_back(taken[1:])
        subject.advance(0.6)
        assert numbers(layer, "body?1") == []

    def test_credit_comes_back_as_chunks_are_taken(self, layer: Layer, open: Open) -> None:
        server = open()
        for n in range(16):
            server.inbox.send("body?1", {"n": n}, credit="request.7")
        outcomes: list[object] = []
        server.inbox.send("body?1", {"n": 16}, credit="request.7", then=outcomes.append)
        server.wait(lambda: bool(outcomes))
        assert isinstance(outcomes[0], ChannelFull)
        assert server.credits == []

        assert layer.receive(["body?1"]) == ("body?1", {"n": 0})
        assert len(layer.receive_batch(["body?1"], 10)) == 10
        server.wait(lambda: sum(count for _, _, count in server.credits) == 11)
        assert {credit[:2] for credit in server.credits} == {("body?1", "request.7")}
        assert server.got() == [], "credit is no message"

    def test_the_last_chunk_ignores_capacity(self, layer: Layer, open: Open) -> None:
        server = open()
        outcomes: list[object] = []
        for n in range(16):
            layer.send("body?1", {"n": n})
        server.inbox.send("body?1", {"n": 16}, last=True, then=outcomes.append)
        server.wait(lambda: bool(outcomes))
        assert outcomes == [True]
        assert numbers(layer, "body?1") == list(range(17))

    def test_without_credit_nobody_is_told(self, layer: Layer, open: Open) -> None:
        server = open()
        server.inbox.send("body?1", {"n": 1})
        server.turn()
        assert numbers(layer, "body?1") == [1]
        assert server.got() == []
        assert server.credits == []

    def test_a_plain_reader_of_an_inbox_does_not_see_credit(self, layer: Layer, open: Open) -> None:
        server = open("other!")
        server.inbox.send("body?1", {"n": 1}, credit="a")
        server.turn()
        layer.receive(["body?1"])
        layer.send("other!a", {"n": 2})
        assert layer.receive(["other!"]) == ("other!a", {"n": 2})

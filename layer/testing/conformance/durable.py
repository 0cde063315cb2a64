"""Durable channels: at least once, by acknowledgement. Only engines that have them are asked."""

import threading
from functools import partial
from typing import Any

import pytest

from ...base import Layer
from ...delivery import Delivery
from ...errors import ChannelFull, LayerError
from ...store.durable_queue import LAPSES
from ..subject import PATIENCE, Subject
from .base import Part, numbers
from .threads import Running

VISIBILITY = 0.4
OVER = 0.5  # seconds after which it is over


def make(subject: Subject, **options: Any) -> Layer:
    layer = subject.make(**options)
    if "durable" not in layer.extensions:
        pytest.skip("this engine has no durable channels")
    return layer


def take(layer: Layer, *channels: str, limit: int = 10) -> list[Delivery]:
    return layer.receive_batch(channels or ("d",), limit)


def seen(deliveries: list[Delivery]) -> list[tuple[Any, int]]:
    return [(delivery.message["n"], delivery.tries) for delivery in deliveries]


class Durable(Part):
    @pytest.fixture
    def durable(self, subject: Subject) -> Layer:
        return make(subject, durable={"d*": VISIBILITY})

    def test_what_is_acknowledged_is_gone(self, subject: Subject, durable: Layer) -> None:
        for n in range(3):
            assert durable.send("d", {"n": n}) is True
        first, *rest = take(durable)
        assert seen([first, *rest]) == [(0, 1), (1, 1), (2, 1)]
        assert first.channel == "d"
        assert first.queued is not None
        assert len({delivery.id for delivery in (first, *rest)}) == 3
        assert durable.channel_statistics("d")["messages_pending"] == 3, "they hold room until they are acknowledged"
        assert first.ack() is True
        assert first.ack() is False
        assert durable.channel_statistics("d")["messages_pending"] == 2
        assert take(durable) == []
        assert all(delivery.ack() for delivery in rest)
        subject.advance(OVER)
        assert take(durable) == []

    def test_what_is_not_acknowledged_comes_again(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1, "bytes": b"\xff\x00"})
        [first] = take(durable)
        subject.advance(OVER)
        durable.send("d", {"n": 2})
        second, other = take(durable)
        assert seen([second, other]) == [(1, 2), (2, 1)], "redeliveries come first"
        assert (second.id, second.message) == (first.id, first.message)
        assert first.extend(5) is False
        assert first.nack() is False
        assert first.ack() is True, "who is late has done it all the same"
        assert second.ack() is False

    def test_receive_acknowledges_at_once(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        assert durable.receive(["d"]) == ("d", {"n": 1})
        subject.advance(OVER)
        assert durable.receive(["d"]) == (None, None)

    def test_nack_gives_back_after_a_delay(self, subject: Subject, durable: Layer) -> None:
        for n in range(3):
            durable.send("d", {"n": n})
        first, second, third = take(durable)
        assert third.ack()
        assert second.nack(2 * VISIBILITY) is True
        assert first.nack() is True
        assert first.nack() is False
        assert first.extend(1) is False
        [again] = take(durable)
        assert seen([again]) == [(0, 2)]
        assert again.ack()
        subject.advance(OVER)
        assert take(durable) == []
        subject.advance(OVER)
        assert seen(take(durable)) == [(1, 2)]

    def test_extend_keeps_it(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        [delivery] = take(durable)
        assert delivery.extend(3 * VISIBILITY) is True
        subject.advance(OVER)
        assert take(durable) == []
        assert delivery.extend(0) is True
        subject.advance(0.05)
        assert seen(take(durable)) == [(1, 2)]

    def test_put_back_counts_no_try_and_keeps_order(self, subject: Subject, durable: Layer) -> None:
        for n in range(15):
            durable.send("d", {"n": n})
        taken = take(durable, limit=13)
        durable.put_back(taken[1:])
        durable.put_back(taken[1:])
        assert seen(take(durable, limit=20)) == [(n, 1) for n in range(1, 15)]
        assert taken[0].ack()

    def test_it_does_not_expire_unless_somebody_says_so(self, subject: Subject) -> None:
        layer = make(subject, expiry=0.1, durable=["d*", "e"], channel_expiry={"e": 0.1}, capacity=2)
        layer.send("d", {"n": 1})
        layer.send("d", {"n": 2}, expiry=0.1)
        layer.send("e", {"n": 3})
        with pytest.raises(ChannelFull):
            layer.send("d", {"n": 4})
        subject.advance(0.2)
        layer.send("d", {"n": 5})
        assert seen(take(layer)) == [(1, 1), (5, 1)]
        assert take(layer, "e") == []

    def test_what_was_taken_before_it_expired_is_not_delivered_again(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1}, expiry=0.2)
        [delivery] = take(durable)
        subject.advance(0.3)
        assert delivery.nack() is True
        assert take(durable) == []
        assert durable.channel_statistics("d")["messages_pending"] == 0

    def test_capacity_is_exact(self, subject: Subject) -> None:
        layer = make(subject, durable=["d"], capacity=3)
        for n in range(3):
            layer.send("d", {"n": n}, delay=0.1 * (n == 2))
        with pytest.raises(ChannelFull):
            layer.send("d", {"n": 3})
        one, two = take(layer)
        with pytest.raises(ChannelFull):
            layer.send("d", {"n": 4}, delay=0.1)
        one.ack()
        layer.send("d", {"n": 5})
        assert layer.channel_statistics("d")["messages_pending"] == 3
        assert layer.channel_statistics("d")["channel_full_count"] == 2
        assert two.ack()

    def test_capacity_under_concurrent_senders(self, subject: Subject) -> None:
        layer = make(subject, durable=["d"], capacity=20)

        def fill() -> int:
            taken = 0
            for n in range(10):
                try:
                    taken += layer.send("d", {"n": n})
                except ChannelFull:
                    pass
            return taken

        with Running(*[fill] * 4) as running:
            pass
        assert sum(running.results) == 20
        assert len(take(layer, limit=50)) == 20

    def test_delay_key_and_cancel(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1}, delay=0.2, key="k")
        durable.send("d", {"n": 2}, delay=0.2, key="k")
        durable.send("d", {"n": 3}, delay=0.2, key="other")
        durable.send("d", {"n": 4})
        assert durable.channel_statistics("d")["messages_pending"] == 3
        assert durable.cancel("d", "other") is True
        assert durable.cancel("d", "other") is False
        assert seen(take(durable)) == [(4, 1)]
        subject.advance(0.3)
        assert durable.cancel("d", "k") is False
        assert seen(take(durable)) == [(2, 1)]

    def test_once_within_a_window(self, subject: Subject, durable: Layer) -> None:
        assert durable.send("d", {"n": 1}, once="o", window=0.3) is True
        assert durable.send("d", {"n": 2}, once="o", window=0.3) is False
        assert durable.send("d", {"n": 3}, once="p", window=0.3, delay=0.1) is True
        assert durable.send("d", {"n": 4}, once="p", window=0.3) is False
        [delivery] = take(durable)
        assert delivery.message == {"n": 1}
        delivery.ack()
        assert durable.send("d", {"n": 5}, once="o", window=0.3) is False, "acknowledged or not"
        subject.advance(0.4)
        assert durable.send("d", {"n": 6}, once="o", window=0.3) is True

    def test_what_is_never_heard_of_again_becomes_a_dead_letter(self, subject: Subject) -> None:
        layer = make(subject, durable={"d": 0.03})
        layer.send("d", {"n": 1, "b": b"\xff"})
        ids = set()
        for tries in range(1, LAPSES + 1):
            [delivery] = take(layer)
            assert delivery.tries == tries
            ids.add(delivery.id)
            subject.advance(0.05)
        assert len(ids) == 1
        assert take(layer) == []
        assert layer.channel_statistics("d")["messages_pending"] == 0
        [letter] = layer.dead_letters()
        assert (letter["channel"], letter["message"], letter["tries"]) == ("d", {"n": 1, "b": b"\xff"}, LAPSES)
        assert f"{LAPSES} times" in letter["reason"]

    def test_who_gives_back_may_do_it_as_often_as_it_likes(self, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        for tries in range(1, 2 * LAPSES):
            [delivery] = take(durable)
            assert delivery.tries == tries
            assert delivery.nack()
        assert durable.dead_letters() == []

    def test_a_batch_acknowledges_and_gives_back(self, subject: Subject, durable: Layer) -> None:
        for n in range(3):
            durable.send("d", {"n": n})
        first, second, third = take(durable)
        batch, told = durable.batch(), list[Any]()
        batch.send("d", {"n": 3})
        batch.ack(first)
        batch.nack(second)
        batch.dead_letter("d", {"n": 2}, reason="broken", traceback="…", tries=third.tries)
        batch.ack(third)
        got = durable.reader().receive_batch(["d"], 10, flush=batch, flushed=told.extend)
        assert (told[0], told[1], told[2], told[4]) == (True, True, True, True)
        assert seen(got) == [(1, 2), (3, 1)]
        assert [letter["reason"] for letter in durable.dead_letters()] == ["broken"]
        assert len(batch) == 0

    def test_a_waiting_receive_is_woken(self, subject: Subject, durable: Layer) -> None:
        for wait in (["d"], ["a", "d"], ["d", "x!"]):
            reader = durable.reader()
            with Running(partial(reader.receive_batch, wait, 1, PATIENCE)) as running:
                durable.send("d", {"n": 1})
            [[delivery]] = running.results
            assert delivery.ack()

    def test_a_waiting_receive_still_hears_of_other_channels(self, durable: Layer) -> None:
        reader = durable.reader()
        durable.send("d", {"n": 0})
        [held] = reader.receive_batch(["d", "a"], 1, PATIENCE)
        with Running(lambda: reader.receive_batch(["d", "a"], 1, PATIENCE)) as running:
            durable.send("a", {"n": 1})
        [[delivery]] = running.results
        assert (delivery.channel, delivery.id) == ("a", None)
        assert held.ack()

    def test_what_is_left_wakes_the_next(self, durable: Layer) -> None:
        with Running(*[lambda: durable.reader().receive_batch(["d"], 1, PATIENCE)] * 3) as running:
            batch = durable.batch()
            for n in range(3):
                batch.send("d", {"n": n})
            batch.run()
        assert sorted(delivery.message["n"] for [delivery] in running.results) == [0, 1, 2]

    def test_a_waiting_receive_sees_what_is_due_again(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        durable.send("d", {"n": 2}, delay=0.2)
        [delivery] = take(durable)
        delivery.nack(0.1)
        began = threading.Event()

        def receive() -> list[Delivery]:
            reader, got = durable.reader(), list[Delivery]()
            began.set()
            while len(got) < 2:
                got += reader.receive_batch(["d"], 1, PATIENCE)
            return got

        with Running(receive) as running:
            assert began.wait(PATIENCE)
            subject.advance(0.15)
            subject.advance(0.15)
        assert seen(running.results[0]) == [(1, 2), (2, 1)]

    def test_both_kinds_of_channels_have_their_turn(self, durable: Layer) -> None:
        for n in range(4):
            durable.send("d", {"n": n})
            durable.send("a", {"n": n})
        got = [durable.receive_batch(["d", "a"])[0].channel for _ in range(8)]
        assert sorted(got[:2]) == ["a", "d"]
        assert sorted(got) == ["a"] * 4 + ["d"] * 4

    def test_peek_purge_and_statistics(self, subject: Subject, durable: Layer) -> None:
        for n in range(4):
            durable.send("d", {"n": n}, delay=10 * (n == 3))
        [delivery] = take(durable, limit=1)
        assert durable.peek("d") == [{"n": 1}, {"n": 2}]
        assert durable.peek("d", 1) == [{"n": 1}]
        figures = durable.channel_statistics("d")
        assert (figures["messages_count"], figures["messages_pending"]) == (4, 4)
        assert durable.global_statistics()["messages_pending"] == 4
        assert delivery.nack() is True
        assert durable.peek("d") == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert durable.purge("d") == 4
        assert durable.purge("d") == 0
        assert (durable.peek("d"), take(durable)) == ([], [])
        assert delivery.ack() is False

    def test_flush_drops_them(self, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        durable.send("d", {"n": 2}, once="o")
        [delivery, _] = take(durable)
        durable.flush()
        assert delivery.ack() is False
        assert delivery.extend(1) is False
        assert take(durable) == []
        assert durable.send("d", {"n": 3}, once="o") is True
        assert seen(take(durable)) == [(3, 1)]

    # looking at what is kept

    def test_all_that_is_kept_can_be_looked_at(self, subject: Subject) -> None:
        durable = make(subject, durable={"d": 30})
        for n in range(45):
            durable.send("d", {"n": n})
        durable.send("d", {"n": "delayed"}, delay=50)
        first, second = take(durable, limit=2)
        assert second.nack(40)
        kept = list(durable.kept("d"))
        assert [each["message"]["n"] for each in kept] == [*range(45), "delayed"]
        assert len({each["id"] for each in kept}) == 46
        assert [each["state"] for each in kept] == ["taken", "later", *["waiting"] * 43, "later"]
        assert [each["tries"] for each in kept[:3]] == [1, 1, 0]
        assert (kept[0]["id"], kept[1]["id"]) == (first.id, second.id)
        assert 0 < kept[0]["wait"] < 31
        assert 0 < kept[1]["wait"] < 41
        assert kept[2]["wait"] == 0
        assert 0 < kept[-1]["wait"] < 51
        assert all(0 <= each["age"] < PATIENCE for each in kept)
        assert len(list(durable.kept("d"))) == 46, "it stays there"
        assert list(durable.kept("plain")) == []

    def test_what_comes_later_can_be_hastened(self, subject: Subject) -> None:
        durable = make(subject, durable={"d": 30})
        durable.send("d", {"n": 1})
        durable.send("d", {"n": 2}, delay=50, key="k")
        [delivery] = take(durable)
        assert durable.hasten("d", delivery.id or "") is False, "somebody has it"
        delivery.nack(50)
        assert take(durable) == []
        given_back, delayed = durable.kept("d")
        assert durable.hasten("d", given_back["id"]) is True
        assert durable.hasten("d", delayed["id"]) is True
        assert durable.hasten("d", delayed["id"]) is False
        assert durable.hasten("d", "none") is False
        assert durable.hasten("plain", "1") is False
        subject.advance(0.01)
        assert seen(take(durable)) == [(1, 2), (2, 1)]
        assert durable.cancel("d", "k") is False

    def test_a_waiting_receive_gets_what_is_hastened(self, durable: Layer) -> None:
        durable.send("d", {"n": 1}, delay=500)
        [delayed] = durable.kept("d")
        reader = durable.reader()
        with Running(partial(reader.receive_batch, ["d"], 1, PATIENCE)) as running:
            assert durable.hasten("d", delayed["id"])
        assert seen(running.results[0]) == [(1, 1)]

    def test_what_is_kept_can_be_discarded(self, subject: Subject, durable: Layer) -> None:
        for n in range(3):
            durable.send("d", {"n": n}, delay=50 * (n == 2))
        [delivery] = take(durable, limit=1)
        for each in list(durable.kept("d")):
            assert durable.discard("d", each["id"]) is True
            assert durable.discard("d", each["id"]) is False
        assert durable.discard("d", "none") is False
        assert durable.discard("plain", "1") is False
        assert delivery.ack() is False
        assert list(durable.kept("d")) == []
        assert durable.channel_statistics("d")["messages_pending"] == 0
        subject.advance(OVER)
        assert take(durable) == []

    # who says what is durable

    def test_a_channel_becomes_durable_for_all_unless_somebody_said_otherwise(self, subject: Subject) -> None:
        early = make(subject, durable={"e": False})
        assert early.is_durable("d") is False
        late = subject.make()
        assert late.ask_durable("d") is True
        assert late.ask_durable("d") is True
        assert late.ask_durable("e") is False
        assert early.is_durable("d") is False, "as far as it knows"
        assert early.is_durable("d", anew=True) is True
        assert early.is_durable("e", anew=True) is False
        early.send("d", {"n": 1})
        [delivery] = take(late)
        assert delivery.id is not None

    def test_who_says_nothing_adopts_what_others_said(self, subject: Subject, durable: Layer) -> None:
        durable.send("d", {"n": 1})
        other = subject.make()
        [delivery] = take(other)
        assert delivery.id is not None
        assert other.send("d.2", {"n": 2}) is True
        assert seen(take(durable, "d.2")) == [(2, 1)]
        assert delivery.nack()
        subject.advance(0.01)
        assert seen(take(other)) == [(1, 2)]

    def test_who_says_otherwise_is_told_so(self, subject: Subject, durable: Layer) -> None:
        durable.agree()
        subject.make(durable={"d*": VISIBILITY, "jobs.*": True}).agree()
        for said in ({"d*": False}, {"d.*": 5}, {"*": False}, {"jobs.mail": 0.5}):
            other = subject.make(durable=said)
            with pytest.raises(LayerError, match="all processes have to say the same"):
                other.send("d", {"n": 1})
        assert subject.make(durable={"e*": False}).send("d", {"n": 2}) is True

    def test_only_plain_channels_are_durable(self, subject: Subject) -> None:
        layer = make(subject, durable=["*"])
        layer.send("x!1", {"n": 1})
        layer.send("b?1", {"n": 2})
        assert layer.receive_batch(["x!"])[0].id is None
        assert layer.receive_batch(["b?1"])[0].id is None

    # dead letters

    def test_a_dead_letter_is_found_retried_and_dropped(self, subject: Subject) -> None:
        layer = subject.make(capacity=1)
        one = layer.dead_letter("a", {"n": 1}, reason="r", traceback="t", tries=3)
        two = layer.dead_letter("a", {"n": 2}, reason="s")
        letter = layer.dead_letter_of(one)
        assert letter == layer.dead_letters()[0]
        assert letter is not None
        assert (letter["message"], letter["traceback"], letter["tries"]) == ({"n": 1}, "t", 3)
        assert layer.dead_letter_retry(one) is True
        with pytest.raises(ChannelFull):
            layer.dead_letter_retry(two)
        assert [letter["id"] for letter in layer.dead_letters()] == [two]
        assert numbers(layer, "a") == [1]
        assert layer.dead_letter_drop(two) is True
        assert (layer.dead_letter_drop(two), layer.dead_letter_retry(two)) == (False, False)
        assert layer.dead_letter_of(one) is None
        assert layer.dead_letters() == []

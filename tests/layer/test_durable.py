"""What the suite of all engines does not reach of durable channels: options, patterns, and the books of a queue."""

from __future__ import annotations

import random
from typing import Any

import pytest

from trunkline.layer import Delivery, MemoryLayer, open_layer
from trunkline.layer.store.patterns import overlap
from trunkline.layer.testing import ManualClock


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "ab", True),
        ("a*", "*b", True),
        ("a*c", "ab*", True),
        ("a*c", "b*c", False),
        ("*", "", True),
        ("**", "a.b", True),
        ("a", "ab", False),
        ("ab", "a", False),
        ("jobs.*", "jobs", False),
        ("*.mail", "jobs.*", True),
        ("a*b*c", "a*d*c", True),
        ("*" * 100, "*" * 99 + "x", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        (["jobs.*", "mail"], {"jobs.*": 30.0, "mail": 30.0}),
        ({"jobs.*": True, "mail": False, "slow": 120}, {"jobs.*": 30.0, "mail": 0.0, "slow": 120.0}),
    ],
)
def test_durable_patterns(given: Any, expected: dict[str, float]) -> None:
    assert MemoryLayer(durable=given).options.durable_patterns == expected


def test_durable_in_a_url() -> None:
    with open_layer("memory://?durable=jobs.*,mail:5.5") as layer:
        assert layer.options.durable_patterns == {"jobs.*": 30.0, "mail": 5.5}
    with pytest.raises(ValueError, match=r"durable=x:y cannot be read; expected jobs\.\*,mails\.\*:60"):
        open_layer("memory://?durable=x:y")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"": True}, "a pattern is a str of 1 to 100 characters"),
        ({"x" * 101: True}, "a pattern is a str of 1 to 100 characters"),
        ([5], "a pattern is a str"),
        ({"x": "yes"}, "needs true, false or seconds up to a day, not 'yes'"),
        ({"x": -1}, "needs true, false or seconds"),
        ({"x": 1e9}, "needs true, false or seconds"),
        ({"x": float("nan")}, "needs true, false or seconds"),
    ],
)
def test_durable_patterns_that_cannot_be(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MemoryLayer(durable=given)


def test_one_who_contradicts_himself_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"'jobs\.\*' and 'jobs\.mail' may both name a channel"):
        MemoryLayer(durable={"jobs.*": True, "jobs.mail": False})


def test_plain_deliveries_are_settled_by_being_taken() -> None:
    layer = MemoryLayer()
    layer.send("a", {})
    [delivery] = layer.receive_batch(["a"])
    assert (delivery.ack(), delivery.nack(), delivery.extend(5)) == (True, True, True)
    assert (delivery.id, delivery.tries, delivery.visibility, repr(delivery)) == (None, 1, 0, "<Delivery from a>")


def test_it_can_be_asked_whether_a_channel_is_durable() -> None:
    with MemoryLayer(durable=["jobs.*"]) as layer:
        assert layer.is_durable("jobs.mail")
        assert not layer.is_durable("job")
        assert not layer.is_durable("jobs.reply.1!")
        with pytest.raises(TypeError):
            layer.is_durable("jobs ")


def test_durable_deliveries_show_themselves() -> None:
    layer = MemoryLayer(durable={"d": 5})
    layer.send("d", {})
    [delivery] = layer.receive_batch(["d"])
    assert delivery.visibility == 5
    assert repr(delivery) == f"<Delivery {delivery.id} from d, try 1>"
    for bad in (-1, float("nan"), "x"):
        with pytest.raises(TypeError):
            delivery.extend(bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            delivery.nack(bad)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_what_was_extended_often_leaves_no_books_behind(clock: ManualClock) -> None:
    layer = MemoryLayer(clock=clock, durable=["d"])
    layer.send("d", {})
    [delivery] = layer.receive_batch(["d"])
    for _ in range(1000):
        assert delivery.extend(30)
    queue = layer._open().store.queues.find_durable("d")
    assert queue is not None
    assert len(queue.delayed) < 100
    clock.advance(29)
    assert layer.receive_batch(["d"]) == []


def test_a_late_acknowledgement_takes_what_waits_to_be_taken_again(clock: ManualClock) -> None:
    layer = MemoryLayer(clock=clock, durable=["d"])
    for n in range(3):
        layer.send("d", {"n": n})
    first, second, _ = layer.receive_batch(["d"], 3)
    clock.advance(31)
    assert layer.peek("d") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert second.ack()
    assert [delivery.message["n"] for delivery in layer.receive_batch(["d"], 3)] == [0, 2]
    assert first.ack()


def test_what_expired_is_found_wherever_it_stands(clock: ManualClock) -> None:
    layer = MemoryLayer(clock=clock, durable=["d"], capacity=6)
    layer.send("d", {"n": 0})
    layer.send("d", {"n": 1}, expiry=10)
    for delivery in layer.receive_batch(["d"], 2):
        assert delivery.nack()
    layer.send("d", {"n": 2}, expiry=10)
    layer.send("d", {"n": 3}, expiry=100)
    layer.send("d", {"n": 4}, expiry=10, delay=5, key="k")
    [held] = layer.receive_batch(["d"])
    assert held.message == {"n": 0}
    assert layer.channel_statistics("d")["messages_pending"] == 5
    clock.advance(16)
    assert layer.channel_statistics("d")["messages_pending"] == 2
    assert held.nack()
    assert [delivery.message["n"] for delivery in layer.receive_batch(["d"], 9)] == [0, 3]
    clock.advance(100)
    assert layer.channel_statistics("d")["messages_pending"] == 1


def test_what_nobody_has_is_settled_by_nobody() -> None:
    layer = MemoryLayer(durable=["d"])
    layer.send("a", {})
    layer.agree()
    for name in ("ack", "nack", "extend"):
        for queue in ("d", "a"):
            for id in ("1", "x", ""):
                arguments = (queue, id, 1) if name == "ack" else (queue, id, 1, 0.0)
                assert layer._call((name, arguments)) is False
    layer._call(("put_back_durable", ("d", [("1", 1)])))
    layer.send("d", {})
    layer._call(("put_back_durable", ("d", [("1", 1), ("x", 1)])))
    assert len(layer.receive_batch(["d"], 5)) == 1


def test_against_a_list(clock: ManualClock) -> None:
    """Whatever is done in whatever order: what was sent is taken until it is acknowledged, its tries counted."""
    rng = random.Random(3)
    layer = MemoryLayer(clock=clock, durable={"d": 5}, capacity=30)
    tries: dict[int, int] = {}  # of what was not acknowledged
    held: dict[int, tuple[Delivery, float]] = {}
    ready_at: dict[int, float] = {}
    for n in range(3000):
        now = clock()
        for number in [number for number, (_, until) in held.items() if until <= now]:
            del held[number]
            ready_at[number] = now
        action = rng.choice(["send", "take", "take", "ack", "nack", "back", "time"])
        if action == "send" and len(tries) < 30:
            layer.send("d", {"n": n})
            tries[n], ready_at[n] = 0, now
        elif action == "take":
            for delivery in layer.receive_batch(["d"], rng.randrange(1, 4)):
                number = delivery.message["n"]
                assert ready_at.pop(number) <= now
                tries[number] += 1
                assert delivery.tries == tries[number]
                held[number] = delivery, now + 5
        elif action == "time":
            clock.advance(rng.choice([0.1, 1, 5]))
        elif held and action != "send":
            number = rng.choice(sorted(held))
            delivery, _ = held.pop(number)
            if action == "ack":
                assert delivery.ack()
                del tries[number]
            elif action == "nack":
                delay = rng.choice([0, 3])
                assert delivery.nack(delay)
                ready_at[number] = now + delay
            else:
                layer.put_back([delivery])
                tries[number] -= 1
                ready_at[number] = now
        pending = layer.channel_statistics("d")["messages_pending"]
        lapsed = {letter["message"]["n"] for letter in layer.dead_letters()} & tries.keys()
        for number in lapsed:
            tries.pop(number)
            ready_at.pop(number, None)
            held.pop(number, None)
        assert pending == len(tries)

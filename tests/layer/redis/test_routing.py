"""Which place a call goes to, and what becomes of the outcomes of one that goes to all."""

from collections import Counter
from typing import Any

import pytest

from trunkline.layer import LayerError, LayerUnavailable
from trunkline.layer.redis.routing import MERGES, Router, merge, spot, steps, tag_of


@pytest.mark.parametrize(
    ("queue", "tag"),
    [
        ("http.request", "http.request"),
        ("http.body?12", "http.body?12"),
        ("http.reply.4711.x7!", "http.reply.4711"),
        ("irc.reply.libera!", "irc.reply"),
        ("server!", "server"),
        ("a.!", "a"),
        (".a!", ".a"),
    ],
)
def test_the_tag_of_an_inbox_is_its_server_prefix(queue: str, tag: str) -> None:
    assert tag_of(queue) == tag


def test_places_are_the_same_for_ever() -> None:
    """Another figure here would be another Redis for messages that wait while Trunkline is renewed."""
    names = ["http.request", "websocket.receive", "http.reply", "email.receive", "session.1", "ü"]
    assert [spot(name, 12) for name in names] == [6, 10, 2, 5, 11, 2]


def test_one_more_place_moves_few_names() -> None:
    names = [f"channel.{n}" for n in range(10_000)]
    before, after = [spot(name, 4) for name in names], [spot(name, 5) for name in names]
    moved = [now for was, now in zip(before, after, strict=True) if was != now]
    assert set(moved) == {4}
    assert 1800 < len(moved) < 2200
    assert all(1800 < count < 2200 for count in Counter(after).values())


def test_calls_go_where_their_queue_is() -> None:
    router = Router(12)
    a, b = router.place("a"), router.place("b")
    assert a != b
    calls: list[Any] = [
        ("put", ("a", "", b"", 60.0, 10, None)),
        ("group_add", ("b", "a", "", None, 60.0, 10, None)),
        ("dead_letter", ("b", "a", b"", "", "", 1)),
        ("get_state", ("b",)),
        ("renew", ("a!", "me", 15.0)),
        ("agree", ({},)),
        ("send_group", ("g", b"", 60.0, {})),
    ]
    assert [list(router.places(call)) for call in calls] == [[a], [a], [a], [b], [a], [0], list(range(12))]
    for n in range(10_000):
        router.place(f"c.{n}")
    assert router.place("a") == a, "forgotten, and found again"


def test_credit_for_another_place_is_marked() -> None:
    router = Router(12)
    inbox = "server.1!"
    there = next(name for n in range(100) if router.place(name := f"b?{n}") != router.place(inbox))
    here = next(name for n in range(100) if router.place(name := f"b?{n}") == router.place(inbox))

    def marked(queue: str, credit: str | None) -> Any:
        call = ("put", (queue, "", b"", 60.0, 16, None, 0, None, None, 600, credit, False))
        [(_, [sent])] = router.divide([call]).values()
        return sent[1][10]

    assert marked(here, inbox + "x") == inbox + "x"
    assert marked(there, inbox + "x") == "@" + inbox + "x"
    assert marked(there, None) is None


def test_sends_go_together_and_what_is_before_them_before() -> None:
    put, durable, state, ack = (("put", ()), ("put_durable", ()), ("put_state", ()), ("ack", ()))
    assert steps([]) == [[]]
    assert steps([put, durable, put]) == [[put, durable, put]]
    assert steps([state, put, put, ack, state]) == [[state], [put, put], [ack, state]]


@pytest.mark.parametrize(
    ("name", "outcomes", "whole"),
    [
        ("send_group", [None, None], None),
        ("group_members", [{"a": None}, {}, {"b": b"1"}], {"a": None, "b": b"1"}),
        ("dead_letters", [[("1", 3.0)], [("2", 1.0), ("3", 4.0)]], [("2", 1.0), ("1", 3.0), ("3", 4.0)]),
        ("dead_letter_of", [None, ("1", 3.0), None], ("1", 3.0)),
        ("dead_letter_of", [None, None], None),
        ("dead_letter_drop", [False, True], True),
        (
            "statistics",
            [{"messages_count": 1, "messages_max_age": 3.0}, {"messages_count": 2, "messages_max_age": 1.0}],
            {"messages_count": 3, "messages_max_age": 3.0},
        ),
    ],
)
def test_outcomes_of_all_places_become_one(name: str, outcomes: list[Any], whole: Any) -> None:
    assert merge((name, ()), outcomes) == whole


def test_a_place_that_is_away_is_an_error() -> None:
    away, doubt, wrong = LayerUnavailable("away"), LayerUnavailable("cut", uncertain=True), LayerError("wrong")
    for name in MERGES:
        error = merge((name, ()), [away, {}])
        if name == "listeners":
            assert error == {}, "whom any place knows is alive"
        else:
            assert isinstance(error, LayerUnavailable)
            assert error.uncertain is (name == "send_group"), "some have it, so it must not be sent again"
    assert not merge(("send_group", ()), [away, away]).uncertain
    assert merge(("send_group", ()), [away, doubt]).uncertain
    assert merge(("group_members", ()), [away, wrong]) is wrong

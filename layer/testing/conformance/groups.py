"""Groups, as plain calls see them."""

from typing import Any

import pytest

from ...base import Layer
from ...errors import ChannelFull
from ..subject import Subject
from .base import Part, drain, numbers


class Groups(Part):
    def test_an_unknown_group_is_empty(self, layer: Layer) -> None:
        assert layer.group_channels("g") == []
        assert layer.group_members("g") == {}
        layer.group_discard("g", "a")
        layer.group_discard("g", "a!b")
        layer.send_group("g", {"n": 1})

    def test_members_and_their_info(self, layer: Layer) -> None:
        layer.group_add("g", "a")
        layer.group_add("g", "x!1", {"name": "Ada", "tags": ("a", b"b")})
        layer.group_add("g", "x!2", 7)
        layer.group_add("g", "c?d")
        layer.group_add("h", "x!1")
        assert layer.group_members("g") == {
            "a": None,
            "x!1": {"name": "Ada", "tags": ["a", b"b"]},
            "x!2": 7,
            "c?d": None,
        }
        assert sorted(layer.group_channels("g")) == ["a", "c?d", "x!1", "x!2"]
        layer.group_add("g", "x!1", "new")
        layer.group_discard("g", "x!2")
        layer.group_discard("g", "a")
        assert layer.group_members("g") == {"x!1": "new", "c?d": None}
        assert layer.group_members("h") == {"x!1": None}

    def test_info_that_cannot_travel_is_refused(self, layer: Layer) -> None:
        with pytest.raises(TypeError, match=r"info\['a'\]"):
            layer.group_add("g", "a", {"a": object()})
        assert layer.group_channels("g") == []

    def test_all_members_get_it_once(self, layer: Layer) -> None:
        for channel in ("a", "b", "c?d", "x!1", "x!2", "y!1"):
            layer.group_add("g", channel)
            layer.group_add("g", channel)
        layer.group_add("h", "z")
        layer.send_group("g", {"n": 1})
        assert numbers(layer, "a") == numbers(layer, "b") == numbers(layer, "c?d") == [1]
        assert sorted(drain(layer, "x!"), key=str) == [("x!1", {"n": 1}), ("x!2", {"n": 1})]
        assert drain(layer, "y!") == [("y!1", {"n": 1})]
        assert numbers(layer, "z") == []

    @pytest.mark.parametrize("kind", [str, list, tuple, set, iter])
    def test_exclude_takes_a_name_or_several(self, layer: Layer, kind: Any) -> None:
        layer.group_add("g", "a")
        layer.group_add("g", "b")
        layer.send_group("g", {"n": 1}, exclude=kind("a"))
        assert (numbers(layer, "a"), numbers(layer, "b")) == ([], [1])

    def test_exclude_within_inboxes(self, layer: Layer) -> None:
        for channel in ("x!1", "x!2", "x!3", "y!1", "p"):
            layer.group_add("g", channel)
        layer.send_group("g", {"n": 1}, exclude=["x!1", "x!3", "y!1", "x!none", "none"])
        assert drain(layer, "x!") == [("x!2", {"n": 1})]
        assert drain(layer, "y!") == []
        assert numbers(layer, "p") == [1]

    def test_adds_discards_and_sends_keep_their_order(self, layer: Layer) -> None:
        layer.send_group("g", {"n": 0})
        layer.group_add("g", "x!1")
        layer.send_group("g", {"n": 1})
        layer.group_add("g", "x!2")
        layer.send("x!2", {"n": 2})
        layer.send_group("g", {"n": 3})
        layer.group_discard("g", "x!1")
        layer.send_group("g", {"n": 4})
        layer.group_discard("g", "x!2")
        layer.group_add("g", "x!1")
        layer.send_group("g", {"n": 5})
        got = drain(layer, "x!")
        assert [entry for entry in got if entry[0] == "x!1"] == [("x!1", {"n": n}) for n in (1, 3, 5)]
        assert [entry for entry in got if entry[0] == "x!2"] == [("x!2", {"n": n}) for n in (2, 3, 4)]

    def test_one_member_is_handed_out_by_each_receive(self, layer: Layer) -> None:
        for n in range(5):
            layer.group_add("g", f"x!{n}")
        layer.send_group("g", {"n": 1})
        layer.send("x!9", {"n": 2})
        [first] = layer.receive_batch(["x!"])
        batch = layer.receive_batch(["x!"], 3)
        assert len(batch) == 3
        rest = drain(layer, "x!")
        names = [delivery.channel for delivery in [first, *batch]] + [channel for channel, _ in rest]
        assert sorted(names[:5]) == [f"x!{n}" for n in range(5)]
        assert rest[-1] == ("x!9", {"n": 2})

    def test_what_is_left_of_a_broadcast_is_cleared_by_flush(self, layer: Layer) -> None:
        for n in range(3):
            layer.group_add("g", f"x!{n}")
        layer.send_group("g", {"n": 1})
        layer.receive(["x!"])
        layer.flush()
        assert layer.receive(["x!"]) == (None, None)

    def test_members_from_before_a_flush_are_forgotten(self, layer: Layer) -> None:
        layer.group_add("g", "x!1")
        layer.send_group("g", {"n": 1})
        assert drain(layer, "x!") == [("x!1", {"n": 1})]
        layer.flush()
        layer.group_add("g", "x!2")
        layer.send_group("g", {"n": 2})
        assert drain(layer, "x!") == [("x!2", {"n": 2})]

    def test_a_part_of_a_broadcast_can_be_put_back(self, layer: Layer) -> None:
        for n in range(3):
            layer.group_add("g", f"x!{n}")
        layer.send_group("g", {"n": 1})
        taken = layer.receive_batch(["x!"], 2)
        layer.put_back(taken)
        assert [delivery.channel for delivery in layer.receive_batch(["x!"], 2)] == [d.channel for d in taken]
        assert len(drain(layer, "x!")) == 1

    def test_group_messages_expire(self, subject: Subject) -> None:
        layer = subject.make(expiry=0.2)
        layer.group_add("g", "x!1")
        layer.group_add("g", "a")
        layer.send_group("g", {"n": 1})
        subject.advance(0.3)
        assert drain(layer, "x!") == []
        assert drain(layer, "a") == []
        layer.send_group("g", {"n": 2})
        assert drain(layer, "x!") == [("x!1", {"n": 2})], "the membership does not"

    def test_what_finds_no_room_is_dropped_and_counted(self, subject: Subject) -> None:
        layer = subject.make(capacity=1)
        layer.group_add("g", "a")
        layer.group_add("g", "x!1")
        layer.group_add("g", "b")
        layer.send("a", {"n": 0})
        layer.send_group("g", {"n": 1})
        layer.send_group("g", {"n": 2})
        assert numbers(layer, "a") == [0]
        assert numbers(layer, "b") == [1]
        assert drain(layer, "x!") == [("x!1", {"n": 1})]
        statistics = layer.global_statistics()
        assert statistics["channel_full_count"] == 4
        assert statistics["group_dropped_count"] == 4

    def test_notes_do_not_count_against_capacity(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        for n in range(100):
            layer.group_add("g", f"x!{n}")
        assert layer.channel_statistics("x!")["messages_pending"] == 0
        layer.send("x!1", {"n": 1})
        layer.send("x!2", {"n": 2})
        with pytest.raises(ChannelFull):
            layer.send("x!3", {"n": 3})
        assert layer.peek("x!") == [{"n": 1}, {"n": 2}]
        assert [channel for channel, _ in drain(layer, "x!")] == ["x!1", "x!2"]

    def test_memberships_expire_that_nobody_renews(self, subject: Subject) -> None:
        layer = subject.make(group_expiry=0.4)
        layer.group_add("g", "a")
        layer.group_add("g", "b")
        layer.group_add("g", "x!1")
        layer.group_add("g", "y!1")
        assert drain(layer, "x!") == []
        subject.advance(0.25)
        layer.group_add("g", "b")
        layer.group_add("h", "y!2")
        subject.advance(0.25)
        assert sorted(layer.group_channels("g")) == ["b", "y!1"]
        layer.send_group("g", {"n": 1})
        assert [numbers(layer, channel) for channel in ("a", "b", "x!", "y!")] == [[], [1], [], [1]]
        layer.group_add("g", "x!2")
        layer.send_group("g", {"n": 2})
        assert drain(layer, "x!") == [("x!2", {"n": 2})], "members from before are forgotten by the reader too"

    def test_a_second_reader_of_an_inbox_knows_its_members(self, subject: Subject) -> None:
        one, two = subject.make(), subject.make()
        one.group_add("g", "x!1")
        assert drain(one, "x!") == []
        one.send_group("g", {"n": 1})
        assert drain(two, "x!") == [("x!1", {"n": 1})]
        two.group_add("g", "x!2")
        two.group_discard("g", "x!1")
        one.send_group("g", {"n": 2})
        assert drain(one, "x!") == [("x!2", {"n": 2})]

"""Names and messages: what may travel, and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from ...base import Layer
from ...errors import ChannelFull, LayerError, MessageTooLarge
from ..subject import Subject
from .base import Part

GOOD = ["a", "http.request", "A-b_c.9", "x?abc", "x?a.b-C_9", "x!", "x!abc", "x" * 99, "a" * 49 + "!" + "b" * 49]
BAD = ["", "?", "!", "?a", "!a", "a b", "a/b", "é", "a\n", "a?b?c", "a!b!c", "a?b!c", "a!b?c", "x" * 100, "a:b", "a*"]
NOT_STR = [None, 1, b"a", ["a"]]


class Messages(Part):
    @pytest.mark.parametrize("name", GOOD)
    def test_good_names_carry_messages(self, layer: Layer, name: str) -> None:
        layer.send(name, {"n": 1})
        queue = name[: name.index("!") + 1] if "!" in name else name
        assert layer.receive([queue]) == (name, {"n": 1})

    @pytest.mark.parametrize("name", [*BAD, *NOT_STR])
    def test_bad_names_are_refused_everywhere(self, layer: Layer, name: Any) -> None:
        for refused in (
            lambda: layer.send(name, {}),
            lambda: layer.receive([name]),
            lambda: layer.group_add("g", name),
            lambda: layer.group_discard("g", name),
            lambda: layer.send_group("g", {}, exclude=[name]),
            lambda: layer.cancel(name, "k"),
            lambda: layer.peek(name),
            lambda: layer.purge(name),
            lambda: layer.channel_statistics(name),
            lambda: layer.dead_letter(name, {}, reason="r"),
        ):
            with pytest.raises(TypeError):
                refused()

    @pytest.mark.parametrize("group", [*BAD, *NOT_STR, "a!", "a?", "a!b", "a?b"])
    def test_bad_groups_are_refused(self, layer: Layer, group: Any) -> None:
        for refused in (
            lambda: layer.group_add(group, "a"),
            lambda: layer.group_discard(group, "a"),
            lambda: layer.group_channels(group),
            lambda: layer.group_members(group),
            lambda: layer.send_group(group, {}),
        ):
            with pytest.raises(TypeError):
                refused()

    def test_a_single_reader_name_needs_its_rest(self, layer: Layer) -> None:
        with pytest.raises(TypeError, match="new_channel"):
            layer.send("a?", {})
        with pytest.raises(TypeError):
            layer.receive(["a?"])

    @pytest.mark.parametrize("channels", [[], ["a!b"], ["a", "a!b"], "a", ["a?"]])
    def test_what_cannot_be_received_from(self, layer: Layer, channels: Any) -> None:
        for receive in (layer.receive, layer.receive_many, layer.receive_batch, layer.reader().receive_batch):
            with pytest.raises(TypeError):
                receive(channels)

    @pytest.mark.parametrize(
        "value",
        [
            None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.5, -1e300, "", "ü\U0001f600\x00", b"", b"\xff\x00",
            [], [1, [2, [None]]], {}, {"": {"a": [{"b": b"c"}]}}, "x" * 70_000, b"x" * 70_000, list(range(70_000)),
        ],
    )  # fmt: skip
    def test_what_json_could_hold_and_bytes_arrive_as_they_were(self, layer: Layer, value: Any) -> None:
        layer.send("a", {"value": value})
        _, message = layer.receive(["a"])
        assert message == {"value": value}
        assert type(message["value"]) is type(value)

    def test_bytes_and_str_stay_apart_and_tuples_become_lists(self, layer: Layer) -> None:
        layer.send("a", {"b": b"x", "s": "x", "t": ((1,), b"y")})
        assert layer.receive(["a"])[1] == {"b": b"x", "s": "x", "t": [[1], b"y"]}

    @pytest.mark.parametrize("message", [None, 1, "text", b"bytes", [], [("a", 1)], ()])
    def test_a_message_is_a_dict(self, layer: Layer, message: Any) -> None:
        for refused in (
            lambda: layer.send("a", message),
            lambda: layer.send_group("g", message),
            lambda: layer.batch().send("a", message),
            lambda: layer.dead_letter("a", message, reason="r"),
        ):
            with pytest.raises(TypeError, match="dict"):
                refused()

    @pytest.mark.parametrize(
        ("message", "place"),
        [
            ({"a": [1, 2, math.nan]}, r"message\['a'\]\[2\]: NaN"),
            ({"a": {"b": math.inf}}, r"message\['a'\]\['b'\]: infinity"),
            ({"a": 2**63}, r"message\['a'\]: int 9223372036854775808 is beyond 64 bits"),
            ({"a": -(2**63) - 1}, r"message\['a'\]: int"),
            ({"a": [{"b": 2**200}]}, r"message\['a'\]\[0\]\['b'\]: int"),
            ({"a": (1, object())}, r"message\['a'\]\[1\]: object"),
            ({"a": {1: 2}}, r"message\['a'\]: the key 1 is an int"),
            ({b"a": 1}, r"message: the key b'a' is a bytes"),
            ({None: 1}, r"message: the key None"),
            ({"a": [{"b": {"c": {(): 1}}}]}, r"message\['a'\]\[0\]\['b'\]\['c'\]: the key \(\)"),
            ({"a": "\ud800"}, r"message\['a'\]: a str with a lone surrogate"),
            ({"\ud800": 1}, r"message: the key .*surrogate"),
            ({"a": {1, 2}}, r"message\['a'\]: set"),
            ({"a": 1j}, r"message\['a'\]: complex"),
        ],
    )
    def test_what_cannot_travel_is_refused_by_its_place(self, layer: Layer, message: Any, place: str) -> None:
        layer.group_add("g", "a")
        for refused in (
            lambda: layer.send("a", message),
            lambda: layer.send_group("g", message),
            lambda: layer.batch().send("a", message),
        ):
            with pytest.raises(TypeError, match=place):
                refused()
        assert layer.receive(["a"]) == (None, None)

    def test_values_that_hold_themselves_or_are_too_deep_are_refused(self, layer: Layer) -> None:
        around: list[Any] = []
        around.append(around)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (around, deep):
            with pytest.raises(TypeError):
                layer.send("a", {"a": value})

    def test_depths_that_are_taken_arrive(self, layer: Layer) -> None:
        value: Any = "bottom"
        for depth in range(1, 1200):
            value = [value]
            try:
                layer.send("a", {"a": value})
            except TypeError:
                assert depth > 100
                break
            _, message = layer.receive(["a"])
            assert message is not None
            arrived = message["a"]
            for _ in range(depth):
                [arrived] = arrived
            assert arrived == "bottom"

    def test_altering_a_message_after_send_changes_nothing(self, layer: Layer) -> None:
        message: dict[str, Any] = {"list": [1], "dict": {}}
        layer.send("a", message)
        layer.group_add("g", "b")
        layer.send_group("g", message)
        message["list"].append(2)
        message["new"] = 1
        assert layer.receive(["a"])[1] == {"list": [1], "dict": {}}
        assert layer.receive(["b"])[1] == {"list": [1], "dict": {}}

    def test_too_large_messages_are_refused_before_anything_is_sent(self, subject: Subject) -> None:
        layer = subject.make(max_size=1000)
        layer.group_add("g", "a")
        large = {"x": b"x" * 1000}
        with pytest.raises(MessageTooLarge, match="1000"):
            layer.send("a", large)
        with pytest.raises(layer.MessageTooLarge):
            layer.send_group("g", large)
        with pytest.raises(MessageTooLarge):
            layer.put_state("s", large, 10)
        with pytest.raises(MessageTooLarge):
            layer.send("a", large, once="o")
        assert layer.receive(["a"]) == (None, None)
        assert layer.send("a", {"x": b"x" * 900}, once="o") is True

    def test_two_mebibytes_are_the_limit_by_default(self, layer: Layer) -> None:
        layer.send("a", {"x": b"x" * (2 * 1024 * 1024 - 100)})
        with pytest.raises(MessageTooLarge):
            layer.send("a", {"x": b"x" * 2 * 1024 * 1024})

    @pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "1", True, [1]])
    def test_odd_times_are_refused(self, layer: Layer, bad: Any) -> None:
        refusals: list[Callable[[], Any]] = [
            lambda: layer.send("a", {}, expiry=bad),
            lambda: layer.send("a", {}, delay=bad),
            lambda: layer.send("a", {}, once="x", window=bad),
            lambda: layer.put_state("k", 1, bad),
            lambda: layer.incr_state("k", bad),
        ]
        for refused in refusals:
            with pytest.raises(TypeError):
                refused()

    @pytest.mark.parametrize("bad", [None, "", 1, b"k", "k" * 256])
    def test_odd_keys_are_refused(self, layer: Layer, bad: Any) -> None:
        refusals: list[Callable[[], Any]] = [
            lambda: layer.cancel("a", bad),
            lambda: layer.get_state(bad),
            lambda: layer.put_state(bad, 1, 10),
            lambda: layer.delete_state(bad),
            lambda: layer.incr_state(bad, 10),
            lambda: layer.announce(bad, {"channels": {}}),
        ]
        for refused in refusals:
            with pytest.raises(TypeError):
                refused()

    def test_new_channel_makes_unused_single_reader_names(self, layer: Layer) -> None:
        made = {layer.new_channel("http.request.body?") for _ in range(1000)}
        assert len(made) == 1000
        name = made.pop()
        assert name.startswith("http.request.body?")
        layer.send(name, {"n": 1})
        assert layer.receive([name]) == (name, {"n": 1})
        assert layer.new_channel("x" * 60 + "?").startswith("x" * 60)

    @pytest.mark.parametrize("pattern", ["a", "a!", "?", "a?b", "a b?", "", None, "x" * 90 + "?", "a!?"])
    def test_new_channel_takes_no_other_pattern(self, layer: Layer, pattern: Any) -> None:
        with pytest.raises(TypeError):
            layer.new_channel(pattern)

    def test_the_layer_tells_what_it_is(self, subject: Subject) -> None:
        layer = subject.make(expiry=5, group_expiry=50, capacity=7, channel_capacity={"b": 1})
        assert (layer.expiry, layer.group_expiry, layer.capacity) == (5, 50, 7)
        assert layer.channel_capacity == {"b": 1}
        assert {"groups", "flush", "statistics"} <= set(layer.extensions)
        assert issubclass(layer.ChannelFull, LayerError)
        assert layer.ChannelFull is ChannelFull
        assert subject.make().capacity == 1000
        assert isinstance(layer.clock(), (int, float))

    def test_a_drop_rate_of_one_loses_all_but_bodies(self, subject: Subject) -> None:
        layer = subject.make(drop_rate=1)
        layer.group_add("g", "a")
        assert layer.send("a", {"n": 1}) is True
        layer.send_group("g", {"n": 1})
        batch = layer.batch()
        batch.send("a", {"n": 1})
        batch.send_group("g", {"n": 1})
        assert batch.run() == [True, None]
        assert layer.receive(["a"]) == (None, None)
        layer.send("a?b", {"n": 1})
        assert layer.receive(["a?b"]) == ("a?b", {"n": 1})

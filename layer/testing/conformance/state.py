"""State with versions, and dead letters."""

from typing import Any

import pytest

from ...base import Layer
from ..subject import Subject
from .base import Part


class State(Part):
    def test_values_have_versions(self, layer: Layer) -> None:
        assert layer.get_state("k") == (None, 0)
        first = layer.put_state("k", {"a": [1, b"x", None]}, 60)
        assert first > 0
        assert layer.get_state("k") == ({"a": [1, b"x", None]}, first)
        second = layer.put_state("k", "text", 60)
        assert second not in (0, first)
        assert layer.get_state("k") == ("text", second)
        assert layer.get_state("other") == (None, 0)

    @pytest.mark.parametrize("value", [None, False, 0, "", b"", [], {}, 1.5, 2**63 - 1])
    def test_any_value_that_may_travel(self, layer: Layer, value: Any) -> None:
        version = layer.put_state("k", value, 60)
        assert layer.get_state("k") == (value, version)

    @pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), {"a": {3}}])
    def test_and_no_other(self, layer: Layer, value: Any) -> None:
        with pytest.raises(TypeError, match="value"):
            layer.put_state("k", value, 60)
        assert layer.get_state("k") == (None, 0)

    def test_if_version(self, layer: Layer) -> None:
        assert layer.put_state("k", "a", 60, if_version=7) == 0
        version = layer.put_state("k", "a", 60, if_version=0)
        assert version > 0
        assert layer.put_state("k", "b", 60, if_version=0) == 0
        assert layer.put_state("k", "b", 60, if_version=version + 1) == 0
        newer = layer.put_state("k", "b", 60, if_version=version)
        assert newer not in (0, version)
        assert layer.get_state("k") == ("b", newer)
        no_versions: list[Any] = ["1", 1.0, True]
        for bad in no_versions:
            with pytest.raises(TypeError, match="if_version"):
                layer.put_state("k", "b", 60, if_version=bad)

    def test_a_version_never_comes_back(self, layer: Layer) -> None:
        version = layer.put_state("k", "a", 60)
        assert layer.delete_state("k") is True
        assert layer.put_state("k", "b", 60, if_version=version) == 0
        again = layer.put_state("k", "b", 60)
        assert again != version
        assert layer.put_state("k", "c", 60, if_version=version) == 0

    def test_values_expire_and_are_renewed(self, subject: Subject, layer: Layer) -> None:
        version = layer.put_state("k", "a", 0.3)
        layer.put_state("l", "a", 0.3)
        subject.advance(0.2)
        layer.put_state("l", "b", 0.3)
        subject.advance(0.2)
        assert layer.get_state("k") == (None, 0)
        assert layer.get_state("l")[0] == "b"
        assert layer.put_state("k", "c", 60, if_version=version) == 0
        assert layer.put_state("k", "c", 60, if_version=0) > 0
        layer.put_state("k", "d", 0.1)
        subject.advance(0.2)
        assert layer.get_state("k") == (None, 0)
        assert layer.delete_state("k") is False

    def test_delete(self, layer: Layer) -> None:
        assert layer.delete_state("k") is False
        layer.put_state("k", "a", 60)
        assert layer.delete_state("k") is True
        assert layer.delete_state("k") is False
        assert layer.get_state("k") == (None, 0)
        assert layer.put_state("k", "b", 60, if_version=0) > 0

    def test_counters_live_for_one_window(self, subject: Subject, layer: Layer) -> None:
        assert [layer.incr_state("k", 0.4) for _ in range(3)] == [1, 2, 3]
        assert layer.incr_state("l", 60) == 1
        subject.advance(0.25)
        assert layer.incr_state("k", 0.4) == 4
        subject.advance(0.25)
        assert layer.incr_state("k", 0.4) == 1, "the window runs from the first increment"
        value, version = layer.get_state("l")
        assert value == 1
        assert version > 0

    def test_what_is_no_counter_is_not_counted(self, layer: Layer) -> None:
        layer.put_state("k", "text", 60)
        with pytest.raises(TypeError, match="counter"):
            layer.incr_state("k", 60)
        assert layer.get_state("k")[0] == "text"

    # dead letters

    def test_dead_letters_are_kept_for_people(self, layer: Layer) -> None:
        assert layer.dead_letters() == []
        first = layer.dead_letter("a", {"n": 1}, reason="ValueError: no", traceback="Traceback …", tries=10)
        second = layer.dead_letter("x!b", {"n": b"2"}, reason="stayed full")
        assert first != second
        one, two = layer.dead_letters()
        assert one.pop("time") > 1_000_000_000
        assert one == {
            "id": first,
            "channel": "a",
            "message": {"n": 1},
            "reason": "ValueError: no",
            "traceback": "Traceback …",
            "tries": 10,
        }
        assert (two["id"], two["channel"], two["message"], two["tries"]) == (second, "x!b", {"n": b"2"}, 1)

    def test_the_newest_dead_letters_may_be_all_that_is_wanted(self, layer: Layer) -> None:
        ids = [layer.dead_letter("a", {"n": n}, reason="r") for n in range(5)]
        assert layer.global_statistics()["dead_letters_count"] == 5
        assert [letter["id"] for letter in layer.dead_letters(newest=2)] == ids[3:]
        assert [letter["id"] for letter in layer.dead_letters(newest=9)] == ids
        assert layer.dead_letters(newest=0) == []

    def test_a_long_traceback_keeps_its_end(self, layer: Layer) -> None:
        layer.dead_letter("a", {}, reason="r", traceback="ü" * 20_000 + "the end")
        [letter] = layer.dead_letters()
        assert letter["traceback"].endswith("üthe end")
        assert 16_000 < len(letter["traceback"].encode()) <= 16 * 1024

    def test_ten_thousand_dead_letters_are_kept_and_the_rest_counted(self, layer: Layer) -> None:
        for n in range(10_003):
            layer.dead_letter("a", {"n": n}, reason="r")
        letters = layer.dead_letters()
        assert len(letters) == 10_000
        assert letters[0]["message"] == {"n": 3}
        assert layer.global_statistics()["dead_letters_dropped_count"] == 3

    def test_dead_letters_are_kept_for_fourteen_days(self, subject: Subject, layer: Layer) -> None:
        if not subject.moves_time:
            pytest.skip("needs a clock that the test moves")
        layer.dead_letter("a", {"n": 1}, reason="r")
        subject.advance(13 * 86_400)
        layer.dead_letter("a", {"n": 2}, reason="r")
        subject.advance(2 * 86_400)
        assert [letter["message"]["n"] for letter in layer.dead_letters()] == [2]

"""The JSON form of messages, and what is refused on the way out and in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.message_formats import from_json, to_json

PAIRS = [
    (b"", {"$bytes": ""}),
    (b"\x00\xff", {"$bytes": "AP8="}),
    ({"$bytes": "AP8="}, {"$$bytes": "AP8="}),
    ({"$": 1, "$$a": [2]}, {"$$": 1, "$$$a": [2]}),
    ({"a$": None, "": True}, {"a$": None, "": True}),
    ([1.5, -(2**63), 2**63 - 1], [1.5, -(2**63), 2**63 - 1]),
]


@pytest.mark.parametrize(("value", "form"), PAIRS)
def test_both_directions(value: Any, form: Any) -> None:
    assert to_json(value) == form
    assert from_json(json.loads(json.dumps(form))) == value


def test_tuples_become_lists() -> None:
    assert to_json({"a": (1, (2, b"x"))}) == {"a": [1, [2, {"$bytes": "eA=="}]]}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, object()]}, r"message\.a\[1\]: an object of type object cannot travel"),
        ({"a": {1: 2}}, r"message\.a: keys must be str, not 1"),
        ({"a": float("nan")}, r"message\.a: nan cannot travel"),
        ([float("-inf")], r"message\[0\]: -inf cannot travel"),
        ([2**63], r"message\[0\]: 9223372036854775808 cannot travel"),
        ([{1}], r"message\[0\]: an object of type set cannot travel"),
        (bytearray(b"x"), r"message: an object of type bytearray cannot travel"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(TypeError, match=f"^{told}$"):
        to_json(value)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ('{"a": {"$bytes": 1}}', r"message\.a: bytes are written"),
        ('{"a": {"$bytes": "x"}}', r"message\.a: bytes are written"),
        ('{"a": {"$bytes": "eA=="  , "b": 1}}', r"message\.a: bytes are written"),
        ('{"a": {"$bytes": "e A=="}}', r"message\.a: bytes are written"),
        ('{"a": [{"$b": 1}]}', r"message\.a\[0\]: '\$b': a key that begins with \"\$\" is written with a second one"),
        ('{"a": NaN}', r"message\.a: nan cannot travel"),
        ('{"a": 1e999}', r"message\.a: inf cannot travel"),
        ('{"a": 18446744073709551616}', r"message\.a: 18446744073709551616 cannot travel"),
    ],
)
def test_what_is_no_json_form_is_refused_with_its_place(form: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        from_json(json.loads(form))


def test_values_without_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="nested too deeply"):
        to_json(endless)
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(deep)

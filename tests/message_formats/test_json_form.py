"""The JSON form of messages, and what is refused on the way out and in."""

from __future__ import annotations

import json
import re
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
        (
            {"a": [1, object()]},
            "a[1]: expected None, bool, int, float, str, bytes, list or dict; got an object of type object",
        ),
        ({"a": {1: 2}}, "a: expected keys of kind str; got 1"),
        ({"a": float("nan")}, "a: expected float (finite); got nan"),
        ([float("-inf")], "[0]: expected float (finite); got -inf"),
        ([2**63], "[0]: expected int of at most 64 bits; got 9223372036854775808"),
        ({"a": ["\ud800"]}, r"a[0]: expected str without lone surrogates; got '\ud800'"),
        ({"\udfff": 1}, r"message: expected keys of kind str without lone surrogates; got '\udfff'"),
        (
            bytearray(b"x"),
            "message: expected None, bool, int, float, str, bytes, list or dict; got an object of type bytearray",
        ),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(told)}$"):
        to_json(value)


BYTES = 'expected bytes as {"$bytes": "<base64>"}, with nothing beside; got'


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ('{"a": {"$bytes": 1}}', f"a: {BYTES} 1"),
        ('{"a": {"$bytes": "x"}}', f"a: {BYTES} 'x'"),
        ('{"a": {"$bytes": "eA=="  , "b": 1}}', f"a: {BYTES} 'eA=='"),
        ('[[{"$bytes": "e A=="}]]', f"[0][0]: {BYTES} 'e A=='"),
        ('{"a": [{"$b": 1}]}', """a[0]: expected a key that begins with "$" to have a second one; got '$b'"""),
        ('{"a": NaN}', "a: expected float (finite); got nan"),
        (r'{"a": "\ud83d"}', r"a: expected str without lone surrogates; got '\ud83d'"),
        ('{"a": 1e999}', "a: expected float (finite); got inf"),
        ('{"a\\n": 18446744073709551616}', r"'a\n': expected int of at most 64 bits; got 18446744073709551616"),
    ],
)
def test_what_is_no_json_form_is_refused_with_its_place(form: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
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

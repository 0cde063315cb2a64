"""Packing: what may travel does, everything else is refused with its place, and looking is cheap."""

import enum
import math
from collections import OrderedDict
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.layer import packing

integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["π" * 5, "Ͽ", "é" * 140])
leaves = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts | st.binary()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)
bad_leaves = st.sampled_from(
    [
        math.nan,
        math.inf,
        -math.inf,
        2**63,
        -(2**63) - 1,
        2**64,
        "\udfff",
        object(),
        {1},
        1j,
        {1: 2},
        {b"k": 1},
        {None: 1},
    ]
)


@given(st.dictionaries(texts, values, max_size=6))
def test_what_may_travel_comes_out_as_it_went_in(message: dict[str, Any]) -> None:
    body = packing.pack_message(message)
    assert packing.unpack(body) == message
    assert packing.pack_trusted(message) == body


@given(values)
def test_any_value_may_be_state_or_info(value: Any) -> None:
    assert packing.unpack(packing.pack(value, "value")) == value


@settings(deadline=None)
@given(
    st.dictionaries(texts, values, max_size=3),
    bad_leaves,
    st.lists(st.sampled_from(["list", "dict", "tuple"]), max_size=5),
)
def test_one_bad_value_anywhere_is_found(message: dict[str, Any], bad: Any, path: list[str]) -> None:
    for kind in path:
        bad = {"list": [0, bad], "dict": {"k": bad, "ü": ""}, "tuple": (bad,)}[kind]
    with pytest.raises(TypeError, match=r"^message\['the place'\]"):
        packing.pack_message({"the place": bad, **{key: value for key, value in message.items() if key != "the place"}})


@pytest.mark.parametrize(
    "value",
    [msgpack.Timestamp(1), msgpack.ExtType(1, b"x"), [msgpack.ExtType(1, b"x" * 300)], {"a": msgpack.Timestamp(2**40)}],
)
def test_extension_types_of_the_packer_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"message\['a'\].*cannot travel"):
        packing.pack_message({"a": value})


def test_subclasses_travel_as_what_they_are() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Number(enum.IntEnum):
        ONE = 1

    class Real(float):
        pass

    message = OrderedDict(
        {Colour.RED: Colour.RED, "n": [Number.ONE, Real(0.5)], "d": OrderedDict(a=(True,)), "": bytearray(b"x")}
    )
    assert packing.unpack(packing.pack_message(message)) == {"red": "red", "n": [1, 0.5], "d": {"a": [True]}, "": b"x"}
    with pytest.raises(TypeError, match=r"\['n'\]: NaN"):
        packing.pack_message({"n": Real("nan")})
    with pytest.raises(TypeError, match=r"\['d'\]: the key 1"):
        packing.pack_message({"d": OrderedDict({1: 2})})
    with pytest.raises(TypeError, match=r"\['e'\]: int"):
        packing.pack_message({"e": enum.IntEnum("Big", {"X": 2**63}).X})  # type: ignore[attr-defined]


def test_the_place_says_what_a_person_needs() -> None:
    for message, text in (
        (
            {"headers": [["a", b"b"], ["c", object()]]},
            "message['headers'][1][1]: object cannot travel (what JSON can hold, and bytes, can)",
        ),
        ({"a": {3: 4}}, "message['a']: the key 3 is an int, and only str keys can travel"),
        ({"a": 10**400}, "message['a']: int of 1329 bits is beyond 64 bits and cannot travel"),
    ):
        with pytest.raises(TypeError) as caught:
            packing.pack_message(message)
        assert str(caught.value) == text


def test_trusted_messages_are_refused_only_where_they_cannot_be_packed() -> None:
    assert packing.pack_trusted({1: math.nan})
    with pytest.raises(TypeError, match=r"message\['a'\]: object"):
        packing.pack_trusted({"a": object()})


def test_a_packer_that_grew_is_not_kept() -> None:
    packing.pack_trusted({"a": 1})
    before = packing._packers.pack
    packing.pack_trusted({"a": 2})
    assert packing._packers.pack == before
    packing.pack_trusted({"a": b"x" * (1 << 21)})
    assert packing._packers.pack != before
    assert packing.unpack(packing.pack_trusted({"a": 3})) == {"a": 3}


def test_a_failed_packing_leaves_nothing_behind() -> None:
    with pytest.raises(TypeError):
        packing.pack_message({"a": b"x" * 100, "b": object()})
    assert packing.unpack(packing.pack_message({"a": 1})) == {"a": 1}


def test_a_large_message_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = packing._packers.pack
    packed = []

    def counted(value: object) -> Any:
        packed.append(value)
        return pack(value)

    monkeypatch.setattr(packing._packers, "pack", counted)
    message = {"a": b"x" * (1 << 21)}
    assert packing.unpack(packing.pack_trusted(message)) == message
    assert len(packed) == 1
    assert packing._packers.pack is not counted, "its buffer was not given up"

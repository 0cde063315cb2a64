"""For all legal messages: they validate, survive the JSON form, and fit their JSON Schema; and schema and validator
agree on messages that are nearly legal."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.message_formats import Format, FormatError, formats, from_json, json_schema, to_json
from trunkline.message_formats.kinds import (
    Anything,
    Boolean,
    Bytes,
    Characters,
    Choice,
    DictOf,
    Either,
    Integer,
    Kind,
    ListOf,
    Number,
    Record,
    Row,
    Text,
    Unfit,
)

INTS = st.integers(-(2**63), 2**63 - 1)
# Whole floats are left out: to JSON Schema 1.0 is an integer, to us it is not.
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: not value.is_integer())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXT | TEXT.map(lambda text: f"${text}") | st.binary(max_size=8)
KEYS = TEXT | TEXT.map(lambda text: f"${text}")
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
# No keys with "$": what is not the JSON form of a message is for test_json_form.py.
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT.map(lambda key: key.lstrip("$")), inner, max_size=3)
    ),
    max_leaves=4,
)


def characters(limit: Characters | None, *, wide: bool) -> st.SearchStrategy[str]:
    if limit is None:
        return TEXT
    if limit.forbidden.startswith("[^"):
        return st.from_regex(f"\\A[{limit.forbidden[2:]}+\\Z")
    forbidden = set("\r\n\0")
    return TEXT.filter(lambda text: not forbidden & set(text)) if wide else st.just("value")


def strategy_of(kind: Kind, depth: int = 0) -> st.SearchStrategy[Any]:
    """Build the strategy of all values that fit a kind."""
    if isinstance(kind, Text):
        return characters(kind.characters, wide=True)
    if isinstance(kind, Bytes):
        if kind.characters is None:
            return st.binary(max_size=8)
        return characters(kind.characters, wide=False).map(lambda text: text.encode("latin-1"))
    if isinstance(kind, Integer):
        gaps = kind.without
        return st.integers(kind.low, kind.high).filter(lambda value: not any(value in gap for gap in gaps))
    if isinstance(kind, Choice):
        return st.sampled_from(kind.values)
    if isinstance(kind, Number):
        return FLOATS | INTS
    if isinstance(kind, Boolean):
        return st.booleans()
    if isinstance(kind, Anything):
        return VALUES
    if isinstance(kind, ListOf):
        size = 0 if depth > 2 else 2
        return st.lists(strategy_of(kind.item, depth + 1), max_size=size) if size else st.just([])
    if isinstance(kind, Row):
        return st.tuples(*(strategy_of(item, depth) for item in kind.items))
    if isinstance(kind, DictOf):
        return st.dictionaries(strategy_of(kind.key), strategy_of(kind.value), max_size=2)
    if isinstance(kind, Either):
        return st.one_of(*(strategy_of(inner, depth) for inner in kind.kinds))
    assert isinstance(kind, Record), kind
    return messages_of(kind, depth + 1)


def messages_of(record: Record, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Build the strategy of all dicts that fit a record."""
    values = {field.name: strategy_of(field.kind, depth) for field in record.fields}
    ruled = sorted({key for rule in record.rules for key in rule.keys})
    ways = [set(way) for size in range(len(ruled) + 1) for way in combinations(ruled, size) if keeps(record, way)]
    always = {field.name for field in record.fields if field.required} - set(ruled)
    free = set(values) - always - set(ruled)

    @st.composite
    def message(draw: st.DrawFn) -> dict[str, Any]:
        keys = (
            always
            | draw(st.sampled_from(ways))
            | draw(st.sets(st.sampled_from(sorted(free))) if free else st.just(set()))
        )
        filled: dict[str, Any] = {key: draw(values[key]) for key in sorted(keys)}
        for key in sorted(set(values) - keys):
            if draw(st.booleans()):
                filled[key] = None
        return filled

    return message()


def keeps(record: Record, keys: tuple[str, ...]) -> bool:
    try:
        for rule in record.rules:
            rule.check(dict.fromkeys(keys, True), True)
    except Unfit:
        return False
    return all(
        key in keys for key in (field.name for field in record.fields if field.required) if is_ruled(record, key)
    )


def is_ruled(record: Record, key: str) -> bool:
    return any(key in rule.keys for rule in record.rules)


ALL = [*formats(), *dict.fromkeys(format.reply for format in formats() if format.reply is not None)]
MESSAGES = {format.name: messages_of(format.record) for format in ALL}
SCHEMAS = {format.name: jsonschema.Draft202012Validator(json_schema(format)) for format in ALL}

every_format = pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
# For each of some 25 formats; `make campaigns` has many times as many.
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def listed(value: Any) -> Any:
    """Turn the tuples in a value into lists."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def fits(format: Format, message: Any) -> bool:
    try:
        format.validate(message)
    except FormatError:
        return False
    return True


@every_format
@quick
@given(data=st.data())
def test_legal_messages_validate_travel_as_json_and_fit_their_schema(format: Format, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[format.name])
    format.validate(message)
    travelled = json.loads(json.dumps(to_json(message)))
    assert repr(from_json(travelled)) == repr(listed(message))
    SCHEMAS[format.name].validate(travelled)


@every_format
@quick
@given(data=st.data())
def test_schema_and_validator_agree_on_nearly_legal_messages(format: Format, data: st.DataObject) -> None:
    message = json.loads(json.dumps(to_json(data.draw(MESSAGES[format.name]))))
    spot = message
    while True:
        keys = sorted(spot) if isinstance(spot, dict) else range(len(spot))
        inner = [key for key in keys if isinstance(spot[key], (dict, list)) and spot[key] and "$bytes" not in spot[key]]
        if not inner or data.draw(st.booleans()):
            break
        spot = spot[data.draw(st.sampled_from(inner))]
    if isinstance(spot, list):
        spot[data.draw(st.sampled_from(range(len(spot))))] = data.draw(JSON_VALUES)
    else:
        key = data.draw(st.sampled_from([*sorted(spot), "extra"]))
        spot.pop(key, None)
        if data.draw(st.booleans()):
            spot[key] = data.draw(JSON_VALUES)
    assert SCHEMAS[format.name].is_valid(message) == fits(format, from_json(message))


@settings(deadline=None)
@given(VALUES)
def test_any_value_that_can_travel_round_trips_through_json(value: Any) -> None:
    assert repr(from_json(json.loads(json.dumps(to_json(value))))) == repr(listed(value))


@settings(deadline=None)
@given(format=st.sampled_from(ALL), data=st.data())
def test_whatever_comes_a_receiver_takes_it_or_refuses_it_in_words(format: Format, data: st.DataObject) -> None:
    keys = st.sampled_from([field.name for field in format.fields])
    message: dict[Any, Any] = data.draw(
        st.dictionaries(keys | TEXT | st.integers(), VALUES | st.builds(object), max_size=6)
    )
    told = ""
    try:
        format.validate(message, unknown="ignore")
    except FormatError as error:
        told = str(error)
    assert told.isprintable()

"""Formats of one's own: what a TypedDict may say, and what is a mistake."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict, Union

import pytest

from trunkline.message_formats import (
    Address,
    Characters,
    Default,
    Format,
    FormatError,
    Most,
    Range,
    at_least_one,
    describe,
    exactly_one,
    formats,
    get,
    names,
    record_of,
    register,
    validate,
)


class Reading(TypedDict):
    """A sensor sent a reading."""

    reply_channel: Annotated[str, "The sensor."]
    celsius: Annotated[float, "The temperature."]
    battery: NotRequired[Annotated[int, Range(0, 100), Default(100), "The charge, in percent."]]
    client: Annotated[Address, "The sensor's host and port."]


class Order(TypedDict):
    """What a sensor is told."""

    pause: Annotated[float, "Seconds until its next reading."]


@pytest.mark.usefixtures("own_formats")
def test_a_format_of_ones_own() -> None:
    format = Format("sensor.reading", record_of(Reading), reply=Format("sensor reply", record_of(Order)))
    register(format)
    assert names()[-1] == "sensor.reading"
    assert formats()[-1] is format
    assert get("sensor.reading") is format
    assert format.doc == "A sensor sent a reading."
    assert format.default_of("battery") == 100
    validate("sensor.reading", {"reply_channel": "x", "celsius": 21, "client": ("::1", 1)})
    with pytest.raises(FormatError) as caught:
        validate("sensor.reading", {"reply_channel": "x", "celsius": 21.5, "client": ["::1", 1], "battery": 101})
    assert str(caught.value) == "sensor.reading: battery: expected int 0–100; got 101"
    assert "  battery: int 0–100 = 100\n      The charge, in percent." in describe(format)


@pytest.mark.usefixtures("own_formats")
def test_registering_again_is_fine_but_not_another_format_of_that_name() -> None:
    format = Format("sensor.reading", record_of(Reading))
    register(format)
    register(format)
    with pytest.raises(ValueError, match=r"^sensor\.reading: there is a format of that name already$"):
        register(Format("sensor.reading", record_of(Reading)))


@pytest.mark.usefixtures("own_formats")
def test_single_reader_channels_find_their_family() -> None:
    format = Format("sensor.log?", record_of(Order))
    register(format)
    assert get("sensor.log?abc") is format
    assert get("sensor.log?") is format
    assert get("http.request.body?x.y-z") is get("http.request.body?")
    for name in ("sensor.log", "sensor?abc", "sensor.log!abc", "", "http.reply.1!2"):
        assert get(name) is None


def test_answers_must_fit_the_reply() -> None:
    reply = Format("sensor reply", record_of(Order))
    Format("sensor.reading", record_of(Reading), reply=reply, failure={"pause": 60.0})
    with pytest.raises(FormatError, match=r"^sensor reply: pause: expected float \(finite\); got 'long'$"):
        Format("sensor.reading", record_of(Reading), reply=reply, failure={"pause": "long"})
    with pytest.raises(TypeError, match=r"^sensor\.reading: has an answer, but no format of replies$"):
        Format("sensor.reading", record_of(Reading), failure={"pause": 60.0})


class Everything(TypedDict, total=False):
    """All types."""

    text: Required[Annotated[str, "Text."]]
    narrow: Annotated[bytes, Characters("^a-z", "lower case", empty=False), Most(3), "Bytes."]
    number: Annotated[int, Range(high=5, without=[range(2), range(3, 4)]), "Integer."]
    union: Annotated[Union[int, str], "Union."]  # noqa: UP007  (the spelling is what is tested)
    flag: Annotated[bool, "Flag."]
    choice: Annotated[Literal["a", "b"], "Choice."]
    lists: Annotated[list[list[float]], "Lists."]
    free: Annotated[dict[str, Any], "Anything with str keys."]
    narrow_keys: Annotated[dict[Annotated[str, Characters("^a-z", "lower case")], int], "Lower-case keys."]
    inner: Annotated[list[Everything], "Of its own kind."]


def test_types_read_well() -> None:
    types = {field.name: field.type for field in record_of(Everything).fields}
    assert types == {
        "text": "str",
        "narrow": "bytes (lower case, at most 3)",
        "number": f"int {-(2**63)}–5 without 0–1, 3",
        "union": "int|str",
        "flag": "bool",
        "choice": '"a"|"b"',
        "lists": "list of list of float (finite)",
        "free": "dict",
        "narrow_keys": "dict of str (lower case) to int",
        "inner": "list of Everything",
    }


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("narrow", [b"a", b"abc"], [b"", b"abcd", b"A", b"a\n", "a"]),
        ("number", [-7, 2, 4, 5], [0, 1, 3, 6, True]),
        ("union", [1, "a"], [b"a", 1.5, True]),
        ("flag", [True, False, None], [0]),
        ("choice", ["a"], ["c", b"a"]),
        ("lists", [[], [[]], [[1.5, 2]], ((1,),)], [[1], [["a"]], [[float("nan")]]]),
        ("free", [{}, {"a": {"b": [None]}}], [[], {1: 2}, {"a": object()}]),
        ("narrow_keys", [{"a": 1}], [{"A": 1}, {"a": "1"}]),
        ("inner", [[{"text": "a", "inner": [{"text": "b"}]}]], [[{}], [{"text": "a", "other": 1}]]),
    ],
)
def test_types_take_and_refuse(key: str, good: list[Any], bad: list[Any]) -> None:
    format = Format("everything", record_of(Everything))
    for value in good:
        format.validate({"text": "", key: value})
    for value in bad:
        with pytest.raises(FormatError):
            format.validate({"text": "", key: value})


def test_rules_count() -> None:
    format = Format("x", record_of(Everything, at_least_one("union", "flag"), exactly_one("lists", "free")))
    format.validate({"text": "", "union": 1, "flag": True, "lists": []})
    wrong: list[dict[str, Any]] = [{"lists": []}, {"union": 1}, {"union": 1, "lists": [], "free": {}}]
    for keys in wrong:
        with pytest.raises(FormatError, match=r"expected (at least|exactly) one of"):
            format.validate({"text": "", **keys})


def test_mistakes_are_told() -> None:
    class NoDoc(TypedDict):
        a: Annotated[int, Range(1)]

    class Odd(TypedDict):
        a: Annotated[complex, "A."]

    class Nullable(TypedDict):
        a: Annotated[list[str | None], "A."]

    class OddKey(TypedDict):
        a: Annotated[dict[int, int], "A."]

    class RequiredDefault(TypedDict):
        a: Annotated[int, Default(1), "A."]

    class BadDefault(TypedDict):
        a: NotRequired[Annotated[int, Default("1"), "A."]]

    for typed, told in (
        (NoDoc, "^a: a key of a message format needs documentation"),
        (Odd, "not a type that a message format can hold$"),
        (Nullable, "not a type that a message format can hold$"),
        (OddKey, "not a type that a message format can hold$"),
        (RequiredDefault, "^a: a key with a default must be NotRequired$"),
        (BadDefault, "^a: the default must be int, not '1'$"),
    ):
        with pytest.raises(TypeError, match=told):
            record_of(typed)

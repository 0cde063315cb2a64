"""The kinds of values a message holds: how each is checked, how people read it, and its JSON Schema.

A kind knows nothing of messages, channels or annotations; `typed.py` builds kinds from annotations and
`format.py` puts them to work. Every kind has the same three faces:

- `check(value, strict)` returns nothing, or raises `Unfit`, which knows the place inside the value. It runs for
  every message that is sent, so it makes no text unless something is wrong. `strict` refuses unknown keys.
- `text` says to a person what is allowed.
- `schema(refer)` gives JSON Schema 2020-12 for the value's JSON form; `refer(record)` names a record that has a name.

Wherever a list is allowed a tuple is too: tuples become lists on the way.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

Check = Callable[[Any, bool], None]
Refer = Callable[["Record"], dict[str, Any]]

_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class Unfit(Exception):
    """A value does not fit its kind. Carries the place inside the value, what was expected, and what was there."""

    def __init__(self, expected: str, got: str, place: str = "") -> None:
        super().__init__(expected, got, place)
        self.expected = expected
        self.got = got
        self.place = place

    def inside(self, step: object) -> None:
        """Put the place one step further in: `step` is a key of a dict, or the index of a list."""
        if isinstance(step, int):
            step = f"[{step}]"
        elif not isinstance(step, str) or len(step) > 50 or not step.isprintable():
            step = told(step)
        joint = "." if self.place and not self.place.startswith("[") else ""
        self.place = f"{step}{joint}{self.place}"


def told(value: object) -> str:
    """Describe a value in a few words, however large or odd it is."""
    if isinstance(value, (dict, list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, (str, bytes)) and len(value) > 50:
        return f"{value[:50]!r}… ({type(value).__name__}, {len(value)} long)"
    if value is None or isinstance(value, (str, bytes, bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"an int of {value.bit_length()} bits"
    return f"an object of type {type(value).__name__}"


class Kind(Protocol):
    """What every kind offers."""

    text: str

    def check(self, value: Any, strict: bool) -> None:
        """Raise `Unfit` if the value does not fit."""

    def schema(self, refer: Refer) -> dict[str, Any]:
        """Return the JSON Schema of the value's JSON form."""


class Characters:
    """A limit on the characters of a str or bytes; put it into `Annotated` beside the type.

    Args:
        forbidden: the inside of a regular expression's character class, ASCII, such as `\\r\\n\\0`; what it
            matches may not occur.
        text: what is allowed, for people.
        empty: whether there may be none at all.
    """

    def __init__(self, forbidden: str, text: str, *, empty: bool = True) -> None:
        self.forbidden = f"[{forbidden}]"
        self.text = text
        self.empty = empty


class Most:
    """A limit on the length of bytes; put it into `Annotated` beside the type."""

    def __init__(self, length: int) -> None:
        self.length = length


class Range:
    """A limit on an int, both ends included; put it into `Annotated` beside the type.

    Args:
        low: the smallest value.
        high: the largest value.
        without: values in between that are refused too.
    """

    def __init__(self, low: int = INT_MIN, high: int = INT_MAX, without: Iterable[range] = ()) -> None:
        self.low = low
        self.high = high
        self.without = tuple(without)


class Text:
    """A str."""

    def __init__(self, characters: Characters | None = None) -> None:
        self.characters = characters
        self._forbidden = re.compile(characters.forbidden).search if characters else None
        self._needed = characters is not None and not characters.empty
        self.text = f"str ({characters.text})" if characters else "str"

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, str) or (self._needed and not value):
            raise Unfit(self.text, told(value))
        if self._forbidden is not None and self._forbidden(value):
            raise Unfit(self.text, told(value))
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Unfit(f"{self.text} without lone surrogates", told(value)) from None

    def schema(self, refer: Refer) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.characters is not None:
            schema["not"] = {"pattern": self.characters.forbidden}
            if not self.characters.empty:
                schema["minLength"] = 1
        return schema


class Choice:
    """One of a few str values."""

    def __init__(self, values: Sequence[str]) -> None:
        self.values = tuple(values)
        self._known = frozenset(values)
        self.text = "|".join(f'"{value}"' for value in values)

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, str) or value not in self._known:
            raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Bytes:
    """A byte string. What its characters may be cannot be said in JSON Schema, where it stands in base64."""

    def __init__(self, characters: Characters | None = None, most: Most | None = None) -> None:
        self.characters = characters
        self._forbidden = re.compile(characters.forbidden.encode("ascii")).search if characters else None
        self._needed = characters is not None and not characters.empty
        self.most: int | None = most.length if most else None
        limits = [characters.text] if characters else []
        if self.most is not None:
            limits.append(f"at most {self.most}")
        self.text = f"bytes ({', '.join(limits)})" if limits else "bytes"

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, bytes) or (self._needed and not value):
            raise Unfit(self.text, told(value))
        if self._forbidden is not None and self._forbidden(value):
            raise Unfit(self.text, told(value))
        if self.most is not None and len(value) > self.most:
            raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        base64: dict[str, Any] = {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}
        if self.most is not None:
            base64["maxLength"] = (self.most + 2) // 3 * 4
        return {
            "description": f"{self.text} (in base64)",
            "type": "object",
            "properties": {"$bytes": base64},
            "required": ["$bytes"],
            "additionalProperties": False,
        }


class Integer:
    """A whole number of at most 64 bits; a bool is not one."""

    def __init__(self, allowed: Range | None = None) -> None:
        allowed = allowed or Range()
        self.low, self.high, self.without = allowed.low, allowed.high, allowed.without
        self.text = f"int{self._limits()}"

    def _limits(self) -> str:
        if self.high == INT_MAX:
            return "" if self.low == INT_MIN else f" from {self.low}"
        gaps = ", ".join(f"{gap[0]}–{gap[-1]}" if len(gap) > 1 else str(gap[0]) for gap in self.without)
        return f" {self.low}–{self.high}" + (f" without {gaps}" if gaps else "")

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, int) or value is True or value is False:
            raise Unfit(self.text, told(value))
        if not self.low <= value <= self.high:
            raise Unfit(self.text if self.text != "int" else "int of at most 64 bits", told(value))
        for gap in self.without:
            if value in gap:
                raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer", "minimum": self.low, "maximum": self.high}
        if self.without:
            schema["not"] = {"anyOf": [{"minimum": gap[0], "maximum": gap[-1]} for gap in self.without]}
        return schema


class Number:
    """A finite number, whole or not."""

    text = "float (finite)"

    def check(self, value: Any, strict: bool) -> None:
        if isinstance(value, float):
            if not math.isfinite(value):
                raise Unfit(self.text, told(value))
        elif not isinstance(value, int) or isinstance(value, bool) or not INT_MIN <= value <= INT_MAX:
            raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {"type": "number"}


class Boolean:
    """True or False."""

    text = "bool"

    def check(self, value: Any, strict: bool) -> None:
        if value is not True and value is not False:
            raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {"type": "boolean"}


class Anything:
    """Any value that can travel: None, bool, int, float, str, bytes, and lists and dicts of such."""

    text = "any value that can travel"

    def check(self, value: Any, strict: bool) -> None:
        if value is None or isinstance(value, (bytes, bool)):
            return
        if isinstance(value, str):
            _TEXT.check(value, strict)
        elif isinstance(value, int):
            _INTEGER.check(value, strict)
        elif isinstance(value, float):
            _NUMBER.check(value, strict)
        elif isinstance(value, dict):
            _ANY_DICT.check(value, strict)
        elif isinstance(value, (list, tuple)):
            _ANY_LIST.check(value, strict)
        else:
            raise Unfit("None, bool, int, float, str, bytes, list or dict", told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {}


class ListOf:
    """A list of any length whose items are all of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item
        self._check = item.check
        self.text = "list" if isinstance(item, Anything) else f"list of {item.text}"

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, (list, tuple)):
            raise Unfit(self.text, told(value))
        check = self._check
        index = 0
        try:
            for item in value:
                check(item, strict)
                index += 1
        except Unfit as unfit:
            unfit.inside(index)
            raise

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(refer)}


class Row:
    """A list of a fixed length, each place with its own kind."""

    def __init__(self, items: Sequence[Kind]) -> None:
        self.items = tuple(items)
        self._checks = [item.check for item in items]
        self._length = len(self.items)
        self.text = "[" + ", ".join(item.text for item in items) + "]"

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, (list, tuple)) or len(value) != self._length:
            raise Unfit(self.text, told(value))
        index = 0
        try:
            for check in self._checks:
                check(value[index], strict)
                index += 1
        except Unfit as unfit:
            unfit.inside(index)
            raise

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {
            "type": "array",
            "prefixItems": [item.schema(refer) for item in self.items],
            "minItems": self._length,
            "maxItems": self._length,
        }


class DictOf:
    """A dict with any keys of one kind of str, whose values are all of one kind."""

    def __init__(self, key: Text, value: Kind) -> None:
        self.key = key
        self.value = value
        free = key.text == "str" and isinstance(value, Anything)
        self.text = "dict" if free else f"dict of {key.text} to {value.text}"

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, dict):
            raise Unfit(self.text, told(value))
        check_key, check = self.key.check, self.value.check
        for key, item in value.items():
            try:
                check_key(key, strict)
            except Unfit as unfit:
                raise Unfit(f"keys of kind {unfit.expected}", unfit.got) from None
            try:
                check(item, strict)
            except Unfit as unfit:
                unfit.inside(key)
                raise

    def schema(self, refer: Refer) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "additionalProperties": self.value.schema(refer)}
        key = self.key.schema(refer)
        if key != {"type": "string"}:
            schema["propertyNames"] = key
        return schema


class Either:
    """A value of any one of several kinds."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = tuple(kinds)
        self.text = "|".join(kind.text for kind in kinds)

    def check(self, value: Any, strict: bool) -> None:
        for kind in self.kinds:
            try:
                kind.check(value, strict)
            except Unfit:
                continue
            return
        raise Unfit(self.text, told(value))

    def schema(self, refer: Refer) -> dict[str, Any]:
        return {"anyOf": [kind.schema(refer) for kind in self.kinds]}


class Field:
    """One documented key of a record.

    Attributes:
        name: the key.
        kind: what its value may be.
        required: whether it must be there, and not None.
        default: what its absence means; None for a required key.
        doc: what it means.
    """

    __slots__ = ("default", "doc", "kind", "name", "required")

    def __init__(self, name: str, kind: Kind, *, required: bool, default: Any, doc: str) -> None:
        self.name = name
        self.kind = kind
        self.required = required
        self.default = default
        self.doc = doc

    @property
    def type(self) -> str:
        """What the value may be, for people."""
        return self.kind.text

    def check(self, value: Any, strict: bool = True) -> None:
        """Raise `Unfit` if the value does not fit this key."""
        self.kind.check(value, strict)


class Rule(ABC):
    """A condition over several keys of one record. A key is *set* when it is there and not None.

    Attributes:
        keys: the keys that it is about.
        text: the condition, for people.
    """

    keys: tuple[str, ...]
    text: str

    @abstractmethod
    def check(self, record: dict[str, Any], strict: bool) -> None:
        """Raise `Unfit` if the record breaks the rule."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return a JSON Schema that a record fits exactly when it keeps the rule."""


class Record:
    """A dict with documented keys.

    The keys are filled in after it was made, because a record may hold records of its own kind.
    """

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        self.doc = doc
        self.fields: tuple[Field, ...] = ()
        self.rules: tuple[Rule, ...] = ()
        self.text = name
        self.defaults: dict[str, Any] = {}
        self._checks: dict[str, Check] = {}
        self._required: tuple[str, ...] = ()

    def fill(self, fields: Iterable[Field], rules: Iterable[Rule]) -> None:
        """Give the record its keys and its rules."""
        self.fields = tuple(fields)
        self.rules = tuple(rules)
        self.defaults = {field.name: field.default for field in self.fields if not field.required}
        self._checks = {field.name: field.kind.check for field in self.fields}
        self._required = tuple(field.name for field in self.fields if field.required)

    def check(self, value: Any, strict: bool) -> None:
        if not isinstance(value, dict):
            raise Unfit(f"dict with the keys {', '.join(self._checks)}", told(value))
        checks = self._checks
        key = ""
        try:
            for key, item in value.items():
                if item is not None and key in checks:
                    checks[key](item, strict)
                elif strict and key not in checks:
                    raise self._unknown(key)
        except Unfit as unfit:
            unfit.inside(key)
            raise
        for key in self._required:
            if value.get(key) is None:
                raise Unfit(self._text_of(key), "nothing", key)
        for rule in self.rules:
            rule.check(value, strict)

    def _text_of(self, key: str) -> str:
        return next(field.kind.text for field in self.fields if field.name == key)

    def _unknown(self, key: object) -> Unfit:
        near = get_close_matches(key, self._checks, n=1) if isinstance(key, str) and len(key) < 100 else []
        hint = f"; did you mean {near[0]}?" if near else ""
        return Unfit(f"one of the keys {', '.join(self._checks)}{hint}", "an unknown key")

    def schema(self, refer: Refer) -> dict[str, Any]:
        return refer(self)


_TEXT = Text()
_INTEGER = Integer()
_NUMBER = Number()
_ANY_DICT = DictOf(_TEXT, Anything())
_ANY_LIST = ListOf(Anything())

"""Records from TypedDicts, so that a format is written once: as a type, with its documentation in the annotations.

    class Greeting(TypedDict):
        \"\"\"Somebody greets.\"\"\"

        reply_channel: Annotated[str, "Where the answer goes."]
        words: Annotated[str, ONE_LINE, "What was said."]
        volume: NotRequired[Annotated[int, Range(0, 11), Default(5), "How loud."]]
        encore: NotRequired[Annotated[bool, Default(False), "Whether to say it twice."]]

Annotations hold, in any order, a str (the documentation), a `Default` (without it the default of a `NotRequired` key
is None), limits (`Characters`, `Most`, `Range`), and, on a TypedDict used as a type, rules. Of two of a sort the outer
one counts.
Types: str, bytes, int, float, bool, `Literal` of str, `list[…]`, `tuple[…]` (a list of fixed length), `dict[str, …]`,
unions, TypedDicts (also of its own kind), and `Any`: any value that can travel.
"""

from __future__ import annotations

import types
from inspect import cleandoc
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from .kinds import (
    Anything,
    Boolean,
    Bytes,
    Characters,
    Choice,
    DictOf,
    Either,
    Field,
    Integer,
    Kind,
    ListOf,
    Most,
    Number,
    Range,
    Record,
    Row,
    Rule,
    Text,
    Unfit,
)

T = TypeVar("T")


class Default:
    """What the absence of a `NotRequired` key means, where it does not mean None."""

    def __init__(self, value: Any) -> None:
        self.value = value


def record_of(typed: type, *rules: Rule) -> Record:
    """Build the record that a TypedDict describes.

    Args:
        typed: a TypedDict whose keys are all documented.
        *rules: conditions over several of its keys.

    Raises:
        TypeError: an annotation that is not understood, or a key without documentation.
    """
    return _Builder().record(typed, rules)


class _Builder:
    def __init__(self) -> None:
        self._records: dict[tuple[type, tuple[Rule, ...]], Record] = {}

    def record(self, typed: type, rules: tuple[Rule, ...]) -> Record:
        known = self._records.get((typed, rules))
        if known is not None:
            return known
        record = self._records[typed, rules] = Record(typed.__name__, cleandoc(typed.__doc__ or ""))
        hints = get_type_hints(typed, include_extras=True)
        optional: frozenset[str] = getattr(typed, "__optional_keys__", frozenset())
        record.fill([self._field(name, hint, name not in optional) for name, hint in hints.items()], rules)
        return record

    def _field(self, name: str, hint: Any, required: bool) -> Field:
        if get_origin(hint) in (NotRequired, Required):
            required = get_origin(hint) is Required
            (hint,) = get_args(hint)
        notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        doc = _outermost(notes, str)
        default = _outermost(notes, Default)
        if not doc:
            raise TypeError(f'{name}: a key of a message format needs documentation: Annotated[…, "what it means"]')
        if required and default:
            raise TypeError(f"{name}: a key with a default must be NotRequired")
        field = Field(name, self._kind(hint), required=required, default=default and default.value, doc=doc)
        if field.default is not None:
            try:
                field.check(field.default)
            except Unfit as unfit:
                raise TypeError(f"{name}: the default must be {unfit.expected}, not {unfit.got}") from None
        return field

    def _kind(self, hint: Any) -> Kind:
        notes: tuple[Any, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *found = get_args(hint)
            notes = tuple(found)
        if is_typeddict(hint):
            return self.record(hint, tuple(note for note in notes if isinstance(note, Rule)))
        kind = self._plain(hint, notes)
        return kind if kind is not None else self._made_of(hint)

    def _plain(self, hint: Any, notes: tuple[Any, ...]) -> Kind | None:
        if hint is str:
            return Text(_outermost(notes, Characters))
        if hint is bytes:
            return Bytes(_outermost(notes, Characters), _outermost(notes, Most))
        if hint is int:
            return Integer(_outermost(notes, Range))
        plain: dict[Any, type[Kind]] = {float: Number, bool: Boolean, Any: Anything}
        return plain[hint]() if hint in plain else None

    def _made_of(self, hint: Any) -> Kind:
        origin, parts = get_origin(hint), get_args(hint)
        if origin is Literal:
            return Choice(parts)
        if origin is list:
            return ListOf(self._kind(parts[0]))
        if origin is tuple:
            return Row([self._kind(part) for part in parts])
        if origin is dict:
            key = self._kind(parts[0])
            if isinstance(key, Text):
                return DictOf(key, self._kind(parts[1]))
        if origin in (Union, types.UnionType):
            return Either([self._kind(part) for part in parts])
        raise TypeError(f"{hint!r}: not a type that a message format can hold")


def _outermost(notes: tuple[Any, ...], sort: type[T]) -> T | None:
    # Annotated[Annotated[int, inner], outer] arrives flat, as (inner, outer).
    return next((note for note in reversed(notes) if isinstance(note, sort)), None)

"""From one table of settings to one typed object, with every mistake named by its path.

A server describes its settings as a dataclass; this module fills it from what a file, the environment and flags
gave. It knows types, not servers: `str`, `int`, `float`, `bool`, `Literal`, `list`, `tuple[T, ...]`, `dict[str, T]`,
`Secret` (never the text itself in a file), `T | None`, other unions, and dataclasses inside. A field's metadata may
hold `min` and `max` (both inclusive) for numbers; what spans several keys belongs into the dataclass' `__post_init__`,
as a ValueError.

A field of type `dict[str, T]` whose metadata holds `tables`, such as {"tables": "NETWORK"}, takes all keys that are no
other field's: `[irc.libera]` becomes an entry of it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from .errors import SettingsError
from .secret import Secret

T = TypeVar("T")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})
_SECRET = re.compile(r"password|secret|token|key", re.IGNORECASE)
_SECRET_FORMS = '{ env = "NAME" } or { file = "path" }'
_MAX_SECRET = 64 * 1024
_SHOWN = 40


class Given(NamedTuple):
    """A setting as somebody gave it.

    Attributes:
        value: What was given.
        where: How a person finds it: "trunkline.toml: [http] endpoints", "TRUNKLINE_HTTP_ENDPOINTS", "--grace".
        text: It comes from the environment: numbers are digits, lists are separated by commas.
    """

    value: Any
    where: str
    text: bool = False


class _Wrong(Exception):
    """A value that does not fit; `args` is where and why, or nothing if the reasons are reported already."""


class TableReader:
    """Fills dataclasses, and collects what is wrong instead of ending at the first mistake.

    Args:
        environ: Where `{ env = "NAME" }` looks.
        folder: The folder that `{ file = "…" }` is relative to.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.problems: list[str] = []
        self._environ = environ
        self._folder = folder

    def table(self, cls: type[T], given: Mapping[str, Given], where: str) -> T | None:
        """Make a `cls` from the given settings; None, and `problems`, if they do not fit.

        Args:
            cls: A dataclass; fields without a default are required.
            given: Settings by key.
            where: The table's own place, such as "trunkline.toml: [http]", for what is missing.
        """
        before = len(self.problems)
        given = _gathered(cls, given, where)
        kinds = typing.get_type_hints(cls)
        fields = {field.name: field for field in _settings_of(cls)}
        values = {}
        for key, each in given.items():
            if key not in fields:
                self.problems.append(f"{each.where}: unknown key; {nearest(key, fields)}")
                continue
            try:
                values[key] = self._convert(each, kinds[key])
                _within(each, values[key], fields[key].metadata)
            except _Wrong as wrong:
                self.report(wrong)
        for key, field in fields.items():
            if key not in given and field.default is dataclasses.MISSING is field.default_factory:
                self.problems.append(f"{place(where, key)}: is required")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return None

    def report(self, wrong: _Wrong) -> None:
        """Note a value that does not fit, unless its reasons are noted already."""
        if wrong.args:
            where, why = wrong.args
            self.problems.append(f"{where}: {why}")

    def _convert(self, given: Given, kind: Any) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._convert_union(given, get_args(kind))
        if origin is Literal:
            return self._convert_literal(given, get_args(kind))
        if origin in (list, tuple):
            items = self._items(given)
            return origin(self._convert(item, get_args(kind)[0]) for item in items)
        if origin is dict:
            rows = self._rows(given).items()
            return {key: self._convert(row, get_args(kind)[1]) for key, row in rows}
        if dataclasses.is_dataclass(kind):
            made = self.table(typing.cast("type[Any]", kind), self._rows(given), inner(given.where))
            if made is None:
                raise _Wrong
            return made
        if kind is str:
            return self._convert_text(given)
        if kind is Secret:
            return self._convert_secret(given)
        return _convert_plain(given, kind)

    def _convert_union(self, given: Given, options: tuple[Any, ...]) -> Any:
        kinds = [option for option in options if option is not type(None)]
        if given.text and given.value == "" and len(kinds) < len(options):
            return None
        wrong: _Wrong | None = None
        for kind in kinds:
            try:
                return self._convert(given, kind)
            except _Wrong as error:
                wrong = error
        if wrong is None or len(kinds) == 1 or not wrong.args:
            raise wrong or _Wrong(given.where, "cannot be set")
        raise _Wrong(given.where, f"expected {' or '.join(map(_named, kinds))}, got {_shown(given)}")

    def _convert_literal(self, given: Given, options: tuple[Any, ...]) -> Any:
        for option in options:
            if given.value == option and isinstance(given.value, type(option)):
                return option
        listed = " or ".join(json.dumps(option) for option in options)
        raise _Wrong(given.where, f"expected {listed}, got {_shown(given)}")

    def _convert_text(self, given: Given) -> str:
        value = given.value
        if isinstance(value, str):
            return value
        if not isinstance(value, dict):
            raise _Wrong(given.where, f"expected a text in quotes or {_SECRET_FORMS}, got {_shown(given)}")
        if len(value) != 1 or not value.keys() <= {"env", "file"} or not isinstance(next(iter(value.values())), str):
            raise _Wrong(given.where, f"expected a text in quotes or {_SECRET_FORMS}")
        if "env" in value:
            return self._secret_from_environment(given.where, value["env"])
        return self._secret_from_file(given.where, value["file"])

    def _convert_secret(self, given: Given) -> Secret:
        if isinstance(given.value, str) and not given.text:
            raise _Wrong(given.where, f"expected {_SECRET_FORMS}: a secret does not stand in the file itself")
        text = self._convert_text(given).strip()
        if not text:
            raise _Wrong(given.where, "is empty")
        from_file = isinstance(given.value, dict) and "file" in given.value
        return Secret(text, self._folder / given.value["file"] if from_file else None)

    def _secret_from_environment(self, where: str, name: str) -> str:
        try:
            return self._environ[name]
        except KeyError:
            raise _Wrong(where, f"the environment variable {name} is not set") from None

    def _secret_from_file(self, where: str, name: str) -> str:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_SECRET + 1)
            if len(content) > _MAX_SECRET:
                raise _Wrong(where, f"the file {path} is over {_MAX_SECRET // 1024} KiB, too long for a secret")
            return content.decode().rstrip("\r\n")
        except OSError as error:
            raise _Wrong(where, f"cannot read the file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _Wrong(where, f"the file {path} is not UTF-8 text") from None

    def _items(self, given: Given) -> Iterator[Given]:
        if given.text:
            values = [item.strip() for item in given.value.split(",") if item.strip()]
        elif isinstance(given.value, list):
            values = given.value
        else:
            raise _Wrong(given.where, f"expected a list in brackets, got {_shown(given)}")
        for number, value in enumerate(values, 1):
            yield Given(value, given.where if len(values) == 1 else f"{given.where}, item {number}", given.text)

    def _rows(self, given: Given) -> dict[str, Given]:
        if isinstance(given.value, dict):
            return wrapped(given.value, inner(given.where))
        raise _Wrong(given.where, f"expected a table, got {_shown(given)}")


def table(cls: type[T], mapping: Mapping[str, Any], path: str, environ: Mapping[str, str]) -> T:
    """Make a `cls` from a mapping as a TOML file gives it.

    Args:
        cls: A dataclass of settings.
        mapping: Keys and plain values.
        path: What the errors call the table: "trunkline.toml: [http]".
        environ: Where `{ env = "NAME" }` looks.

    Raises:
        SettingsError: a key is unknown or missing, or a value does not fit.
    """
    reader = TableReader(environ, Path())
    made = reader.table(cls, wrapped(mapping, path), path)
    if made is None:
        raise SettingsError(*reader.problems)
    return made


def wrapped(rows: Mapping[str, Any], where: str) -> dict[str, Given]:
    """Say of each row of a table where it stands, unless it says so itself."""
    return {key: row if isinstance(row, Given) else Given(row, place(where, key)) for key, row in rows.items()}


def place(table: str, key: str) -> str:
    """Name a key of a table: "trunkline.toml: [http]" and "origins" give "trunkline.toml: [http] origins"."""
    shown = key if _BARE_KEY.fullmatch(key) else json.dumps(key)
    return f"{table} {shown}" if table.endswith("]") else f"{table}: {shown}"


def inner(where: str) -> str:
    """Name a table by its key's place: "trunkline.toml: [http] static" gives "trunkline.toml: [http.static]"."""
    head, bracket, key = where.rpartition("] ")
    return f"{head}.{key}]" if bracket else where


def nearest(key: str, valid: Iterable[str]) -> str:
    """Say which valid key was probably meant; all of them where none comes close."""
    names = {name.lower(): name for name in sorted(valid)}
    close = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.55)
    return f"did you mean {names[close[0]]}?" if close else f"what can stand here: {', '.join(names.values())}"


def tables_of(cls: type[Any]) -> tuple[dataclasses.Field[Any], type[Any]] | None:
    """Return a dataclass' field whose entries are tables that a user names, and their dataclass; None: it has none."""
    for field in _settings_of(cls):
        if "tables" in field.metadata:
            return field, get_args(typing.get_type_hints(cls)[field.name])[1]
    return None


def environment_names(cls: type[Any], prefix: str, rows: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the environment variables that set a dataclass' fields, each with the keys that lead to its field.

    Args:
        cls: The dataclass.
        prefix: What they begin with.
        rows: The keys of the table in the file: the tables that a user named are known from there.
    """
    names: dict[str, tuple[str, ...]] = {}
    kinds = typing.get_type_hints(cls)
    named = tables_of(cls)
    if named is not None:
        for row in rows:
            below = environment_names(named[1], f"{prefix}_{row.upper().replace('-', '_')}")
            names.update({variable: (row, *keys) for variable, keys in below.items()})
    for field in _settings_of(cls):
        name = f"{prefix}_{field.name.upper()}"
        kind = kinds[field.name]
        # A table that may be left out is `T | None`.
        inside = next((each for each in (kind, *get_args(kind)) if dataclasses.is_dataclass(each)), None)
        if inside is not None and get_origin(kind) is not dict:
            below = environment_names(typing.cast("type[Any]", inside), name)
            names.update({variable: (field.name, *keys) for variable, keys in below.items()})
        elif not any(get_origin(option) is dict for option in (kind, *get_args(kind))):
            names[name] = (field.name,)
    return names


def _gathered(cls: type[Any], given: Mapping[str, Given], where: str) -> Mapping[str, Given]:
    """Put the tables that a user named where the dataclass has them."""
    named = tables_of(cls)
    if named is None:
        return given
    others = {field.name for field in _settings_of(cls)} - {named[0].name}
    tables = {key: each for key, each in given.items() if key not in others}
    kept = {key: each for key, each in given.items() if key in others}
    return kept | ({named[0].name: Given(tables, where)} if tables else {})


def _settings_of(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _convert_plain(given: Given, kind: Any) -> Any:
    value = _parsed(given, kind) if given.text else given.value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is an int to Python, never to a person; an endless or undefined number is no limit that can be kept.
    fits = kind is Any or (isinstance(value, kind) and isinstance(value, bool) is (kind is bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise _Wrong(given.where, f"expected {_named(kind)}, got {_shown(given)}")
    return value


def _parsed(given: Given, kind: Any) -> Any:
    text = given.value.strip()
    if kind is bool:
        return True if text.lower() in _YES else False if text.lower() in _NO else text
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _within(given: Given, value: Any, limits: Mapping[Any, Any]) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if "min" in limits and value < limits["min"]:
        raise _Wrong(given.where, f"must be at least {limits['min']}, got {_shown(given)}")
    if "max" in limits and value > limits["max"]:
        raise _Wrong(given.where, f"must be at most {limits['max']}, got {_shown(given)}")


_NAMES = {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def _named(kind: Any) -> str:
    plain = get_origin(kind) or kind
    if plain is Literal:
        return " or ".join(json.dumps(option) for option in get_args(kind))
    return _NAMES.get(plain, "a table")


def _shown(given: Given) -> str:
    if _SECRET.search(given.where.rpartition(" ")[2]):
        return "something else"
    text = repr(given.value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

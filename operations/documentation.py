"""The reference page of all settings, written from the settings classes themselves."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from .secret import Secret
from .settings import OPERATIONS, ChannelSettings, Configuration, OperationsSettings, WorkerSettings
from .tables import tables_of

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Secret: "`{ env }` or `{ file }`"}
_SECTION = re.compile(r"^(?:Args|Attributes):$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def reference(tables: Mapping[str, type[Any]]) -> str:
    """Return the settings as a Markdown page: one table of keys a settings class.

    Args:
        tables: The settings dataclass of each server by its table's name. A key's meaning is taken from the
            `Args` or `Attributes` of the docstrings of the class and of those it builds on.
    """
    parts = ["## At the top", "", *_lines(Configuration, ("layer", "routing")), ""]
    classes = {"channels.PATTERN": ChannelSettings, "worker": WorkerSettings, OPERATIONS: OperationsSettings, **tables}
    for name, cls in classes.items():
        parts += [*_section(name, cls), ""]
    return "\n".join(parts)


def _section(name: str, cls: type[Any]) -> Iterator[str]:
    named = tables_of(cls)
    if named is not None:
        yield from _section(f"{name}.{named[0].metadata['tables']}", named[1])
        return
    summary = (inspect.getdoc(cls) or "").partition("\n\n")[0]
    yield from (f"## `[{name}]`", "", summary, "")
    yield from _lines(cls, tuple(field.name for field in dataclasses.fields(cls) if field.init))
    for key, kind in typing.get_type_hints(cls).items():
        for inside in (kind, *get_args(kind)):
            if dataclasses.is_dataclass(inside):
                yield ""
                yield from _section(f"{name}.{key}", typing.cast("type[Any]", inside))


def _lines(cls: type[Any], keys: tuple[str, ...]) -> Iterator[str]:
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    meanings = _meanings(cls)
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key in keys:
        cells = (f"`{key}`", _named(kinds[key], fields[key].metadata), _default(fields[key]), meanings.get(key, ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _meanings(cls: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a class and of those it builds on say of each key."""
    texts = [inspect.cleandoc(base.__doc__ or "") for base in reversed(cls.__mro__)]
    sections = [section for text in texts for section in _SECTION.split(text)[1:]]
    return {key: " ".join(said.split()) for section in sections for key, said in _ATTRIBUTE.findall(section)}


def _named(kind: Any, limits: Mapping[Any, Any]) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(kind) if option is not type(None)]
        return " or ".join(_named(option, limits) for option in options)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(option)}`" for option in get_args(kind))
    if origin in (list, tuple):
        return f"list of {_named(get_args(kind)[0], {})}"
    if kind not in _PLAIN:
        return "table"
    if kind not in (int, float):
        return _PLAIN[kind]
    least, most = limits.get("min"), limits.get("max")
    limited = [f"from {least}"] if least is not None else []
    limited += [f"to {most}"] if most is not None else []
    return " ".join([_PLAIN[kind], *limited])


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if value is None or dataclasses.is_dataclass(value) or value == {}:
        return ""
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"

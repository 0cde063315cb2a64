"""The formats for people: text for the terminal, and the reference page in Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from .format import Format
from .kinds import Record
from .registry import formats

_WIDTH = 100


def summary() -> str:
    """Return one line for each format: its name and what it is."""
    listed = formats()
    width = max(len(format.name) for format in listed)
    return "\n".join(f"{format.name:{width}}  {format.doc.splitlines()[0]}" for format in listed)


def describe(format: Format) -> str:
    """Return all there is to know about a format, for a terminal: keys, types, defaults, answers, reply."""
    lines = [format.name, "", *_wrapped(format.doc), "", *_listed(format.record)]
    facts = list(_facts(format))
    if facts:
        lines += ["", *facts]
    if format.reply is not None:
        lines += ["", "Reply", *_wrapped(format.reply.doc), "", *_listed(format.reply.record)]
    return "\n".join(lines)


def markdown() -> str:
    """Return the reference page of all formats."""
    lines = ["# Message formats", ""]
    replies: dict[Format, None] = {}
    for format in formats():
        lines += [f"## `{format.name}`", "", format.doc, "", *_tables(format.record)]
        lines += [f"- {fact}" for fact in _facts(format, code="`")]
        if format.reply is not None:
            replies[format.reply] = None
            lines.append(f"- May be answered with a [{format.reply.name}](#{format.reply.name.replace(' ', '-')}).")
        lines.append("")
    for reply in replies:
        lines += [f"## {reply.name}", "", reply.doc, "", *_tables(reply.record), ""]
    return "\n".join(lines).rstrip() + "\n"


def _inner(record: Record) -> list[Record]:
    """Return the records that occur inside a record, each once."""
    found: dict[Record, None] = {}

    def refer(inner: Record) -> dict[str, Any]:
        if inner not in found:
            found[inner] = None
            visit(inner)
        return {}

    def visit(outer: Record) -> None:
        for field in outer.fields:
            field.kind.schema(refer)

    visit(record)
    return list(found)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _facts(format: Format, code: str = "") -> Iterator[str]:
    answers = (
        ("A consumer that returns without an answer gives", format.default),
        ("A failure gives", format.failure),
        ("Where no route takes it", format.unrouted),
        ("While another worker holds it", format.busy),
    )
    for when, answer in answers:
        if answer is not None:
            yield f"{when}: {code}{answer!r}{code}"
    if format.judged_by:
        yield f"Where no route takes it, but one of {code}{format.judged_by}{code} may, it is answered by default."
    if format.notification:
        yield "Published only where a worker listens."
    if format.sender_repeats:
        yield "The sender repeats what was not taken: it never becomes a dead letter."
    if format.needs_listener:
        yield "Sent while nobody listens, it becomes a dead letter."


def _wrapped(text: str, indent: str = "") -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += ["", *textwrap.wrap(paragraph, _WIDTH, initial_indent=indent, subsequent_indent=indent)]
    return lines[1:]


def _listed(record: Record) -> list[str]:
    lines: list[str] = []
    for part in (record, *_inner(record)):
        if part is not record:
            lines += ["", *_wrapped(f"{part.name}: {part.doc}", "  ")]
        for field in part.fields:
            default = "" if field.required else f" = {_literal(field.default)}"
            lines.append(f"  {field.name}: {field.type}{default}")
            lines += _wrapped(field.doc, "      ")
        lines += [f"  Rule: {rule.text}" for rule in part.rules]
    return lines


def _tables(record: Record) -> Iterable[str]:
    for part in (record, *_inner(record)):
        if part is not record:
            yield from (f"### {part.name}", "", part.doc, "")
        yield from ("| key | type | default | meaning |", "| --- | --- | --- | --- |")
        for field in part.fields:
            default = "required" if field.required else f"`{_literal(field.default)}`"
            kind = field.type.replace("|", "\\|")
            yield f"| `{field.name}` | {kind} | {default} | {field.doc.replace('|', chr(92) + '|')} |"
        yield ""
        yield from (f"- {rule.text[0].upper()}{rule.text[1:]}." for rule in part.rules)

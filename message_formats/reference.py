"""The formats for people: text for the terminal, and the reference page in Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
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
    blocks = [format.name, _wrapped(format.doc), *_listings(format.record)]
    facts = [_wrapped(fact, then="    ") for fact in _facts(format)]
    if facts:
        blocks.append("\n".join(facts))
    if format.reply is not None:
        blocks += ["Reply", _wrapped(format.reply.doc), *_listings(format.reply.record)]
    return "\n\n".join(blocks)


def markdown() -> str:
    """Return the reference page of all formats."""
    blocks = ["# Message formats"]
    replies: dict[Format, None] = {}
    for format in formats():
        blocks += [f"## `{format.name}`", format.doc, *_tables(format.record)]
        facts = list(_facts(format, code="`"))
        if format.reply is not None:
            replies[format.reply] = None
            facts.append(f"Answered with: [{format.reply.name}](#{format.reply.name.replace(' ', '-')})")
        if facts:
            blocks.append("\n".join(f"- {fact}" for fact in facts))
    for reply in replies:
        blocks += [f"## {reply.name}", reply.doc, *_tables(reply.record)]
    return "\n\n".join(blocks) + "\n"


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


def _wrapped(text: str, indent: str = "", then: str = "") -> str:
    """Fill the paragraphs of a text, each line indented, and those that continue a paragraph by `then` more."""
    filler = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + then,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n\n".join(filler.fill(paragraph) for paragraph in text.split("\n\n"))


def _listings(record: Record) -> Iterator[str]:
    for part in (record, *_inner(record)):
        if part is not record:
            yield _wrapped(f"{part.name}: {part.doc}", "  ")
        lines = []
        for field in part.fields:
            default = "" if field.required else f" = {_literal(field.default)}"
            lines += [f"  {field.name}: {field.type}{default}", _wrapped(field.doc, "      ")]
        yield "\n".join([*lines, *(_wrapped(f"Rule: {rule.text}", "  ", "    ") for rule in part.rules)])


def _tables(record: Record) -> Iterator[str]:
    for part in (record, *_inner(record)):
        if part is not record:
            yield f"### {part.name}"
            yield part.doc
        rows = [("key", "type", "default", "meaning"), ("---",) * 4]
        for field in part.fields:
            default = "required" if field.required else f"`{_literal(field.default)}`"
            rows.append((f"`{field.name}`", field.type, default, field.doc))
        yield "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        if part.rules:
            yield "\n".join(f"- Rule: {rule.text}" for rule in part.rules)

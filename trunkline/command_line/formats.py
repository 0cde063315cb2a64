"""`trunkline formats`: the message formats, for people and for tools."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..operations.errors import UsageError
from ..operations.tables import nearest
from .terminal import say

if TYPE_CHECKING:
    from ..message_formats import Format

SUMMARY = "Show the message formats, for people and for tools."
EXAMPLES = (
    "trunkline formats",
    "trunkline formats http.request",
    "trunkline formats email.receive --json-schema",
    "trunkline formats --asyncapi > asyncapi.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a channel, such as http.request; all without it")
    tools = parser.add_mutually_exclusive_group()
    tools.add_argument("--json-schema", action="store_true", help="as JSON Schema, by format")
    tools.add_argument("--asyncapi", action="store_true", help="as an AsyncAPI 3 document")


def execute(arguments: argparse.Namespace) -> int:
    """Print the formats, and return the exit code."""
    from .. import message_formats

    chosen = None if arguments.name is None else _find(arguments.name)
    if arguments.asyncapi:
        say(_json(message_formats.asyncapi() if chosen is None else message_formats.asyncapi([chosen])))
    elif arguments.json_schema:
        every = {format.name: message_formats.json_schema(format) for format in message_formats.formats()}
        say(_json(every if chosen is None else every[chosen.name]))
    else:
        say(message_formats.summary() if chosen is None else message_formats.describe(chosen))
    return 0


def _find(name: str) -> Format:
    from .. import message_formats

    found = message_formats.get(name)
    if found is None:
        raise UsageError(f"no format is called {name!r}; {nearest(name, message_formats.names())}")
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)

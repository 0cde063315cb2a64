"""`trunkline dead`: the dead letters, messages that nobody will repeat by himself."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..operations.errors import ExitError, UsageError
from . import operating
from .terminal import columns, complain, printable, say

if TYPE_CHECKING:
    from ..layer import Layer

SUMMARY = "List, show, send again or drop dead letters: messages whose consumers failed, or that found no room."
EXAMPLES = (
    "trunkline dead list",
    "trunkline dead show 5f1c0c1e9a7d4b32",
    "trunkline dead retry 5f1c0c1e9a7d4b32",
    "trunkline dead drop --all",
)

_LISTED = ("id", "time", "channel", "tries", "reason")


def add_arguments(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Add the command's arguments; return the parsers of what it can do, by their names."""
    added = parser.add_subparsers(metavar="ACTION", required=True)
    parsers = {}
    for name, (summary, act) in _ACTIONS.items():
        shown = [f"  {line}\n" for line in EXAMPLES if line.split()[2] == name]
        epilog = f"example{'s' * (len(shown) > 1)}:\n" + "".join(shown)
        action = parsers[name] = added.add_parser(
            name, help=summary, description=summary, epilog=epilog, formatter_class=parser.formatter_class
        )
        action.set_defaults(act=act, action=name)
        if name == "show":
            action.add_argument("id", metavar="ID", help="a dead letter, as list names it")
        elif name != "list":
            action.add_argument("ids", metavar="ID", nargs="*", help="dead letters, as list names them")
            action.add_argument("--all", action="store_true", help="all that are there now")
        if name in ("list", "show"):
            action.add_argument("--json", action="store_true", help="as JSON, one object a line")
        operating.add_arguments(action)
    return parsers


def execute(arguments: argparse.Namespace) -> int:
    """Do what was asked, and return the exit code."""
    if "ids" in arguments and bool(arguments.ids) == arguments.all:
        raise UsageError(f"dead {arguments.action} needs the IDs of dead letters, or --all")
    with operating.opened(arguments, f"dead {arguments.action}") as layer:
        act: Callable[[argparse.Namespace, Layer], int] = arguments.act
        return act(arguments, layer)


def _list(arguments: argparse.Namespace, layer: Layer) -> int:
    letters = layer.dead_letters()
    if arguments.json or not sys.stdout.isatty():
        for letter in letters:
            operating.say_json({key: letter[key] for key in _LISTED})
    elif letters:
        rows = [tuple(printable(_shown(key, letter[key])) for key in _LISTED) for letter in letters]
        say("\n".join(columns([_LISTED, *rows])))
    else:
        say("there are no dead letters")
    return 0


def _show(arguments: argparse.Namespace, layer: Layer) -> int:
    letter = layer.dead_letter_of(arguments.id)
    if letter is None:
        raise _unknown(arguments.id)
    if arguments.json:
        operating.say_json(letter)
        return 0
    for key in _LISTED:
        say(f"{key:<8} {printable(_shown(key, letter[key]))}")
    say("message")
    operating.say_json(letter["message"], indent=2)
    if letter["traceback"]:
        say("traceback")
        say(printable(letter["traceback"].rstrip(), "\n\t"))
    return 0


def _retry(arguments: argparse.Namespace, layer: Layer) -> int:
    return _each(arguments, layer, layer.dead_letter_retry, "was sent again")


def _drop(arguments: argparse.Namespace, layer: Layer) -> int:
    return _each(arguments, layer, layer.dead_letter_drop, "was dropped")


def _each(arguments: argparse.Namespace, layer: Layer, act: Callable[[str], bool], done: str) -> int:
    """Act on each letter; one that cannot be acted on keeps no other."""
    from ..layer import ChannelFull

    code = 0
    for id in [letter["id"] for letter in layer.dead_letters()] if arguments.all else arguments.ids:
        try:
            if not act(id):
                raise _unknown(id)
            say(f"{id} {done}")
        except (ChannelFull, ExitError) as error:
            complain(f"{id} stays: {error}" if isinstance(error, ChannelFull) else str(error))
            code = ExitError.code
    return code


def _unknown(id: str) -> ExitError:
    return ExitError(f"there is no dead letter {id!r}; trunkline dead list names them")


def _shown(key: str, value: Any) -> str:
    if key != "time":
        return str(value)
    return datetime.datetime.fromtimestamp(value, datetime.UTC).astimezone().isoformat(" ", "seconds")


_ACTIONS = {
    "list": ("List the dead letters, the oldest first: a table on a terminal, else JSON, one object a line.", _list),
    "show": ("Show a dead letter: its message, why it is one, and the traceback of its consumer.", _show),
    "retry": ("Send dead letters to their channels again, as new messages.", _retry),
    "drop": ("Drop dead letters for good.", _drop),
}

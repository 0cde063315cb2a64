"""`trunkline mail`: the mails that wait to be sent by a relay."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from ..operations.errors import ExitError, UsageError
from . import operating
from .terminal import columns, complain, printable, say

if TYPE_CHECKING:
    from ..layer import Layer

SUMMARY = "List, hasten or drop the mails that wait to be sent: what the relay did not take yet."
EXAMPLES = (
    "trunkline mail list",
    "trunkline mail retry 1700000000123456",
    "trunkline mail retry --all",
    "trunkline mail drop 1700000000123456",
)

_CHANNEL = "email.send"
_LISTED = ("id", "sent", "from", "to", "tries", "next", "answer")
_SHOWN = 3  # recipients of a mail in the table


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
        if name == "list":
            action.add_argument("--json", action="store_true", help="as JSON, one object a line")
        else:
            action.add_argument("ids", metavar="ID", nargs="*", help="mails, as list names them")
            action.add_argument("--all", action="store_true", help="all that wait now")
        operating.add_arguments(action)
    return parsers


def execute(arguments: argparse.Namespace) -> int:
    """Do what was asked, and return the exit code."""
    if "ids" in arguments and bool(arguments.ids) == arguments.all:
        raise UsageError(f"mail {arguments.action} needs the IDs of mails, or --all")
    with operating.opened(arguments, f"mail {arguments.action}") as layer:
        act: Callable[[argparse.Namespace, Layer], int] = arguments.act
        return act(arguments, layer)


def _mails(layer: Layer) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each mail, the oldest first; `next` and `sent` are Unix seconds."""
    from ..protocol_servers.smtp.outgoing.mail import state_key

    now = time.time()
    for kept in layer.kept(_CHANNEL):
        progress = layer.get_state(state_key(kept["id"]))[0] or {}
        answers = progress.get("answers", {})
        yield {
            "id": kept["id"],
            "sent": now - kept["age"],
            "from": kept["message"].get("from", ""),
            "to": _left(kept["message"], progress.get("done", ())),
            "tries": progress.get("tries", 0),
            "next": now + kept["wait"] if kept["state"] == "later" else None,
            "state": kept["state"],
            "answer": next(reversed(answers.values()), ""),
            "answers": answers,
        }


def _list(arguments: argparse.Namespace, layer: Layer) -> int:
    as_json = arguments.json or not sys.stdout.isatty()
    rows = []
    for mail in _mails(layer):
        if as_json:
            operating.say_json(mail)
        else:
            rows.append(tuple(printable(_shown(mail, key)) for key in _LISTED))
    if rows:
        say("\n".join(columns([_LISTED, *rows])))
    elif not as_json:
        say("no mail waits to be sent")
    return 0


def _retry(arguments: argparse.Namespace, layer: Layer) -> int:
    def hasten(id: str, state: str) -> str:
        if layer.hasten(_CHANNEL, id):
            return "is sent as soon as the relay takes it"
        return "is being sent already" if state == "taken" else "waits for nothing but the relay already"

    return _each(arguments, layer, hasten)


def _drop(arguments: argparse.Namespace, layer: Layer) -> int:
    from ..protocol_servers.smtp.outgoing.mail import state_key

    def drop(id: str, state: str) -> str:
        layer.discard(_CHANNEL, id)
        layer.delete_state(state_key(id))
        return "was dropped; who has not got it will not"

    return _each(arguments, layer, drop)


def _each(arguments: argparse.Namespace, layer: Layer, act: Callable[[str, str], str]) -> int:
    """Act on each mail; one that is not there keeps no other."""
    states = {kept["id"]: kept["state"] for kept in layer.kept(_CHANNEL)}
    code = 0
    for id in states if arguments.all else arguments.ids:
        if id in states:
            say(f"{id} {act(id, states[id])}")
        else:
            complain(f"no mail {id!r} waits to be sent; trunkline mail list names them")
            code = ExitError.code
    return code


def _left(message: dict[str, Any], done: Collection[str]) -> list[str]:
    """Return the recipients who have not got it yet; none of a message that no server will understand."""
    from ..message_formats.email.compose import CompositionError, envelope

    try:
        _, found, wrong = envelope(message)
    except (CompositionError, KeyError, TypeError, AttributeError):
        return []
    return [address for address in (*found, *wrong) if address not in done]


def _shown(mail: dict[str, Any], key: str) -> str:
    value = mail[key]
    if key == "next" and value is None:
        return {"taken": "being sent"}.get(mail["state"], "soon")
    if key in ("sent", "next"):
        return datetime.datetime.fromtimestamp(value, datetime.UTC).astimezone().isoformat(" ", "seconds")
    if key == "to":
        more = f" and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
        return ", ".join(map(str, value[:_SHOWN])) + more
    return str(value)


_ACTIONS = {
    "list": (
        "List the mails that wait, the oldest first, with what the relay said last: a table on a terminal, else JSON, "
        "one object a line.",
        _list,
    ),
    "retry": ("Send mails now that were to be tried again later.", _retry),
    "drop": ("Drop mails for good; nobody is told.", _drop),
}

"""`trunkline routes`: which consumer takes what, and with what arguments."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..operations.errors import UsageError
from . import configuration as configured
from .terminal import DIM, coloured, columns, say

if TYPE_CHECKING:
    from ..operations.settings import Configuration
    from ..workers import Routing

SUMMARY = "Show which consumer takes an address, a path or a text, and with what arguments; all routes without one."
EXAMPLES = (
    "trunkline routes helpdesk.routing",
    "trunkline routes helpdesk.routing --address support+42@example.com",
    "trunkline routes --path /orders/7",
    'trunkline routes --text "!say hello"',
)

Question = tuple[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_routing(parser)
    configured.add_file(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--address", metavar="A", help="an envelope recipient")
    asked.add_argument("--path", metavar="P", help="the path of a GET request or a WebSocket")
    asked.add_argument("--text", metavar="T", help="a chat message, or a text over a WebSocket")


def execute(arguments: argparse.Namespace) -> int:
    """Print the routes, and return the exit code."""
    configuration = configured.load_configuration(arguments)
    routing = configured.routing_of(configuration)
    questions = _questions(arguments, configuration)
    if not questions:
        say("\n".join(_table(routing)))
        return 0
    answers = [line for channel, content in questions for line in _answer(routing, channel, content)]
    channels = " or ".join(channel for channel, _ in questions)
    say("\n".join(answers or [f"no route listens to {channels}"]))
    return 0


def _questions(arguments: argparse.Namespace, configuration: Configuration) -> list[Question]:
    """Return what was asked as the messages that servers would publish, as far as they are known."""
    from ..message_formats.email import normalise_address

    if arguments.address is not None:
        address, tag = normalise_address(_recipient(arguments.address, configuration))
        content = {"address": address} | ({} if tag is None else {"tag": tag})
        return [("email.recipient", {"address": address}), ("email.receive", content)]
    if arguments.path is not None:
        path, _, query = arguments.path.partition("?")
        common = {"path": unquote(path), "query_string": query.encode()}
        request = {"method": "GET", "http_version": "1.1", "scheme": "http"} | common
        receive = {"path": common["path"]}
        return [("http.request", request), ("websocket.connect", common), ("websocket.receive", receive)]
    if arguments.text is not None:
        content = {"text": arguments.text}
        return [("chat.message", content), ("websocket.receive", content)]
    return []


def _recipient(text: str, configuration: Configuration) -> str:
    """Read an address as the mail servers would, and give the postmaster's mail to whom they give it.

    Raises:
        UsageError: it is none.
    """
    from ..protocol_servers.smtp.addresses import give_postmaster, parse_path

    found = parse_path(text if text.startswith("<") else f"<{text}>", postmaster=True)
    if found is None or found.text is None or found.rest:
        raise UsageError(f"{text!r} is not an address that mail could be sent to, such as support@example.com")
    servers = (configuration.servers.get(name) for name in ("smtp", "lmtp"))
    settings = next((each for each in servers if each is not None), None)
    postmaster, hostname = (settings.postmaster, settings.hostname) if settings is not None else (None, "")
    address = give_postmaster(found.text, postmaster, hostname or "localhost")
    if address != found.text:
        say(f"mail for {found.text} goes to {address}")
    return address


def _answer(routing: Routing, channel: str, content: dict[str, Any]) -> list[str]:
    """Say which route takes a message; why none does; nothing where no route listens to its channel."""
    told = routing.explain(channel, content)
    taking = [one for one in told if one.takes]
    if taking or not told:
        return [f"{channel}: {one}" for one in taking]
    why = [coloured(f"    {one}", DIM, sys.stdout) for one in told]
    return [f"{channel}: no route takes it; {_outcome(routing, channel, content)}", *why]


def _outcome(routing: Routing, channel: str, content: dict[str, Any]) -> str:
    """Say what becomes of a message that no route takes, as a worker decides it."""
    from .. import message_formats

    form = message_formats.get(channel)
    assert form is not None, "it is asked what servers publish"
    if form.judged_by is not None and routing.may_take(form.judged_by, content, frozenset(content)):
        return f"it is accepted, since a route of {form.judged_by} may match"
    if form.unrouted is None:
        return "it is dropped"
    plain = {key: value for key, value in form.unrouted.items() if isinstance(value, (bool, int, str))}
    return "the answer is " + " ".join(f"{key}={value!r}" for key, value in plain.items())


def _table(routing: Routing) -> list[str]:
    rows = []
    for leaf in routing.leaves():
        rows.append((", ".join(leaf.channels), " ".join(map(repr, leaf.filters)), leaf.name, leaf.where))
    return columns([("channels", "filters", "consumer", "where"), *rows])

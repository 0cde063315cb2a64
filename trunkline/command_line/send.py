"""`trunkline send`: one message to a channel, from a shell."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..operations.errors import UsageError
from . import operating
from .terminal import say

SUMMARY = "Send a message to a channel, as a server or a worker would."
EXAMPLES = (
    """trunkline send my.work '{"number": 7}'""",
    """trunkline send my.pictures '{"png": {"$bytes": "iVBORw0KGgo="}}'""",
    """trunkline send asgi.delay '{"channel": "my.work", "delay": 60000, "content": {"number": 7}}'""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    operating.add_channel(parser)
    parser.add_argument(
        "message",
        metavar="JSON",
        type=_message,
        help='the message as a JSON object; bytes are written {"$bytes": "BASE64"}; trunkline formats tells what '
        "the channels of Trunkline take",
    )
    operating.add_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Send, and return the exit code."""
    from .. import message_formats

    channel, message = arguments.channel, arguments.message
    form = message_formats.get(channel)
    if form is not None:
        try:
            form.validate(message)
        except message_formats.FormatError as error:
            raise UsageError(f"{error}; trunkline formats {channel} explains it") from error
    with operating.opened(arguments, "send") as layer:
        operating.asked(layer.send, channel, message)
        waited_for = any(channel in info.get("channels", ()) for info in layer.listeners().values())
    say(f"sent to {channel}" + ("" if waited_for or {"!", "?"} & {*channel} else "; no worker listens there now"))
    return 0


def _message(text: str) -> dict[str, Any]:
    """Read the JSON form of a message.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    from .. import message_formats

    try:
        message = message_formats.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not isinstance(message, dict):
        raise argparse.ArgumentTypeError("a message is a JSON object, {…}")
    return message

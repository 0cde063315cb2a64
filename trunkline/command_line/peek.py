"""`trunkline peek`: what waits in a channel."""

from __future__ import annotations

import argparse

from . import operating, running

SUMMARY = "Show the messages that wait in a channel, the oldest first, one JSON object a line; they stay there."
EXAMPLES = (
    "trunkline peek email.receive",
    "trunkline peek my.work --limit 1000 | jq .number",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    operating.add_channel(parser)
    parser.add_argument("--limit", metavar="N", type=running.positive, default=10, help="how many at most (10)")
    operating.add_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the messages, and return the exit code."""
    with operating.opened(arguments, "peek") as layer:
        messages = operating.asked(layer.peek, arguments.channel, arguments.limit)
    for message in messages:
        operating.say_json(message)
    return 0

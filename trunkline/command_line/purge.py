"""`trunkline purge`: empty a channel."""

from __future__ import annotations

import argparse

from . import operating
from .terminal import say

SUMMARY = "Drop all messages that wait in a channel, delayed ones too, and say how many. Nothing is asked first."
EXAMPLES = ("trunkline purge my.work",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    operating.add_channel(parser)
    operating.add_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Empty the channel, and return the exit code."""
    with operating.opened(arguments, "purge") as layer:
        dropped = operating.asked(layer.purge, arguments.channel)
    say(f"{dropped} message{'s' * (dropped != 1)} of {arguments.channel} dropped")
    return 0

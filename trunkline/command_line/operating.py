"""What the operator's commands share: they look at a layer that others use, and alter what is asked of them alone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..operations.errors import ExitError, StartError, UsageError
from . import configuration as configured
from . import running
from .terminal import say

if TYPE_CHECKING:
    from ..layer import Layer

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where the layer is."""
    configured.add_file(parser)
    parser.add_argument("--layer", metavar="URL", help="the channel layer, such as redis://localhost:6379/0")


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add `CHANNEL`."""
    parser.add_argument("channel", metavar="CHANNEL", help="a channel's name, such as email.receive")


@contextmanager
def opened(arguments: argparse.Namespace, command: str) -> Iterator[Layer]:
    """Open the layer; what it refuses, or that it is away, ends the command with one line.

    Raises:
        UsageError: no layer is named, or one that nobody shares; or a message is too large.
        StartError: it is away.
        ExitError: a channel is full.
    """
    configuration = configured.load_configuration(arguments, ())
    running.require_shared_layer(configuration, command)
    from ..layer import LayerError, LayerUnavailable, MessageTooLarge

    with running.open_layer(configuration) as layer:
        try:
            yield layer
        except LayerUnavailable as error:
            raise StartError(f"the layer is away: {error}") from error
        except MessageTooLarge as error:
            raise UsageError(str(error)) from error
        except LayerError as error:
            raise ExitError(str(error)) from error


def asked(question: Callable[..., T], channel: str, *arguments: Any, **options: Any) -> T:
    """Ask the layer about a channel, or send there.

    Raises:
        UsageError: the channel's name breaks the rules, or the message cannot travel.
    """
    try:
        return question(channel, *arguments, **options)
    except TypeError as error:
        raise UsageError(str(error)) from error


def say_json(value: Any, indent: int | None = None) -> None:
    """Write a message, or anything like it, in the JSON form of the message formats."""
    from ..message_formats import to_json

    text = json.dumps(to_json(value), ensure_ascii=False, indent=indent)
    # What a terminal would obey, or cannot show, stands in strings only; other line breaks are the indent's.
    say("".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text))

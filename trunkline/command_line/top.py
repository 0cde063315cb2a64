"""`trunkline top`: a live view of the layer in the terminal."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from . import operating
from .terminal import columns, printable, say

if TYPE_CHECKING:
    from ..layer import Layer

SUMMARY = "Show what goes through the layer: its channels, how full they are, and who listens. q ends."
EXAMPLES = (
    "trunkline top --layer redis://localhost:6379/0",
    "trunkline top --once",
)

_INTERVAL = 1.0  # seconds between two looks
_HEADINGS = ("CHANNEL", "WAITING", "OLDEST", "SENT/S", "SENT", "REFUSED/S", "REFUSED", "LISTENERS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--once", action="store_true", help="show it once, as it is done where stdout is no terminal")
    operating.add_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show the view until q, Ctrl-C or a signal, and return the exit code."""
    with operating.opened(arguments, "top") as layer:
        if arguments.once or not sys.stdout.isatty():
            say("\n".join(render(look(layer))))
            return 0
        try:
            with _screen() as keys:
                _watch(layer, keys)
        except KeyboardInterrupt:
            pass
    return 0


class Seen(NamedTuple):
    """What was seen at one moment, in the words of `Layer`."""

    channels: dict[str, dict[str, Any]]
    whole: dict[str, Any]
    listeners: dict[str, Any]


def look(layer: Layer) -> Seen:
    """Ask the layer: three round trips, however many channels there are.

    Raises:
        LayerUnavailable: it is away.
    """
    return Seen(layer.channels(), layer.global_statistics(), layer.listeners())


def render(seen: Seen, height: int | None = None) -> list[str]:
    """Return the lines of the view.

    Args:
        seen: What is shown.
        height: Lines there is room for; None: any number.
    """
    whole = seen.whole
    heads = {
        "waiting": whole["messages_pending"],
        "oldest": _age(whole["messages_max_age"]),
        "sent": f"{whole['messages_count_per_second']:.1f}/s",
        "refused": f"{whole['channel_full_count_per_second']:.1f}/s",
        "dropped for groups": whole["group_dropped_count"],
        "listeners": len(seen.listeners),
    }
    listening: dict[str, int] = {}
    for info in seen.listeners.values():
        for channel in info.get("channels", ()):
            listening[channel] = listening.get(channel, 0) + 1
    nothing = dict.fromkeys(whole, 0)
    figures = dict.fromkeys(listening, nothing) | seen.channels
    names = sorted(
        figures,
        key=lambda name: (-figures[name]["messages_pending"], -figures[name]["messages_count_per_second"], name),
    )
    # The head, a gap, the headings, and what is said of those that find no room
    room = len(names) if height is None or len(names) <= height - 3 else max(0, height - 4)
    rows = [(printable(name), *_cells(figures[name]), str(listening.get(name, "-"))) for name in names[:room]]
    more = [f"and {len(names) - room} channels more"] if room < len(names) else []
    head = "   ".join(f"{name} {value}" for name, value in heads.items())
    return [head, "", *columns([_HEADINGS, *rows]), *more]


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(figures["messages_pending"]),
        _age(figures["messages_max_age"]),
        f"{figures['messages_count_per_second']:.1f}",
        str(figures["messages_count"]),
        f"{figures['channel_full_count_per_second']:.1f}",
        str(figures["channel_full_count"]),
    )


def _age(seconds: float) -> str:
    if not seconds:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


@contextmanager
def _screen() -> Iterator[int | None]:
    """Have the whole terminal, whose keys can be read from what this yields, and give it back as it was."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = None if keys is None else termios.tcgetattr(keys)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if keys is not None:
            tty.setcbreak(keys)
        _write("\x1b[?1049h\x1b[?25l")
        yield keys
    finally:
        _write("\x1b[?25h\x1b[?1049l")
        if keys is not None and before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _watch(layer: Layer, keys: int | None) -> None:
    """Draw, again and again, until q."""
    from ..layer import LayerUnavailable

    while True:
        width, height = os.get_terminal_size(sys.stdout.fileno())
        try:
            lines = render(look(layer), height or None)
        except LayerUnavailable as error:
            lines = [f"the layer is away: {printable(str(error))}"]
        _write("\x1b[H" + "\n".join(f"{line[: width or None]}\x1b[K" for line in lines[: height or None]) + "\x1b[J")
        if keys is None:
            time.sleep(_INTERVAL)
        elif select.select([keys], [], [], _INTERVAL)[0]:
            pressed = os.read(keys, 64)
            if not pressed or b"q" in pressed.lower():
                return


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()

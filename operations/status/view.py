"""What is seen of the layer: its channels, who listens, what became a dead letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...layer import Layer, LayerError

NEWEST = 20
"""Dead letters that are shown."""


class View(NamedTuple):
    """The layer at one moment.

    Attributes:
        failure: Why it could not be seen; "": it could.
        whole: What `Layer.global_statistics` tells.
        channels: What `Layer.channels` tells, and of those that somebody listens to, of which it tells nothing, zeros.
        listeners: By channel, how many workers listen to it.
        workers: How many announced themselves.
        letters: The newest dead letters without what they hold, the newest first.
    """

    failure: str = ""
    whole: Mapping[str, Any] = {}
    channels: Mapping[str, Mapping[str, Any]] = {}
    listeners: Mapping[str, int] = {}
    workers: int = 0
    letters: Sequence[Mapping[str, Any]] = ()


def look(layer: Layer) -> View:
    """Ask the layer; takes a few round trips, however many channels there are."""
    try:
        channels, whole, announced = layer.channels(), layer.global_statistics(), layer.listeners()
        letters = layer.dead_letters(newest=NEWEST) if whole["dead_letters_count"] else []
    except LayerError as error:
        return View(str(error))
    listeners: dict[str, int] = {}
    for info in announced.values():
        for channel in info.get("channels", ()):
            listeners[channel] = listeners.get(channel, 0) + 1
    nothing = dict.fromkeys(whole, 0)
    shown = ("id", "time", "channel", "reason", "tries")
    return View(
        whole=whole,
        channels=dict.fromkeys(listeners, nothing) | channels,
        listeners=listeners,
        workers=len(announced),
        letters=[{name: letter[name] for name in shown} for letter in reversed(letters)],
    )

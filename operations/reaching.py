"""Whether the channel layer is there, before a process says that it has started."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..layer import Layer, LayerError, LayerUnavailable
from .errors import StartError

PATIENCE = 5.0
"""Seconds that the layer may take to come up, as when a machine starts everything at once."""

_PAUSE = 0.2


def reach(
    layer: Layer,
    seconds: float = PATIENCE,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make one round trip through the layer, and try again for some seconds where it fails.

    With it all processes on the layer agree on which channels are durable.

    Args:
        layer: The layer.
        seconds: How long to try.
        pause: Lets so many seconds pass.
        clock: Seconds.

    Raises:
        StartError: the layer is away, or other processes say otherwise of what is durable.
    """
    until = clock() + seconds
    while True:
        try:
            layer.listeners()
            layer.agree()
            return
        except LayerUnavailable as error:
            if clock() + _PAUSE > until:
                raise StartError(f"the layer is away: {error}") from error
        except LayerError as error:
            raise StartError(f"the layer: {error}") from error
        pause(_PAUSE)

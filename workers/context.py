"""Which layer a send goes to, and whether a consumer is running that holds it back.

A consumer is known by a context variable, so that what an `async def` consumer starts belongs to it, on whatever
thread it runs; other threads of the program are outside.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..layer import Layer, open_layer

if TYPE_CHECKING:
    from .held import Held

running: ContextVar[Held | None] = ContextVar("trunkline.running", default=None)
"""What the consumer that runs here has held back."""

_chosen: Layer | None = None
_opened: dict[str, Layer] = {}
_lock = threading.Lock()


def set_layer(layer: Layer | None) -> None:
    """Choose the layer of this process for everything outside a consumer.

    Args:
        layer: The layer, or None to go back to `TRUNKLINE_LAYER`.
    """
    global _chosen
    _chosen = layer


def current_layer() -> Layer:
    """Return the layer that is sent to: the running consumer's, else the chosen one, else that of `TRUNKLINE_LAYER`.

    Raises:
        RuntimeError: there is none; never a layer in memory that nobody else would see.
    """
    held = running.get()
    if held is not None:
        return held.layer
    if _chosen is not None:
        return _chosen
    url = os.environ.get("TRUNKLINE_LAYER")
    if not url:
        raise RuntimeError(
            "no layer outside a consumer: call trunkline.set_layer(trunkline.open_layer(url)) "
            "or set the environment variable TRUNKLINE_LAYER"
        )
    with _lock:
        if url not in _opened:
            _opened[url] = open_layer(url)
        return _opened[url]


def wall_clock(layer: Layer) -> Callable[[], float]:
    """Return what tells Unix seconds: a layer's own clock, where a test moves it."""
    return time.time if layer.clock is time.monotonic else layer.clock

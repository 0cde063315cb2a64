"""Errors of the channel layer: one tree.

    LayerError
    ├── ChannelFull        the channel has no room; try again later or give up
    ├── MessageTooLarge    the message is over `max_size`; it will never be taken
    └── LayerUnavailable   the layer cannot be reached, or was closed

A message or a name that can never be right is a programmer's mistake and raises `TypeError`, as in ASGI 1.x.
"""

from typing import Self


class LayerError(Exception):
    """Base of everything a layer reports about its own condition."""


class ChannelFull(LayerError):
    """Tell that a channel holds as many messages as its capacity allows. Nothing was sent."""

    @classmethod
    def of(cls, queue: str, waiting: int, capacity: int) -> Self:
        """Return the error of a queue without room."""
        return cls(f"{queue} is full: {waiting} messages wait there, its capacity is {capacity}")

    @classmethod
    def behind(cls, queue: str) -> Self:
        """Return the error of what would overtake another send of its run, which found no room."""
        return cls(f"{queue} is full: a send before this one found no room")


class MessageTooLarge(LayerError):
    """Tell that a packed message is larger than the layer's `max_size`. Nothing was sent."""


class LayerUnavailable(LayerError):
    """Tell that the layer is closed or out of reach.

    Attributes:
        uncertain: Whether what was asked for may have been done: the connection was lost after it had left. A send
            that may have arrived is never repeated; whoever counts losses counts it.
    """

    def __init__(self, reason: str = "the channel layer is out of reach", *, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.uncertain = uncertain

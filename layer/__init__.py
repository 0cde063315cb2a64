"""How messages travel: one contract, several engines."""

from .base import Layer
from .batch import Batch
from .delivery import Delivery
from .engines import open_layer, register_engine
from .errors import ChannelFull, LayerError, LayerUnavailable, MessageTooLarge
from .inbox import Inbox, InboxItem
from .memory import MemoryLayer
from .reader import Reader

__all__ = [
    "Batch",
    "ChannelFull",
    "Delivery",
    "Inbox",
    "InboxItem",
    "Layer",
    "LayerError",
    "LayerUnavailable",
    "MemoryLayer",
    "MessageTooLarge",
    "Reader",
    "open_layer",
    "register_engine",
]

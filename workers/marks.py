"""What decorators share: the marks they leave on consumers, and where a call has its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .message import Message

ORDERED = "trunkline_ordered"
"""Attribute of a consumer: True, or, of a class with a method for each channel, the channels that are ordered."""


def message_in(args: Iterable[Any]) -> Message:
    """Return the message a consumer is called with, be it a function or a method of a consumer class."""
    for one in args:
        if isinstance(one, Message):
            return one
        if isinstance(getattr(one, "message", None), Message):
            found: Message = one.message
            return found
    raise TypeError("a decorated consumer is called with a message, or is a method of a consumer class")

"""Which format belongs to which channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .format import Format

_formats: dict[str, Format] = {}


def register(format: Format) -> None:
    """Make a format known under its name, for this process.

    Raises:
        ValueError: the name is taken by another format.
    """
    if _formats.setdefault(format.name, format) is not format:
        raise ValueError(f"{format.name}: there is a format of that name already")


def get(channel: str) -> Format | None:
    """Return the format of a channel, or None where none is known.

    A single-reader channel such as "http.request.body?x1" belongs to the family "http.request.body?".
    """
    format = _formats.get(channel)
    if format is None and "?" in channel:
        return _formats.get(channel[: channel.index("?") + 1])
    return format


def names() -> list[str]:
    """Return the names of all formats, in order of registration."""
    return list(_formats)


def formats() -> list[Format]:
    """Return all formats, in order of registration."""
    return list(_formats.values())


def validate(channel: str, message: Mapping[str, Any], *, unknown: Literal["refuse", "ignore"] = "refuse") -> None:
    """Check a message against the format of its channel; a channel without a format takes anything.

    Args:
        channel: the channel's name.
        message: the message.
        unknown: "refuse" unknown keys, as senders do, or "ignore" them, as receivers do.

    Raises:
        FormatError: the message breaks the format.
    """
    format = get(channel)
    if format is not None:
        format.validate(message, unknown=unknown)

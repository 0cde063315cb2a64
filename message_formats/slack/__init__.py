"""Slack: its message formats, and the codec between its text and plain text."""

from .blocks import text_of
from .emoji import emoji_name, emoji_of, emoji_text
from .formats import FORMATS, REPLY
from .text import Lookup, Plain, mentioned, names_in, to_plain, to_slack

__all__ = [
    "FORMATS",
    "REPLY",
    "Lookup",
    "Plain",
    "emoji_name",
    "emoji_of",
    "emoji_text",
    "mentioned",
    "names_in",
    "text_of",
    "to_plain",
    "to_slack",
]

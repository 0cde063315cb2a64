"""Names of channels and groups: the rules every engine shares.

A channel's name is ASCII `[A-Za-z0-9._-]+`, then at most one `?` or `!`, then the same characters again:

    http.request                  a plain channel, any number of readers
    http.request.body?h3Jk...     a single-reader channel: it expires as a whole
    http.reply.4f2a!h3Jk...       an inbox `http.reply.4f2a!` and the local part that its holder knows
"""

import re
import secrets
from typing import Any

MAX_NAME = 99

_CHANNEL = re.compile(r"([A-Za-z0-9._-]+)(?:([?!])([A-Za-z0-9._-]*))?")
_GROUP = re.compile(r"[A-Za-z0-9._-]+")
match_local = re.compile(r"[A-Za-z0-9._-]*").fullmatch
"""Match what can stand after an inbox' `!`."""

_UNIQUE = 20
_RULE = "letters, digits and '.', '_', '-', with at most one '?' or '!' after the first character, under 100 characters"


def split(channel: Any) -> tuple[str, str]:
    """Split a channel that may be sent to into its queue and its local part.

    Args:
        channel: Any channel name; `a!` is the inbox itself with an empty local part.

    Returns:
        `("http.reply.x!", "id")` for an inbox, `(channel, "")` for everything else.

    Raises:
        TypeError: The name breaks the rules, or is `a?`, which nobody can read.
    """
    match = _match(channel)
    kind, local = match[2], match[3]
    if kind == "!":
        return channel[: match.end(2)], local
    if kind == "?" and not local:
        raise TypeError(f"{channel!r} is only the beginning of a single-reader name; make one with new_channel()")
    return channel, ""


def check_receivable(channel: Any) -> None:
    """Refuse what cannot be received from.

    Raises:
        TypeError: The name breaks the rules, has a local part after `!`, or is `a?`.
    """
    queue, local = split(channel)
    if local:
        raise TypeError(
            f"{channel!r} cannot be received alone: receive {queue!r} and look at the channel that comes back"
        )


def check_group(group: Any) -> None:
    """Refuse what is no group name.

    Raises:
        TypeError: The name is no str, is 100 characters or longer, or holds anything but letters, digits, `.`, `_`,
            `-`.
    """
    if not isinstance(group, str):
        raise TypeError(f"a group name must be a str, not {type(group).__name__}")
    if len(group) > MAX_NAME or not _GROUP.fullmatch(group):
        raise TypeError(f"{group[:120]!r} is no group name: letters, digits and '.', '_', '-', under 100 characters")


def unique(pattern: Any) -> str:
    """Make an unused single-reader name.

    Args:
        pattern: The beginning of the name, ending in `?`.

    Raises:
        TypeError: The pattern does not end in `?`, breaks the rules or leaves no room for the rest.
    """
    if not isinstance(pattern, str) or not pattern.endswith("?"):
        raise TypeError(f"new_channel() takes a name that ends in '?', not {pattern!r}")
    if len(pattern) + _UNIQUE > MAX_NAME:
        raise TypeError(f"{pattern[:120]!r} is too long for new_channel(): at most {MAX_NAME - _UNIQUE} characters")
    _match(pattern)
    return pattern + secrets.token_hex(_UNIQUE // 2)


def _match(channel: Any) -> re.Match[str]:
    if not isinstance(channel, str):
        raise TypeError(f"a channel name must be a str, not {type(channel).__name__}")
    match = _CHANNEL.fullmatch(channel)
    if match is None or len(channel) > MAX_NAME:
        raise TypeError(f"{channel[:120]!r} is no channel name: {_RULE}")
    return match

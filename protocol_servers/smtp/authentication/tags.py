"""Lists of tags, ``v=1; a=rsa-sha256``: what the headers and records of DKIM and DMARC are (RFC 6376 section 3.2)."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*+")
_MAX_TAGS = 100


def read_tags(text: str) -> dict[str, str] | None:
    """Return the tags of a list by their names, white space around them taken off.

    Args:
        text: The list.

    Returns:
        The tags; None where it is no such list, or has a tag twice.
    """
    tags: dict[str, str] = {}
    pieces = text.split(";")
    if not pieces[-1].strip():
        del pieces[-1]
    if len(pieces) > _MAX_TAGS:
        return None
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name) or name in tags:
            return None
        tags[name] = value.strip()
    return tags

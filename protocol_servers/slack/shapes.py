"""JSON as Slack sends it, read so that whatever comes of it can travel."""

from __future__ import annotations

import json
from typing import Any


def read_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object that a text holds; None: it holds none.

    Half a surrogate pair, which no UTF-8 can carry, becomes "?", and a number that JSON does not have is none at all.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        if _may_be_torn(text):
            whole = json.dumps(value, ensure_ascii=False)
            if not whole.isascii() and (mended := whole.encode("utf-8", "replace").decode()) != whole:
                value = json.loads(mended)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _may_be_torn(text: str | bytes) -> bool:
    """Say whether there is an escape of a surrogate, half or whole."""
    if isinstance(text, bytes):
        return b"\\ud" in text or b"\\uD" in text
    return "\\ud" in text or "\\uD" in text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")

"""Where something went wrong, without a word of what it was: what people write to each other stays out of logs."""

from __future__ import annotations

import traceback


def places_of(error: BaseException) -> str:
    """Return the kind of an error and the lines of our code that it came through, but not its text."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip()

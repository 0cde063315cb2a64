"""Types that the formats of several protocols share."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from .kinds import Characters, Most
from .typed import Default

ONE_LINE = Characters(r"\r\n\0", "one line")
"""Without CR, LF and NUL: header values, SMTP texts, IRC fields."""

TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9A-Za-z", "token", empty=False)
"""A header name, a method, a subprotocol (RFC 9110, 5.6.2)."""

LOWER_TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9a-z", "lower-case token", empty=False)
UPPER_TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9A-Z", "upper-case token", empty=False)

Line = Annotated[str, ONE_LINE]
Address = tuple[str, int]
Headers = list[tuple[Annotated[bytes, TOKEN], Annotated[bytes, ONE_LINE]]]
LowerHeaders = list[tuple[Annotated[bytes, LOWER_TOKEN], Annotated[bytes, ONE_LINE]]]

CHUNK = 64 * 1024
"""Bodies travel in pieces of at most this many bytes."""


class BodyChunk(TypedDict):
    """A further piece of a body that was too large to travel in its message."""

    content: Annotated[bytes, Most(CHUNK), 'The piece, at most 64 KiB; b"" with `closed`.']
    closed: NotRequired[Annotated[bool, Default(False), "The client went away: abandon the body."]]
    more_content: NotRequired[Annotated[bool, Default(False), "Whether more pieces follow."]]

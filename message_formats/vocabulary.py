"""Types that the formats of several protocols share."""

from __future__ import annotations

from typing import Annotated

from .kinds import Characters

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

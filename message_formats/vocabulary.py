"""Types that the formats of several protocols share."""

from __future__ import annotations

from typing import Annotated

from .kinds import Characters

ONE_LINE = Characters(r"\r\n\0", "without CR, LF and NUL")
"""What stands in one line of a protocol: header values, SMTP texts, IRC fields."""

TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9A-Za-z", "a token (RFC 9110, 5.6.2)", least=1)
"""A header name, a method, a subprotocol."""

LOWER_TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9a-z", "a token in lower case (RFC 9110, 5.6.2)", least=1)
UPPER_TOKEN = Characters(r"^!#$%&'*+\-.\^_`|~0-9A-Z", "a token in upper case (RFC 9110, 5.6.2)", least=1)

Line = Annotated[str, ONE_LINE]
Address = tuple[str, int]
Headers = list[tuple[Annotated[bytes, TOKEN], Annotated[bytes, ONE_LINE]]]
LowerHeaders = list[tuple[Annotated[bytes, LOWER_TOKEN], Annotated[bytes, ONE_LINE]]]

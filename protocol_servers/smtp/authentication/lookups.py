"""What the DNS is asked for to judge a mail: all that the rest knows of it, so that tests have one of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class LookupFailed(Exception):
    """Nobody could say what was asked, for now; the text says why."""


class Resolver(Protocol):
    """Somebody who looks names up."""

    async def texts(self, name: str) -> Sequence[bytes]:
        """Return the TXT records of a name, the strings of each joined; none where there is no such name.

        Raises:
            LookupFailed: Nobody could say.
        """

    async def names(self, name: str, kind: str) -> Sequence[str]:
        """Return the records of a name as text: of "A" and "AAAA" addresses, of "MX" and "PTR" names.

        Raises:
            LookupFailed: Nobody could say.
        """

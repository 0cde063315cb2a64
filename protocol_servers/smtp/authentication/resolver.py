"""Asks the DNS servers of the machine, by `dnspython`, on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from .lookups import LookupFailed

MAX_AT_ONCE = 100  # questions under way, each of which has a socket
_REMEMBERED = 500  # answers of up to 64 KiB
_PATIENCE = 4.0  # seconds for one question, whatever became of it

Unconfigured = dns.resolver.NoResolverConfiguration


class DnsResolver:
    """Ask the DNS servers that the machine is set up with; what they said is remembered as long as they allow.

    Raises:
        Unconfigured: It is set up with none.
    """

    def __init__(self) -> None:
        self._resolver = dns.asyncresolver.Resolver()
        self._resolver.cache = dns.resolver.LRUCache(_REMEMBERED)
        self._resolver.lifetime = _PATIENCE
        self._turn = asyncio.Semaphore(MAX_AT_ONCE)

    async def texts(self, name: str) -> Sequence[bytes]:
        """Return the TXT records of a name."""
        return [b"".join(record.strings) for record in await self._ask(name, "TXT")]

    async def names(self, name: str, kind: str) -> Sequence[str]:
        """Return the records of a name as text."""
        records = await self._ask(name, kind)
        if kind == "MX":
            return [record.exchange.to_text(omit_final_dot=True) for record in records]
        if kind == "PTR":
            return [record.target.to_text(omit_final_dot=True) for record in records]
        return [record.address for record in records]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        async with self._turn:
            try:
                answer = await self._resolver.resolve(f"{name.rstrip('.')}.", kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                return []
            except (dns.exception.DNSException, OSError, ValueError) as error:
                raise LookupFailed(type(error).__name__) from error
        return [] if answer.rrset is None else list(answer.rrset)

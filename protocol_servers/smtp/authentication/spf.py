"""SPF: may this client send for that domain? (RFC 7208)

`pyspf` was looked at and left: it asks the DNS by one function of its module, of which there can be no second, in the
calling thread, and has had no release since 2020.
"""

from __future__ import annotations

import ipaddress
import re

from .lookups import LookupFailed, Resolver
from .spf_record import Broken, Directive, Record, expand, read_record

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_LOOKUPS = 10  # section 4.6.4, as are the next
MAX_VOID = 2
MAX_NAMES = 10

_VERSION = re.compile(rb"v=spf1(?= |\Z)", re.IGNORECASE)


def is_name(domain: str) -> bool:
    """Tell whether a domain can be looked up: more than one label, each of 1 to 63 octets, 253 in all."""
    labels = domain.removesuffix(".").split(".")
    return len(labels) > 1 and len(domain) <= 254 and domain.isascii() and all(0 < len(label) < 64 for label in labels)


class SpfCheck:
    """One question: may the client at `client` send as `local`@`domain`?

    Args:
        resolver: Whom to ask.
        client: The client's address.
        local: The local part of the sender; "": "postmaster".
        domain: The sender's domain.
        helo: What the client calls itself.
    """

    def __init__(self, resolver: Resolver, client: Address, local: str, domain: str, helo: str) -> None:
        self._resolver = resolver
        self._client: Address = getattr(client, "ipv4_mapped", None) or client
        self._local = local or "postmaster"
        self._sender_domain = domain
        self._helo = helo
        self._lookups = 0
        self._void = 0
        self._names: list[str] | None = None

    async def result(self) -> str:
        """Return "pass", "fail", "softfail", "neutral", "none", "temperror" or "permerror" (section 2.6)."""
        try:
            return await self._check(self._sender_domain)
        except LookupFailed:
            return "temperror"
        except Broken:
            return "permerror"

    async def _check(self, domain: str) -> str:
        """Do what section 4 calls check_host()."""
        record = await self._record(domain)
        if record is None:
            return "none"
        for directive in record.directives:
            if await self._matches(directive, domain):
                return directive.result
        if record.redirect is None or any(directive.name == "all" for directive in record.directives):
            return "neutral"
        self._count()
        result = await self._check(await self._target(record.redirect, domain))
        if result == "none":
            raise Broken("what it redirects to has no record")
        return result

    async def _record(self, domain: str) -> Record | None:
        if not is_name(domain):
            return None
        found = [text for text in await self._resolver.texts(domain) if _VERSION.match(text)]
        if not found:
            return None
        if len(found) > 1:
            raise Broken("there are two records")
        try:
            return read_record(found[0].decode("ascii")[6:])
        except UnicodeDecodeError as error:
            raise Broken("the record is not ASCII") from error

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise Broken("too many lookups")

    async def _matches(self, directive: Directive, domain: str) -> bool:
        if directive.name == "all":
            return True
        if directive.network is not None:
            return self._client.version == directive.network.version and self._client in directive.network
        self._count()
        target = await self._target(directive.domain, domain)
        if directive.name == "include":
            result = await self._check(target)
            if result == "none":
                raise Broken("what it includes has no record")
            return result == "pass"
        if not is_name(target):
            return False
        if directive.name == "exists":
            return bool(await self._ask(target, "A"))
        if directive.name == "ptr":
            target = target.lower()
            return any(f".{name}".endswith(f".{target}") for name in await self._validated())
        return await self._has_client(directive, target)

    async def _has_client(self, directive: Directive, target: str) -> bool:
        hosts = [target]
        if directive.name == "mx":
            hosts = list(await self._ask(target, "MX"))
            if len(hosts) > MAX_NAMES:
                raise Broken("too many mail servers")
        prefix = directive.prefix4 if self._client.version == 4 else directive.prefix6
        network = ipaddress.ip_network((self._client, prefix), strict=False)
        for host in hosts:
            if is_name(host) and any(ipaddress.ip_address(each) in network for each in await self._addresses(host)):
                return True
        return False

    async def _addresses(self, host: str) -> list[str]:
        return await self._ask(host, "A" if self._client.version == 4 else "AAAA")

    async def _ask(self, name: str, kind: str) -> list[str]:
        found = list(await self._resolver.names(name, kind))
        if not found:
            self._void += 1
            if self._void > MAX_VOID:
                raise Broken("too many lookups of what is not there")
        return found

    async def _validated(self) -> list[str]:
        """Return the names of the client whose addresses are the client's (section 5.5)."""
        if self._names is None:
            self._names = []
            try:
                names = await self._ask(self._client.reverse_pointer, "PTR")
            except LookupFailed:
                names = []
            for name in names[:MAX_NAMES]:
                try:
                    if is_name(name) and any(
                        ipaddress.ip_address(each) == self._client for each in await self._addresses(name)
                    ):
                        self._names.append(name.lower())
                except LookupFailed:
                    continue
        return self._names

    async def _target(self, text: str, domain: str) -> str:
        if not text:
            return domain
        if "%" not in text:
            return text.removesuffix(".")
        values = {
            "s": f"{self._local}@{self._sender_domain}",
            "l": self._local,
            "o": self._sender_domain,
            "d": domain,
            "i": _dotted(self._client),
            "v": "in-addr" if self._client.version == 4 else "ip6",
            "h": self._helo,
        }
        if "%{p" in text.lower():
            values["p"] = self._best_name(await self._validated(), domain.lower())
        return expand(text, values.__getitem__)

    @staticmethod
    def _best_name(names: list[str], domain: str) -> str:
        """Return what "%{p}" stands for (section 7.3)."""
        inside = [name for name in names if name.endswith(f".{domain}")]
        return domain if domain in names else next(iter(inside or names), "unknown")


def _dotted(address: Address) -> str:
    if address.version == 4:
        return str(address)
    return ".".join(address.exploded.replace(":", ""))

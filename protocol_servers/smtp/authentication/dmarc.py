"""DMARC: is the domain that a reader sees in From the one that SPF or DKIM vouch for? (RFC 7489, RFC 9989)

Which domains belong together is found by asking the DNS for the records above a name (the "tree walk" of RFC 9989
section 4.10), not from a list of public suffixes, which would have to be kept up to date. `authheaders` was looked at
and left: it needs `dkimpy`, `pyspf`, and a list of 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .lookups import Resolver
from .spf import is_name
from .tags import read_tags

_MAX_LABELS = 8
_POLICIES = ("none", "quarantine", "reject")
_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_MAX_FROM = 10_000
# Names and comments of a From header, in which anything may stand, to their ends where they have one.
_ASIDE = re.compile(r'"(?:[^"\\]|\\.)*"?|\((?:[^()\\]|\\.)*\)?', re.DOTALL)
_DOMAIN = re.compile(r"(?<=[^\s<>()\[\],;:\\\"@])@([^\s<>@,;:\"()\[\]\\]++)")


class Policy(NamedTuple):
    """What the owner of a domain wants.

    Attributes:
        policy: "none", "quarantine" or "reject".
        strict_dkim: A signature counts only of the very domain.
        strict_spf: A sender counts only of the very domain.
    """

    policy: str
    strict_dkim: bool
    strict_spf: bool


class Broken(Exception):
    """The record makes no sense."""


def author_domain(values: list[bytes]) -> str | None:
    """Return the domain of a mail's author.

    Args:
        values: Of the From headers, as they came.

    Returns:
        The domain in lower case and ASCII; None where there is none, or more than one.
    """
    if len(values) != 1 or len(values[0]) > _MAX_FROM:
        return None
    # Within a quoted local part nothing matters but that it is one.
    text = _ASIDE.sub(lambda found: "x" if found[0][0] == '"' else " ", values[0].decode("utf-8", "replace"))
    domains = _DOMAIN.findall(text)
    found = {_ascii(domain) for domain in domains}
    return found.pop() if len(found) == 1 and len(domains) == text.count("@") else None


def _ascii(domain: str) -> str | None:
    domain = domain.lower().rstrip(".")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            return None
    return domain if is_name(domain) else None


class Tree:
    """The records of one mail's domains, and of those above them.

    Args:
        resolver: Whom to ask.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._records: dict[str, dict[str, str] | None] = {}

    async def record(self, domain: str) -> dict[str, str] | None:
        """Return the record of exactly this domain, or None.

        Raises:
            LookupFailed: Nobody could say.
        """
        if domain not in self._records:
            texts = [text for text in await self._resolver.texts(f"_dmarc.{domain}") if _VERSION.match(text)]
            tags = read_tags(texts[0].decode("ascii", "replace")) if len(texts) == 1 else None
            self._records[domain] = tags
        return self._records[domain]

    async def organization(self, domain: str) -> str:
        """Return the domain whose owner owns `domain`, too.

        Raises:
            LookupFailed: Nobody could say.
        """
        found = domain
        for name in _above(domain):
            record = await self.record(name)
            if record is None:
                continue
            if record.get("psd") == "n":
                return name
            if record.get("psd") == "y":
                labels = domain.split(".")
                return ".".join(labels[-(name.count(".") + 2) :])
            found = name
        return found

    async def policy(self, domain: str) -> Policy | None:
        """Return what holds for mail from `domain`; None where nobody said anything.

        Raises:
            LookupFailed: Nobody could say.
            Broken: What they said makes no sense.
        """
        for name in (domain, await self.organization(domain), *_above(domain)):
            record = await self.record(name)
            if record is not None:
                break
        else:
            return None
        policy = record.get("p", "none")
        if name != domain:
            policy = record.get("sp", policy)
        policy = policy.lower()
        if policy not in _POLICIES:
            raise Broken
        return Policy(policy, record.get("adkim") == "s", record.get("aspf") == "s")

    async def aligned(self, author: str, domains: Iterable[str], *, strict: bool) -> bool:
        """Tell whether one of `domains` is the author's, or, where that is enough, of the same owner.

        Raises:
            LookupFailed: Nobody could say.
        """
        domains = list(domains)
        if author in domains:
            return True
        if strict:
            return False
        owner = await self.organization(author)
        for domain in domains:
            if _may_share(domain, author) and await self.organization(domain) == owner:
                return True
        return False


def _above(domain: str) -> list[str]:
    """Return the names that the walk asks for, at most eight: this one, and those above it."""
    labels = domain.split(".")
    names = [domain]
    labels = labels[1:] if len(labels) <= _MAX_LABELS else labels[-(_MAX_LABELS - 1) :]
    while labels:
        names.append(".".join(labels))
        del labels[0]
    return names


def _may_share(one: str, other: str) -> bool:
    """Tell whether two domains have as much as a top-level domain in common; others have no owner in common."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]

"""All of it together: what SPF, DKIM and DMARC say of one mail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from ....message_formats.email.parts import Source
from . import Authentication, Sender, dkim, dmarc
from .lookups import LookupFailed, Resolver
from .spf import SpfCheck, is_name

TIMEOUT = 5.0

T = TypeVar("T")

_log = logging.getLogger("trunkline.email")
_ORDER = ("pass", "temperror", "fail", "policy", "permerror")  # of signatures: what the best of them is


class InThread(Protocol):
    """Calls something in a thread."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Call it, and return what it returned once that is known."""


class Authenticator:
    """Judges mails.

    Args:
        resolver: Whom to ask.
        in_thread: Has something called that takes its time.
        timeout: Seconds that the answers to all questions of one mail may take.
        wall: Unix time in seconds, for signatures that expire.
    """

    def __init__(
        self,
        resolver: Resolver,
        in_thread: InThread,
        *,
        timeout: float = TIMEOUT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._in_thread = in_thread
        self._timeout = timeout
        self._wall = wall

    def at_once(self, source: Source, sender: Sender) -> Authentication | None:
        """Return what is known without asking anybody: of a mail that is not signed and comes from our own; or None."""
        if sender.is_judged or dkim.signatures(dkim.read_head(source)):
            return None
        return {"spf": {"result": "none"}, "dkim": {"result": "none"}, "dmarc": {"result": "none"}}

    async def judge(self, source: Source, sender: Sender) -> Authentication:
        """Return what there is to say of a mail; never raises.

        Args:
            source: The mail; not to be closed meanwhile.
            sender: Who sends it.
        """
        resolver = _Patience(self._resolver, asyncio.get_running_loop().time() + self._timeout)
        try:
            head = dkim.read_head(source)
            spf, verdicts = await asyncio.gather(_spf(resolver, sender), self._dkim(resolver, source, head))
            return {"spf": spf, "dkim": _in_all(verdicts), "dmarc": await _dmarc(resolver, head, sender, spf, verdicts)}
        except Exception:
            _log.exception("a mail could not be judged")
            unknown = {"result": "temperror"}
            return {"spf": dict(unknown), "dkim": dict(unknown), "dmarc": dict(unknown)}

    async def _dkim(self, resolver: Resolver, source: Source, head: dkim.Head) -> list[dkim.Verdict]:
        signatures = dkim.signatures(head)
        if head.defect:
            return [each.verdict("permerror", head.defect) for each in signatures]
        keys = await asyncio.gather(*(dkim.fetch(each, resolver, self._wall()) for each in signatures))
        keyed = [(each, key) for each, key in zip(signatures, keys, strict=True) if not isinstance(key, dkim.Verdict)]
        verified = iter(await self._in_thread(lambda: dkim.verify(keyed, source, head)) if keyed else ())
        return [key if isinstance(key, dkim.Verdict) else next(verified) for key in keys]


class _Patience:
    """A resolver that is given up at a moment of the loop's time."""

    def __init__(self, resolver: Resolver, deadline: float) -> None:
        self._resolver = resolver
        self._deadline = deadline

    async def texts(self, name: str) -> Sequence[bytes]:
        return await self._before(self._resolver.texts(name))

    async def names(self, name: str, kind: str) -> Sequence[str]:
        return await self._before(self._resolver.names(name, kind))

    async def _before(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await answer
        except TimeoutError as error:
            raise LookupFailed("there was no time") from error


async def _spf(resolver: Resolver, sender: Sender) -> Authentication:
    if sender.spf is not None or sender.client is None:
        return sender.spf or {"result": "none"}
    if sender.address is None:
        local, domain, identity = "postmaster", sender.helo, "helo"
    else:
        local, _, domain = sender.address.rpartition("@")
        identity = "mailfrom"
    result = await SpfCheck(resolver, sender.client, local, domain, sender.helo).result()
    return {"result": result, "domain": domain.lower(), "identity": identity}


def _in_all(verdicts: list[dkim.Verdict]) -> Authentication:
    """Return what all signatures together make."""
    if not verdicts:
        return {"result": "none"}
    best = min((verdict.result for verdict in verdicts), key=_ORDER.index)
    each = [{key: value for key, value in verdict._asdict().items() if value} for verdict in verdicts]
    return {"result": best, "signatures": each}


async def _dmarc(
    resolver: Resolver, head: dkim.Head, sender: Sender, spf: Authentication, verdicts: list[dkim.Verdict]
) -> Authentication:
    signers = [verdict.domain for verdict in verdicts if verdict.result == "pass"]
    if not sender.is_judged and not signers:
        return {"result": "none"}  # whoever took it before us may have seen that it is fine
    author = dmarc.author_domain(head.values(b"from"))
    if author is None:  # RFC 7489 section 6.6.1: it is nobody's
        return {"result": "permerror" if head.values(b"from") else "none"}
    answer: Authentication = {"result": "none", "domain": author}
    tree = dmarc.Tree(resolver)
    try:
        policy = await tree.policy(author)
        if policy is None:
            return answer
        answer["policy"] = policy.policy
        senders = [spf["domain"]] if spf["result"] == "pass" and is_name(spf.get("domain", "")) else []
        is_aligned = await tree.aligned(author, signers, strict=policy.strict_dkim)
        if is_aligned or await tree.aligned(author, senders, strict=policy.strict_spf):
            answer["result"] = "pass"
        elif "temperror" in (spf["result"], *(verdict.result for verdict in verdicts)):
            answer["result"] = "temperror"
        elif sender.is_judged:
            answer["result"] = "fail"
    except LookupFailed:
        answer["result"] = "temperror"
    except dmarc.Broken:
        answer["result"] = "permerror"
    return answer

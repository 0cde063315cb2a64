"""Claims: a message that its sender may repeat is consumed by one worker, once (design: servers.md, "Repeats").

claimed (15 s, renewed each 5 s) ──► outcome (5 days): the answer every repeat gets
                                └──► released: the next repeat is consumed

An answer that asks the sender to come again, such as 451, is no outcome: kept, it would refuse the mail for good.
A claim carries a token, so that its holder knows it again where the layer was lost before it could answer.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..layer import Batch, LayerError

if TYPE_CHECKING:
    from ..layer import Layer

log = logging.getLogger("trunkline.workers")

LEASE = 15.0
RENEW = 5.0
REMEMBERED = 5 * 86400.0

_RELEASED = {"claimed": False}
_RELEASE = 1.0


class Claim:
    """The right to consume one message."""

    __slots__ = ("key", "lost", "mark", "renewed", "version")

    def __init__(self, key: str, mark: Mapping[str, Any], version: int, now: float) -> None:
        self.key = key
        self.mark = mark
        self.version = version
        self.renewed = now
        self.lost = False

    def settle(self, batch: Batch, outcome: Mapping[str, Any]) -> None:
        """Add to a flush that the message was consumed, with this answer."""
        batch.put_state(self.key, {"answer": dict(outcome)}, REMEMBERED)

    def release(self, batch: Batch) -> None:
        """Add to a flush that the message was not consumed; a claim that lapsed may be another's by now."""
        if not self.lost:
            batch.put_state(self.key, _RELEASED, _RELEASE, if_version=self.version)


class Claims:
    """The claims of one worker.

    Args:
        layer: Where they are kept.
        expect: Has `renew` called at a time on the layer's clock.
    """

    def __init__(self, layer: Layer, expect: Callable[[float], object]) -> None:
        self._layer = layer
        self._expect = expect
        self._active: dict[str, Claim] = {}
        self._mutex = threading.Lock()

    def take(
        self, channel: str, value: str, token: str, run: Callable[[Batch], list[Any]] = Batch.run
    ) -> Claim | Mapping[str, Any] | None:
        """Claim a message.

        Args:
            channel: The channel it came on.
            value: What is the same in all its repeats.
            token: What nobody else claims with; the same when this is called again after the layer was away.
            run: Runs a batch, behind the outcomes of what its caller consumed before: a worker that is killed leaves
                no more than one unknown.

        Returns:
            The claim, or the answer its first arrival got, or None while another holds it.

        Raises:
            LayerError: the layer is away.
        """
        key = f"claim:{channel}:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"
        mark = {"claimed": token}
        batch = self._layer.batch()
        batch.put_state(key, mark, LEASE, if_version=0)
        [version] = run(batch)
        if isinstance(version, Exception):
            raise version
        known: Any = None
        if not version:
            known, present = self._layer.get_state(key)
            if known in (_RELEASED, mark):
                version = self._layer.put_state(key, mark, LEASE, if_version=present)
        if version:
            claim = Claim(key, mark, version, self._layer.clock())
            with self._mutex:
                self._active[key] = claim
            self._expect(claim.renewed + RENEW)
            return claim
        answer = known.get("answer") if isinstance(known, dict) else None
        return answer if isinstance(answer, dict) else None

    def end(self, claim: Claim) -> None:
        """Stop renewing a claim; its outcome or its release is in a flush."""
        with self._mutex:
            if self._active.get(claim.key) is claim:  # it may be claimed again by now, in another thread
                del self._active[claim.key]

    def due(self) -> float:
        """Return when the next renewal is due; infinity where nothing is claimed."""
        with self._mutex:
            return min((claim.renewed + RENEW for claim in self._active.values()), default=float("inf"))

    def renew(self) -> None:
        """Renew what is due."""
        with self._mutex:
            now = self._layer.clock()
            for claim in self._active.values():
                if claim.renewed + RENEW <= now:
                    self._renew(claim, now)

    def _renew(self, claim: Claim, now: float) -> None:
        claim.renewed = now
        try:
            version = self._layer.put_state(claim.key, claim.mark, LEASE, if_version=claim.version)
            if not version and not claim.lost:
                known, present = self._layer.get_state(claim.key)
                if known == claim.mark:  # the last renewal arrived, though nobody could tell us
                    version = self._layer.put_state(claim.key, claim.mark, LEASE, if_version=present)
        except LayerError as error:
            log.warning("a claim could not be renewed: %s", error)
            return
        if version:
            claim.version = version
        elif not claim.lost:
            claim.lost = True
            log.warning("a claim lapsed while its consumer runs; another worker may take a repeat of its message")

"""A Redis Cluster: which of its nodes has which slot is asked for when somebody connects.

All keys of one place have one hash tag and so one slot. There are as many places as `PLACES`, each in the middle of an
equal part of all slots, so that nodes which share the slots evenly share the places, too. More of them would spread
finer, but a reader waits at each place that it reads from, and a broadcast asks all of them.

Nobody follows a redirection. A connection that was told MOVED, TRYAGAIN or CLUSTERDOWN is dropped, as one that broke
is, and whoever dials again asks where the slot is now: at most a few times a second, and after a pause that grows.
Asking is one round trip, for which redis-py would bring a second client; see `sentinel.py`.
"""

from __future__ import annotations

import binascii
import dataclasses
import logging
import threading
import time
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from hiredis import ProtocolError

from ..errors import LayerUnavailable
from .address import Address, Where
from .asking import Useless, ask, server_text
from .handshake import describe
from .sockets import left

if TYPE_CHECKING:
    from .switching import Follower

log = logging.getLogger("trunkline.layer")

PLACES = 12
SLOTS = 16384

_PATIENCE = 0.5  # seconds that one node may take
_FRESH = 0.25  # seconds for which nobody asks again
_DOUBTED = 0.05  # the same where somebody was sent away by the node that was named, and waits


def slot_of(tag: str) -> int:
    """Return the slot of the keys with a hash tag; "Key distribution model" in Redis' cluster specification."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def tag_for(place: int) -> str:
    """Return a hash tag whose slot lies in a place's part of all slots, nearer to its middle than to its ends."""
    part = SLOTS // PLACES
    tags = (f"{place}.{number}" for number in count())
    return next(tag for tag in tags if part // 4 <= slot_of(tag) - place * part < part * 3 // 4)


class Cluster:
    """What the nodes say about who has which slot.

    Args:
        seeds: Nodes to ask at first, and who asks them. Others are found.
    """

    def __init__(self, seeds: Sequence[Address]) -> None:
        self._seeds = tuple(seeds)
        self._lock = threading.Lock()
        self._nodes: tuple[Address, ...] = self._seeds  # whom to ask
        self._turn = 0  # whom first: one that is cut off from the others must not be believed for ever
        self._map: list[tuple[int, int, Address]] = []
        self._failure: str | None = None  # why nobody could tell, at the last time
        self._asked = -_FRESH
        self._doubted = False

    @property
    def text(self) -> str:
        """The address as people write it, without user and password."""
        scheme = "redis+cluster" if self._seeds[0].tls is None else "rediss+cluster"
        return f"{scheme}://{','.join(map(server_text, self._seeds))}"

    def doubt(self) -> None:
        """Ask again for the next who wants to know: a node that was named does not have the slot."""
        self._doubted = True

    def node(self, slot: int, deadline: float) -> Address:
        """Return the node that has a slot.

        Args:
            deadline: Of `time.monotonic()`; until then it may block.

        Raises:
            LayerUnavailable: Nobody can tell; one line.
        """
        if not self._lock.acquire(timeout=left(deadline)):
            raise LayerUnavailable(f"{self.text}: its nodes do not answer in time")
        try:
            age = time.monotonic() - self._asked
            if self._doubted and age < _DOUBTED:
                time.sleep(_DOUBTED - age)
            if self._doubted or age >= _FRESH:
                self._doubted = False
                self._failure = self._learn(deadline)
                self._asked = time.monotonic()
            if self._failure is not None:
                raise LayerUnavailable(self._failure)
        finally:
            self._lock.release()
        for first, last, address in self._map:
            if first <= slot <= last:
                return address
        raise LayerUnavailable(f"{self.text}: no node has the slot {slot}; CLUSTER INFO says more")

    def _learn(self, deadline: float) -> str | None:
        """Ask the nodes in turn, until one answers; return why none did."""
        reasons = []
        self._turn += 1
        nodes = self._nodes
        for index in range(len(nodes)):
            node = nodes[(self._turn + index) % len(nodes)]
            try:
                [reply] = ask(node, [("CLUSTER", "SLOTS")], min(deadline, time.monotonic() + _PATIENCE))
                found = _read(node, reply)
            except (OSError, ProtocolError, Useless) as error:
                reasons.append(f"{server_text(node)}: {describe(error)}")
                continue
            self._map = found
            # Those of the URL stay: the others may all be replaced by new ones in one night.
            self._nodes = tuple(dict.fromkeys((*(address for _, _, address in found), *self._seeds)))
            return None
        return f"{self.text}: no node answers: {'; '.join(reasons)}"


def _read(asked: Address, reply: Any) -> list[tuple[int, int, Address]]:
    found = []
    try:
        for first, last, (host, port, *_), *_ in reply:
            # A node that knows no name of its own for clients means: where you asked me.
            name = host.decode() if host and host != b"?" else asked.host
            found.append((int(first), int(last), dataclasses.replace(asked, host=name, port=int(port))))
    except (TypeError, ValueError, AttributeError):
        raise Useless("it answers, but not as a node of a cluster does") from None
    if not found:
        raise Useless("it has not joined a cluster: CLUSTER SLOTS is empty")
    return found


class Slot(Where):
    """Where one slot of a cluster is.

    Args:
        cluster: The cluster.
        number: Of the slot.
    """

    def __init__(self, cluster: Cluster, number: int) -> None:
        self._cluster = cluster
        self._number = number

    @property
    def text(self) -> str:
        return self._cluster.text

    def resolve(self, deadline: float) -> Address:
        """Ask who has it now; see `Where`."""
        return self._cluster.node(self._number, deadline)

    def doubt(self) -> None:
        """Ask again soon; see `Cluster.doubt`."""
        self._cluster.doubt()

    def follow(self, follower: Follower) -> None:
        """Do nothing: who is at the wrong node is told so, by that."""

    def close(self) -> None:
        """Do nothing."""

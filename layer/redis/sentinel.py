"""A Redis that Sentinels watch: who is its master is asked for at each connect.

This is Redis' own recipe for clients ("Guidelines for Redis clients with support for Redis Sentinel"): ask the
Sentinels in turn, the one that answered last time first, and make sure that what they name is a master, which our
handshake does. Beyond that, one that holds its master for dead is believed only if all others do, too: it may be cut
off from those that have promoted another one long ago.

Asking is one round trip over a connection of its own, for which redis-py would bring a second client: its own errors,
timeouts and TLS options, and a sixth of a second at every start. It blocks; the asyncio side asks in a thread, as it
looks up names.
"""

import dataclasses
import logging
import time
import weakref
from collections.abc import Sequence

from hiredis import ProtocolError

from ..errors import LayerUnavailable
from .address import SHAPE, Address, Where, read_address, read_database, read_host, read_tls, read_user
from .asking import Useless, ask, server_text
from .handshake import describe
from .switching import Follower, Watch

log = logging.getLogger("trunkline.layer")

PORT = 26379
SCHEMES = ("redis+sentinel", "rediss+sentinel")

_PATIENCE = 0.5  # seconds that one Sentinel may take: it does nothing else, and the next one knows as much
_DOWN = frozenset((b"s_down", b"o_down"))


class Sentinels(Where):
    """Where the master of a service is, by what its Sentinels say.

    Args:
        sentinels: Where they are, and who asks them.
        service: How they call what they watch.
        master: All about it but host and port.
    """

    def __init__(self, sentinels: Sequence[Address], service: str, master: Address) -> None:
        self._sentinels = tuple(sentinels)
        self._service = service
        self._master = master
        self._first = 0  # which of them to ask first
        self._last: Address | None = None  # what was found last
        self._watch = Watch(self._sentinels, service)
        weakref.finalize(self, self._watch.stop)

    @property
    def text(self) -> str:
        """The address as people write it, without users and passwords."""
        scheme = SCHEMES[self._master.tls is not None]
        return f"{scheme}://{','.join(map(server_text, self._sentinels))}/{self._service}/{self._master.database}"

    def resolve(self, deadline: float) -> Address:
        """Ask who is the master now; see `Where`."""
        reasons = []
        believed: Address | None = None
        first = self._first
        for turn in range(len(self._sentinels)):
            index = (first + turn) % len(self._sentinels)
            sentinel = self._sentinels[index]
            try:
                found, down = self._ask(sentinel, min(deadline, time.monotonic() + _PATIENCE))
            except (OSError, ProtocolError, Useless) as error:
                reasons.append(f"{server_text(sentinel)}: {describe(error)}")
                continue
            if not down:
                self._first = index
                return self._found(found)
            believed = believed or found
        if believed is not None:
            return self._found(believed)
        raise LayerUnavailable(f"{self.text}: no Sentinel knows its master: {'; '.join(reasons)}")

    def follow(self, follower: Follower) -> None:
        """Tell somebody when there is another master; see `Where`."""
        self._watch.add(follower)

    def close(self) -> None:
        """End the thread that listens for that."""
        self._watch.stop()

    def _ask(self, sentinel: Address, deadline: float) -> tuple[Address, bool]:
        """Return the master that a Sentinel names, and whether it holds it for dead."""
        # During a failover the second answer is ahead of the first.
        facts, place = ask(
            sentinel,
            [("SENTINEL", "MASTER", self._service), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)],
            deadline,
        )
        try:
            known = dict(zip(facts[::2], facts[1::2], strict=True))
            down = [known[b"ip"], known[b"port"]] == place and bool(_DOWN.intersection(known[b"flags"].split(b",")))
            return dataclasses.replace(self._master, host=place[0].decode(), port=int(place[1])), down
        except (TypeError, ValueError, KeyError, AttributeError):
            raise Useless("it answers, but not as a Sentinel does") from None

    def _found(self, address: Address) -> Address:
        last, self._last = self._last, address
        if last is not None and last != address:
            log.warning(
                "%s: the master is %s now, not %s any more; what had not been copied by then is lost",
                self.text, address.text, last.text,
            )  # fmt: skip
        return address


def read_where(
    scheme: str,
    place: str,
    *,
    db: int | str | None = None,
    tls_ca: str | None = None,
    tls_certificate: str | None = None,
    tls_key: str | None = None,
    sentinel_user: str | None = None,
    sentinel_password: str | None = None,
) -> Where:
    """Read any address of Redis, with Sentinels or without.

    Args:
        scheme: One of those of `read_address`, "redis+sentinel", or "rediss+sentinel" (TLS to Sentinels and Redis).
        place, db, tls_ca, tls_certificate, tls_key: As there; user and password are those of Redis.
        sentinel_user, sentinel_password: For Sentinels that ask for them.

    Raises:
        ValueError: Something is wrong; one line that says what. It never shows user or password.
    """
    if scheme not in SCHEMES:
        if sentinel_user is not None or sentinel_password is not None:
            raise ValueError(f"{scheme}://…: sentinel_user and sentinel_password are for redis+sentinel://")
        return read_address(scheme, place, db=db, tls_ca=tls_ca, tls_certificate=tls_certificate, tls_key=tls_key)
    front, _, rest = place.partition("/")
    userinfo, _, servers = front.rpartition("@")
    username, password = read_user(scheme, userinfo, rest)
    tls = read_tls(scheme, tls_ca, tls_certificate, tls_key)
    where = f"{scheme}://{servers}"
    service, _, database = rest.partition("/")
    if not service or "/" in database:
        raise ValueError(f"{where}/{rest}: expected {SHAPE[scheme]}")
    if sentinel_user is not None and sentinel_password is None:
        raise ValueError(f"{where}: sentinel_user needs sentinel_password")
    sentinels = [
        Address(host, port, None, 0, sentinel_user, sentinel_password, tls)
        for host, port in (read_host(scheme, server, PORT) for server in servers.split(","))
    ]
    master = Address("", 0, None, read_database(f"{where}/{service}", database, db), username, password, tls)
    return Sentinels(sentinels, service, master)

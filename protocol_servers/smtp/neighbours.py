"""Clients by their addresses: who is trusted, and who sends too much (the setting `rate`)."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable

COMMANDS_A_MAIL = 100  # commands that may come for each mail that may

_REMEMBERED = 10_000  # addresses
_MINUTE = 60.0
_UNIX = "unix"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_trusted(entries: Iterable[str]) -> tuple[list[Network], bool]:
    """Read the setting `trusted`.

    Args:
        entries: Addresses, networks, or "unix" for clients on unix sockets.

    Returns:
        The networks, and whether clients on unix sockets are trusted.

    Raises:
        ValueError: An entry is none of these.
    """
    networks: list[Network] = []
    unix = False
    for entry in entries:
        if entry == _UNIX:
            unix = True
        else:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                raise ValueError(f'trusted: {error}; write an address, a network, or "unix"') from None
    return networks, unix


class _Bucket:
    """What an address may still do: so much at once, and then as it fills again."""

    __slots__ = ("left", "when")

    def __init__(self, left: float, when: float) -> None:
        self.left = left
        self.when = when

    def take(self, count: int, most: float, now: float) -> bool:
        self.left = min(most, self.left + (now - self.when) * most / _MINUTE)
        self.when = now
        if self.left < count:
            return False
        self.left -= count
        return True


class Neighbours:
    """What is known of clients by their addresses.

    Args:
        trusted: The setting `trusted`.
        rate: Mails a minute from one address, an IPv6 one being a network of 64 bits; None: any number.
        clock: A monotonic clock in seconds.
    """

    def __init__(self, trusted: Iterable[str], rate: int | None, clock: Callable[[], float]) -> None:
        self._networks, self._unix = read_trusted(trusted)
        self._rate = rate
        self._clock = clock
        self._mails: OrderedDict[str, _Bucket] = OrderedDict()
        self._commands: OrderedDict[str, _Bucket] = OrderedDict()

    def trusts(self, host: str) -> bool:
        """Say whether a client at this address is trusted; "": on a unix socket."""
        if not host:
            return self._unix
        address = _address(host)
        return address is not None and any(
            address in network for network in self._networks if network.version == address.version
        )

    def admit_mail(self, host: str) -> bool:
        """Count a mail from an address; say whether it may come now."""
        return self._rate is None or self._take(self._mails, host, 1, self._rate)

    def admit_commands(self, host: str, count: int) -> bool:
        """Count commands from an address; say whether it may go on."""
        return self._rate is None or self._take(self._commands, host, count, self._rate * COMMANDS_A_MAIL)

    def _take(self, buckets: OrderedDict[str, _Bucket], host: str, count: int, most: float) -> bool:
        key, now = _network(host), self._clock()
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = _Bucket(most, now)
            if len(buckets) > _REMEMBERED:
                buckets.popitem(last=False)
        buckets.move_to_end(key)
        return bucket.take(count, most, now)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(host: str) -> str:
    """Return what one client can hardly have many of: an IPv4 address, or the 64 bits of an IPv6 network."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or host)

"""Addresses of clients: which networks they are in, and what counts as one client."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

UNIX = "unix"
"""What stands for clients on unix sockets."""

_REMEMBERED = 1024  # addresses that were looked at; clients come again, and reading an address is slow

_MAPPED = b"\0" * 10 + b"\xff\xff"  # an IPv4 address in the clothes of IPv6 (RFC 4291 section 2.5.5.2)


class Networks:
    """A list of addresses and networks that somebody wrote into a setting.

    Args:
        entries: Addresses, networks, or "unix" for clients on unix sockets.
        setting: What the errors call the list.

    Raises:
        ValueError: An entry is none of these.
    """

    def __init__(self, entries: Iterable[str], setting: str) -> None:
        self._networks: dict[int, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {4: [], 6: []}
        self._unix = False
        self._judged: dict[str, bool] = {}
        for entry in entries:
            if entry == UNIX:
                self._unix = True
                continue
            try:
                network = ipaddress.ip_network(entry)
            except ValueError as error:
                raise ValueError(f'{setting}: {error}; write an address, a network, or "unix"') from None
            self._networks[network.version].append(network)

    def __bool__(self) -> bool:
        """Tell whether anybody is in them."""
        return self._unix or any(self._networks.values())

    def __contains__(self, host: str) -> bool:
        """Tell whether a client is in them; "": one on a unix socket."""
        if not host:
            return self._unix
        found = self._judged.get(host)
        if found is None:
            address = read_address(host)
            found = address is not None and any(address in network for network in self._networks[address.version])
            if len(self._judged) >= _REMEMBERED:
                self._judged.clear()
            self._judged[host] = found
        return found


def read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, with or without a zone; one that maps IPv4 into IPv6 is the former. None: it is none."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def one_client(host: str) -> str | bytes:
    """Return what one client can hardly have many of: an IPv4 address, or the first 64 bits of an IPv6 one.

    Args:
        host: An address; anything else stands for itself.
    """
    if ":" not in host:
        return host
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return host
    return socket.inet_ntop(socket.AF_INET, packed[12:]) if packed.startswith(_MAPPED) else packed[:8]

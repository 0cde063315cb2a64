"""The settings that every server which listens has in common."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from .networks import Networks


@dataclass(kw_only=True)
class ListeningSettings:
    """What can be set of every listening server.

    Args:
        max_connections: connections that each process has at a time; whoever comes then is refused.
        max_per_address: those of them that may be from one address, an IPv6 one being a network of 64 bits; for
            `trusted_proxies` and on unix sockets there is no such limit.
        proxy_protocol: connections from `trusted_proxies` begin with a header of the PROXY protocol, version 1 or 2,
            that names the client; those from anywhere else never do.
        trusted_proxies: addresses or networks of proxies, "unix" for those on unix sockets: what they say of their
            clients is believed.
    """

    max_connections: int = field(default=10_000, metadata={"min": 1})
    max_per_address: int = field(default=1000, metadata={"min": 1})
    proxy_protocol: bool = False
    trusted_proxies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        if not self.proxies and self.proxy_protocol:
            raise ValueError("proxy_protocol: nobody may send its header; name the proxies in trusted_proxies")

    @functools.cached_property
    def proxies(self) -> Networks:
        """Whoever is one of `trusted_proxies`.

        Raises:
            ValueError: an entry makes no sense.
        """
        return Networks(self.trusted_proxies, "trusted_proxies")

"""Which web pages may come: browsers send a page's origin, and leave the decision to us (RFC 6454; RFC 6455, 10.2).

A WebSocket is not bound by the same-origin policy, yet the browser sends its cookies along. So only pages of the same
host and port may connect, unless a list says otherwise. A client that sends no Origin is no browser, and has no
cookies of somebody else to misuse.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HOST = r"(?P<host>[^\s/:@\[\]?#]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST)
_ORIGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://" + _HOST)

Origin = tuple[str, str, int | None]


def _parse(origin: str) -> Origin | None:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return None
    scheme = found["scheme"].lower()
    port = int(found["port"]) if found["port"] else _PORTS.get(scheme)
    return scheme, found["host"].lower(), port


class OriginPolicy:
    """Decide which origins may connect.

    Args:
        allowed: origins beyond the server's own, such as ``https://app.example.com``; ``null`` for pages without one
            (files, sandboxed frames); ``*`` for all.

    Raises:
        ValueError: An entry is none of these.
    """

    __slots__ = ("_all", "_null", "_origins")

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._all = self._null = False
        self._origins: set[Origin] = set()
        for text in allowed:
            origin = _parse(text)
            if text == "*":
                self._all = True
            elif text == "null":
                self._null = True
            elif origin is None:
                raise ValueError(f'{text!r} is no origin; write https://host, https://host:port, "null" or "*"')
            else:
                self._origins.add(origin)

    def allows(self, origin: str | None, host: str, secure: bool) -> bool:
        """Tell whether a page may connect.

        Args:
            origin: value of the Origin header, None where there is none.
            host: value of the Host header.
            secure: the request came through TLS, as far as we can see.
        """
        if origin is None or self._all:
            return True
        if origin == "null":
            return self._null
        page = _parse(origin)
        if page is None:
            return False
        return page in self._origins or self._same_host(page, host, secure)

    def _same_host(self, page: Origin, host: str, secure: bool) -> bool:
        scheme, page_host, page_port = page
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            return False
        if found["port"]:
            port: int | None = int(found["port"])
        elif secure:
            port = _PORTS["https"]
        else:
            # A proxy that ended TLS leaves no port in Host: then it is the default one of the page's own scheme.
            port = _PORTS.get(scheme)
        return port is not None and (page_host, page_port) == (found["host"].lower(), port)


@functools.lru_cache(maxsize=8)
def policy_of(allowed: tuple[str, ...]) -> OriginPolicy:
    """Return the policy for a list of settings, made once.

    Raises:
        ValueError: An entry is no origin.
    """
    return OriginPolicy(allowed)

"""Who may ask: on this machine's own address everybody who names it so, elsewhere who brings the token.

The Host header is what stops a web page: a browser can be made to send requests here by a name that somebody else's
DNS points at this machine, but then it says that name. A token stops it too, since no page knows it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from http import HTTPStatus

from ..addresses import is_loopback
from ..secret import Secret
from .requests import Refused, Request

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def check(request: Request, host: str, token: Secret | None) -> None:
    """Refuse a request of somebody who may not ask.

    Args:
        request: The request.
        host: The address that is listened on.
        token: What has to be brought; None: nothing.

    Raises:
        Refused: Its Host is another (421), or its token is missing or wrong (401).
    """
    named = _HOST.fullmatch(request.host)
    if named is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "the Host header makes no sense")
    if is_loopback(host) and not is_loopback(named[1].strip("[]")):
        raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "the Host header names another machine than this one")
    if token is not None and not hmac.compare_digest(_brought(request.authorization), token.value.encode()):
        raise Refused(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN")


def _brought(authorization: str) -> bytes:
    """Return the token of an Authorization header: of a Bearer, or the password where a browser asked for one."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            pass
    return b""

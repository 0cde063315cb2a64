"""The client's part of a login, read: SASL's PLAIN (RFC 4616) and LOGIN, as RFC 4954 carries them.

A mechanism is an exchange: what the server says next, or who the client says it is, or that it makes no sense.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import NamedTuple

MAX_RESPONSE = 12288  # characters of a line; RFC 4954 section 4.3

_MAX_NAME = 320
_MAX_PASSWORD = 1024


class Login(NamedTuple):
    """Who somebody says they are."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, …)"


class Senseless(ValueError):
    """The client's response breaks the mechanism's rules."""


class Exchange:
    """One login on its way.

    Args:
        steps: What is asked, in order; empty where the client speaks first and has said nothing yet.
        read: Makes the login of the responses.
    """

    __slots__ = ("_read", "_responses", "_steps")

    def __init__(self, steps: tuple[bytes, ...], read: Callable[[list[str]], Login]) -> None:
        self._steps = steps
        self._read = read
        self._responses: list[str] = []

    def begin(self) -> bytes:
        """Return the first challenge, base64."""
        return binascii.b2a_base64(self._steps[0], newline=False)

    def respond(self, response: str) -> bytes | Login:
        """Take a response in base64; return the next challenge, base64, or who the client says it is.

        Raises:
            Senseless: It is no base64, no UTF-8, or not what the mechanism wants.
        """
        try:
            self._responses.append(binascii.a2b_base64(response.encode("ascii"), strict_mode=True).decode())
        except ValueError:  # binascii.Error, UnicodeError
            raise Senseless("neither base64 nor UTF-8 in it") from None
        if len(self._responses) < len(self._steps):
            return binascii.b2a_base64(self._steps[len(self._responses)], newline=False)
        login = self._read(self._responses)
        if not 0 < len(login.user) <= _MAX_NAME or len(login.password) > _MAX_PASSWORD or not login.user.isprintable():
            raise Senseless("a name or password of such a length")
        return login


def _read_plain(responses: list[str]) -> Login:
    """Read ``[authorise-as] NUL user NUL password``; nobody may act as somebody else."""
    parts = responses[0].split("\0")
    if len(parts) != 3 or parts[0] not in ("", parts[1]):
        raise Senseless("not what PLAIN looks like")
    return Login(parts[1], parts[2])


def _read_login(responses: list[str]) -> Login:
    user, password = responses
    if "\0" in user + password:
        raise Senseless("a NUL")
    return Login(user, password)


MECHANISMS: dict[str, Callable[[], Exchange]] = {
    "PLAIN": lambda: Exchange((b"",), _read_plain),
    "LOGIN": lambda: Exchange((b"Username:", b"Password:"), _read_login),
}
"""The mechanisms, by name, each with what begins it."""

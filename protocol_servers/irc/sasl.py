"""SASL: PLAIN (RFC 4616), EXTERNAL (RFC 4422) and SCRAM-SHA-256 (RFC 5802, RFC 7677), over AUTHENTICATE.

https://ircv3.net/specs/extensions/sasl-3.1: base64 in pieces of 400 bytes; a last piece of exactly 400, or nothing at
all, is followed by "+".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

MECHANISMS = ("PLAIN", "EXTERNAL", "SCRAM-SHA-256")
MOST_ITERATIONS = 200_000  # some 70 ms; a server must not hold the loop with a billion
_PIECE = 400
_LONGEST = 8192
_SERVER_FIRST = re.compile(r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,9})(?:,.*)?")


class SaslError(Exception):
    """The server cannot be believed, or the credentials cannot be said."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How we say who we are.

    Attributes:
        mechanism: One of `MECHANISMS`.
        user: The account; EXTERNAL does not need it.
        password: Its password.
    """

    mechanism: str
    user: str = ""
    password: str = field(default="", repr=False)


class Mechanism(Protocol):
    """One exchange."""

    done: bool
    """Whether the server proved what it had to, so that its word for success counts."""

    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge; raises `SaslError`."""
        ...


class OneAnswer:
    """PLAIN and EXTERNAL: one empty challenge, one answer."""

    def __init__(self, answer: bytes) -> None:
        self.done = False
        self._answer = answer

    def respond(self, challenge: bytes) -> bytes:
        """Answer the first challenge."""
        if challenge or self.done:
            raise SaslError("the server asked for more than the mechanism has")
        self.done = True
        return self._answer


class ScramSha256:
    """SCRAM-SHA-256 without channel binding.

    Args:
        user: The account.
        password: Its password.
        nonce: Ours, printable ASCII without commas.
    """

    def __init__(self, user: str, password: str, nonce: str) -> None:
        self.done = False
        self._password = prepare(password).encode()
        self._nonce = nonce
        name = prepare(user).replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={name},r={nonce}"
        self._signature: bytes | None = None
        self._began = False

    def respond(self, challenge: bytes) -> bytes:
        """Answer the three challenges: nothing, the salt, the server's proof."""
        if not self._began:
            self._began = True
            if challenge:
                raise SaslError("the server spoke first")
            return f"n,,{self._first}".encode()
        if self._signature is None:
            return self._prove(challenge)
        if not hmac.compare_digest(challenge, b"v=" + base64.b64encode(self._signature)):
            raise SaslError("the server does not know the password: it may not be the one it claims to be")
        self.done = True
        return b""

    def _prove(self, challenge: bytes) -> bytes:
        found = _SERVER_FIRST.fullmatch(challenge.decode("ascii", "replace"))
        if found is None:
            raise SaslError("the server's SCRAM challenge makes no sense")
        nonce, salt, iterations = found[1], _unbase64(found[2]), int(found[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslError("the server's nonce does not extend ours")
        if not 4096 <= iterations <= MOST_ITERATIONS:
            raise SaslError(f"{iterations} iterations: allowed are 4096 to {MOST_ITERATIONS}")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={nonce}"
        signed = ",".join((self._first, challenge.decode("ascii"), final)).encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{final},p={base64.b64encode(proof).decode()}".encode()


def prepare(text: str) -> str:
    """Prepare a user name or password by SASLprep (RFC 4013).

    Raises:
        SaslError: It holds a character that is not allowed.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(table(each) for each in prepared for table in _FORBIDDEN):
        raise SaslError("a control character, or one that nobody assigned, in the user or password")
    return prepared


_FORBIDDEN = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def make_mechanism(credentials: Credentials, make_nonce: Callable[[], str]) -> Mechanism:
    """Return the exchange for ``credentials``.

    Raises:
        SaslError: There is no such mechanism, or the user or password cannot be said in it.
    """
    user, password = credentials.user, credentials.password
    if credentials.mechanism == "PLAIN":
        if not user or "\0" in user + password:
            raise SaslError("PLAIN needs a user, and neither it nor the password can hold NUL")
        return OneAnswer(b"\0".join((b"", user.encode(), password.encode())))
    if credentials.mechanism == "EXTERNAL":
        return OneAnswer(user.encode())
    if credentials.mechanism == "SCRAM-SHA-256":
        return ScramSha256(user, password, make_nonce())
    raise SaslError(f"{credentials.mechanism}: no such mechanism; there are {', '.join(MECHANISMS)}")


class Exchange:
    """A mechanism over AUTHENTICATE's pieces."""

    def __init__(self, mechanism: Mechanism) -> None:
        self.mechanism = mechanism
        self._pieces = ""

    def receive(self, piece: str) -> list[str]:
        """Take the parameter of one AUTHENTICATE; return those to send.

        Raises:
            SaslError: The challenge is too long, is no base64, or was not believed.
        """
        self._pieces += "" if piece == "+" else piece
        if len(piece) > _PIECE or len(self._pieces) > _LONGEST:
            raise SaslError("the server's challenge is too long")
        if len(piece) == _PIECE:
            return []
        challenge, self._pieces = _unbase64(self._pieces), ""
        answer = base64.b64encode(self.mechanism.respond(challenge)).decode()
        pieces = [answer[start : start + _PIECE] for start in range(0, len(answer), _PIECE)]
        if not pieces or len(pieces[-1]) == _PIECE:
            pieces.append("+")
        return pieces


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SaslError("the server's challenge is no base64") from None

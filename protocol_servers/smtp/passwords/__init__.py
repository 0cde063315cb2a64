"""Passwords as they stand in an `auth_file`: hashed with scrypt (RFC 7914), one user a line.

    ann:$scrypt$ln=14,r=8,p=1$<salt>$<hash>

The part after the colon is the usual format of password hashes (the one passlib and argon2 write), in base64 without
padding. A line is made, the password being asked for, by

    python -m trunkline.protocol_servers.smtp.passwords ann >> users
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

_LINE = re.compile(r"([^:\s#][^:]*):\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/.-]+)\$([\w+/.-]+)")
_COST = (14, 8, 1)  # as OWASP has it for interactive logins on small machines: 16 MiB and about 50 ms
_MAX_MEMORY = 256 * 1024 * 1024
_SALT = 16
_HASH = 32


class Hash(NamedTuple):
    """A password's hash, and what it was made with."""

    cost: tuple[int, int, int]
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        """Say whether this is the password; the time it takes does not depend on that."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost, len(self.digest)), self.digest)


def make_line(user: str, password: str) -> str:
    """Return the line of a user.

    Raises:
        ValueError: A name cannot look like this.
    """
    salt = secrets.token_bytes(_SALT)
    ln, r, p = _COST
    digest = _scrypt(password, salt, _COST, _HASH)
    line = f"{user}:$scrypt$ln={ln},r={r},p={p}${_encode(salt)}${_encode(digest)}"
    if not _LINE.fullmatch(line) or user != user.strip() or not user.isprintable():
        raise ValueError(f"{user!r} cannot be a user's name: it is empty, or has a colon or the like in it")
    return line


def read_lines(text: str) -> dict[str, Hash]:
    """Read an `auth_file`; empty lines and those that begin with ``#`` are nobody's.

    Raises:
        ValueError: A line is none, or names somebody twice; says which.
    """
    users: dict[str, Hash] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number} is not user:$scrypt$ln=…,r=…,p=…$salt$hash")
        if found[1] in users:
            raise ValueError(f"line {number} names a user for the second time")
        cost = int(found[2]), int(found[3]), int(found[4])
        if not (1 <= cost[0] <= 20 and cost[1] and cost[2]) or (128 * cost[1] << cost[0]) > _MAX_MEMORY // 2:
            raise ValueError(f"line {number} asks for too much work, or for none")
        try:
            users[found[1]] = Hash(cost, _decode(found[5]), _decode(found[6]))
        except binascii.Error:
            raise ValueError(f"line {number} has something else than base64 in it") from None
    return users


NOBODY = Hash(_COST, bytes(_SALT), bytes(_HASH))
"""What is compared with where a user does not exist, so that one learns nothing from how long it takes."""


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int], size: int) -> bytes:
    ln, r, p = cost
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << ln, r=r, p=p, maxmem=_MAX_MEMORY, dklen=size)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    # Some write "." for "+".
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)

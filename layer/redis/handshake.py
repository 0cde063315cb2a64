"""What happens to every new connection before it is used: who we are, who answers, and the scripts we need.

It does no I/O: `handshake` yields commands, is sent their replies, and returns a `Hello`. Two round trips, or one where
Redis has the scripts already. A user with restricted rights needs, beside what the layer calls, `+time`,
`+script|exists` and `+script|load`; `+info` is welcome, `+select` for databases other than 0.
"""

import os
import re
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from hiredis import ReplyError

from ..errors import LayerUnavailable
from .address import Address, Where
from .replies import Command

OLDEST = (7, 0)
"""The first Redis that is good enough: its scripts can be declared, and BLMPOP is new in it. Any Valkey is."""

_QUOTED = 200  # characters of Redis' own words in an error
_ASKED_FOR = 8  # digests in one command: to whoever says more than ten words before a password, Redis hangs up


class Hello(NamedTuple):
    """Who answers.

    Attributes:
        client_id: This connection's number, as in `CLIENT LIST`.
        version: Of the server, such as (7, 0, 15).
        server: "redis" or "valkey".
        run_id: Another one after each start of the server; "" where the user may not ask for it.
        offset: Seconds to add to `time.monotonic()` for the server's clock.
    """

    client_id: int
    version: tuple[int, ...]
    server: str
    run_id: str
    offset: float


def handshake(
    address: Address, scripts: Mapping[bytes, bytes], name: str, clock: Callable[[], float] = time.monotonic
) -> Generator[list[Command], list[Any], Hello]:
    """Yield what to send, be sent what was answered, and return who it is.

    Args:
        address: User, password and database.
        scripts: Sources by their SHA-1 in hexadecimal digits.
        name: How this connection is called in `CLIENT LIST`.
        clock: Told time for `Hello.offset`.

    Raises:
        LayerUnavailable: This server cannot be used; one line.
    """
    asked = clock()
    replies = yield _greeting(address, scripts, name)
    middle = (asked + clock()) / 2
    _check(address, replies[:1])
    try:
        hello, missing = _understand(address, replies, scripts, middle)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise LayerUnavailable(f"{address.text} answers, but not as Redis does") from None
    if missing:
        _check(address, (yield loading(missing)))
    return hello


def loading(scripts: Mapping[bytes, bytes]) -> list[Command]:
    """Return the commands that load scripts."""
    return [("SCRIPT", "LOAD", source) for source in scripts.values()]


def lost(address: Address, reason: object, *, uncertain: bool = True) -> LayerUnavailable:
    """Say why a connection is gone."""
    return LayerUnavailable(f"lost {address.text}: {describe(reason)}", uncertain=uncertain)


def unreachable(where: Where, reason: object) -> LayerUnavailable:
    """Say why there is no connection."""
    return LayerUnavailable(f"cannot reach {where.text}: {describe(reason)}")


def describe(reason: object) -> str:
    """Say in a few words what went wrong."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, ssl.SSLError):
        words = getattr(reason, "reason", None) or str(reason).partition(" (_ssl.c")[0]
        return f"TLS failed: {words.replace('_', ' ')}"
    if isinstance(reason, OSError) and (reason.errno or 0) > 0:
        return os.strerror(reason.errno or 0)  # asyncio has words of its own
    text = str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
    return " ".join(re.sub(r"[^ -~]+", " ", text).split())[:_QUOTED]


def _greeting(address: Address, scripts: Mapping[bytes, bytes], name: str) -> list[Command]:
    hello: Command = ("HELLO", 2)
    if address.password is not None:
        hello += ("AUTH", address.username or "default", address.password)
    greeting: list[Command] = [(*hello, "SETNAME", name)]
    if address.database:
        greeting.append(("SELECT", address.database))
    greeting.append(("INFO", "server"))
    # Either is refused while Redis loads its data, unlike those before.
    greeting += [("SCRIPT", "EXISTS", *some) for some in _batches(scripts)] or [("PING",)]
    greeting.append(("TIME",))
    return greeting


def _batches(scripts: Mapping[bytes, bytes]) -> list[list[bytes]]:
    digests = list(scripts)
    return [digests[start : start + _ASKED_FOR] for start in range(0, len(digests), _ASKED_FOR)]


def _understand(
    address: Address, replies: list[Any], scripts: Mapping[bytes, bytes], middle: float
) -> tuple[Hello, dict[bytes, bytes]]:
    """Return who it is, and the scripts it lacks."""
    asked = len(_batches(scripts)) or 1
    first, info, *present, clock = replies[0], *replies[-2 - asked :]
    facts = dict(zip(first[::2], first[1::2], strict=True))
    if facts[b"mode"] == b"sentinel":
        raise LayerUnavailable(f"{address.text} is a Sentinel, not the Redis that it watches")
    if facts[b"mode"] == b"cluster" and not address.cluster:
        raise LayerUnavailable(f"{address.text} is a node of a cluster, whose URL begins with redis+cluster://")
    said: dict[str, str] = {}
    if not isinstance(info, ReplyError):
        said.update(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    server, version = facts[b"server"].decode(), facts[b"version"].decode()
    if "valkey_version" in said:
        server, version = "valkey", said["valkey_version"]
    release = tuple(map(int, re.findall(r"\d+", version)))
    if server != "valkey" and release < OLDEST:
        raise _too_old(address, version)
    if facts[b"role"] != b"master":
        raise LayerUnavailable(f"{address.text} is a read-only replica; name its primary")
    _check(address, [reply for reply in replies if reply is not info])
    seconds, microseconds = map(int, clock)
    hello = Hello(int(facts[b"id"]), release, server, said.get("run_id", ""), seconds + microseconds / 1e6 - middle)
    if not scripts:
        return hello, {}
    there = dict(zip(scripts, chain.from_iterable(present), strict=True))
    return hello, {sha: source for sha, source in scripts.items() if not there[sha]}


def _check(address: Address, replies: list[Any]) -> None:
    """Raise what the first error means."""
    error = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
    if error is None:
        return
    text = describe(error)
    code = text.partition(" ")[0]
    if code in ("NOAUTH", "WRONGPASS"):
        wants = "wants a user name and password" if address.password is None else "refuses this user name and password"
        raise LayerUnavailable(f"{address.text} {wants}")
    if code == "LOADING":
        raise LayerUnavailable(f"{address.text} is still loading its data")
    if "unknown command" in text and "HELLO" in text:
        raise _too_old(address, "older than 6.0")
    raise LayerUnavailable(f"{address.text} refuses the connection: {text}")


def _too_old(address: Address, version: str) -> LayerUnavailable:
    oldest = ".".join(map(str, OLDEST))
    return LayerUnavailable(f"{address.text} is Redis {version}; Trunkline needs {oldest} or newer, or Valkey")

"""What Redis answers: parsed by hiredis within bounds, and the errors told apart that concern more than one command."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, cast

import hiredis
from hiredis import ProtocolError, ReplyError

Command = tuple[str | bytes | int | float, ...]

MAX_GREETING: Final = 1 << 20
"""Bytes that one reply may have before the handshake is over: what answers may be anything."""

MAX_REPLY: Final = 512 << 20
"""Bytes that one reply may have: a batch of large messages, as large as one value of Redis may be."""

_NOTHING: Final = object()
_pack_command = cast(Callable[[Command], bytes], hiredis.pack_command)  # whose annotation names a tuple of one
_NOT_SERVING = frozenset(
    (
        "READONLY",
        "UNBLOCKED",
        "MASTERDOWN",
        "LOADING",
        "CLUSTERDOWN",
        "MOVED",
        "ASK",
        "TRYAGAIN",
        "NOAUTH",
        "BUSY",
        "NOREPLICAS",
    )
)

_AWAY: Final = "access a non local key in a cluster node"


class NotServing(ReplyError):
    """Tell that this server does not serve now, or not any more. The command was not executed."""


class Interrupted(NotServing):
    """Tell that a slot left this node in the middle of a script: who knows what of it was done."""


class NoScript(ReplyError):
    """Tell that Redis has forgotten a script. The command was not executed."""


class Parser:
    """The incoming side of one connection.

    Attributes:
        replies: What was parsed and not yet taken, in order. An error is an instance of `hiredis.ReplyError`.
        limit: How many bytes may come without completing a reply.
    """

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.limit = MAX_GREETING
        # The reader must not refer to the parser: it takes no part in garbage collection.
        self._marks: list[ReplyError] = []
        self._reader = hiredis.Reader(replyError=partial(_error, self._marks), notEnoughData=_NOTHING)
        self._gets = self._reader.gets
        self._partial = 0

    def feed(self, data: bytes) -> None:
        """Parse what arrived.

        Raises:
            ProtocolError: This is not Redis' protocol, or too much of it. What was parsed before stays in `replies`.
        """
        replies = self.replies
        before = len(replies)
        try:
            self._reader.feed(data)
            # One call for all that is there. The loop is in C: this is where every reply of a process passes.
            replies.extend(iter(self._gets, _NOTHING))
        except MemoryError:
            raise ProtocolError("a reply without end") from None
        if len(replies) > before:
            self._partial = 0
        else:
            self._partial += len(data)
            if self._partial > self.limit:
                raise ProtocolError(f"a reply of more than {self.limit} bytes")

    def alarmed(self) -> bool:
        """Tell whether a `NotServing` or `NoScript` has come since `calm`. Nearly always it has not."""
        return bool(self._marks)

    def calm(self) -> None:
        """Forget about those that were dealt with; those that nobody has taken yet still count."""
        self._marks[:] = [reply for reply in self.replies if isinstance(reply, NotServing | NoScript)]


def _error(marks: list[ReplyError], text: str) -> ReplyError:
    code = text.partition(" ")[0]
    if code in _NOT_SERVING:
        error: ReplyError = NotServing(text)
    elif code == "NOSCRIPT":
        error = NoScript(text)
    elif _AWAY in text:
        error = Interrupted(text)
    else:
        return ReplyError(text)
    marks.append(error)
    return error


def pack(commands: Iterable[Command]) -> bytes:
    """Return commands as they travel.

    Raises:
        TypeError: A command is not a tuple of str, bytes, int and float.
    """
    return b"".join(map(_pack_command, commands))


def refusal(replies: Iterable[Any]) -> NotServing | None:
    """Return the first reply that says that the server does not serve."""
    return next((reply for reply in replies if isinstance(reply, NotServing)), None)


def executed(replies: Iterable[Any]) -> bool:
    """Tell whether any of these replies is to a command that was executed."""
    return not all(isinstance(reply, NotServing | NoScript) and type(reply) is not Interrupted for reply in replies)


def unloaded(replies: Sequence[Any]) -> list[int]:
    """Return the indexes of the commands whose scripts Redis has forgotten."""
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScript)]

"""What one client says, on its way to the workers: in order, with a bounded amount under way.

A message is under way until the layer took it, and where workers asked for order, until one of them is done with it.
While too much is, or while the layer refuses (a full channel, an outage), nothing more is read from the socket. What
was refused is tried again in order, the first one alone until it passes; five seconds without success end the
connection. What is in doubt, since the layer was lost under it, is counted and never sent again.
"""

from __future__ import annotations

from bisect import insort
from functools import partial
from typing import Protocol

from websockets.frames import CloseCode

from ....layer import MessageTooLarge
from ...base import Message, ProtocolServer

RECEIVE = "websocket.receive"
DISCONNECT = "websocket.disconnect"

# 64 messages or 1 MiB of content may be under way: each counts its bytes and a sixty-fourth of the whole.
WINDOW = 1024 * 1024
_EACH = WINDOW // 64

PATIENCE = 5.0  # seconds that a refused message is tried again
_FIRST_PAUSE = 0.05  # seconds before the first repetition, doubled with each
_LONGEST_PAUSE = 0.8


class Speaker(Protocol):
    """The socket, as its inflow needs it."""

    def pause(self) -> None:
        """Stop reading; harmless when it was stopped before."""

    def resume(self) -> None:
        """Read on; harmless when it was never stopped."""

    def close(self, code: int) -> None:
        """End the connection with a close code."""


class _Refused:
    """What the layer refused, and whatever came behind it."""

    __slots__ = ("deadline", "messages", "pause", "weight")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.pause = _FIRST_PAUSE
        self.messages: list[tuple[int, Message, int]] = []
        self.weight = 0

    def add(self, message: Message, weight: int) -> None:
        # A refusal may be told after younger messages were put here.
        insort(self.messages, (message["order"], message, weight), key=_order)
        self.weight += weight


def _order(entry: tuple[int, Message, int]) -> int:
    return entry[0]


class Inflow:
    """Carry the messages of one socket to ``websocket.receive``.

    Args:
        server: whose inbox they leave by.
        speaker: the socket.
    """

    __slots__ = ("_farewell", "_refused", "_server", "_speaker", "_stopped", "_unsettled")

    def __init__(self, server: ProtocolServer, speaker: Speaker) -> None:
        self._server = server
        self._speaker: Speaker | None = speaker
        self._unsettled = 0
        self._stopped = False
        self._refused: _Refused | None = None
        self._farewell: Message | None = None

    def send(self, message: Message, size: int) -> None:
        """Send a message behind all that were sent before.

        Args:
            message: a ``websocket.receive``.
            size: bytes of its content.
        """
        weight = size + _EACH
        self._unsettled += weight
        if self._refused is not None:
            self._refused.add(message, weight)
            return
        self._server.turns.send(RECEIVE, message, partial(self._settled, message, weight))
        if self._unsettled > WINDOW:
            self._stop()

    def end(self, farewell: Message) -> None:
        """Send the socket's last message, where anybody listens, once all before it is settled."""
        self._speaker = None
        self._farewell = farewell
        self._go_on()

    def _settled(self, message: Message, weight: int, outcome: object) -> None:
        if not isinstance(outcome, Exception) or self._server.in_doubt(outcome):
            self._unsettled -= weight
            if self._stopped or self._farewell is not None:
                self._go_on()
        elif isinstance(outcome, MessageTooLarge):
            self._unsettled -= weight
            self._close(CloseCode.MESSAGE_TOO_BIG)
            self._go_on()
        else:
            if self._refused is None:
                self._server.stats["websocket_held_up"] += 1
                self._refused = _Refused(self._server.clock() + PATIENCE)
                self._server.timers.call_later(_FIRST_PAUSE, self._repeat)
                self._stop()
            self._refused.add(message, weight)

    def _go_on(self) -> None:
        if self._refused is not None:
            return
        if self._farewell is not None:
            if not self._unsettled:
                farewell, self._farewell = self._farewell, None
                self._server.notify(DISCONNECT, farewell)
        elif self._speaker is not None and self._stopped and self._unsettled <= WINDOW // 2:
            self._stopped = False
            self._speaker.resume()

    def _stop(self) -> None:
        self._stopped = True
        if self._speaker is not None:
            self._speaker.pause()

    def _close(self, code: CloseCode) -> None:
        if self._speaker is not None:
            self._speaker.close(code)

    def _repeat(self) -> None:
        refused = self._refused
        assert refused is not None
        if self._unsettled > refused.weight:
            # Some that were sent before the refusal was told are still under way; they may belong in between.
            self._server.timers.call_later(refused.pause, self._repeat)
        else:
            self._server.turns.send(RECEIVE, refused.messages[0][1], self._repeated)

    def _repeated(self, outcome: object) -> None:
        refused = self._refused
        assert refused is not None
        server = self._server
        doubt = server.in_doubt(outcome)
        if isinstance(outcome, Exception) and not doubt:
            if server.clock() < refused.deadline:
                refused.pause = min(2 * refused.pause, _LONGEST_PAUSE)
                server.timers.call_later(refused.pause, self._repeat)
                return
            server.stats["websocket_receives_lost"] += len(refused.messages)
            self._unsettled = 0
            self._refused = None
            self._close(CloseCode.TRY_AGAIN_LATER)
            self._go_on()
            return
        _, _, weight = refused.messages.pop(0)
        refused.weight -= weight
        self._unsettled -= weight
        if not refused.messages:
            self._refused = None
            self._go_on()
            return
        if self._speaker is not None and not doubt:
            refused.deadline = server.clock() + PATIENCE
        refused.pause = _FIRST_PAUSE
        self._repeat()

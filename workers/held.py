"""What one consumer sent and what has not left yet: it leaves when the consumer returned, or never."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..layer import Batch, ChannelFull, LayerUnavailable
from .exceptions import HeldTooMuch
from .sending import plain
from .sessions import with_cookies

if TYPE_CHECKING:
    from ..layer import Layer
    from ..message_formats import Format
    from .flushing import Flusher
    from .sessions import Session

_NEVER = float("inf")
MOST_SENDS = 1000
MOST_BYTES = 8 * 1024 * 1024


class Held:
    """The sends of one consumer, in order, as one batch of the layer.

    Attributes:
        due: When the consumer has to be done, on the layer's clock; infinity where it may take its time.
        answer: The first message the consumer sent to the message's reply channel, held or not.
        open: False once the consumer ended: what it left running sends immediately.
        sessions: What the consumer may change, and is written when it has ended.
    """

    __slots__ = (
        "_flusher",
        "_size",
        "answer",
        "batch",
        "due",
        "layer",
        "letters",
        "open",
        "reply_format",
        "reply_name",
        "sessions",
    )

    def __init__(self, layer: Layer, reply_name: str | None, reply_format: Format | None, flusher: Flusher) -> None:
        self.layer = layer
        self.reply_name = reply_name
        self.reply_format = reply_format
        self._flusher = flusher
        self.answer: Mapping[str, Any] | None = None
        self.batch: Batch | None = None
        self.letters: list[tuple[str, dict[str, Any]]] = []
        self.open = True
        self.due = _NEVER
        self.sessions: tuple[Session, ...] = ()
        self._size = 0

    def send(self, name: str, content: Mapping[str, Any], options: Mapping[str, Any], trusted: bool) -> None:
        """Hold a message; it is packed now, so that altering it later alters nothing.

        Args:
            name: The channel.
            content: The message.
            options: Those of `Layer.send`.
            trusted: A format looked at every part of the message.

        Raises:
            HeldTooMuch: over 1 000 sends, or over 8 MiB in several.
            TypeError: the name or the message cannot travel.
        """
        batch = self._room()
        if options:
            batch.send(name, plain(content), trusted=trusted, **options)
        else:
            batch.send(name, plain(content), trusted=trusted)
        self._weigh(batch)
        self.note_answer(name, content)

    def send_group(self, group: str, content: Mapping[str, Any], exclude: str | list[str] | None) -> None:
        """Hold a message to a group, likewise."""
        batch = self._room()
        batch.send_group(group, plain(content), exclude)
        self._weigh(batch)

    def unheard(self, name: str, content: Mapping[str, Any]) -> None:
        """Hold a message nobody listens for; it becomes a dead letter."""
        self._room()
        self.letters.append((name, copy.deepcopy(dict(content))))

    def note_answer(self, name: str, content: Mapping[str, Any]) -> None:
        """Remember what was first sent to the message's reply channel: no other answer is given for the consumer."""
        if name == self.reply_name and self.answer is None:
            self.answer = dict(content)

    def dress(self, name: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is to leave at once, with the cookies of sessions if it is the response that can carry them.

        Args:
            name: The channel.
            content: The message.
        """
        if not self.sessions or name != self.reply_name or self.answer is not None:
            return content
        return with_cookies(content, self.sessions)

    def tell_sessions(self, answer: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Write what the consumer changed in its sessions, and tell the client of them.

        Args:
            answer: The answer that is given for the consumer.

        Returns:
            The answer, with cookies where there are any.
        """
        if answer is not None:
            answer = with_cookies(answer, self.sessions)
        elif self.batch is not None:
            calls = self.batch.calls
            for at, call in enumerate(calls):
                if Batch.channel_of(call) == self.reply_name:
                    response = self.batch.message_of(call)
                    dressed = with_cookies(response, self.sessions)
                    if dressed is not response:
                        self.batch.send(str(self.reply_name), dict(dressed), trusted=True)
                        calls[at] = calls.pop()
                    break
        for session in self.sessions:
            session.save()
        return answer

    def watch(self, seconds: float) -> None:
        """Give the consumer so many seconds from now."""
        self.due = self.layer.clock() + seconds
        self._flusher.expect(self.due)

    def pause(self, seconds: float) -> None:
        """Wait, while others make room."""
        self._flusher.pause(seconds)

    def wait_for_layer(self) -> bool:
        """Wait a little while the layer is away; False where the consumer has no time left, or the worker stops."""
        return self._flusher.outage(self.due - self.layer.clock())

    def make_way(self, name: str | None = None) -> None:
        """Let what earlier consumers of this thread sent leave first: no immediate send overtakes it.

        Args:
            name: The channel that is to be sent to.

        Raises:
            ChannelFull: others still wait for room there.
            LayerUnavailable: it is away, and others wait for it.
        """
        if not self._flusher.flush():
            raise LayerUnavailable("the channel layer is out of reach, and what was sent before waits for it")
        if name is not None and self._flusher.waits(name):
            raise ChannelFull(f"{name}: others wait for room there")

    def _room(self) -> Batch:
        batch = self.batch
        if batch is None:
            batch = self.batch = self.layer.batch()
        elif len(batch.calls) + len(self.letters) >= MOST_SENDS:
            raise HeldTooMuch(f"one consumer holds at most {MOST_SENDS} sends; use immediately=True")
        return batch

    def _weigh(self, batch: Batch) -> None:
        size = Batch.size_of(batch.calls[-1])
        if self._size and self._size + size > MOST_BYTES:  # of a single one the layer's `max_size` is the bound
            batch.calls.pop()
            raise HeldTooMuch(f"one consumer holds at most {MOST_BYTES} bytes; use immediately=True")
        self._size += size

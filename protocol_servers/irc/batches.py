"""Batches (https://ircv3.net/specs/extensions/batch): which messages belong together.

Only what a batch says of its messages is kept (whether they are history, which request they answer), so that they go
on one by one as they come; just the lines of a `draft/multiline` message wait for each other. Batches that never end,
or that are nested without end, cost no more than the bounds below.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from .message import Message

MAX_OPEN = 32
MAX_LINES = 500
MAX_BYTES = 64 * 1024
_CONCAT = "draft/multiline-concat"


@dataclass(slots=True)
class Batch:
    """An open batch.

    Attributes:
        kind: Its type.
        opening: The message that opened it.
        label: The label of the request that it answers, its own or of the batch around it.
        history: The target whose history it is part of; None: it is none.
        held: The lines of a multiline message, as far as they came.
        count: The messages in it.
    """

    kind: str
    opening: Message
    label: str | None
    history: str | None
    held: list[Message] = field(default_factory=list)
    count: int = 0
    size: int = 0


class Batches:
    """The open batches.

    Args:
        stats: Counts "batches_over_limit".
    """

    def __init__(self, stats: Counter[str]) -> None:
        self._stats = stats
        self._open: dict[str, Batch] = {}

    def of(self, message: Message) -> Batch | None:
        """Return the batch that a message is in."""
        return self._open.get(message.tags.get("batch", ""))

    def label_of(self, message: Message) -> str | None:
        """Return the label of the request that a message answers."""
        batch = self.of(message)
        return message.tags.get("label", batch.label if batch is not None else None)

    def open(self, reference: str, message: Message) -> None:
        """Take the opening of a batch: ``BATCH +reference type …``."""
        if len(self._open) >= MAX_OPEN:  # the oldest will hardly end any more
            del self._open[next(iter(self._open))]
            self._stats["batches_over_limit"] += 1
        parent = self.of(message)
        kind = message.params[1] if len(message.params) > 1 else ""
        history = parent.history if parent is not None else None
        if kind in ("chathistory", "draft/chathistory") and len(message.params) > 2:
            history = message.params[2]
        self._open[reference] = Batch(kind, message, self.label_of(message), history)

    def close(self, reference: str) -> Batch | None:
        """Take the end of a batch: ``BATCH -reference``."""
        return self._open.pop(reference, None)

    def hold(self, batch: Batch, message: Message) -> bool:
        """Keep a line of a multiline message until its batch ends; say whether it is one."""
        if batch.kind != "draft/multiline" or message.command.upper() not in ("PRIVMSG", "NOTICE"):
            return False
        batch.size += sum(map(len, message.params))
        if len(batch.held) >= MAX_LINES or batch.size > MAX_BYTES:
            self._stats["batches_over_limit"] += 1
        elif len(message.params) > 1:
            if batch.held:  # of which only this is looked at: 8 KB of tags a line would add up
                tags = {_CONCAT: ""} if _CONCAT in message.tags else {}
                message = Message(message.command, message.params, tags=tags)
            batch.held.append(message)
        return True


def joined(batch: Batch) -> Message | None:
    """Return the message that the lines of a multiline batch make; None where there were none."""
    if not batch.held:
        return None
    text = ""
    for number, line in enumerate(batch.held):
        if number and _CONCAT not in line.tags:
            text += "\n"
        text += line.params[-1]
    first = batch.held[0]
    tags = {**first.tags, **batch.opening.tags}
    source = batch.opening.source if batch.opening.source.host else first.source
    return replace(first, params=(first.params[0], text), source=source, tags=tags)

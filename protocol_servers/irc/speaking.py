"""Saying things: text into lines, lines into the queues, and what became of them.

How long a line may be is counted as the others receive it: with our whole mask before it, without tags.

What became of it is known where the network tells: a label is answered (https://ircv3.net/specs/extensions/labeled-response),
or the message comes back (https://ircv3.net/specs/extensions/echo-message). Elsewhere a line counts as said when it
left.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from .ctcp import make_ctcp, parse_ctcp
from .events import Kind, Overflow, Receipt, Status
from .link import Link
from .message import encode, parse
from .names import folding, is_target
from .pacing import Pacer, Utterance
from .splitting import is_blank, lines_of, pieces_of, split, truncate

CONFIRMATION = 30.0  # seconds for the network's answer to a line
_LEAST_LIMIT = 80  # whatever mask and room a server invents, this much is said
_MOST_PENDING = 1000
_LONGEST_HOST = 63
_FOLD = folding("rfc1459")


@dataclass(slots=True)
class _Speech:
    """Something that is being said, and how far it is."""

    target: str
    receipt: Hashable | None
    entries: int = 0
    left: int = 0  # entries that neither were confirmed nor failed
    ids: list[str] = field(default_factory=list)
    error: str | None = None
    failed: bool = False


@dataclass(slots=True)
class _Pending:
    """A line that left, and was not confirmed."""

    speech: _Speech
    key: str
    due: float


class Speaker:
    """What we say on a network, through all its connections.

    Args:
        pacer: The queues.
        clock: Monotonic seconds.
        emit: Takes a receipt.
        stats: Counts what became of it: "said_sent", "said_split", "said_dropped", "said_failed".
        nick: The nick we want, and
        username: the user name, by which our mask's length is guessed before the server showed it.
        most_lines: Lines of one utterance; the rest is cut off.
    """

    def __init__(
        self,
        pacer: Pacer,
        clock: Callable[[], float],
        emit: Callable[[Receipt], None],
        stats: Counter[str],
        *,
        nick: str,
        username: str,
        most_lines: int,
    ) -> None:
        self._stats = stats
        self._pacer = pacer
        self._clock = clock
        self._emit = emit
        self._nick = nick
        self._guess = len(f"!~{username}@".encode()) + _LONGEST_HOST
        self._most_lines = most_lines
        self._link: Link | None = None
        self._numbers = 0
        self._must_split = False
        self._pending: OrderedDict[str, _Pending] = OrderedDict()  # by label, the oldest first

    def connected(self, link: Link) -> None:
        """Speak on a new connection."""
        self._link = link

    def disconnected(self) -> None:
        """What was not confirmed never will be; what was not sent waits for the next connection."""
        for label in list(self._pending):
            self._failed(label, "the connection was lost before the server confirmed it")
        self._link = None

    def say(
        self,
        target: str,
        text: str,
        *,
        kind: Kind = "message",
        overflow: Overflow = "split",
        expires: float | None = None,
        receipt: Hashable | None = None,
    ) -> None:
        """Queue ``text``; see `Session.say`."""
        speech = _Speech(target, receipt)
        if not is_target(target):
            self._give_receipt(speech, "failed", f"{target[:100]!r} is no room and no person")
            return
        entries = self._entries(target, text, kind, overflow, speech)
        if not entries:
            self._give_receipt(speech, "failed", "there is nothing to say in it")
            return
        speech.left = speech.entries = len(entries)
        if not self._pacer.put(self._key(target), Utterance(deque(entries), expires, speech)):
            self._give_receipt(speech, "dropped", "too much waits to be said", self._pacer.wait_for(self._key(target)))

    def limit(self, target: str, command: str = "PRIVMSG", kind: Kind = "message") -> int:
        """Return the bytes of text that reach ``target`` in one line."""
        line_length = self._link.isupport.line_length if self._link is not None else 512
        around = len(f": {command} {target} :\r\n".encode()) + self._own_mask_length()
        if kind == "action":
            around += len(make_ctcp("ACTION", "x")) - 1
        return max(line_length - around, _LEAST_LIMIT)

    def split_again(self) -> None:
        """Split what waits once more before any of it leaves: others see us by another mask than before."""
        self._must_split = True  # once for all that the server said at a time: it may rename us a thousand times

    def lines_to_send(self, may_go: Callable[[str], bool]) -> Iterator[bytes]:
        """Yield what the pacer lets go, with the labels that make it known again."""
        if self._must_split:
            self._must_split = False
            self._pacer.rewrite(self._refit)
        for entry, utterance in self._pacer.take(may_go):
            speech = utterance.owner if utterance is not None else None
            yield self._noted(entry, speech) if isinstance(speech, _Speech) else entry

    # What became of it

    def confirmed(self, label: str, id: str = "") -> None:
        """The network took a labelled line."""
        pending = self._pending.pop(label, None)
        if pending is not None:
            self._settle(pending.speech, id)

    def echoed(self, target: str, id: str = "") -> None:
        """Something of ours came back without a label: the first that waits for it."""
        label = self._oldest(target)
        if label is not None:
            self.confirmed(label, id)

    def refused(self, label: str | None, target: str, reason: str) -> None:
        """The network did not take a line, by its label or else the first to ``target``."""
        label = self._oldest(target) if label is None else label
        if label is not None:
            self._failed(label, reason)

    def drop(self, target: str, reason: str) -> None:
        """Drop everything that waits for ``target``."""
        for utterance in self._pacer.drop(self._key(target)):
            self._lost(utterance, "failed", reason)

    def drop_all(self, reason: str) -> None:
        """Drop everything that waits."""
        for utterance in self._pacer.drop_all():
            self._lost(utterance, "dropped", reason)

    def drop_stale(self, now: float) -> None:
        """Drop what expired by ``now``, in Unix seconds."""
        for utterance in self._pacer.drop_stale(now):
            self._lost(utterance, "dropped", "it expired before it was said")

    @property
    def deadline(self) -> float | None:
        """When `time_out` has something to do, by the clock."""
        return next(iter(self._pending.values())).due if self._pending else None

    def time_out(self) -> None:
        """Give up waiting for the network's answers."""
        while self._pending and (label := next(iter(self._pending))) and self._pending[label].due <= self._clock():
            self._failed(label, f"the server did not confirm it within {CONFIRMATION:g} s")

    # Inside

    def _key(self, target: str) -> str:
        return (self._link.isupport.fold if self._link is not None else _FOLD)(target)

    def _own_mask_length(self) -> int:
        if self._link is None:
            return len(self._nick.encode()) + self._guess
        own = self._link.own
        return len(own.mask.encode()) if own.host else len(own.nick.encode()) + self._guess

    def _entries(self, target: str, text: str, kind: Kind, overflow: Overflow, speech: _Speech) -> list[bytes]:
        command = "NOTICE" if kind == "notice" else "PRIVMSG"
        limit = self.limit(target, command, kind)
        if (
            overflow == "multiline"
            and kind == "message"
            and self._link is not None
            and self._link.has("draft/multiline")
        ):
            entries = self._multiline(target, text, limit)
            if entries:
                return entries
        if overflow == "truncate":
            pieces = [truncate(text, limit)]
        else:
            pieces = split(text, limit, most=self._most_lines + 1)
            if len(pieces) > self._most_lines:
                pieces = [*pieces[: self._most_lines - 1], truncate(" ".join(pieces[self._most_lines - 1 :]), limit)]
                speech.error = f"cut after {self._most_lines} lines"
        if kind == "action":
            pieces = [make_ctcp("ACTION", piece) for piece in pieces if piece]
        return [encode(command, target, piece) for piece in pieces if piece]

    def _multiline(self, target: str, text: str, limit: int) -> list[bytes]:
        """Make batches of lines (https://ircv3.net/specs/extensions/multiline); none where one line is enough."""
        if self._link is None or not self._link.has("draft/multiline"):
            return []
        most_bytes, most_lines = _multiline_limits(self._link.capabilities.offered.get("draft/multiline", ""))
        limit = min(limit, max(most_bytes, _LEAST_LIMIT))
        lines = [
            (bool(number), piece)
            for line in lines_of(text.strip("\r\n"))
            for number, piece in enumerate(list(pieces_of(line, limit, keep_spaces=True)) or [""])
        ][: self._most_lines]
        if len(lines) < 2 or all(is_blank(piece) for _, piece in lines):
            return []
        entries: list[bytes] = []
        while lines:
            size = 0
            count = 0
            for count, (_, piece) in enumerate(lines):
                size += len(piece.encode()) + 1
                if count and (size > most_bytes or count >= most_lines):
                    break
            else:
                count += 1
            entries.append(self._batch(target, lines[:count]))
            del lines[:count]
        return entries

    def _batch(self, target: str, lines: list[tuple[bool, str]]) -> bytes:
        self._numbers += 1
        reference = f"m{self._numbers}"
        body = [encode("BATCH", f"+{reference}", "draft/multiline", target)]
        for number, (goes_on, piece) in enumerate(lines):
            tags = {"batch": reference} | ({"draft/multiline-concat": ""} if goes_on and number and piece else {})
            body.append(encode("PRIVMSG", target, piece, tags=tags))
        body.append(encode("BATCH", f"-{reference}"))
        return b"".join(body)

    def _refit(self, utterance: Utterance) -> None:
        speech = utterance.owner
        if isinstance(speech, _Speech):
            before = len(utterance.lines)
            utterance.lines = deque(new for entry in utterance.lines for new in self._fitting(entry))
            speech.left += len(utterance.lines) - before
            speech.entries += len(utterance.lines) - before

    def _fitting(self, entry: bytes) -> list[bytes]:
        message = parse(entry)
        if message is None or message.command == "BATCH" or len(message.params) < 2:
            return [entry]
        target, text = message.params
        ctcp = parse_ctcp(text)
        said = text if ctcp is None else ctcp.argument
        limit = self.limit(target, message.command, "message" if ctcp is None else "action")
        if len(said.encode()) <= limit:
            return [entry]
        pieces = split(said, limit)
        return [encode(message.command, target, each if ctcp is None else make_ctcp("ACTION", each)) for each in pieces]

    def _noted(self, entry: bytes, speech: _Speech) -> bytes:
        """Return an entry as it is sent, and expect its confirmation where there will be one."""
        link = self._link
        if link is None or not link.has("draft/multiline"):
            entry = _without_batch(entry)
        if link is None or not (link.has("echo-message") or link.has("labeled-response")):
            self._settle(speech)
            return entry
        self._numbers += 1
        label = f"t{self._numbers}"
        self._pending[label] = _Pending(speech, self._key(speech.target), self._clock() + CONFIRMATION)
        if len(self._pending) > _MOST_PENDING:
            self.confirmed(next(iter(self._pending)))
        return b"@label=" + label.encode() + b" " + entry if link.has("labeled-response") else entry

    def _oldest(self, target: str) -> str | None:
        key = self._key(target)
        return next((label for label, pending in self._pending.items() if pending.key == key), None)

    def _failed(self, label: str, reason: str) -> None:
        pending = self._pending.pop(label, None)
        if pending is not None:
            pending.speech.failed = True
            pending.speech.error = reason
            self._settle(pending.speech)

    def _settle(self, speech: _Speech, id: str = "") -> None:
        if id:
            speech.ids.append(id)
        speech.left -= 1
        if speech.left == 0:
            status: Status = "failed" if speech.failed else "split" if speech.entries > 1 else "sent"
            self._give_receipt(speech, status, speech.error)

    def _lost(self, utterance: Utterance, status: Status, reason: str) -> None:
        speech = utterance.owner
        if isinstance(speech, _Speech):
            if utterance.sent:
                reason += f" (after {utterance.sent} of {speech.entries} lines)"
            speech.left = -1  # confirmations of its first lines change nothing any more
            self._give_receipt(speech, status, reason)

    def _give_receipt(
        self, speech: _Speech, status: Status, error: str | None = None, retry_after: float | None = None
    ) -> None:
        self._stats[f"said_{status}"] += 1
        if speech.receipt is not None:
            self._emit(Receipt(speech.receipt, status, tuple(speech.ids), error, retry_after))


def _multiline_limits(value: str) -> tuple[int, int]:
    """Return the most bytes and lines of a batch, by the capability's value."""
    tokens = dict(token.partition("=")[::2] for token in value.split(","))
    return _number(tokens.get("max-bytes")) or 4096, _number(tokens.get("max-lines")) or 24


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _without_batch(entry: bytes) -> bytes:
    """Return the plain lines of a multiline batch, for a server that knows none; blank ones are left out."""
    if not entry.startswith(b"BATCH "):
        return entry
    lines = [line.partition(b" ")[2] for line in entry.split(b"\r\n") if line.startswith(b"@")]
    return b"".join(line + b"\r\n" for line in lines if not line.endswith(b" :"))

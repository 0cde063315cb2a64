"""What is said: messages into events, with who said it, when, and whether it was heard before.

Never heard are our own words, whichever way they come back, and people whom we are to ignore.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .batches import Batch, Batches, joined
from .ctcp import Ctcp, parse_ctcp
from .events import Heard, Kind, Person
from .history import History, Mark
from .link import Link
from .message import Message
from .names import account_of, is_target, is_word, mask_pattern
from .speaking import Speaker

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)


class Listener:
    """Hears what is said on one connection.

    Args:
        link: The connection.
        history: Knows what was heard, and fills gaps.
        speaker: Hears of our own words that came back.
        ignored: Masks of people that are not heard, such as ``*!*@spam.example``.
        make_id: Makes an id for a message that has none.
        ask: Takes lines to send.
        asked: Takes the CTCP requests of people.
    """

    def __init__(
        self,
        link: Link,
        history: History,
        speaker: Speaker,
        *,
        ignored: Sequence[str],
        make_id: Callable[[], str],
        ask: Callable[[list[bytes]], None],
        asked: Callable[[Person, Ctcp], None],
    ) -> None:
        self.batches = Batches(link.stats)
        self._link = link
        self._history = history
        self._speaker = speaker
        self._ignored = re.compile("|".join(map(mask_pattern, ignored)) or "(?!)", re.DOTALL | re.IGNORECASE)
        self._make_id = make_id
        self._ask = ask
        self._asked = asked

    def handle(self, command: str, message: Message) -> bool:
        """Take a message; say whether it was about something that is said."""
        batch = self.batches.of(message)
        if batch is not None and batch.history is not None:
            self._history.replayed(self._link.isupport.fold(batch.history))
        if command in ("PRIVMSG", "NOTICE"):
            if batch is None or not self.batches.hold(batch, message):
                self._said(command, message, batch)
        elif command == "BATCH":
            self._batch(message)
        elif command == "CHATHISTORY":
            self._history_target(message)
        elif command == "ACK":
            self._speaker.confirmed(message.tags.get("label", ""))
        elif command != "TAGMSG":
            return False
        return True

    def _batch(self, message: Message) -> None:
        reference = message.params[0] if message.params else ""
        if reference.startswith("+"):
            self.batches.open(reference[1:], message)
            return
        batch = self.batches.close(reference[1:])
        whole = joined(batch) if batch is not None else None
        if batch is not None and whole is not None:
            self._said(whole.command.upper(), whole, batch)
        elif batch is not None and batch.history is not None and "history" in batch.kind:
            self._ask(self._history.page_ended(self._link.isupport.fold(batch.history), self._link.isupport))

    def _history_target(self, message: Message) -> None:
        if len(message.params) > 1 and message.params[0].upper() == "TARGETS" and is_target(message.params[1]):
            target = message.params[1]
            if not self._link.isupport.is_room(target) and not self._link.is_own(target):
                self._ask(self._history.target(self._link.isupport.fold(target), target, self._link.isupport))

    def _said(self, command: str, message: Message, batch: Batch | None) -> None:
        link = self._link
        if len(message.params) < 2 or not message.source.host:  # servers speak to people at a terminal
            return
        target, text = message.params[0], message.params[-1]
        time, said_time = self._time(message)
        id = message.tags.get("msgid", "")
        if not is_word(id):
            id = ""
        place = batch.history if batch is not None else None
        if place is not None:
            self._history.heard(link.isupport.fold(place), Mark(time, id), replayed=True)
        if link.is_own(message.source.nick):
            if place is None:
                link.see_own(message.source)
                self._own_came_back(target, id, message)
            return
        person = self._person(message, replayed=place is not None)
        if self._ignored.fullmatch(person.mask):
            link.stats["ignored"] += 1
            return
        ctcp = parse_ctcp(text)
        kind: Kind = "notice" if command == "NOTICE" else "message"
        if ctcp is not None:
            if ctcp.command != "ACTION" or kind == "notice":
                if kind == "message" and link.is_own(target) and place is None:
                    self._asked(person, ctcp)
                return
            kind, text = "action", ctcp.argument
        room = link.isupport.room_of(target)
        direct = not link.isupport.is_room(room)
        if place is None:
            mark = Mark(time, id)
            self._history.heard(link.isupport.fold(person.nick if direct else room), mark, replayed=False)
        named = bool(id)
        if not named:
            id = _digest(person.mask, target, text, said_time) if said_time else self._make_id()
        # Without the server's id, two messages that look the same may be two messages.
        if not self._history.is_new(id) and (named or place is not None):
            link.stats["heard_before"] += 1
            return
        link.emit(Heard(person, room, text, kind, direct, id, time, place is not None, message.tags))

    def _own_came_back(self, target: str, id: str, message: Message) -> None:
        label = message.tags.get("label")
        if label is not None:
            self._speaker.confirmed(label, id)
        elif not self._link.has("labeled-response"):
            self._speaker.echoed(target, id)

    def _person(self, message: Message, *, replayed: bool) -> Person:
        link = self._link
        person = link.rooms.person(message.source)
        if link.has("account-tag"):
            return replace(person, account=account_of(message.tags.get("account", "")))
        # Whoever had the nick then need not be who has it now; and nobody may tell us when the account changes.
        if replayed or not (link.has("account-notify") and link.has("extended-join")):
            return replace(person, account=None)
        return person

    def _time(self, message: Message) -> tuple[float, str]:
        """Return when a message was sent, and what the server said of it, "" where it said nothing."""
        said = message.tags.get("time", "")
        if _TIME.fullmatch(said):
            try:
                return datetime.datetime.fromisoformat(said).timestamp(), said
            except (ValueError, OverflowError):
                pass  # the 31st of February
        return self._link.wall(), ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]

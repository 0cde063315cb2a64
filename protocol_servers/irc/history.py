"""What was said while we were away (https://ircv3.net/specs/extensions/chathistory).

For each room and person the last message is remembered. After a gap the server is asked for what came after it, page
by page; who wrote to us in private meanwhile it tells, too (TARGETS). A message is never heard twice: live and in the
history, or in two pages of it.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .isupport import ISupport
from .message import encode

_MOST_MARKS = 2000
_MOST_SEEN = 5000
_PAGE = 100
_MOST_PAGES = 50
_MOST_TARGETS = 50
_PATIENCE = 60.0  # seconds for a page


class Mark(NamedTuple):
    """The last message that was heard in one place: when, in Unix seconds, and the server's id of it or ""."""

    time: float
    id: str


@dataclass(slots=True)
class _Fetch:
    target: str
    cursor: Mark
    by_id: bool
    until: float  # by the clock
    pages: int = 1
    page: int = 0  # messages of the page so far
    live: Mark | None = None


class History:
    """The marks and the gaps.

    Args:
        clock: Monotonic seconds.
        marks: The marks of an earlier process, as `marks` gave them.
    """

    def __init__(self, clock: Callable[[], float], marks: Mapping[str, Mark] | None = None) -> None:
        self._clock = clock
        self._marks: OrderedDict[str, Mark] = OrderedDict(marks or {})
        self._seen: OrderedDict[str, None] = OrderedDict((mark.id, None) for mark in self._marks.values() if mark.id)
        self._fetches: dict[str, _Fetch] = {}
        self._gap: Mark | None = None  # where the connection before this one ended

    def marks(self) -> dict[str, Mark]:
        """Return the marks, for the next process."""
        return dict(self._marks)

    def connected(self) -> None:
        """A new connection begins: what was asked for on the old one will not come."""
        self._fetches.clear()
        self._gap = Mark(max(mark.time for mark in self._marks.values()), "") if self._marks else None

    def is_new(self, id: str) -> bool:
        """Say whether a message was not heard before, and remember it."""
        if id in self._seen:
            return False
        self._seen[id] = None
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return True

    def heard(self, key: str, mark: Mark, *, replayed: bool) -> None:
        """Remember the last message of a place, by its folded name."""
        fetch = self._fetches.get(key)
        if fetch is not None and self._clock() > fetch.until:
            self._end(key, fetch)
            fetch = None
        if fetch is None:
            self._set(key, mark)
        elif replayed:
            fetch.cursor = mark
            self._set(key, mark)
        else:
            fetch.live = mark  # not before the gap is filled: it would be forgotten with the connection

    def ask(self, key: str, target: str, isupport: ISupport) -> list[bytes]:
        """Return the request for what was missed in a place; nothing where we never heard anything."""
        mark = self._marks.get(key)
        if mark is None or key in self._fetches:
            return []
        by_id = isupport.history_by_id and bool(mark.id)
        fetch = self._fetches[key] = _Fetch(target, mark, by_id, self._clock() + _PATIENCE)
        return [_request(fetch, isupport)]

    def ask_targets(self, now: float) -> list[bytes]:
        """Return the request for who wrote since the last connection, up to ``now`` in Unix seconds."""
        if self._gap is None:
            return []
        return [encode("CHATHISTORY", "TARGETS", _timestamp(self._gap.time), _timestamp(now), str(_MOST_TARGETS))]

    def target(self, key: str, target: str, isupport: ISupport) -> list[bytes]:
        """Return the request for what a person wrote, whom TARGETS named."""
        if self._gap is None or len(self._fetches) >= _MOST_MARKS:
            return []
        if key not in self._marks:
            self._set(key, self._gap)
        return self.ask(key, target, isupport)

    def replayed(self, key: str) -> None:
        """Count a message of a page, whatever it is."""
        fetch = self._fetches.get(key)
        if fetch is not None:
            fetch.page += 1

    def page_ended(self, key: str, isupport: ISupport) -> list[bytes]:
        """Return the request for the next page, if there is to be one."""
        fetch = self._fetches.get(key)
        if fetch is None:
            return []
        if fetch.page < _limit(isupport) or fetch.pages >= _MOST_PAGES:
            self._end(key, fetch)
            return []
        fetch.page = 0
        fetch.pages += 1
        fetch.by_id = isupport.history_by_id and bool(fetch.cursor.id)
        fetch.until = self._clock() + _PATIENCE
        return [_request(fetch, isupport)]

    def failed(self, key: str, isupport: ISupport) -> list[bytes]:
        """Return the request to make instead of one that the server refused: by time, if it was by id."""
        fetch = self._fetches.get(key)
        if fetch is None:
            return []
        if not fetch.by_id:
            self._end(key, fetch)
            return []
        fetch.by_id = False
        return [_request(fetch, isupport)]

    def _end(self, key: str, fetch: _Fetch) -> None:
        del self._fetches[key]
        if fetch.live is not None:
            self._set(key, fetch.live)

    def _set(self, key: str, mark: Mark) -> None:
        self._marks[key] = mark
        self._marks.move_to_end(key)
        if len(self._marks) > _MOST_MARKS:
            self._marks.popitem(last=False)


def _request(fetch: _Fetch, isupport: ISupport) -> bytes:
    after = f"msgid={fetch.cursor.id}" if fetch.by_id else _timestamp(fetch.cursor.time)
    return encode("CHATHISTORY", "AFTER", fetch.target, after, str(_limit(isupport)))


def _limit(isupport: ISupport) -> int:
    return min(isupport.history or _PAGE, _PAGE)


def _timestamp(time: float) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return f"timestamp={moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

"""Names for ids: who and where, as people know them.

What is known follows Slack's events, and is asked for anew after an hour; a name that is asked for meanwhile is the
one from before. Nobody waits long for a name: whoever needs one gives a time, and after it has the id. When an answer
was late once, nobody waits at all until one came again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple

from .addressing import is_room_id, is_user_id
from .web_api import RateLimited, Refused, SlackCallError

MOST_USERS = 10_000
MOST_ROOMS = 10_000
_FRESH = 3600.0  # seconds
_UNKNOWN = 600.0  # seconds until what Slack does not know is asked for again
_PAUSE = 5.0  # seconds after Slack could not be asked
_MOST_WANTED = 500  # that are asked for at a time
_AT_ONCE = 4
_LONGEST = 255
_PAGE, _PAGES = 200, 20
_SEARCHED = 300.0  # seconds until a list is searched again for a name that was not there

Ask = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Calls a method of the Web API, at the pace that is allowed."""


class _Entry(NamedTuple):
    name: str | None
    until: float


class _Known:
    """Names by id, and ids by name; the ones that were not used for longest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._ids: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id: str) -> _Entry | None:
        entry = self._entries.get(id)
        if entry is not None:
            self._entries.move_to_end(id)
        return entry

    def put(self, id: str, name: str | None, until: float) -> None:
        self._forget(id)
        self._entries[id] = _Entry(name, until)
        if name is not None:
            self._ids[name.casefold()] = id
        while len(self._entries) > self._most:
            self._forget(next(iter(self._entries)))

    def find(self, name: str) -> str | None:
        return self._ids.get(name.casefold())

    def _forget(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None and entry.name is not None and self._ids.get(entry.name.casefold()) == id:
            del self._ids[entry.name.casefold()]


class Names:
    """The people and rooms of one workspace.

    Args:
        ask: Calls a method of the Web API.
        spawn: Runs a coroutine beside everything else.
        clock: Monotonic seconds.
        stats: Counts "names_asked" and "names_late".
        most_users: People that are remembered.
        most_rooms: Rooms that are remembered.

    Attributes:
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Callable[[], float],
        stats: Counter[str],
        most_users: int = MOST_USERS,
        most_rooms: int = MOST_ROOMS,
    ) -> None:
        self._ask = ask
        self._spawn = spawn
        self.clock = clock
        self._stats = stats
        self._users = _Known(most_users)
        self._rooms = _Known(most_rooms)
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._not_before = 0.0
        self._late = False
        self._searches: dict[str, tuple[float, asyncio.Task[None]]] = {}

    # What is known

    def user(self, id: str) -> str | None:
        """Return the name of somebody, if it is known."""
        entry = self._users.get(id)
        return None if entry is None else entry.name

    def room(self, id: str) -> str | None:
        """Return the name of a room without "#", if it is known."""
        entry = self._rooms.get(id)
        return None if entry is None else entry.name

    def user_id(self, name: str) -> str | None:
        """Return the id of a person by a name without "@", if it is known."""
        return self._users.find(name)

    def room_id(self, name: str) -> str | None:
        """Return the id of a room by its name without "#", if it is known."""
        return self._rooms.find(name)

    async def wait(self, ids: Iterable[str], until: float) -> None:
        """Ask for the names that are not known, and wait for them for a while.

        Args:
            ids: Of people and rooms; others are ignored.
            until: When, by the clock, it has to go on without.
        """
        waiting = {each for each in map(self._want, ids) if each is not None}
        left = until - self.clock()
        if not waiting or self._late or left <= 0:
            return
        _, late = await asyncio.wait(waiting, timeout=left)
        if late:
            self._late = True
            self._stats["names_late"] += 1

    def _want(self, id: str) -> asyncio.Future[None] | None:
        """Ask for a name unless it is known; return what to wait for, if anything."""
        known = self._known(id)
        if known is None:
            return None
        entry = known.get(id)
        now = self.clock()
        if entry is not None and now < entry.until:
            return None
        asked = self._asked.get(id)
        if asked is None:
            if now < self._not_before or len(self._asked) >= _MOST_WANTED:
                return None
            asked = self._asked[id] = asyncio.get_running_loop().create_future()
            self._spawn(self._fetch(id, known, asked))
        return asked if entry is None else None

    def _known(self, id: str) -> _Known | None:
        return self._users if is_user_id(id) else self._rooms if is_room_id(id) else None

    async def _fetch(self, id: str, known: _Known, asked: asyncio.Future[None]) -> None:
        method, argument, learn = (
            ("users.info", "user", self.learn_user)
            if known is self._users
            else ("conversations.info", "channel", self.learn_room)
        )
        try:
            async with self._at_once:
                if self.clock() < self._not_before:
                    return
                self._stats["names_asked"] += 1
                answer = await self._ask(method, {argument: id})
            self._late = False
            if not learn(answer.get(argument), id):
                known.put(id, None, self.clock() + _UNKNOWN)
        except Refused:
            self._late = False
            known.put(id, None, self.clock() + _UNKNOWN)
        except RateLimited as error:
            self._not_before = self.clock() + error.retry_after
        except SlackCallError:
            self._not_before = self.clock() + _PAUSE
        finally:
            self._asked.pop(id, None)
            if not asked.done():
                asked.set_result(None)

    # What Slack tells of names

    def learn_user(self, shape: Any, id: str | None = None) -> bool:
        """Take somebody's name from a user object, of somebody particular if need be; say whether there was one."""
        if not isinstance(shape, dict):
            return False
        found, name = shape.get("id"), user_name(shape)
        if not isinstance(found, str) or (id or found) != found or name is None:
            return False
        self._users.put(found, name, self.clock() + _FRESH)
        return True

    def learn_room(self, shape: Any, id: str | None = None) -> bool:
        """Take a room's name from a conversation object, of a particular room if need be; say whether there was one."""
        if not isinstance(shape, dict):
            return False
        found, name = shape.get("id"), as_name(shape.get("name"))
        if not isinstance(found, str) or (id or found) != found or name is None:
            return False
        self._rooms.put(found, name, self.clock() + _FRESH)
        return True

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take the names that an event tells."""
        match event.get("type"):
            case "user_change" | "user_profile_changed" | "team_join":
                self.learn_user(event.get("user"))
            case "channel_rename" | "group_rename" | "channel_created":
                self.learn_room(event.get("channel"))

    # Ids for names

    async def find_user(self, name: str) -> str | None:
        """Return the id of a person by a name without "@".

        Raises:
            SlackCallError: Slack could not be asked.
        """
        if self._users.find(name) is None:
            await self._search("users.list", "members", {}, self.learn_user)
        return self._users.find(name)

    async def find_room(self, name: str) -> str | None:
        """Return the id of a room by its name without "#".

        Raises:
            SlackCallError: Slack could not be asked.
        """
        if self._rooms.find(name) is None:
            types = {"types": "public_channel,private_channel", "exclude_archived": True}
            await self._search("conversations.list", "channels", types, self.learn_room)
        return self._rooms.find(name)

    async def _search(self, method: str, key: str, arguments: Mapping[str, Any], learn: Callable[[Any], bool]) -> None:
        """Learn a whole list, unless that was done a short time ago."""
        since, task = self._searches.get(method, (0.0, None))
        if task is None or (task.done() and (_failed(task) or self.clock() >= since + _SEARCHED)):
            task = asyncio.ensure_future(self._learn_all(method, key, arguments, learn))
            self._searches[method] = self.clock(), task
        await asyncio.shield(task)

    async def _learn_all(
        self, method: str, key: str, arguments: Mapping[str, Any], learn: Callable[[Any], bool]
    ) -> None:
        async for shape in pages(self._ask, method, key, arguments):
            learn(shape)


def _failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


async def pages(ask: Ask, method: str, key: str, arguments: Mapping[str, Any]) -> Any:
    """Yield the items of a list that Slack gives page by page.

    Args:
        ask: Calls a method of the Web API.
        method: The method.
        key: Where the items are in its answer.
        arguments: Its other arguments.

    Raises:
        SlackCallError: A call failed.
    """
    cursor = ""
    for _ in range(_PAGES):
        given = {**arguments, "limit": _PAGE} | ({"cursor": cursor} if cursor else {})
        answer = await ask(method, given)
        items = answer.get(key)
        for each in items if isinstance(items, list) else ():
            yield each
        metadata = answer.get("response_metadata")
        cursor = metadata.get("next_cursor", "") if isinstance(metadata, dict) else ""
        if not isinstance(cursor, str) or not cursor:
            return


def user_name(shape: Mapping[str, Any]) -> str | None:
    """Return what people call somebody: the name they chose to be shown, else the full one, else the handle."""
    profile = shape.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    names = profile.get("display_name"), profile.get("real_name"), shape.get("real_name"), shape.get("name")
    return next((name for name in map(as_name, names) if name is not None), None)


def as_name(value: Any) -> str | None:
    """Return a name as it may stand in a line; None where there is none."""
    if not isinstance(value, str):
        return None
    return "".join(each for each in value[:_LONGEST] if each.isprintable()).strip() or None

"""A Speaker in a time of its own, and a Slack that does what a script says."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from trunkline.protocol_servers.slack.limiter import Limiter
from trunkline.protocol_servers.slack.speaking import Speaker
from trunkline.protocol_servers.slack.web_api import InDoubt, Refused

EPOCH = 1_700_000_000.0


class Time:
    """A clock that jumps to whatever comes next, as soon as nobody has anything to do before."""

    def __init__(self) -> None:
        self.now = EPOCH
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._due, (self.now + max(seconds, 0.0), next(self._order), future))
        await future

    async def settle(self) -> None:
        """Let everybody go on until all wait for the time, or for each other."""
        loop: Any = asyncio.get_running_loop()
        idle = 0
        while idle < 5:
            await asyncio.sleep(0)
            idle = idle + 1 if not loop._ready else 0

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        await self.settle()
        while self._due and self._due[0][0] <= until:
            when, _, future = heapq.heappop(self._due)
            self.now = max(self.now, when)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self.now = until

    async def until(self, done: Callable[[], bool], at_most: float = 100_000.0) -> None:
        """Let time pass until something is so."""
        end = self.now + at_most
        await self.settle()
        while not done():
            assert self._due, "everybody waits, and nobody for the time"
            assert self._due[0][0] <= end, "it never comes to be so"
            await self.advance(self._due[0][0] - self.now)


class State:
    """The layer's state, without a layer.

    Attributes:
        away: Raised by every call, where it is set.
    """

    def __init__(self) -> None:
        self.values: dict[str, tuple[float, int]] = {}
        self.calls = 0
        self.away: Exception | None = None
        self._versions = itertools.count(1)

    async def read(self, key: str) -> tuple[Any, int]:
        self.calls += 1
        if self.away is not None:
            raise self.away
        return self.values.get(key, (None, 0))

    async def write(self, key: str, value: float, ttl: float, version: int) -> int:
        self.calls += 1
        assert ttl > 0
        if self.away is not None:
            raise self.away
        if self.values.get(key, (None, 0))[1] != version:
            return 0
        self.values[key] = value, next(self._versions)
        return self.values[key][1]


class Slack:
    """A workspace that has rooms and files, and trouble in the order of a script.

    Attributes:
        said: What stands in each room, in order.
        calls: (time, method, arguments) of every call.
        script: Taken from the front, for each call: None, an exception, or what makes an answer of the method and its
            arguments; an `After` is done and raises then.
        latency: Seconds that an answer takes.
    """

    class After(Exception):
        """The call is done, and its answer is lost."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.said: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[tuple[float, str, dict[str, Any]]] = []
        self.script: list[Any] = []
        self.plans: dict[str, list[Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.upload_script: list[Any] = []
        self.latency = 0.0
        self._stamps = itertools.count(1)

    def methods(self) -> list[str]:
        return [method for _, method, _ in self.calls]

    def arguments(self, method: str) -> list[dict[str, Any]]:
        return [arguments for _, each, arguments in self.calls if each == method]

    def texts(self, room: str = "C1AA") -> list[str]:
        return [each["text"] for each in self.said.get(room, ())]

    async def call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in arguments.items() if value is not None}
        self.calls.append((self.time.now, method, given))
        plan = self.plans.get(method) or self.script
        trouble = plan.pop(0) if plan else None
        if self.latency:
            await self.time.sleep(self.latency)
        if isinstance(trouble, Slack.After):
            self._do(method, given)
            raise InDoubt("the connection was lost")
        if isinstance(trouble, Exception):
            raise trouble
        return trouble(method, given) if callable(trouble) else self._do(method, given)

    async def upload(self, url: str, content: bytes | AsyncIterator[bytes], size: int) -> None:
        trouble = self.upload_script.pop(0) if self.upload_script else None
        if trouble is not None:
            raise trouble
        body = content if isinstance(content, bytes) else b"".join([part async for part in content])
        assert len(body) == size
        self.uploads[url.rpartition("/")[2]] = body

    def _do(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        stamp = f"{int(self.time.now)}.{next(self._stamps):06d}"
        match method:
            case "chat.postMessage":
                self.said.setdefault(given["channel"], []).append({"ts": stamp, "bot_id": "B1", **given})
                return {"ok": True, "ts": stamp, "channel": given["channel"]}
            case "chat.postEphemeral":
                return {"ok": True, "message_ts": stamp}
            case "conversations.open":
                return {"ok": True, "channel": {"id": "D" + given["users"][1:]}}
            case "conversations.history" | "conversations.replies":
                return {"ok": True, "messages": self.said.get(given["channel"], [])[::-1]}
            case "files.getUploadURLExternal":
                id = f"F{next(self._stamps)}"
                return {"ok": True, "upload_url": f"https://files.example/{id}", "file_id": id}
            case "files.completeUploadExternal":
                shared = {"ts": stamp, "text": given.get("initial_comment", ""), "files": given["files"]}
                self.said.setdefault(given["channel_id"], []).append(shared)
                return {"ok": True, "files": given["files"]}
        return {"ok": True}


class People:
    """The names of a workspace."""

    rooms = {"general": "C1AA", "dev": "C2AA"}
    users = {"ada": "U1AA", "bob": "U2AA"}

    def __init__(self) -> None:
        self.script: list[Exception] = []

    async def find_room(self, name: str) -> str | None:
        if self.script:
            raise self.script.pop(0)
        return self.rooms.get(name)

    async def find_user(self, name: str) -> str | None:
        return self.users.get(name)


class Kept:
    """What the layer keeps."""

    def __init__(self) -> None:
        self.bodies = {"key1": [b"a" * 10, b"b" * 5]}

    async def size(self, key: str) -> int | None:
        return sum(map(len, self.bodies[key])) if key in self.bodies else None

    async def parts(self, key: str) -> AsyncIterator[bytes]:
        for part in self.bodies[key]:
            yield part


class Rig:
    """A Speaker with all that it needs.

    Attributes:
        sent: What it sent: (channel, message).
        back: What it gave back: (conversation, message).
    """

    def __init__(self, **options: Any) -> None:
        self.time = Time()
        self.slack = Slack(self.time)
        self.state = State()
        self.people = People()
        self.stats: Counter[str] = Counter()
        self.token = "xoxb-1"
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.back: list[tuple[str, dict[str, Any]]] = []
        self.limiter = Limiter(self.state, "acme", clock=self.time.clock, sleep=self.time.sleep, stats=self.stats)
        given: dict[str, Any] = {
            "token": lambda: self.token,
            "encode": lambda text, notify: f"<!{text}>" if notify else text.replace("&", "&amp;"),
            "emoji": lambda name: name.strip(":"),
            "emit": lambda channel, message: self.sent.append((channel, message)),
            "give_back": lambda conversation, message: self.back.append((conversation, message)),
            "clock": self.time.clock,
            "sleep": self.time.sleep,
            "jitter": lambda: 1.0,
            "stats": self.stats,
        }
        self.speaker = Speaker("acme", self.slack, self.limiter, self.people, Kept(), **{**given, **options})

    def say(self, message: dict[str, Any] | str, conversation: str = "C1AA") -> None:
        self.speaker.say(conversation, {"text": message} if isinstance(message, str) else message)

    async def all_said(self) -> None:
        await self.time.until(lambda: not len(self.speaker))

    def receipts(self) -> list[dict[str, Any]]:
        return [message for channel, message in self.sent if channel == "receipts"]


def playing(play: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> Rig:
    """Play something with a Speaker that has started; return what it was played with."""

    async def whole() -> Rig:
        rig = Rig(**options)
        await rig.speaker.start()
        await play(rig)
        assert not len(rig.speaker)
        assert not rig.speaker._lanes, "a room has a task, and nothing to say"
        return rig

    return asyncio.run(asyncio.wait_for(whole(), 60))


def saying(
    *messages: dict[str, Any] | str,
    conversation: str = "C1AA",
    script: list[Any] | None = None,
    plans: dict[str, list[Any]] | None = None,
) -> Rig:
    """Say messages in one conversation, wait until all is said, and return what came of it."""

    async def play(rig: Rig) -> None:
        rig.slack.script = list(script or ())
        rig.slack.plans = {method: list(plan) for method, plan in (plans or {}).items()}
        for message in messages:
            rig.say(message, conversation)
        await rig.all_said()

    return playing(play)


def refusing(error: str, needed: str | None = None) -> Refused:
    """Make Slack's refusal."""
    return Refused(error, needed)

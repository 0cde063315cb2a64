"""Saying things in a workspace: a queue for each room, and what became of what was in it.

What is said leaves the inbox at once and waits here, so that no room waits for another's. The queues are bounded in
number and bytes: what comes to a full one is dropped, the newest, so that what is said keeps its order. What is not
said when its server stops is given back, for whoever serves the workspace next; it was said in part at most in a text
of several pieces, and then the rest is given back. A room has a task while something waits for it, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from .addressing import Names, Place, is_room_id, is_user_id, place_of
from .asking import Asker, Dropped, Failed, Stopped, TokenRefused
from .composing import Unfit, Utterance, check, compose
from .limiter import Limiter
from .performing import Blobs, Performer
from .results import failed_result, result_of

MOST_IN_ROOM = 1000
MOST = 10_000
MOST_BYTES_IN_ROOM = 16 * 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
MOST_RESULT = 1024 * 1024
_FAREWELL = 5.0  # seconds of the grace that a call under way has for its answer
_LONGEST_ERROR = 300
_MOST_REPORTED = 100

Message = dict[str, Any]


class _Lane:
    """What waits for one room, by its id, or by a name whose id is being looked for."""

    __slots__ = ("key", "size", "task", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: deque[Utterance] = deque()
        self.size = 0
        self.task: asyncio.Task[None] | None = None

    def put(self, utterance: Utterance) -> None:
        self.waiting.append(utterance)
        self.size += utterance.size

    def pop(self) -> Utterance:
        utterance = self.waiting.popleft()
        self.size -= utterance.size
        return utterance


class Speaker:
    """What is said in one workspace.

    Args:
        workspace: Its name.
        api: The Web API; with `upload`, as `WebApi` has it.
        limiter: How fast it may be called.
        names: Finds rooms and people.
        blobs: Where the layer keeps files.
        token: Returns the bot's token of now: a new one is a reason to try again.
        encode: Makes Slack's text of plain text; the second argument says whether it may mention people and rooms.
        emoji: Returns the name of a reaction, such as "thumbsup".
        emit: Sends a message to a channel: a receipt, or the result of a method. May raise TypeError.
        give_back: Takes what was not said: the conversation, as the part of its reply channel after the "!", and the
            reply.
        secure: Files are sent by TLS alone.
        clock: Unix seconds.
        sleep: Waits for so many seconds.
        jitter: Returns a number from 0 to 1.
        stats: Counts "said_sent", "said_split", "said_dropped", "said_failed", "methods_called", "methods_failed",
            "queue_full", "replies_ignored", "given_back" and "cut_off".

    Attributes:
        problem: Why nothing can be said, as people read it; None: it can.
    """

    def __init__(
        self,
        workspace: str,
        api: Any,
        limiter: Limiter,
        names: Names,
        blobs: Blobs,
        *,
        token: Callable[[], str],
        encode: Callable[[str, bool], str],
        emoji: Callable[[str], str],
        emit: Callable[[str, Message], None],
        give_back: Callable[[str, Message], None],
        secure: bool = True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        stats: Counter[str],
    ) -> None:
        self.stats = stats
        self.problem: str | None = None
        self._workspace = workspace
        self._token = token
        self._refused_token: str | None = None
        self._emit = emit
        self._give_back = give_back
        self._names = names
        self._log = logging.getLogger("trunkline.slack")
        self._asker = Asker(api, limiter, clock=clock, sleep=sleep, jitter=jitter, report_scope=self._report_scope)
        self._performer = Performer(self._asker, api, blobs, names, encode=encode, emoji=emoji, secure=secure)
        self._lanes: dict[str, _Lane] = {}
        self._running = False
        self._waiting = 0
        self._size = 0
        self._emptied = asyncio.Event()
        self._reported: set[str] = set()

    def __len__(self) -> int:
        """Count the replies that wait to be said."""
        return self._waiting

    async def start(self) -> None:
        """Begin to say what there is to say; after `stop` too."""
        self._asker.stopping = False
        self._running = True

    def say(self, conversation: str, message: Mapping[str, Any]) -> None:
        """Say something, or call a method, when its turn comes. Never raises.

        Args:
            conversation: Where, as the part of its reply channel after the "!".
            message: A chat reply; or `method`, `arguments` and `result_channel`. It may come from a group, unchecked.
        """
        utterance = Utterance(conversation, message, _size_of(message), place_of(conversation))
        if not self._running:
            self._return(utterance)
            return
        try:
            check(message)
            self._check_problem()
        except (Unfit, Failed) as error:
            self.stats["replies_ignored"] += isinstance(error, Unfit)
            self._settle(utterance, "failed", str(error))
            return
        key = utterance.place.room if utterance.place is not None else ""
        if not key and message.get("method") is None:
            self.stats["replies_ignored"] += 1
            self._settle(utterance, "failed", "channel_not_found: this is no conversation here")
            return
        lane = self._lanes.get(key) or _Lane(key)
        if (
            len(lane.waiting) >= MOST_IN_ROOM
            or self._waiting >= MOST
            or lane.size + utterance.size > MOST_BYTES_IN_ROOM
            or self._size + utterance.size > MOST_BYTES
        ):
            self.stats["queue_full"] += 1
            self._settle(utterance, "dropped", "too much waits to be said", float(max(len(lane.waiting), 1)))
            return
        self._waiting += 1
        self._size += utterance.size
        self._put(lane, utterance)

    async def stop(self, grace: float) -> bool:
        """Say what waits to be said for up to ``grace`` seconds, and give back what was not.

        Returns:
            False when a call was cut off, so that nobody knows what became of it.
        """
        self._running = False
        farewell = min(_FAREWELL, grace / 2)
        before = self.stats["cut_off"]
        await self._wait_until_empty(grace - farewell)
        self._asker.stopping = True
        for lane in list(self._lanes.values()):
            if lane.task is not None and not (lane.waiting and lane.waiting[0].calling):
                lane.task.cancel()
        await self._wait_until_empty(farewell)
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self.stats["cut_off"] == before

    # The rooms

    def _put(self, lane: _Lane, utterance: Utterance) -> None:
        lane.put(utterance)
        if lane.task is None:
            self._lanes[lane.key] = lane
            self._emptied.clear()
            lane.task = asyncio.get_running_loop().create_task(self._serve(lane))

    async def _serve(self, lane: _Lane) -> None:
        """Say what waits for a room, one after the other."""
        try:
            while lane.waiting:
                await self._perform(lane, lane.waiting[0])
        except Stopped:
            pass
        except asyncio.CancelledError:
            if self._running:
                raise
        finally:
            if self._lanes.get(lane.key) is lane:
                del self._lanes[lane.key]
            self._abandon(lane)
            if not self._lanes:
                self._emptied.set()

    async def _room_of(self, key: str, utterance: Utterance) -> str | None:
        """Return the id of the room that a lane is for; None: it is for none.

        Raises:
            Failed, Dropped, Stopped: It cannot be known.
        """
        if not key or is_room_id(key):
            return key or None
        try:
            if is_user_id(key):
                return await self._performer.private_chat(utterance, key)
            ask = partial(self._find, utterance, key)
            return await self._asker.until_answered(utterance, "conversations.list", ask)
        except TokenRefused:
            raise
        except Failed:
            if utterance.message.get("method") is None:
                raise
            return None  # a method need not be about the room

    async def _find(self, utterance: Utterance, name: str) -> str | None:
        room = None if name.startswith("@") else await self._names.find_room(name.removeprefix("#"))
        if room is not None or name.startswith("#"):
            return room
        person = await self._names.find_user(name.removeprefix("@"))
        return None if person is None else await self._performer.private_chat(utterance, person)

    def _move(self, lane: _Lane, room: str) -> None:
        """Have what waits for a name wait for the room that it means."""
        del self._lanes[lane.key]
        target = self._lanes.get(room) or _Lane(room)
        while lane.waiting:
            utterance = lane.pop()
            assert utterance.place is not None
            utterance.place = Place(room, utterance.place.thread)
            self._put(target, utterance)

    def _abandon(self, lane: _Lane) -> None:
        """Give back what a task left behind that was cancelled."""
        while lane.waiting:
            utterance = lane.pop()
            self._forget(utterance)
            self._return(utterance)

    def _forget(self, utterance: Utterance) -> None:
        self._waiting -= 1
        self._size -= utterance.size

    async def _wait_until_empty(self, seconds: float) -> None:
        if self._lanes and seconds > 0:
            either = [asyncio.ensure_future(each) for each in (self._emptied.wait(), self._asker.sleep(seconds))]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in either:
                    each.cancel()
            await asyncio.gather(*either, return_exceptions=True)

    # One reply

    async def _perform(self, lane: _Lane, utterance: Utterance) -> None:
        """Do what the first reply of a lane asks for; where the lane is for a name, move it to the room's."""
        answer, error, status = None, None, "failed"
        try:
            self._check_problem()
            room = await self._room_of(lane.key, utterance)
            if room is not None and room != lane.key:
                self._move(lane, room)
                return
            compose(utterance, room)
            answer = await self._performer.perform(utterance, room)
            status = "split" if utterance.done > 1 else "sent"
        except Dropped as why:
            status, error = "dropped", str(why)
        except TokenRefused as why:
            self._refuse_token(why)
            error = str(why)
        except (Unfit, Failed) as why:
            error = str(why)
            self._report_failure(error)
        except Stopped:
            raise
        except Exception:
            self.stats["failures"] += 1
            self._log.exception("%s: a reply failed", self._workspace)
            error = "an error of ours"
        self._forget(lane.pop())
        self._settle(utterance, status, error, answer=answer)

    def _return(self, utterance: Utterance) -> None:
        """Give back what was not said, as far as it can be said by somebody else."""
        rest = utterance.rest()
        if rest is None:
            self.stats["cut_off"] += 1
            self._settle(utterance, "failed", "cut off when the server stopped: nobody knows whether it was said")
        else:
            self.stats["given_back"] += 1
            self._give_back(utterance.local, rest)

    def _settle(
        self,
        utterance: Utterance,
        status: str,
        error: str | None = None,
        retry_after: float | None = None,
        answer: Message | None = None,
    ) -> None:
        """Tell what became of a reply."""
        message = utterance.message
        if message.get("method") is not None:
            self.stats["methods_called" if error is None else "methods_failed"] += 1
            self._tell(message.get("result_channel"), answer, error, retry_after)
        else:
            self.stats[f"said_{status}"] += 1
        if message.get("receipt_channel") is not None:
            if error is not None and utterance.done:
                error += f" (after {utterance.done} of {utterance.done + len(utterance.steps)} parts)"
            receipt: Message = {"status": status, "ids": utterance.ids}
            receipt |= {} if error is None else {"error": error[:_LONGEST_ERROR]}
            receipt |= {} if retry_after is None else {"retry_after": retry_after}
            self._send(message["receipt_channel"], receipt)

    def _tell(
        self,
        channel: Any,
        answer: Message | None,
        error: str | None,
        retry_after: float | None,
    ) -> None:
        if channel is None:
            return
        if answer is not None:
            try:
                result = result_of(answer)
                if _size_of(result) <= MOST_RESULT:
                    self._emit(channel, result)
                    return
                error = f"an answer of more than {MOST_RESULT} bytes"
            except (TypeError, ValueError, OverflowError):
                error = "an answer that cannot travel"
        self._send(channel, failed_result((error or "no answer")[:_LONGEST_ERROR], retry_after))

    def _send(self, channel: Any, message: Message) -> None:
        try:
            self._emit(channel, message)
        except TypeError:  # a name that a group's message brought, unchecked
            self.stats["replies_ignored"] += 1

    # What concerns all of them

    def _check_problem(self) -> None:
        if self.problem is None:
            return
        if self._token() == self._refused_token:
            raise Failed(self.problem)
        self.problem = None
        self._log.info("%s: there is another bot token; speaking again", self._workspace)

    def _refuse_token(self, error: TokenRefused) -> None:
        if self.problem is None:
            self.problem = f"Slack refuses the bot token: {error}"
            self._refused_token = self._token()
            self._log.error(
                "%s: %s; nothing is said until there is another, receiving goes on", self._workspace, self.problem
            )

    def _report_scope(self, scope: str, method: str) -> None:
        if self._is_news(f"scope {scope}"):
            self._log.warning(
                "%s: the scope %s is missing, which %s needs: add it to the app and install it again",
                self._workspace,
                _shown(scope),
                method[:100],
            )

    def _report_failure(self, error: str) -> None:
        """Tell people once of each kind of failure; how many there are is counted."""
        kind = error.partition(":")[0]
        if kind != "missing_scope" and self._is_news(kind):
            self._log.warning("%s: something cannot be said: %s; said once", self._workspace, _shown(error))

    def _is_news(self, what: str) -> bool:
        if what in self._reported or len(self._reported) >= _MOST_REPORTED:
            return False
        self._reported.add(what)
        return True


def _size_of(value: Any) -> int:
    """Return about how many bytes a value takes."""
    if isinstance(value, str | bytes):
        return 50 + len(value)
    if isinstance(value, Mapping):
        return 100 + sum(_size_of(each) + 50 for each in value.values())
    if isinstance(value, list):
        return 60 + sum(map(_size_of, value))
    return 30


def _shown(text: str) -> str:
    """Return what a server said as it may stand in a log, which people read on terminals."""
    return "".join(each if each.isprintable() else "?" for each in text[:200])

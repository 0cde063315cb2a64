"""Calling Slack for a reply, at the pace that is allowed, until it has answered.

What may be repeated, when a call failed:

    Retry-After, or it never arrived     everything, in its place: the channel waits, so that its order is kept
    in doubt: a timeout, 5xx, a cut connection
        what is the same a second time   repeated: an edit, a reaction, asking for a place to upload to
        a message, files                 looked for in the room's history, by the mark that each carries in its
                                         `metadata`, or the file's id; repeated only if it is not there. Where the
                                         history may not be read, it has failed
        anything else                    not repeated, and has failed

So each arrives at most once, and once unless Slack or the room's history is out of reach for `PATIENCE` seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from .composing import Utterance
from .limiter import Limiter
from .web_api import InDoubt, NotSent, RateLimited, Refused

PATIENCE = 300.0  # seconds that Slack may be out of reach until something has failed
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
_LOOKING_BACK = 3600.0  # seconds, more than clocks differ
_PAGE = 100
_MOST_PAGES = 5
_BAD_TOKEN = frozenset(
    ("token_revoked", "invalid_auth", "account_inactive", "not_authed", "token_expired", "org_login_required")
)

Answer = dict[str, Any]
Find = Callable[[], Awaitable[Answer | None]]
T = TypeVar("T")


class Api(Protocol):
    """What calls; see `WebApi.call`."""

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a method once."""


class Failed(Exception):
    """Something cannot be said; its text says why, and nothing of what it was: it is logged."""


class Dropped(Exception):
    """Something is not said any more; its text says why."""


class TokenRefused(Failed):
    """Slack does not know the token any more."""


class Stopped(Exception):
    """No call begins any more."""


class Asker:
    """Calls methods for the replies of one workspace.

    Args:
        api: The Web API.
        limiter: How fast it may be called.
        clock: Unix seconds.
        sleep: Waits for so many seconds.
        jitter: Returns a number from 0 to 1.
        report_scope: Told of each scope that is missing, and of the method that needs it.

    Attributes:
        stopping: No call begins any more but those that find out what became of others.
    """

    def __init__(
        self,
        api: Api,
        limiter: Limiter,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        jitter: Callable[[], float],
        report_scope: Callable[[str, str], None],
    ) -> None:
        self._api = api
        self._limiter = limiter
        self.clock = clock
        self.sleep = sleep
        self.jitter = jitter
        self._report_scope = report_scope
        self.stopping = False

    async def ask(
        self,
        utterance: Utterance,
        method: str,
        arguments: Mapping[str, Any],
        *,
        room: str | None = None,
        repeat: bool = False,
        find: Find | None = None,
    ) -> Answer:
        """Call a method.

        Args:
            utterance: What it is for.
            method: The method.
            arguments: Its arguments.
            room: The channel that it puts a message into.
            repeat: It is the same a second time.
            find: Looks for what a call in doubt has made.

        Raises:
            Refused: The answer is no.
            Failed, Dropped, Stopped: There will be none.
        """
        tries = _Tries(self, utterance)
        while True:
            check_expiry(utterance, self.clock())
            await self._limiter.wait(method, room)
            check_expiry(utterance, self.clock())
            if self.stopping:
                raise Stopped
            utterance.calling = True  # and remains so where the task is cancelled
            try:
                answer = await self._api.call(method, arguments)
            except RateLimited as error:
                utterance.calling = False
                await self._limiter.hold(method, error.retry_after, room)
                continue
            except NotSent as error:
                utterance.calling = False
                await tries.pause(error)
                continue
            except InDoubt as error:
                found = await self._in_doubt(tries, error, repeat, find)
                utterance.calling = False
                if found is None:
                    continue
                answer = found
            except Refused as error:
                utterance.calling = False
                self.look_at(error, method)
                raise
            finally:
                self._limiter.finished(method, room)
            utterance.calling = False
            return answer

    async def until_answered(self, utterance: Utterance, method: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try something that may be repeated at any time.

        Args:
            utterance: What it is for.
            method: The method that it calls, for people.
            attempt: Tries it.

        Raises:
            Failed, Dropped: There will be no answer, or it is no.
        """
        tries = _Tries(self, utterance)
        while True:
            try:
                return await attempt()
            except RateLimited as error:
                await self.sleep(error.retry_after)
            except (NotSent, InDoubt) as error:
                await tries.pause(error)
            except Refused as error:
                self.look_at(error, method)
                raise Failed(error.error) from None

    async def find(self, room: str, thread: str | None, since: float, is_it: Callable[[Answer], bool]) -> Answer | None:
        """Look for something in the history of a room, or of a thread.

        Args:
            room: The room's id.
            thread: The time stamp of the thread's first message.
            since: When it was said at the earliest, in Unix seconds.
            is_it: Tells of a message whether it is the one.

        Raises:
            Refused: The history may not be read.
            InDoubt: It cannot be read now.
        """
        method = "conversations.history" if thread is None else "conversations.replies"
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            arguments = {
                "channel": room,
                "ts": thread,
                "oldest": f"{since - _LOOKING_BACK:.6f}",
                "limit": _PAGE,
                "include_all_metadata": True,
                "cursor": cursor,
            }
            await self._limiter.wait(method)
            try:
                answer = await self._api.call(method, arguments)
            except RateLimited as error:
                await self._limiter.hold(method, error.retry_after)
                continue
            except NotSent as error:
                raise InDoubt(str(error)) from None
            messages = answer.get("messages")
            for each in messages if isinstance(messages, list) else ():
                if isinstance(each, dict) and is_it(each):
                    return each
            more = answer.get("response_metadata")
            cursor = more.get("next_cursor") if isinstance(more, dict) else None
            if not cursor:
                return None
        return None

    def look_at(self, error: Refused, method: str) -> None:
        """Look whether a refusal means more than the one call.

        Raises:
            TokenRefused: No call will be taken any more.
        """
        if error.error in _BAD_TOKEN:
            raise TokenRefused(error.error) from None
        if error.error == "missing_scope":
            self._report_scope(error.needed or "unknown", method)

    async def _in_doubt(self, tries: _Tries, doubt: InDoubt, repeat: bool, find: Find | None) -> Answer | None:
        """Find out what became of a call; None: nothing, or nothing that forbids to repeat it."""
        if find is None and not repeat:
            raise Failed(f"in doubt: {doubt}") from None
        while True:
            await tries.pause(doubt)
            if find is None:
                return None
            try:
                return await find()
            except Refused as error:
                raise Failed(f"in doubt: {doubt}; and the history cannot be read: {error}") from None
            except InDoubt:
                continue


class _Tries:
    """How long and how often something was tried."""

    def __init__(self, asker: Asker, utterance: Utterance) -> None:
        self._asker = asker
        self._utterance = utterance
        self._until = asker.clock() + PATIENCE
        self._pause = _FIRST_PAUSE

    async def pause(self, error: Exception) -> None:
        """Wait a little longer than the last time, or give up.

        Raises:
            Failed: It was tried for long enough.
        """
        asker = self._asker
        if asker.clock() >= self._until:
            raise Failed(str(error)) from None
        await asker.sleep(self._pause * (0.5 + asker.jitter() / 2))
        self._pause = min(2 * self._pause, _LAST_PAUSE)


def check_expiry(utterance: Utterance, now: float) -> None:
    """Check that something may still be said.

    Raises:
        Dropped: It is stale.
    """
    expires = utterance.expires
    if expires is not None and expires <= now:
        raise Dropped("it expired before it was said")

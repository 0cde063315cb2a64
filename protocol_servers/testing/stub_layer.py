"""A layer that only records, so that a protocol server can be tested without workers, queues or threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Sent(NamedTuple):
    """A message that a server sent, and the options it was sent with."""

    channel: str
    message: dict[str, Any]
    options: dict[str, Any]


class _Item(NamedTuple):
    group: str | None
    names: tuple[str, ...]
    message: dict[str, Any]


class _Heard(NamedTuple):
    """What a stub inbox has heard of workers, as far as servers ask for more than `listening`."""

    in_order: bool


class StubInbox:
    """Record what a server sends; hand it answers with `answer`, `answer_group` and `credit`.

    Attributes:
        name: The inbox's name, up to and including its ``!``.
        sent: What was sent since the last `take`.
        announced: Channels that workers are said to listen to; put names in, with True where ordered.
        refusals: Channel name to the exception that the layer has for it.
        blobs: What was appended to each blob, by its key.
        blob_refusal: The exception that the layer has for whatever is appended.
        blobs_wait: Whether their outcomes wait in `waiting`, as functions to be called, instead of being told at once.
        gone_names: Local names of closed connections, in order.
        lasting: It was opened as one that outlives the process.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop | None,
        receive: Callable[[list[Any]], object],
        credit: Callable[[str, str, int], object] | None,
        up: Callable[[], object] | None,
        down: Callable[[str], object] | None,
    ) -> None:
        self.name = name
        self.up = up
        self.down = down
        self.credit = credit
        self.sent: list[Sent] = []
        self.announced: dict[str, bool] = {}
        self.refusals: dict[str, Exception] = {}
        self.blobs: dict[str, bytes] = {}
        self.blob_refusal: Exception | None = None
        self.blobs_wait = False
        self.waiting: list[Callable[[], object]] = []
        self.gone_names: list[str] = []
        self.closed = False
        self.lasting = False
        self._receive = receive
        self._loop = loop
        self._count = 0

    @property
    def heard(self) -> _Heard:
        """What was announced."""
        return _Heard(any(self.announced.values()))

    def capacity(self, channel: str) -> int:
        """Return what a channel holds where nothing is configured."""
        return 16 if "?" in channel else 1000

    def take(self) -> list[Sent]:
        """Return what was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def answer(self, reply_channel: str, message: dict[str, Any]) -> None:
        """Deliver an answer as if a worker had sent it."""
        local = reply_channel.removeprefix(self.name)
        self._receive([_Item(None, (local,), message)])

    def answer_group(self, reply_channels: list[str], message: dict[str, Any], group: str = "group") -> None:
        """Deliver a group's message to some of its members."""
        self._receive([_Item(group, tuple(name.removeprefix(self.name) for name in reply_channels), message)])

    # What servers call

    def send(
        self, channel: str, message: dict[str, Any], *, then: Callable[[Any], object] | None = None, **options: Any
    ) -> None:
        given = {name: value for name, value in options.items() if value not in (None, False)}
        self.sent.append(Sent(channel, message, given))
        if then is not None:
            outcome = self.refusals.get(channel, True)
            if self._loop is None:
                then(outcome)
            else:
                self._loop.call_soon(then, outcome)

    def send_group(
        self, group: str, message: dict[str, Any], exclude: Any = None, then: Callable[[Any], object] | None = None
    ) -> None:
        self.send("group:" + group, message, then=then, exclude=exclude)

    def listening(self) -> Mapping[str, bool]:
        return self.announced

    def announce(self, info: dict[str, Any]) -> None:
        self.announced_info = info

    def gone(self, name: str) -> None:
        self.gone_names.append(name)

    def groups(self) -> tuple[int, int]:
        return 0, 0

    def new_channel(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def new_blob(self, channel: str | None = None) -> str:
        self._count += 1
        return f"blob.{self._count:016}"

    def append_blob(self, key: str, chunk: bytes, then: Callable[[Any], object] | None = None) -> None:
        outcome: Any = self.blob_refusal or len(chunk)
        if self.blob_refusal is None:
            self.blobs[key] = self.blobs.get(key, b"") + chunk
        if then is None:
            return
        if self.blobs_wait:
            self.waiting.append(lambda: then(outcome))
        elif self._loop is None:
            then(outcome)
        else:
            self._loop.call_soon(then, outcome)

    def drop_blob(self, key: str) -> None:
        self.blobs.pop(key, None)

    async def close(self) -> None:
        self.closed = True


class StubLayer:
    """Stand in for a layer: `open_inbox` returns a `StubInbox`, kept as ``inbox``.

    Args:
        immediate: Tell the outcome of a send within the call instead of at the end of the loop's turn, for tests
            without a running loop.

    Attributes:
        durable: Channels that are said to be durable.
    """

    def __init__(self, *, immediate: bool = False) -> None:
        self.immediate = immediate
        self.durable: set[str] = set()
        self.inbox: StubInbox

    def is_durable(self, channel: str) -> bool:
        """Tell whether a channel is in `durable`."""
        return channel in self.durable

    def open_inbox(
        self,
        name: str,
        *,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[list[Any]], object],
        credit: Callable[[str, str, int], object] | None = None,
        up: Callable[[], object] | None = None,
        down: Callable[[str], object] | None = None,
        lasting: bool = False,
    ) -> StubInbox:
        """Open the one inbox."""
        self.inbox = StubInbox(name, None if self.immediate else loop, receive, credit, up, down)
        self.inbox.lasting = lasting
        return self.inbox

"""One server instance's end of the layer: sends batched over a loop turn, and an inbox with its memberships."""

import logging
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import names
from .blobs import BlobKey
from .calls import Call
from .errors import MessageTooLarge
from .membership import Membership, Snapshot
from .store.element import Element
from .store.listeners import Heard

if TYPE_CHECKING:
    from .base import Layer

log = logging.getLogger("trunkline.layer")

Then = Callable[[Any], None]
_GONE = 5_000  # closed connections remembered at least, and not twice as many, to undo a group_add that was on its way
_new = tuple.__new__  # half of what a NamedTuple costs is to find out its arguments


class InboxItem(NamedTuple):
    """What arrived in an inbox.

    Attributes:
        group: The group it was sent to; None for a message to one channel.
        names: The local parts it is for.
        message: The message, shared by all of them.
    """

    group: str | None
    names: Sequence[str]
    message: dict[str, Any]


class Callbacks(NamedTuple):
    """What an inbox calls, on its loop's thread; see `Layer.open_inbox`."""

    receive: Callable[[list[InboxItem]], None]
    credit: Callable[[str, str, int], None] | None
    up: Callable[[], None] | None
    down: Callable[[str], None] | None


class Inbox(ABC):
    """An open inbox. All its methods are called, and all its callbacks run, on its loop's thread.

    An engine writes `_transmit` and `_shut`, sets `heard`, and hands what it takes to `_arrived`.

    Attributes:
        name: The inbox, ending in `!`.
        heard: The channels that anybody announced within the last 60 s.
        stats: Named counters: `in_doubt`, sends of which nobody knows whether they arrived, `outages`, and others of
            the engine's own.
    """

    heard: Heard

    def __init__(self, layer: "Layer", name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> None:
        self.name = name
        self._layer = layer
        self._checked = layer._calls
        self._loop = loop
        self._callbacks = callbacks
        self._lasting = lasting
        self.stats: Counter[str] = Counter()
        self._membership = Membership()
        self._gone: set[str] = set()
        self._gone_before: set[str] = set()
        self._calls: list[Call] = []
        self._thens: list[Then | None] = []
        self._leaving = False  # whether the end of this loop turn will send what was collected
        self._closed = False

    # what an engine gives

    @abstractmethod
    def _transmit(self, calls: list[Call], thens: list[Then | None]) -> None:
        """Run operations in order, and give their outcomes to `_settle`, now or later."""

    @abstractmethod
    async def _shut(self) -> None:
        """Stop reading and give the lease back."""

    # what a server calls

    def listening(self) -> Mapping[str, bool]:
        """Return the channels that anybody announced within the last 60 s → whether in order. Costs no round trip."""
        return self.heard.listening()

    def send(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        expiry: float | None = None,
        delay: float = 0,
        key: str | None = None,
        once: str | None = None,
        window: float = 600,
        credit: str | None = None,
        last: bool = False,
        blobs: Iterable[str] = (),
        then: Then | None = None,
    ) -> None:
        """Send a message at the end of this loop turn, with all others of the turn.

        The message is packed now, and trusted to be one that may travel; otherwise the arguments are those of
        `Layer.send`.

        Args:
            credit: The local part that is told, by the credit callback, as chunks of this single-reader channel are
                taken.
            last: Send it even if the channel is full: the end of a body.
            then: Called on the loop with True, False (`once` was seen) or the LayerError; never before this method
                returns.

        Raises:
            TypeError: The name breaks the rules, or the message cannot be packed. Conditions of the layer never raise.
        """
        try:
            if credit is None and once is None and not (delay or last or blobs or key is not None):
                call = self._checked.put_plain(channel, message, expiry)
            else:
                credited = None if credit is None else self.name + credit
                call = self._checked.put(
                    channel, message, expiry, delay, key, once, window, credited, last, trusted=True, blobs=blobs
                )
        except MessageTooLarge as error:
            self._refuse(then, error)
            return
        if call is None:
            self._refuse(then, True)
        else:
            self._enqueue(call, then)

    def send_group(
        self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None = None, then: Then | None = None
    ) -> None:
        """Send a message to a group at the end of this loop turn; see `Layer.send_group`."""
        try:
            call = self._checked.send_group(group, message, exclude, trusted=True)
        except MessageTooLarge as error:
            self._refuse(then, error)
            return
        if call is None:
            self._refuse(then, None)
        else:
            self._enqueue(call, then)

    def new_blob(self, channel: str | None = None) -> BlobKey:
        """Return the key of a blob to be written; see `Layer.new_blob`."""
        return self._layer.new_blob(channel)

    def append_blob(self, key: BlobKey, chunk: bytes, then: Then | None = None) -> None:
        """Append to a blob at the end of this loop turn, in order with what this inbox sends; see `Layer.append_blob`.

        Where one append fails, so do all that follow it.

        Args:
            key: As `new_blob` made it.
            chunk: 64 KiB; less, or nothing, only at the end.
            then: As of `send`: called with the bytes in it, or the LayerError.

        Raises:
            TypeError: This is no key, no chunk, or one behind the last. Conditions of the layer never raise.
        """
        call = self._checked.append_blob(key, key.appended, chunk)
        key.appended += len(chunk)
        self._enqueue(call, then)

    def drop_blob(self, key: str) -> None:
        """Drop a blob at the end of this loop turn, unless a message holds it; see `Layer.drop_blob`."""
        self._enqueue(self._checked.drop_blob(key), None)

    def gone(self, name: str) -> None:
        """Tell that what this local part stood for is closed: its memberships are removed.

        An add that is on its way is undone when it arrives, unless the inbox is lasting: there the name may well come
        back. A group message for a name the server does not know means that such an add came too late: call this
        again.
        """
        if name in self._membership.groups_of:  # as nearly none is: this is called for every request
            self._undo(name)
        if not self._lasting:
            gone = self._gone
            gone.add(name)
            if len(gone) >= _GONE:
                self._gone_before, self._gone = gone, set()

    def groups(self) -> tuple[int, int]:
        """Return how many groups have members here, and how many members there are."""
        return self._membership.sizes()

    def announce(self, info: Mapping[str, Any]) -> None:
        """Tell at the end of this loop turn that this server is alive; see `Layer.announce`."""
        self._enqueue(self._checked.announce(self.name, info), None)

    def new_channel(self, pattern: str) -> str:
        """Return an unused single-reader channel's name; see `Layer.new_channel`."""
        return names.unique(pattern)

    def capacity(self, channel: str) -> int:
        """Return how many messages a channel holds: whoever keeps below it finds room in a channel of its own."""
        return self._checked.capacity(channel)

    async def close(self) -> None:
        """Send what is waiting, then give back the lease and the memberships; a lasting inbox keeps its memberships."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        await self._shut()

    # shared with engines

    def _enqueue(self, call: Call, then: Then | None) -> None:
        self._calls.append(call)
        self._thens.append(then)
        if not self._leaving:
            self._leaving = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._leaving = False
        if self._calls:
            calls, self._calls = self._calls, []
            thens, self._thens = self._thens, []
            self._transmit(calls, thens)

    def _settle(self, thens: Iterable[Then | None], outcomes: Iterable[Any]) -> None:
        for then, outcome in zip(thens, outcomes, strict=True):
            if then is not None:
                try:
                    then(outcome)
                except Exception:
                    self._log_failure()

    def _refuse(self, then: Then | None, outcome: Any) -> None:
        if then is not None:
            self._loop.call_soon(self._run, then, outcome)

    def _load(self, snapshot: Snapshot) -> None:
        """Begin again from the members the store has, without those whose connection is closed."""
        self._membership.load(snapshot)
        for local in self._membership.known(self._gone | self._gone_before):
            self._undo(local)

    def _arrived(self, elements: list[Element]) -> list[Element] | None:
        """Apply the notes among what was taken, and hand over the rest.

        Returns:
            None; after a note that the memberships have to be loaded anew: what came after it, which has to arrive
            again once a snapshot that is asked for from now on was given to `_load`.
        """
        taken = self._membership.follow(elements)
        for element in taken.added:
            if element[3] in self._gone or element[3] in self._gone_before:
                self._undo(element[3])
        items: list[InboxItem] = []
        open_ = self._checked.open
        for group, locals_, element in taken.messages:
            try:
                message = open_(element[4])
            except ValueError:
                message = None
            if type(message) is dict:
                items.append(_new(InboxItem, (group, locals_, message)))
            else:  # whoever wrote this into our queue was not one of us
                self.stats["unreadable"] += 1
        if items:
            self._run(self._callbacks.receive, items)
        if self._callbacks.credit is not None:
            for credit in taken.credits:
                self._run(self._callbacks.credit, *credit)
        return taken.rest

    def _undo(self, local: str) -> None:
        for group, sequence in self._membership.remove(local):
            self._leave(group, local, sequence)

    def _leave(self, group: str, local: str, sequence: int) -> None:
        self._enqueue(("group_leave", (group, self.name, local, sequence)), None)

    def _run(self, callback: Callable[..., None], *args: Any) -> None:
        """Call back; an error in there must not stop the inbox."""
        try:
            callback(*args)
        except Exception:
            self._log_failure()

    def _log_failure(self) -> None:
        log.exception("%s: error in a callback", self.name)

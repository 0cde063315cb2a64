"""The channel layer: one contract, and the rules of it that are the same in every engine.

An engine is a subclass with a handful of primitives: `_call` and `_run` (operations of the store, by name), `_take` (a receive that may
block), `_waker` and `_make_inbox`. Everything a user sees is derived from them here.
"""

import math
import random
import secrets
import threading
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import names
from .batch import Batch
from .delivery import Delivery
from .errors import ChannelFull, MessageTooLarge
from .inbox import Callbacks, Inbox, InboxItem
from .limits import Address
from .membership import Membership, Snapshot
from .options import Options
from .packing import pack, pack_message, pack_trusted, unpack
from .reader import Reader, Waker
from .store.element import PART, Element
from .store.letters import TRACEBACK

Call = tuple[str, tuple[Any, ...]]
BLOCK = 5.0
_MAX_KEY = 255


class Layer(ABC):
    """A channel layer (ASGI 1.x names). All methods but those of an inbox are plain calls, safe from any thread.

    Attributes:
        expiry: Seconds a message may wait.
        group_expiry: Seconds a membership lives that nobody renews or leases.
        capacity: Messages a plain channel holds.
        channel_capacity: Pattern → capacity.
        clock: The layer's clock, in seconds.
        extensions: What it can do beyond sending and receiving.
    """

    extensions = [
        "groups",
        "flush",
        "statistics",
        "delay",
        "once",
        "state",
        "inbox",
        "listeners",
        "peek",
        "dead_letters",
    ]
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge
    clock: Callable[[], float]

    def __init__(self, options: Options, rng: random.Random | None = None) -> None:
        self.options = options
        self.expiry = options.expiry
        self.group_expiry = options.group_expiry
        self.capacity = options.shown_capacity
        self.channel_capacity = options.channel_capacity
        self.max_size = options.max_size
        self.drop_rate = options.drop_rate
        self._limits = options.limits()
        self._find = self._limits.find
        self._rng = rng or random.Random()
        self._holder = secrets.token_hex(8)
        self._local = threading.local()
        self._memberships: dict[str, Membership] = {}  # of inboxes that plain receives read
        self._attaching = threading.Lock()
        self._checked: dict[tuple[str, ...], tuple[str, ...]] = {}

    # what an engine gives

    @abstractmethod
    def _call(self, name: str, *args: Any) -> Any:
        """Run one operation of the store."""

    @abstractmethod
    def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Run operations in order; return for each its value or the LayerError it raised."""

    @abstractmethod
    def _take(
        self, queues: tuple[str, ...], start: int, limit: int, timeout: float | None, waker: Waker
    ) -> list[Delivery]:
        """Receive from the first queue, from `queues[start]` on and around, that has something; see `Reader.receive_batch`.

        Elements of an inbox go through `_open_elements`, in the order in which they were taken.
        """

    @abstractmethod
    def _waker(self) -> Waker:
        """Make a waker for `_take`."""

    @abstractmethod
    def _make_inbox(
        self, name: str, address: Address, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool
    ) -> Inbox:
        """Lease an inbox and begin to serve it on `loop`."""

    @abstractmethod
    def close(self) -> None:
        """Close this layer object: blocked receives and later calls raise LayerUnavailable."""

    # sending

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
    ) -> bool:
        """Send a message; never blocks.

        Args:
            channel: Where to.
            message: A dict that JSON could hold, plus byte strings.
            expiry: Seconds it may wait, counted from when it is due; None: the layer's.
            delay: Seconds until it is due.
            key: Replaces a message with the same key that is still delayed.
            once: Send only if nothing with this was sent to this channel within `window` seconds.
            window: Seconds `once` is remembered.

        Returns:
            False if `once` was seen, else True.

        Raises:
            ChannelFull: There is no room; nothing was sent, marked or replaced.
            MessageTooLarge: The packed message is over `max_size`.
            LayerUnavailable: The layer is closed or out of reach.
            TypeError: The name breaks the rules, or the message cannot travel; the text says what and where.
        """
        call = self._put_call(channel, message, expiry=expiry, delay=delay, key=key, once=once, window=window)
        if call is None:
            return True
        result: bool = self._call(call[0], *call[1])
        return result

    def cancel(self, channel: str, key: str) -> bool:
        """Remove a message that is still delayed; False if none with this key is.

        Raises:
            TypeError: The name breaks the rules.
        """
        address, _ = self._find(channel)
        result: bool = self._call("cancel", address.queue, _key("key", key))
        return result

    def batch(self) -> Batch:
        """Return an empty batch of operations."""
        return Batch(self)

    # receiving

    def receive(self, channels: Iterable[str], block: bool = False) -> tuple[str, dict[str, Any]] | tuple[None, None]:
        """Take one message.

        Args:
            channels: What to receive from; an inbox by its name up to and with the `!`.
            block: Wait for a message, at most 5 seconds.

        Returns:
            (full channel name, message), or (None, None).

        Raises:
            TypeError: `channels` is empty or holds a name that cannot be received from.
        """
        deliveries = self.receive_batch(channels, 1, BLOCK if block else 0)
        if not deliveries:
            return None, None
        deliveries[0].ack()
        return deliveries[0].channel, deliveries[0].message

    receive_many = receive

    def receive_batch(self, channels: Iterable[str], limit: int = 1, timeout: float | None = 0) -> list[Delivery]:
        """Take up to `limit` messages from the first channel that has any; see `Reader.receive_batch`."""
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self.reader()
        return reader.receive_batch(channels, limit, timeout)

    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""
        return Reader(self, self._waker())

    def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put unstarted deliveries back to the head of their channels.

        They keep their order, deadlines and tries, and find room even in a full channel.
        """
        by_queue: dict[str, list[Element]] = {}
        for delivery in deliveries:
            by_queue.setdefault(delivery._queue, []).append(delivery._element)
        for queue, elements in by_queue.items():
            self._call("put_back", queue, elements)

    def new_channel(self, pattern: str) -> str:
        """Return an unused single-reader channel's name.

        Args:
            pattern: Its beginning, ending in `?`.

        Raises:
            TypeError: The pattern is anything else.
        """
        return names.unique(pattern)

    def peek(self, channel: str, limit: int = 10) -> list[dict[str, Any]]:
        """Return the first messages of a channel, leaving them there."""
        return [unpack(body) for body in self._call("peek", self._find(channel)[0].queue, limit)]

    def purge(self, channel: str) -> int:
        """Drop all messages of a channel, delayed ones too; return how many there were."""
        result: int = self._call("purge", self._find(channel)[0].queue)
        return result

    # groups

    def group_add(self, group: str, channel: str, info: Any = None) -> None:
        """Add a channel to a group, or renew it.

        Args:
            info: What `group_members` tells of it; anything that may travel.

        Raises:
            TypeError: A name breaks the rules, or `info` cannot travel.
        """
        names.check_group(group)
        address, local = self._find(channel)
        packed = None if info is None else self._sized(pack(info, "info"), "info")
        self._call(
            "group_add", group, address.queue, local, packed, self.group_expiry, address.capacity, address.max_bytes
        )

    def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; nothing happens if it is no member."""
        names.check_group(group)
        address, local = self._find(channel)
        self._call("group_discard", group, address.queue, local)

    def group_channels(self, group: str) -> list[str]:
        """Return the channels of a group."""
        names.check_group(group)
        return list(self._call("group_members", group))

    def group_members(self, group: str) -> dict[str, Any]:
        """Return the channels of a group with the info they were added with."""
        names.check_group(group)
        members = self._call("group_members", group)
        return {channel: None if info is None else unpack(info) for channel, info in members.items()}

    def send_group(self, group: str, message: dict[str, Any], *, exclude: str | Iterable[str] | None = None) -> None:
        """Send a message to all channels of a group; never raises ChannelFull: what finds no room is dropped and counted.

        Args:
            exclude: A channel, or several, that get nothing.

        Raises:
            MessageTooLarge: The packed message is over `max_size`.
            TypeError: A name breaks the rules, or the message cannot travel.
        """
        call = self._group_call(group, message, exclude)
        if call is not None:
            self._call(call[0], *call[1])

    # state

    def get_state(self, key: str) -> tuple[Any, int]:
        """Return (value, version) of a key, or (None, 0)."""
        value, version = self._call("get_state", _key("key", key))
        return (unpack(value) if isinstance(value, bytes) else value), version

    def put_state(self, key: str, value: Any, ttl: float, if_version: int | None = None) -> int:
        """Set a value for `ttl` seconds.

        Args:
            value: Anything that may travel.
            ttl: Seconds.
            if_version: Only if the present version is this one; 0: only if the key is absent.

        Returns:
            The new version, or 0 if `if_version` was not met.

        Raises:
            MessageTooLarge: The packed value is over `max_size`.
            TypeError: The value cannot travel.
        """
        call = self._state_call(key, value, ttl, if_version)
        result: int = self._call(call[0], *call[1])
        return result

    def delete_state(self, key: str) -> bool:
        """Remove a key; False if it was absent."""
        call = self._delete_call(key)
        result: bool = self._call(call[0], *call[1])
        return result

    def incr_state(self, key: str, window: float) -> int:
        """Add one to a counter that is forgotten `window` seconds after its first increment; return the count.

        Raises:
            TypeError: The key holds a value that is no counter.
        """
        result: int = self._call("increment_state", _key("key", key), _seconds("window", window))
        return result

    # people's and processes' questions

    def announce(self, listener: str, info: Mapping[str, Any] | None) -> None:
        """Tell for the next 15 seconds that a listener is alive.

        Args:
            listener: A name of its own, such as "worker.4711.x7".
            info: `{"channels": {name: whether in order}, …}`; None: it goes away.
        """
        call = self._announce_call(listener, info)
        self._call(call[0], *call[1])

    def listeners(self) -> dict[str, Any]:
        """Return who is alive, with what they announced."""
        return {listener: unpack(info) for listener, info in self._call("listeners").items()}

    def dead_letter(
        self, channel: str, message: dict[str, Any], *, reason: str, traceback: str = "", tries: int = 1
    ) -> str:
        """Keep a message that nobody will repeat; return its id.

        Args:
            channel: Where it was sent to.
            reason: Why it is here, in one line.
            traceback: Cut to its last 16 KiB.
            tries: How often it was delivered.
        """
        address, local = self._find(channel)
        text = traceback.encode(errors="replace")[-TRACEBACK:].decode(errors="ignore")
        body = self._sized(pack_message(message), channel)
        id: str = self._call(
            "dead_letter", secrets.token_hex(8), address.queue + local, body, str(reason)[:1000], text, tries
        )
        return id

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters, oldest first: dicts of id, channel, message, reason, traceback, tries, time (Unix seconds)."""
        fields = ("id", "channel", "message", "reason", "traceback", "tries", "time")
        letters = [dict(zip(fields, letter, strict=True)) for letter in self._call("dead_letters")]
        for letter in letters:
            letter["message"] = unpack(letter["message"])
        return letters

    def global_statistics(self) -> dict[str, Any]:
        """Return messages_count, messages_pending, messages_max_age, channel_full_count and rates, over all channels."""
        result: dict[str, Any] = self._call("statistics")
        return result

    def channel_statistics(self, channel: str) -> dict[str, Any]:
        """Return messages_count, messages_pending, messages_max_age, channel_full_count and rates, of one channel."""
        result: dict[str, Any] = self._call("channel_statistics", self._find(channel)[0].queue)
        return result

    def flush(self) -> None:
        """Drop all messages, groups, state and dead letters. Leases and announcements stay."""
        self._call("flush")

    def __enter__(self) -> "Layer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # servers

    def open_inbox(
        self,
        name: str,
        *,
        loop: AbstractEventLoop,
        receive: Callable[[list[InboxItem]], None],
        credit: Callable[[str, str, int], None] | None = None,
        up: Callable[[], None] | None = None,
        down: Callable[[str], None] | None = None,
        lasting: bool = False,
    ) -> Inbox:
        """Open the inbox of one server instance. Everything on it happens on the loop's thread.

        Args:
            name: The inbox, ending in `!`.
            loop: Where callbacks run.
            receive: Called with what arrived, group messages spread to this instance's members.
            credit: Called with (channel, local part, chunks) as chunks of a single-reader channel are taken.
            up: Called when the layer is back.
            down: Called with the reason when the layer is out of reach.
            lasting: The inbox is named after what outlives a process: its memberships outlive it too.

        Raises:
            LayerError: Another process has leased this inbox.
            TypeError: The name does not end in `!`.
        """
        names.check_receivable(name)
        if not name.endswith("!"):
            raise TypeError(f"an inbox's name ends in '!', unlike {name!r}")
        callbacks = Callbacks(receive, credit, up, down)
        return self._make_inbox(name, self._find(name)[0], loop, callbacks, lasting)

    # shared with readers, batches, inboxes and engines

    def _put_call(
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
        trusted: bool = False,
    ) -> Call | None:
        """Check a send and return its call; None if it is lost on purpose (drop_rate)."""
        address, local = self._find(channel)
        body = pack_trusted(message) if trusted else pack_message(message)
        if len(body) > self.max_size:
            self._sized(body, channel)
        if self.drop_rate and "?" not in address.queue and self._rng.random() < self.drop_rate:
            return None
        queue, capacity, max_bytes, seconds = address
        if expiry is not None:
            seconds = _seconds("expiry", expiry)
        if not delay and key is None and once is None and credit is None and not last:
            return "put", (queue, local, body, seconds, capacity, max_bytes)
        if delay:
            delay = _seconds("delay", delay)
        if key is not None:
            _key("key", key)
        if once is not None:
            _key("once", once)
            _seconds("window", window)
        return "put", (queue, local, body, seconds, capacity, max_bytes, delay, key, once, window, credit, last)

    def _group_call(
        self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None, trusted: bool = False
    ) -> Call | None:
        names.check_group(group)
        body = self._sized(pack_trusted(message) if trusted else pack_message(message), group)
        excluded: dict[str, list[str]] = {}
        for channel in (exclude,) if isinstance(exclude, str) else exclude or ():
            address, local = self._find(channel)
            excluded.setdefault(address.queue, []).append(local)
        if self.drop_rate and self._rng.random() < self.drop_rate:
            return None
        return "send_group", (group, body, self.expiry, excluded)

    def _state_call(self, key: str, value: Any, ttl: float, if_version: int | None) -> Call:
        body = self._sized(pack(value, "value"), f"state {key}")
        return "put_state", (_key("key", key), body, _seconds("ttl", ttl), if_version)

    def _delete_call(self, key: str) -> Call:
        return "delete_state", (_key("key", key),)

    def _announce_call(self, listener: str, info: Mapping[str, Any] | None) -> Call:
        _key("listener", listener)
        if info is None:
            return "announce", (listener, None, {})
        info = dict(info)
        return "announce", (listener, pack(info, "info"), dict(info.get("channels", {})))

    def _sized(self, body: bytes, place: str) -> bytes:
        if len(body) > self.max_size:
            raise MessageTooLarge(f"{place}: {len(body)} bytes packed, max_size is {self.max_size}")
        return body

    def _receivable(self, channels: Iterable[str]) -> tuple[str, ...]:
        if isinstance(channels, str):
            raise TypeError(f"receive takes a list of channels, not the str {channels[:120]!r}")
        wanted = tuple(channels)
        try:
            return self._checked[wanted]
        except (KeyError, TypeError):
            pass
        if not wanted:
            raise TypeError("receive takes at least one channel")
        for channel in wanted:
            names.check_receivable(channel)
        if len(self._checked) >= 256:
            self._checked.clear()
        self._checked[wanted] = wanted
        return wanted

    def _deliveries(self, queue: str, now: float, elements: Iterable[Element]) -> list[Delivery]:
        """Make deliveries of what was taken from a channel that is no inbox."""
        return [Delivery(queue, queue, element, now - element[1]) for element in elements]

    def _open_elements(
        self, queue: str, now: float, elements: list[Element], limit: int, reload: Callable[[], Snapshot]
    ) -> tuple[list[Delivery], list[Element]]:
        """Make deliveries of what was taken from an inbox.

        Notes are applied, and a group's message becomes one delivery for each member.

        Returns:
            At most `limit` deliveries, and the elements to put back for the rest.
        """
        items, _, _ = self._memberships[queue].apply(elements, reload)
        deliveries: list[Delivery] = []
        rest: list[Element] = []
        for group, locals_, element in items:
            room = limit - len(deliveries)
            deadline, queued, _, _, body, _ = element
            for local in locals_[:room]:
                single = (deadline, queued, 0, local, body, None)
                deliveries.append(Delivery(queue, queue + local, single, now - queued))
            if len(locals_) > room:
                rest.append((deadline, queued, PART, group or "", body, locals_[room:]))
        return deliveries, rest

    def _attach(self, queue: str) -> None:
        """Begin to read an inbox without a lease."""
        with self._attaching:
            if queue in self._memberships:
                return
            address, _ = self._find(queue)
            membership = Membership()
            snapshot = self._call("attach", queue, self._holder, self.group_expiry, address.capacity, address.max_bytes)
            if snapshot is not None:
                membership.load(snapshot)
            self._memberships[queue] = membership


def _key(what: str, key: Any) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
        raise TypeError(f"{what} must be a str of 1 to {_MAX_KEY} characters, not {key!r:.100}")
    return key


def _seconds(what: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        raise TypeError(f"{what} must be a number of seconds, 0 or more, not {seconds!r:.100}")
    return seconds

"""The channel layer: one contract, whatever engine stands behind it.

An engine is a subclass with a few primitives: `_call` and `_run` (calls of the store), `reader` (which receives, and
may block), `_make_inbox` and `close`. All that users see is derived from them here.
"""

import logging
import random
import secrets
import threading
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from . import names
from .batch import Batch
from .calls import Call, Calls
from .delivery import Delivery
from .durable import DurableChannels
from .errors import ChannelFull, LayerError, MessageTooLarge
from .inbox import Callbacks, Inbox, InboxItem
from .keeping import BlobKeeping
from .membership import Membership
from .options import Options
from .packing import unpack
from .reader import Reader

BLOCK = 5.0  # seconds a blocking receive waits at most
UNREADABLE_PAUSE = 5.0  # seconds until somebody with other keys may try to read a durable message

log = logging.getLogger("trunkline.layer")


class Layer(DurableChannels, BlobKeeping, ABC):
    """A channel layer, with the names of ASGI 1.x. All methods are plain calls, safe from any thread.

    Attributes:
        options: What it was made with.
        expiry: Seconds a message may wait.
        group_expiry: Seconds a membership lives that nobody renews or leases.
        capacity: Messages a plain channel holds.
        channel_capacity: Pattern → capacity.
        clock: The layer's clock, in seconds.
        extensions: What it can do beyond sending and receiving.
    """

    extensions = [
        "groups", "flush", "statistics", "delay", "once", "state", "inbox", "listeners", "peek", "dead_letters",
        "durable", "blobs",
    ]  # fmt: skip
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge
    clock: Callable[[], float]

    def __init__(self, options: Options, rng: random.Random | None = None) -> None:
        self.options = options
        self.expiry = options.expiry
        self.group_expiry = options.group_expiry
        self.capacity = options.plain_capacity
        self.channel_capacity = options.channel_capacity
        self._calls = Calls(options, rng)
        self.unreadable = 0  # messages that were taken and that no key opens
        self._calls.limits.settle = self.agree
        self._readers = threading.local()
        self._holder = secrets.token_hex(8)  # a name of its own, as a plain reader of inboxes
        self._memberships: dict[str, Membership] = {}  # of those inboxes

    # what an engine gives

    @abstractmethod
    def _call(self, call: Call) -> Any:
        """Run one call of the store."""

    @abstractmethod
    def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls in order; return for each its value or the LayerError it raised.

        Where a send finds no room, those behind it to the same queue are refused, too; see `Batch.run`.
        """

    @abstractmethod
    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""

    @abstractmethod
    def _make_inbox(self, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> Inbox:
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
        blobs: Iterable[str] = (),
        ahead: int | None = None,
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
            blobs: Keys of blobs that the message holds on a durable channel, beside those that it names in a
                `body_key`, anywhere in it: they are kept until it is acknowledged, or gone otherwise.
            ahead: Of a part of a stream to an inbox, which takes no other option but `expiry`: bytes that may wait
                there with it, though the inbox has room for more. So a stream leaves room for others, and memory.

        Returns:
            False if `once` was seen, else True.

        Raises:
            ChannelFull: There is no room; nothing was sent, marked or replaced.
            MessageTooLarge: The packed message is over `max_size`.
            LayerUnavailable: The layer is closed or out of reach.
            LayerError: A blob is gone that it would hold; nothing was sent, marked or replaced.
            TypeError: The name breaks the rules, or the message cannot travel; the text says what and where.
        """
        call = self._calls.put(channel, message, expiry, delay, key, once, window, blobs=blobs, ahead=ahead)
        return True if call is None else bool(self._call(call))

    def cancel(self, channel: str, key: str) -> bool:
        """Remove a message that is still delayed; False if none with this key is."""
        return bool(self._call(self._calls.cancel(channel, key)))

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
        for delivery in self.receive_batch(channels, 1, BLOCK if block else 0):
            delivery.ack()
            return delivery.channel, delivery.message
        return None, None

    receive_many = receive

    def receive_batch(self, channels: Iterable[str], limit: int = 1, timeout: float | None = 0) -> list[Delivery]:
        """Take up to `limit` messages from the first channel that has any; see `Reader.receive_batch`."""
        reader: Reader | None = getattr(self._readers, "reader", None)
        if reader is None:
            reader = self._readers.reader = self.reader()
        return reader.receive_batch(channels, limit, timeout)

    def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put unstarted deliveries back to the head of their channels.

        They keep their order, deadlines and tries, and find room even in a full channel.
        """
        for call in self._calls.put_back(deliveries):
            self._call(call)

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
        messages = []
        for body in self._call(("peek", (self._calls.queue(channel), limit))):
            with suppress(ValueError):  # what no key opens
                messages.append(self._calls.open(body))
        return messages

    def purge(self, channel: str) -> int:
        """Drop all messages of a channel, delayed ones too; return how many there were."""
        return int(self._call(("purge", (self._calls.queue(channel),))))

    def _opened(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Decrypt what was taken. What no key opens is dropped, or left to others where the channel is durable."""
        cipher, opened = self._calls.cipher, []
        assert cipher is not None, "only what is encrypted is opened"
        for delivery in deliveries:
            element = delivery._element
            try:
                delivery._element = (*element[:4], cipher.decrypt(element[4]), element[5])
                opened.append(delivery)
            except ValueError as error:
                self.unreadable += 1
                if self.unreadable % 1000 == 1:  # whoever can write into the bus must not fill the log
                    log.error(
                        "a message on %s cannot be read: %s (%d so far)", delivery.channel, error, self.unreadable
                    )
                with suppress(LayerError):
                    delivery.nack(UNREADABLE_PAUSE)
        return opened

    # groups

    def group_add(self, group: str, channel: str, info: Any = None) -> None:
        """Add a channel to a group, or renew it.

        Args:
            info: What `group_members` tells of it; anything that may travel.

        Raises:
            TypeError: A name breaks the rules, or `info` cannot travel.
        """
        self._call(self._calls.group_add(group, channel, info))

    def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; nothing happens if it is no member."""
        self._call(self._calls.group_discard(group, channel))

    def group_channels(self, group: str) -> list[str]:
        """Return the channels of a group."""
        return list(self._call(self._calls.group_members(group)))

    def group_members(self, group: str) -> dict[str, Any]:
        """Return the channels of a group with the info they were added with."""
        members = self._call(self._calls.group_members(group))
        return {channel: None if info is None else self._calls.open(info) for channel, info in members.items()}

    def send_group(self, group: str, message: dict[str, Any], *, exclude: str | Iterable[str] | None = None) -> None:
        """Send a message to all channels of a group.

        It never raises ChannelFull: what finds no room is dropped and counted.

        Args:
            exclude: A channel, or several, that get nothing.

        Raises:
            MessageTooLarge: The packed message is over `max_size`.
            TypeError: A name breaks the rules, or the message cannot travel.
        """
        call = self._calls.send_group(group, message, exclude)
        if call is not None:
            self._call(call)

    # state

    def get_state(self, key: str) -> tuple[Any, int]:
        """Return (value, version) of a key, or (None, 0)."""
        value, version = self._call(self._calls.get_state(key))
        return (self._calls.open(value) if isinstance(value, bytes) else value), version

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
        return int(self._call(self._calls.put_state(key, value, ttl, if_version)))

    def delete_state(self, key: str) -> bool:
        """Remove a key; False if it was absent."""
        return bool(self._call(self._calls.delete_state(key)))

    def incr_state(self, key: str, window: float) -> int:
        """Add one to a counter that is forgotten `window` seconds after its first increment; return the count.

        Raises:
            TypeError: The key holds a value that is no counter.
        """
        return int(self._call(self._calls.increment_state(key, window)))

    # questions of people and processes

    def announce(self, listener: str, info: Mapping[str, Any] | None) -> None:
        """Tell, for the next 15 seconds, that a listener is alive.

        Args:
            listener: A name of its own, such as "worker.4711.x7".
            info: `{"channels": {name: whether in order}, …}`; None: it goes away.
        """
        self._call(self._calls.announce(listener, info))

    def listeners(self) -> dict[str, Any]:
        """Return who is alive, with what they announced."""
        return {listener: unpack(info) for listener, info in self._call(("listeners", ())).items()}

    def dead_letter(
        self, channel: str, message: dict[str, Any], *, reason: str, traceback: str = "", tries: int = 1
    ) -> str:
        """Keep a message that nobody will repeat, with the blobs that it names; return its id.

        Args:
            channel: Where it was sent to.
            reason: Why it is here, in one line.
            traceback: Its last 16 KiB are kept.
            tries: How often it was delivered.
        """
        return str(self._call(self._calls.dead_letter(channel, message, reason, traceback, tries)))

    def dead_letters(self, newest: int | None = None) -> list[dict[str, Any]]:
        """Return the dead letters, oldest first.

        Args:
            newest: Only so many, the newest; None: all.

        Returns:
            Dicts of id, channel, message, reason, traceback, tries and time (Unix seconds).
        """
        found = self._call(("dead_letters", () if newest is None else (newest,)))
        # Of several servers, each tells so many.
        return [self._letter(fields) for fields in (found if newest is None else found[-newest:] if newest else [])]

    def dead_letter_of(self, id: str) -> dict[str, Any] | None:
        """Return one dead letter as `dead_letters` does; None if there is none of this id."""
        fields = self._call(self._calls.dead_letter_of(id))
        return None if fields is None else self._letter(fields)

    def dead_letter_retry(self, id: str) -> bool:
        """Send a dead letter to its channel again, and drop it.

        Returns:
            False if there is none of this id.

        Raises:
            ChannelFull: There is no room; the letter stays.
            LayerUnavailable: The layer is out of reach. Done again, nothing is sent twice within ten minutes.
        """
        letter = self.dead_letter_of(id)
        if letter is None:
            return False
        self.send(letter["channel"], letter["message"], once=f"dead letter {id}"[:255])
        self._call(self._calls.dead_letter_drop(id, keep_blobs=True))  # on a plain channel nobody holds them
        return True

    def dead_letter_drop(self, id: str) -> bool:
        """Drop a dead letter, and what blobs only it holds; False if there is none of this id."""
        return bool(self._call(self._calls.dead_letter_drop(id)))

    def _letter(self, fields: Sequence[Any]) -> dict[str, Any]:
        names_ = ("id", "channel", "message", "reason", "traceback", "tries", "time")
        letter = dict(zip(names_, fields, strict=True))
        return letter | {"message": self._calls.open(letter["message"])}

    def global_statistics(self) -> dict[str, Any]:
        """Return messages_count, messages_pending, messages_max_age, channel_full_count and rates, of all channels.

        Beside them stand what was dropped, dead_letters_count, blobs_count and blobs_bytes.
        """
        return dict(self._call(("statistics", ())))

    def channel_statistics(self, channel: str) -> dict[str, Any]:
        """Return messages_count, messages_pending, messages_max_age, channel_full_count and rates, of one channel."""
        return dict(self._call(("channel_statistics", (self._calls.queue(channel),))))

    def channels(self) -> dict[str, dict[str, Any]]:
        """Return the channels that are, or lately were, in use, with what `channel_statistics` tells of each.

        Single-reader channels are left out. All is asked for at once.
        """
        return {name: dict(figures) for name, figures in self._call(("channels", ())).items()}

    def problems(self) -> list[str]:
        """Return what is wrong with the place behind this layer, a line each, after a real round trip to it."""
        return []

    def flush(self) -> None:
        """Drop all messages, groups, state, dead letters and blobs. Leases and announcements stay."""
        self._call(("flush", ()))

    def __enter__(self) -> Self:
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
        self.agree()
        return self._make_inbox(name, loop, Callbacks(receive, credit, up, down), lasting)

"""Checking what a layer is asked for, and turning it into calls of the store: the same rules in every engine.

Names, capacities, sizes and what may travel are all looked at here, before anything leaves. A call is a name out of
`Store.calls` and its arguments: plain values that any engine can carry to wherever its store is.
"""

import math
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import blobs as _blobs
from . import names
from .delivery import Delivery
from .encryption import Cipher
from .errors import LayerUnavailable, MessageTooLarge
from .limits import Address, Limits
from .options import Options
from .packing import pack, pack_message, pack_trusted, unpack
from .store.blobs import CHUNK
from .store.element import Element
from .store.letters import TRACEBACK

Call = tuple[str, tuple[Any, ...]]

# What may be asked for again when nobody knows whether it was done: it would be the same a second time.
_REPEATABLE = frozenset(
    (
        "get_state", "delete_state", "group_members", "snapshot", "peek", "channel_statistics", "statistics",
        "channels", "listeners", "dead_letters", "announce", "lease", "restore", "renew", "release", "flush",
        "group_add", "group_discard", "promote", "agree", "ack", "nack", "extend", "put_back_durable",
        "dead_letter_of", "dead_letter_drop", "kept", "hasten", "discard",
        "append_blob", "read_blob", "blob_size", "drop_blob",
    )
)  # fmt: skip

_FOREVER = float("inf")
_MAX_KEY = 255
_MAX_REASON = 1000


class Calls:
    """Makes calls for one layer.

    Every method raises TypeError for what can never be right and MessageTooLarge for what is over `max_size`.

    Args:
        options: The layer's.
        rng: Decides which sends `drop_rate` loses.
    """

    def __init__(self, options: Options, rng: random.Random | None = None) -> None:
        self._options = options
        self._max_size = options.max_size
        self._drop_rate = options.drop_rate
        self.cipher = Cipher(options.encryption_keys) if options.encryption_keys else None
        self._random = (rng or random.Random()).random
        self.limits = Limits(options)
        self._find = self.limits.find
        self._as_it_is = self.cipher is None and not self._drop_rate  # what is packed leaves, and leaves so
        self.open: Callable[[bytes], Any] = unpack if self.cipher is None else self._open
        """Return what was packed, and perhaps encrypted; ValueError: it is not what this layer, or one with the same
        keys, has made."""

    def lower(self, max_size: int) -> None:
        """Refuse what the engine could not carry, whatever the options say."""
        self._max_size = min(self._options.max_size, max_size)

    def put(
        self,
        channel: str,
        message: dict[str, Any],
        expiry: float | None = None,
        delay: float = 0,
        key: str | None = None,
        once: str | None = None,
        window: float = 600,
        credit: str | None = None,
        last: bool = False,
        trusted: bool = False,
        blobs: Iterable[str] = (),
        ahead: int | None = None,
    ) -> Call | None:
        """Make the call of a send; None if it is lost on purpose.

        Args:
            credit: The channel of an inbox that is told as chunks are taken.
            last: Ignores capacity.
            trusted: The message need not be looked at: this program made it.
            blobs: What it holds on a durable channel, beside those that it names.
            ahead: Bytes that may wait in an inbox, this message included, though it has room for more.
        """
        address, local = self._find(channel)
        body = pack_trusted(message) if trusted else pack_message(message)
        if len(body) > self._max_size:
            raise self._too_large(body, channel)
        held = self._holds(message, body, blobs) if blobs or (address.visibility and _blobs.MARK in body) else ()
        if self.cipher is not None:
            body = self.cipher.encrypt(body)
        queue, capacity, max_bytes, seconds, visibility = address
        if self._drop_rate and "?" not in queue and self._random() < self._drop_rate:
            return None
        if expiry is not None:
            seconds = _seconds("expiry", expiry)
        if ahead is not None and max_bytes is not None:
            # In the long form, which engines never put together with others: those have a limit of their own.
            return "put", (queue, local, body, seconds, capacity, min(ahead, max_bytes), 0, None, None, 0, None, False)
        if not visibility and not delay and key is None and once is None and credit is None and not last:
            return "put", (queue, local, body, seconds, capacity, max_bytes)
        _seconds("delay", delay)
        if key is not None:
            _key("key", key)
        if once is not None:
            _key("once", once)
            _seconds("window", window)
        if visibility:
            return "put_durable", (
                queue, local, body, seconds, capacity, max_bytes, delay, key, once, window, visibility, held,
            )  # fmt: skip
        return "put", (queue, local, body, seconds, capacity, max_bytes, delay, key, once, window, credit, last)

    def put_plain(self, channel: str, message: dict[str, Any], expiry: float | None) -> Call | None:
        """Make the call of a send that asks for nothing but an expiry, of a message that this program made.

        It comes to what `put` comes to; nearly all that servers and workers send passes here.
        """
        (queue, capacity, max_bytes, seconds, visibility), local = self._find(channel)
        if visibility or not self._as_it_is:
            return self.put(channel, message, expiry, trusted=True)
        body = pack_trusted(message)
        if len(body) > self._max_size:
            raise self._too_large(body, channel)
        if expiry is not None:
            seconds = expiry if type(expiry) is float and 0.0 <= expiry < _FOREVER else _seconds("expiry", expiry)
        return "put", (queue, local, body, seconds, capacity, max_bytes)

    def cancel(self, channel: str, key: str) -> Call:
        """Make the call that removes a delayed message."""
        return "cancel", (self.queue(channel), _key("key", key))

    def queue(self, channel: str) -> str:
        """Return the queue behind a channel."""
        return self._find(channel)[0].queue

    def capacity(self, channel: str) -> int:
        """Return how many messages a channel holds."""
        return self._find(channel)[0].capacity

    def name(self, channel: str) -> str:
        """Return a channel's name, after checking it."""
        self._find(channel)
        return channel

    def group_add(self, group: str, channel: str, info: Any) -> Call:
        """Make the call that adds a channel to a group."""
        names.check_group(group)
        address, local = self._find(channel)
        packed = None if info is None else self._sealed(pack(info, "info"), "info")
        return "group_add", (group, address.queue, local, packed, *self._life(address))

    def group_discard(self, group: str, channel: str) -> Call:
        """Make the call that removes a channel from a group."""
        names.check_group(group)
        address, local = self._find(channel)
        return "group_discard", (group, address.queue, local)

    def group_members(self, group: str) -> Call:
        """Make the call that asks for a group's members."""
        names.check_group(group)
        return "group_members", (group,)

    def send_group(
        self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None, trusted: bool = False
    ) -> Call | None:
        """Make the call of a group send; None if it is lost on purpose."""
        names.check_group(group)
        body = self._sealed(pack_trusted(message) if trusted else pack_message(message), group)
        excluded: dict[str, list[str]] = {}
        for channel in (exclude,) if isinstance(exclude, str) else exclude or ():
            address, local = self._find(channel)
            excluded.setdefault(address.queue, []).append(local)
        if self._drop_rate and self._random() < self._drop_rate:
            return None
        return "send_group", (group, body, self._options.expiry, excluded)

    def get_state(self, key: str) -> Call:
        """Make the call that reads a value."""
        return "get_state", (_key("key", key),)

    def put_state(self, key: str, value: Any, ttl: float, if_version: int | None) -> Call:
        """Make the call that sets a value."""
        _key("key", key)
        if if_version is not None and (not isinstance(if_version, int) or isinstance(if_version, bool)):
            raise TypeError(f"if_version must be an int or None, not {if_version!r:.100}")
        return "put_state", (key, self._sealed(pack(value, "value"), f"state {key}"), _seconds("ttl", ttl), if_version)

    def delete_state(self, key: str) -> Call:
        """Make the call that removes a value."""
        return "delete_state", (_key("key", key),)

    def increment_state(self, key: str, window: float) -> Call:
        """Make the call that counts."""
        return "increment_state", (_key("key", key), _seconds("window", window))

    def announce(self, listener: str, info: Mapping[str, Any] | None) -> Call:
        """Make the call that tells who is alive."""
        _key("listener", listener)
        if info is None:
            return "announce", (listener, None, {})
        if not isinstance(info, Mapping) or not isinstance(info.get("channels", {}), Mapping):
            raise TypeError(f'info must be a dict such as {{"channels": {{"http.request": False}}}}, not {info!r:.100}')
        body = self._sized(pack(dict(info), "info"), listener)
        return "announce", (listener, body, {name: bool(ordered) for name, ordered in info.get("channels", {}).items()})

    def dead_letter(self, channel: str, message: dict[str, Any], reason: str, traceback: str, tries: int) -> Call:
        """Make the call that keeps a dead letter; only the end of a long traceback is kept."""
        packed = pack_message(message)
        blobs = self._holds(message, packed)
        body = self._sealed(packed, self.name(channel))
        text = str(traceback).encode(errors="replace")[-TRACEBACK:].decode(errors="ignore")
        return "dead_letter", (secrets.token_hex(8), channel, body, str(reason)[:_MAX_REASON], text, int(tries), blobs)

    def dead_letter_of(self, id: str) -> Call:
        """Make the call that asks for one dead letter."""
        return "dead_letter_of", (_key("id", id),)

    def dead_letter_drop(self, id: str, keep_blobs: bool = False) -> Call:
        """Make the call that drops one dead letter, perhaps to keep its blobs for an hour."""
        return "dead_letter_drop", (_key("id", id), keep_blobs)

    def append_blob(self, key: str, at: int, chunk: bytes) -> Call:
        """Make the call that appends to a blob, behind the `at` bytes that are in it."""
        name = _blobs.checked(key)
        if not isinstance(chunk, bytes) or len(chunk) > CHUNK:
            raise TypeError(f"a chunk of a blob is bytes, at most {CHUNK}, not {chunk!r:.60}")
        if chunk and at % CHUNK:
            raise TypeError(f"{name}: all chunks but the last have {CHUNK} bytes, and there are {at} already")
        body = chunk if self.cipher is None else self.cipher.encrypt(chunk)
        return "append_blob", (name, at, body, len(chunk), self._options.blob_capacity)

    def read_blob(self, key: str, index: int) -> Call:
        """Make the call that reads a chunk."""
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1 << 31:
            raise TypeError(f"a chunk of a blob has a number, 0 or more, not {index!r:.60}")
        return "read_blob", (_blobs.checked(key), index)

    def blob_size(self, key: str) -> Call:
        """Make the call that asks how much is in a blob."""
        return "blob_size", (_blobs.checked(key),)

    def drop_blob(self, key: str) -> Call:
        """Make the call that drops a blob that nobody holds."""
        return "drop_blob", (_blobs.checked(key),)

    def _holds(self, message: dict[str, Any], body: bytes, blobs: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the blobs that a message holds: those it names, and others it is said to."""
        if isinstance(blobs, str):
            raise TypeError(f"blobs takes several keys, not the str {blobs[:100]!r}")
        held = tuple(dict.fromkeys((*map(_blobs.checked, blobs), *_blobs.named(message, body))))
        if len(held) > _blobs.MOST:
            raise TypeError(f"a message holds at most {_blobs.MOST} blobs, not {len(held)}")
        return held

    def settled(self, name: str, delivery: Delivery, *arguments: Any) -> Call:
        """Make a call that settles the delivery of a durable channel, or asks for more time for it."""
        assert delivery.id is not None, "only durable channels have something to settle"
        return name, (delivery._queue, delivery.id, delivery.tries, *arguments)

    def nack(self, delivery: Delivery, delay: float) -> Call:
        """Make the call that gives a delivery of a durable channel back."""
        return self.settled("nack", delivery, _seconds("delay", delay))

    def extend(self, delivery: Delivery, seconds: float) -> Call:
        """Make the call that leaves a delivery of a durable channel to its holder for longer."""
        return self.settled("extend", delivery, _seconds("seconds", seconds))

    def put_back(self, deliveries: Iterable[Delivery], *, unopened: bool = False) -> list[Call]:
        """Make the calls that put deliveries back to the head of their channels.

        Args:
            unopened: Nobody has decrypted them.
        """
        cipher = None if unopened else self.cipher
        taken: dict[str, list[Element]] = {}
        durable: dict[str, list[tuple[str, int]]] = {}
        for delivery in deliveries:
            element = delivery._element
            if delivery.id is not None:
                durable.setdefault(delivery._queue, []).append((delivery.id, delivery.tries))
            elif cipher is None:
                taken.setdefault(delivery._queue, []).append(element)
            else:
                sealed = (*element[:4], cipher.encrypt(element[4]), element[5])
                taken.setdefault(delivery._queue, []).append(sealed)
        return [
            *(("put_back_durable", (queue, ids)) for queue, ids in durable.items()),
            *(("put_back", (queue, elements)) for queue, elements in taken.items()),
        ]

    def lease(self, inbox: str, holder: str, ttl: float, lasting: bool) -> Call:
        """Make the call that takes an inbox for a server."""
        return "lease", (inbox, holder, ttl, lasting, *self._life(self._find(inbox)[0]))

    def attach(self, inbox: str, holder: str) -> Call:
        """Make the call that lets a plain reader follow an inbox' notes."""
        return "attach", (inbox, holder, *self._life(self._find(inbox)[0]))

    def _life(self, address: Address) -> tuple[float, int, int | None]:
        return self._options.group_expiry, address.capacity, address.max_bytes

    def _open(self, body: bytes) -> Any:
        assert self.cipher is not None
        return unpack(self.cipher.decrypt(body))

    def _sealed(self, body: bytes, place: str) -> bytes:
        sized = self._sized(body, place)
        return sized if self.cipher is None else self.cipher.encrypt(sized)

    def _sized(self, body: bytes, place: str) -> bytes:
        if len(body) > self._max_size:
            raise self._too_large(body, place)
        return body

    def _too_large(self, body: bytes, place: str) -> MessageTooLarge:
        return MessageTooLarge(f"{place}: {len(body)} bytes packed, but max_size is {self._max_size}")


def held_by(call: Call) -> tuple[str, ...]:
    """Return the blobs that the message of a call is to hold."""
    name, arguments = call
    held: tuple[str, ...] = arguments[-1] if name in ("put_durable", "dead_letter") else ()
    return held


def lost(calls: Sequence[Call], error: LayerUnavailable) -> list[LayerUnavailable]:
    """Return what each call comes to when the layer was lost under them: what may be repeated is not uncertain."""
    if not error.uncertain:
        return [error] * len(calls)
    certain = LayerUnavailable(str(error))
    return [certain if _is_repeatable(call) else error for call in calls]


def _is_repeatable(call: Call) -> bool:
    name, arguments = call
    if name == "put_durable":  # a second time it finds the mark of the first
        return arguments[8] is not None
    return name in _REPEATABLE or (name == "put_state" and arguments[3] is None)


def _key(what: str, key: Any) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
        raise TypeError(f"{what} must be a str of 1 to {_MAX_KEY} characters, not {key!r:.100}")
    return key


def _seconds(what: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        raise TypeError(f"{what} must be a number of seconds, 0 or more, not {seconds!r:.100}")
    return seconds

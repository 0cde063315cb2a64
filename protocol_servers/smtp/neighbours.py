"""Clients by their addresses: who is trusted, and who sends too much (the setting `rate`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from ..networks import Networks, one_client

COMMANDS_A_MAIL = 100  # commands that may come for each mail that may

_REMEMBERED = 10_000  # addresses
_MINUTE = 60.0


class _Bucket:
    """What an address may still do: so much at once, and then as it fills again."""

    __slots__ = ("left", "when")

    def __init__(self, left: float, when: float) -> None:
        self.left = left
        self.when = when

    def take(self, count: int, most: float, now: float) -> bool:
        self.left = min(most, self.left + (now - self.when) * most / _MINUTE)
        self.when = now
        if self.left < count:
            return False
        self.left -= count
        return True


class Neighbours:
    """What is known of clients by their addresses.

    Args:
        trusted: The setting `trusted`.
        rate: Mails a minute from one address, an IPv6 one being a network of 64 bits; None: any number.
        clock: A monotonic clock in seconds.
    """

    def __init__(self, trusted: Iterable[str], rate: int | None, clock: Callable[[], float]) -> None:
        self._trusted = Networks(trusted, "trusted")
        self._rate = rate
        self._clock = clock
        self._mails: OrderedDict[str | bytes, _Bucket] = OrderedDict()
        self._commands: OrderedDict[str | bytes, _Bucket] = OrderedDict()

    def trusts(self, host: str) -> bool:
        """Say whether a client at this address is trusted; "": on a unix socket."""
        return host in self._trusted

    def admit_mail(self, host: str) -> bool:
        """Count a mail from an address; say whether it may come now."""
        return self._rate is None or self._take(self._mails, host, 1, self._rate)

    def admit_commands(self, host: str, count: int) -> bool:
        """Count commands from an address; say whether it may go on."""
        return self._rate is None or self._take(self._commands, host, count, self._rate * COMMANDS_A_MAIL)

    def _take(self, buckets: OrderedDict[str | bytes, _Bucket], host: str, count: int, most: float) -> bool:
        key, now = one_client(host), self._clock()
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = _Bucket(most, now)
            if len(buckets) > _REMEMBERED:
                buckets.popitem(last=False)
        buckets.move_to_end(key)
        return bucket.take(count, most, now)

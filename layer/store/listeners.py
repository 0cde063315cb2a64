"""Who is alive and what they listen to: announcements, leased."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

LEASE = 15.0
HEARD = 60.0


class Heard:
    """Channels that count as listened to. Heard under one lock or by one thread, read by any without a lock.

    Args:
        clock: Seconds, never going back.

    Attributes:
        in_order: Whether any channel may be listened to in order; nearly always none is.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.in_order = False
        # Channel → (whether in order, until when), and what listening() made of it: each replaced as a whole, so that
        # they can be read without a lock.
        self._heard: dict[str, tuple[bool, float]] = {}
        self._made: tuple[object, Mapping[str, bool], float] = (None, {}, 0.0)

    def hear(self, channels: Mapping[str, tuple[bool, float]]) -> None:
        """Remember channels → (whether in order, for how many seconds); others stay as long as they would."""
        now = self._clock()
        heard = {channel: entry for channel, entry in self._heard.items() if entry[1] > now}
        heard |= {channel: (bool(ordered), now + left) for channel, (ordered, left) in channels.items()}
        self.in_order = any(ordered for ordered, _ in heard.values())
        self._heard = heard

    def left(self) -> dict[str, tuple[bool, float]]:
        """Return what another process has to `hear` to know the same."""
        now = self._clock()
        return {channel: (ordered, until - now) for channel, (ordered, until) in self._heard.items() if until > now}

    def listening(self) -> Mapping[str, bool]:
        """Return the channels that are still listened to → whether in order; cheap, safe from any thread."""
        heard, made, now = self._heard, self._made, self._clock()
        if made[0] is not heard or made[2] <= now:
            live = {channel: entry for channel, entry in heard.items() if entry[1] > now}
            until = min((entry[1] for entry in live.values()), default=float("inf"))
            view = MappingProxyType({channel: ordered for channel, (ordered, _) in live.items()})
            made = self._made = (heard, view, until)
        return made[1]


class Listeners:
    """Announcements of workers and servers.

    A listener is gone LEASE seconds after it last announced itself; a channel counts as listened to for HEARD
    seconds, so that a restart of the workers is not noticed.

    Attributes:
        known: The channels that were announced within the last HEARD seconds.
        listening: Tells them; see `Heard.listening`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._listeners: dict[str, tuple[bytes, float]] = {}
        self.known = Heard(clock)
        self.listening = self.known.listening
        self.heard = self.known.left

    def announce(self, listener: str, info: bytes | None, channels: Mapping[str, bool]) -> None:
        """Renew a listener and the channels it listens to; info None: it goes."""
        now = self._clock()
        self._listeners = {name: entry for name, entry in self._listeners.items() if entry[1] > now}
        if info is None:
            self._listeners.pop(listener, None)
            return
        self._listeners[listener] = (info, now + LEASE)
        self.known.hear({channel: (ordered, HEARD) for channel, ordered in channels.items()})

    def all(self) -> dict[str, bytes]:
        """Return the packed info of each live listener."""
        now = self._clock()
        return {name: info for name, (info, until) in self._listeners.items() if until > now}

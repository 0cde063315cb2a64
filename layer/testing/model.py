"""What a layer is, in a few lines: the model that every engine is checked against."""

from collections import defaultdict
from typing import Any, NamedTuple

WINDOW = 2.25


class Entry(NamedTuple):
    """A message. It stands in its channel by (due, order) once it is due; `names` are who is still to get it."""

    due: float
    order: int
    deadline: float
    key: str | None
    names: frozenset[str]
    body: Any


class Model:
    """Channels, delays, once marks and groups, under a clock of its own. Nothing here is quick."""

    def __init__(self, capacity: int) -> None:
        self.now, self.orders, self.capacity = 0.0, 0, capacity
        self.channels: dict[str, list[Entry]] = defaultdict(list)
        self.marks: dict[tuple[str, str], float] = {}
        self.groups: dict[str, set[str]] = defaultdict(set)

    def waiting(self, channel: str) -> list[Entry]:
        self.channels[channel] = sorted(entry for entry in self.channels[channel] if entry.deadline > self.now)
        return self.channels[channel]

    def ready(self, channel: str) -> list[Entry]:
        return [entry for entry in self.waiting(channel) if entry.due <= self.now]

    def send(
        self, channel: str, names: frozenset[str], body: Any, expiry: float, delay: float = 0,
        key: str | None = None, once: str | None = None,
    ) -> bool | None:  # fmt: skip
        """Return what `send` returns, or None for ChannelFull."""
        if once is not None and self.marks.get((channel, once), self.now) > self.now:
            return False
        replaced = [entry for entry in self.waiting(channel) if key and entry.key == key and entry.due > self.now]
        if len(self.waiting(channel)) - len(replaced) >= self.capacity:
            return None
        self.orders += 1
        due = self.now + delay
        kept = [entry for entry in self.waiting(channel) if entry not in replaced]
        self.channels[channel] = [*kept, Entry(due, self.orders, due + expiry, key, names, body)]
        if once is not None:
            self.marks[channel, once] = self.now + WINDOW
        return True

    def broadcast(self, group: str, body: Any, expiry: float, excluded: set[str]) -> None:
        queues: dict[str, set[str]] = defaultdict(set)
        for name in self.groups[group]:
            queues[name.partition("!")[0] + "!" * ("!" in name)].add(name)
        for queue, names in queues.items():
            if names - excluded:
                self.send(queue, frozenset(names - excluded), body, expiry)

    def take(self, channel: str) -> Entry | None:
        for entry in self.ready(channel):
            self.channels[channel].remove(entry)
            return entry
        return None

    def put_back(self, channel: str, entries: list[Entry]) -> None:
        due, order = min([(entry.due, entry.order) for entry in self.waiting(channel)] + [(self.now, 0)])
        for index, entry in enumerate(entries):
            self.channels[channel].append(entry._replace(due=due, order=order - len(entries) + index, key=None))

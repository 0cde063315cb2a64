"""The one store: queues, groups, leases, state and dead letters, without any I/O, under a clock that is given to it.

The memory engine calls it directly and the ipc broker behind its socket; `Store.calls` names what they may call. The
Redis engine copies these semantics in scripts. A store is not safe from several threads: whoever owns it holds a lock
around each call.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from ..errors import ChannelFull, LayerError
from .agenda import Agenda
from .blobs import Blobs
from .durable import Durables
from .durable_queue import Journal
from .groups import Groups
from .letters import Letters
from .listeners import Listeners
from .queues import ELEMENT_BYTES, SENDS, Queues
from .state import State

__all__ = ["Store"]

Call = tuple[str, tuple[Any, ...]]


class Store:
    """All that a layer holds.

    Args:
        clock: Seconds, never going back.
        watched: Names of queues somebody waits for.
        notify: Called with the name of a watched queue when something was put into it.
        wall: Unix seconds, for people.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        watched: Container[str] = (),
        notify: Callable[[str], None] = lambda name: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.agenda = Agenda()
        self.queues = Queues(clock, self.agenda, watched, notify)
        self.groups = Groups(clock, self.agenda, self.queues)
        self.state = State(clock, self.agenda)
        self.blobs = Blobs(clock, self.agenda)
        self.letters = Letters(clock, self.blobs, wall)
        self.durables = Durables(clock, self.queues, self.letters, self.blobs, wall)
        self.listeners = Listeners(clock)
        self.calls: dict[str, Callable[..., Any]] = {
            "put": self.queues.put,
            "put_many": self.queues.put_many,
            "cancel": self.queues.cancel,
            "take": self.queues.take,
            "put_back": self.queues.put_back,
            "peek": self.queues.peek,
            "purge": self.queues.purge,
            "channel_statistics": self.queues.channel_statistics,
            "statistics": self.statistics,
            "channels": self.queues.channels,
            "group_add": self.groups.add,
            "group_discard": self.groups.discard,
            "group_leave": self.groups.leave,
            "group_members": self.groups.members,
            "send_group": self.groups.send,
            "lease": self.groups.lease,
            "renew": self.groups.renew,
            "release": self.groups.release,
            "attach": self.groups.attach,
            "snapshot": self.groups.snapshot,
            "get_state": self.state.get,
            "put_state": self.state.put,
            "delete_state": self.state.delete,
            "increment_state": self.state.increment,
            "announce": self.listeners.announce,
            "listeners": self.listeners.all,
            "dead_letter": self.letters.add,
            "dead_letters": self.letters.all,
            "dead_letter_of": self.letters.find,
            "dead_letter_drop": self.letters.drop,
            "agree": self.durables.agree,
            "put_durable": self.durables.put,
            "ack": self.durables.acknowledge,
            "nack": self.durables.give_back,
            "extend": self.durables.extend,
            "put_back_durable": self.durables.put_back,
            "kept": self.durables.kept,
            "hasten": self.durables.hasten,
            "discard": self.durables.discard,
            "append_blob": self.blobs.append,
            "read_blob": self.blobs.read,
            "blob_size": self.blobs.size_of,
            "drop_blob": self.blobs.drop,
            "flush": self.flush,
        }

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """Run calls in order, `put_many` not among them; return for each its value or the LayerError it raised.

        Where a send finds no room, those behind it to the same queue are refused, too: room that is made meanwhile, or
        that is enough for a smaller one, lets nothing overtake it.
        """
        outcomes: list[Any] = []
        known = self.calls
        left = iter(calls)
        for name, args in left:
            try:
                outcomes.append(known[name](*args))
            except LayerError as error:
                outcomes.append(error.with_traceback(None))
                if isinstance(error, ChannelFull) and name in SENDS:
                    self._run_on(left, outcomes, {args[0]})
        return outcomes

    def _run_on(self, left: Iterator[Call], outcomes: list[Any], full: set[str]) -> None:
        """Run what is left of a run in which some queues were full for a send."""
        for name, args in left:
            try:
                if name in SENDS and args[0] in full:
                    raise self.queues.refuse(name, args)
                outcomes.append(self.calls[name](*args))
            except LayerError as error:
                outcomes.append(error.with_traceback(None))
                if isinstance(error, ChannelFull) and name in SENDS:
                    full.add(args[0])

    def statistics(self) -> dict[str, Any]:
        """Return the ASGI 1.x statistics of the whole store, and what was lost beside full channels."""
        return self.queues.statistics() | {
            "group_dropped_count": self.groups.dropped,
            "dead_letters_count": self.letters.count(),
            "dead_letters_dropped_count": self.letters.dropped,
            **self.blobs.statistics(),
        }

    def size(self) -> int:
        """Return about how many bytes the store takes, without chunks of blobs. It looks at all that it holds."""
        _, waiting = self.queues.held()
        members, infos = self.groups.held()
        entries = members + len(self.state) + len(self.letters) + len(self.blobs)
        return waiting + infos + self.state.size() + self.letters.size() + ELEMENT_BYTES * entries

    def keep(self, journal: Journal) -> None:
        """Have durable channels with their state, and dead letters, kept in a journal from now on."""
        self.durables.keep(journal)
        self.state.keep(journal, self.durables.is_named_by)
        self.letters.journal = journal

    def flush(self) -> None:
        """Drop messages, groups, state, dead letters and blobs. Leases and announcements stay."""
        self.agenda.clear()
        self.queues.flush()
        self.state.flush()
        self.letters.flush()
        self.blobs.flush()
        self.durables.flush()
        self.groups.flush()

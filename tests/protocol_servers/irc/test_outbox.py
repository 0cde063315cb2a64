"""What waits for the layer: order, bounds, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.protocol_servers.irc.outbox import MOST, PATIENCE, Outbox


class Bench:
    """An outbox, a layer that does as it is told, and a clock that stands still."""

    def __init__(self, manual: Any) -> None:
        self.manual = manual
        self.stats: Counter[str] = Counter()
        self.taken: list[int] = []
        self.doubtful = 0
        self.once: list[str | None] = []
        self.flying: list[tuple[dict[str, Any], Callable[[object], None]]] = []
        self.outbox = Outbox(
            self._send, self._is_in_doubt, clock=manual.clock, call_later=manual.call_later, stats=self.stats
        )

    def _send(self, channel: str, message: dict[str, Any], once: str | None, then: Callable[[object], None]) -> None:
        self.once.append(once)
        self.flying.append((message, then))

    def _is_in_doubt(self, outcome: object) -> bool:
        uncertain = isinstance(outcome, LayerUnavailable) and outcome.uncertain
        self.doubtful += uncertain
        return uncertain

    def put(self, *numbers: int, channel: str = "chat.message") -> None:
        for number in numbers:
            self.outbox.put(channel, {"n": number})

    def land(self, *outcomes: object) -> None:
        """Tell the outcomes of what is under way, the last for all further ones."""
        flying, self.flying = self.flying, []
        for index, (message, then) in enumerate(flying):
            outcome = outcomes[min(index, len(outcomes) - 1)]
            if outcome is True:
                self.taken.append(message["n"])
            then(outcome)

    def land_all(self) -> None:
        """Let the layer take everything from now on."""
        for _ in range(10_000):
            if self.flying:
                self.land(True)
            elif len(self.outbox):
                self.manual.advance(0.1)
            else:
                return


FULL, AWAY, LOST = ChannelFull("full"), LayerUnavailable("away"), LayerUnavailable("lost", uncertain=True)


@pytest.fixture
def bench(manual: Any) -> Bench:
    return Bench(manual)


def test_one_flight_at_a_time(bench: Bench) -> None:
    bench.put(1)
    bench.put(2, 3)
    assert len(bench.flying) == 1
    assert len(bench.outbox) == 3
    bench.land(True)
    assert len(bench.flying) == 2
    bench.land(True)
    assert bench.taken == [1, 2, 3]
    assert (len(bench.outbox), bench.stats) == (0, Counter({"repeats_dropped": 0}))


@pytest.mark.parametrize("refusal", [FULL, AWAY])
def test_what_is_refused_goes_before_what_came_later(bench: Bench, refusal: Exception) -> None:
    bench.put(1)
    bench.put(2, 3)
    bench.land(True)
    bench.put(4)
    bench.land(refusal)
    bench.put(5)
    assert bench.flying == []
    bench.manual.advance(0.1)
    assert len(bench.flying) == 1  # one alone asks whether there is room
    bench.land(refusal)
    bench.manual.advance(0.05)
    assert bench.flying == []
    bench.manual.advance(0.06)
    bench.land(True)
    assert len(bench.flying) == 1  # and the others follow one by one
    bench.land_all()
    assert bench.taken == [1, 2, 3, 4, 5]
    assert bench.stats["held_back"] == 4
    assert bench.stats["held_back_dropped"] == 0
    bench.put(6, 7, 8)
    bench.land(True)
    assert len(bench.flying) == 2


def test_channels_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.put(1, 2)
    bench.land(FULL)
    bench.put(3, channel="chat.join")
    bench.land(True)
    assert bench.taken == [3]


def test_the_oldest_go_when_there_are_too_many(bench: Bench) -> None:
    bench.put(0)
    bench.land(FULL)
    bench.manual.advance(0.01)
    bench.put(-1, channel="chat.join")
    bench.land(FULL)
    bench.manual.advance(0.01)
    bench.put(*range(1, MOST + 10))
    assert len(bench.outbox) == MOST
    assert bench.stats["held_back_dropped"] == 11
    bench.land_all()
    assert bench.taken == list(range(10, MOST + 10))


def test_the_oldest_go_when_they_waited_too_long(bench: Bench) -> None:
    bench.put(1)
    bench.land(AWAY)
    for _ in range(int(PATIENCE) - 1):
        bench.manual.advance(1)
        bench.land(AWAY)
    bench.put(2)
    bench.manual.advance(1.5)
    bench.land(AWAY)
    assert len(bench.outbox) == 1
    assert bench.stats["held_back_dropped"] == 1
    bench.land_all()
    assert bench.taken == [2]


def test_nothing_in_doubt_is_sent_again(bench: Bench) -> None:
    bench.put(1)
    bench.put(2, 3, 4)
    bench.land(LOST)
    bench.land(LOST, AWAY, AWAY)
    bench.land_all()
    assert bench.taken == [3, 4]
    assert bench.doubtful == 2


def test_what_can_never_be_taken_holds_nobody_up(bench: Bench) -> None:
    bench.put(1)
    bench.land(MessageTooLarge("huge"))
    bench.put(2)
    bench.land(True)
    assert bench.taken == [2]
    assert bench.stats["refused_too_large"] == 1


def test_names_go_along_and_repeats_are_counted(bench: Bench) -> None:
    bench.outbox.put("chat.message", {"n": 1}, "net id1")
    bench.land(False)
    assert bench.once == ["net id1"]
    assert bench.stats["repeats_dropped"] == 1


def test_at_the_end_what_waits_is_dropped(bench: Bench) -> None:
    bench.put(1)
    bench.put(2, 3)
    bench.land(FULL)
    bench.manual.advance(0.1)
    bench.outbox.close()
    assert bench.stats["held_back_dropped"] == 2
    bench.land(FULL)
    assert bench.stats["held_back_dropped"] == 3
    bench.manual.advance(10)
    assert bench.flying == []


def test_closing_forgets_the_timer(bench: Bench) -> None:
    bench.put(1)
    bench.land(FULL)
    bench.outbox.close()
    bench.manual.advance(10)
    assert bench.flying == []

"""The pace of speech, and everything else that waits for its time."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.backoff import Backoff
from trunkline.protocol_servers.irc.joining import Joining
from trunkline.protocol_servers.irc.keepalive import KeepAlive
from trunkline.protocol_servers.irc.pacing import Pacer, Utterance
from trunkline.protocol_servers.irc.regain import NickKeeper


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def anyone(target: str) -> bool:
    return True


def words(*lines: str, expires: float | None = None) -> Utterance:
    return Utterance(deque(f"{line}\n".encode() for line in lines), expires)


class Pace:
    """A pacer whose clock stands still."""

    def __init__(self, **arguments: int) -> None:
        self.clock = Clock()
        self.stats: Counter[str] = Counter()
        self.pacer = Pacer(self.clock, stats=self.stats, **arguments)

    def take(self, seconds: float = 0.0) -> str:
        """Let time pass, and say what left."""
        self.clock.now += seconds
        return " ".join(line.decode().replace("\n", "") for line, _ in self.pacer.take(anyone))


def test_a_burst_and_then_the_rate() -> None:
    pace = Pace(rate=2, burst=3)
    pace.pacer.put("#x", words(*"abcdefgh"))
    assert [pace.take(), pace.take(0.4), pace.take(0.11), pace.take(1.0), pace.take(10)] == [
        "a b c",
        "",
        "d",
        "e f",
        "g h",
    ]
    assert pace.pacer.deadline(anyone) is None


def test_the_deadline_is_when_the_next_line_may_go() -> None:
    pace = Pace(burst=1)
    pace.pacer.put("#x", words("a", "b"))
    assert pace.take() == "a"
    deadline = pace.pacer.deadline(anyone)
    assert deadline is not None
    assert pace.take(deadline - pace.clock.now) == "b"
    assert 101 <= deadline < 101.01


def test_targets_take_turns() -> None:
    pace = Pace(burst=20)
    pace.pacer.put("#a", words("a1", "a2", "a3"))
    pace.pacer.put("#a", words("a4"))
    pace.pacer.put("#b", words("b1"))
    pace.pacer.put("#c", words("c1", "c2"))
    assert pace.take() == "a1 b1 c1 a2 c2 a3 a4"


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 5)), max_size=30))
def test_order_is_kept_and_nobody_waits_for_long(said: list[tuple[str, int]]) -> None:
    pace = Pace(burst=1)
    numbers: dict[str, int] = {}
    for target, count in said:
        first = numbers.get(target, 0)
        pace.pacer.put(target, words(*(f"{target}{first + each}" for each in range(count))))
        numbers[target] = first + count
    left = [pace.take(1.0) for _ in range(sum(numbers.values()))]
    for target, count in numbers.items():
        assert [each for each in left if each[0] == target] == [f"{target}{each}" for each in range(count)]
        turns = [place for place, each in enumerate(left) if each[0] == target]
        assert all(later - earlier <= len(numbers) for earlier, later in itertools.pairwise(turns))
    assert len(pace.pacer) == 0


def test_what_is_urgent_waits_for_nothing_and_is_paid_for() -> None:
    pace = Pace(burst=2)
    pace.pacer.put("#a", words("a1", "a2", "a3"))
    pace.pacer.put_first(b"JOIN\n")
    pace.pacer.put_urgent(b"PONG\n")
    assert pace.pacer.deadline(anyone) == 100
    assert pace.take() == "PONG JOIN"
    pace.pacer.put_urgent(b"PONG\n")
    assert [pace.take(), pace.take(1), pace.take(1)] == ["PONG", "", "a1"]


def test_a_storm_of_urgent_lines_leaves_a_bounded_debt() -> None:
    pace = Pace(burst=1)
    for _ in range(1000):
        pace.pacer.put_urgent(b"PONG\n")
    assert len(pace.take().split()) == 1000
    pace.pacer.put_first(b"a\n")
    assert [pace.take(4), pace.take(1.1)] == ["", "a"]


def test_who_may_not_be_spoken_to_keeps_the_queue() -> None:
    pace = Pace()
    pace.pacer.put("#a", words("a"))
    pace.pacer.put("#b", words("b"))
    assert [line for line, _ in pace.pacer.take(lambda target: target == "#b")] == [b"b\n"]
    assert pace.pacer.deadline(lambda target: False) is None
    assert pace.take() == "a"


def test_queues_have_bounds() -> None:
    pace = Pace(most=3)
    assert pace.pacer.put("#a", words("1", "2"))
    assert not pace.pacer.put("#a", words("3", "4"))
    assert pace.pacer.put("#a", words("3"))
    assert [pace.pacer.put(f"#{each}", words("1", "2", "3")) for each in "bcde"] == [True, True, True, False]
    assert pace.stats["queue_full"] == 2
    assert len(pace.pacer) == 12
    assert pace.pacer.wait_for("#a") == 3 * 4 - 4


def test_what_goes_first_is_bounded_too() -> None:
    pace = Pace(burst=5000)
    for _ in range(1010):
        pace.pacer.put_first(b"a\n")
    assert len(pace.take().split()) == 1000
    assert pace.stats["queue_full"] == 10


def test_what_is_stale_is_dropped() -> None:
    pace = Pace(burst=1)
    early, late, never = words("a", expires=10), words("b", "c", expires=20), words("d")
    for each in (early, late, never):
        pace.pacer.put("#x", each)
    assert pace.pacer.soonest == 10
    assert pace.pacer.drop_stale(9.9) == []
    assert pace.pacer.drop_stale(10) == [early]
    assert pace.take() == "b"
    assert pace.pacer.drop_stale(20) == [late]
    assert pace.pacer.soonest is None
    assert (pace.take(1), pace.stats["stale"], len(pace.pacer)) == ("d", 2, 0)


def test_one_target_can_be_dropped() -> None:
    pace = Pace()
    gone, kept = words("a"), words("b")
    pace.pacer.put("#a", gone)
    pace.pacer.put("#b", kept)
    assert pace.pacer.drop("#a") == [gone]
    assert pace.pacer.drop("#a") == []
    assert pace.pacer.drop_all() == [kept]


def test_lines_that_belong_together_leave_together() -> None:
    """They wait for a full bucket, and leave a debt."""
    pace = Pace(burst=2)
    pace.pacer.put("#x", Utterance(deque([b"1\n", b"2\n3\n4\n", b"5\n"])))
    assert [pace.take(), pace.take(0.5), pace.take(0.5), pace.take(1.9), pace.take(0.2)] == ["1", "", "234", "", "5"]


def test_a_new_connection_begins_with_a_full_bucket() -> None:
    pace = Pace(burst=1)
    pace.pacer.put("#x", words("a", "b"))
    pace.take()
    pace.pacer.put_urgent(b"QUIT\n")
    pace.pacer.put_first(b"JOIN\n")
    pace.pacer.start_again()
    assert pace.take() == "b"


def test_backoff_grows_and_is_jittered() -> None:
    random = Random(1)
    waits = [
        [backoff.next() for _ in range(8)] for backoff in (Backoff(random, first=2, longest=30) for _ in range(200))
    ]
    highest = [max(column) for column in zip(*waits, strict=True)]
    assert all(most * 0.9 < high <= most for high, most in zip(highest, [2, 4, 8, 16, 30, 30, 30, 30], strict=True))
    assert min(map(min, waits)) < 0.2
    backoff = Backoff(random, first=2, longest=30)
    assert max(backoff.next(100) for _ in range(100)) > 120
    backoff.reset()
    assert 100 <= backoff.next(100) <= 102


def test_a_silent_server_is_asked_and_then_given_up() -> None:
    clock = Clock()
    alive = KeepAlive(clock, interval=90, timeout=60)
    assert alive.deadline == 190
    assert not alive.must_ask()
    clock.now = 190
    assert alive.must_ask()
    assert not alive.must_ask()
    assert (alive.deadline, alive.is_dead) == (250, False)
    clock.now = 249
    alive.heard()
    assert (alive.deadline, alive.is_dead) == (339, False)
    clock.now = 339
    assert alive.must_ask()
    clock.now = 399
    assert alive.is_dead


def test_rooms_with_keys_stand_first_and_ten_in_a_line() -> None:
    joining = Joining(Clock(), Random(1))
    for number in range(11):
        joining.want(f"#{number}", "key" if number == 7 else None)
    assert joining.due() == []
    assert joining.deadline is None
    joining.connected(str.lower)
    assert joining.due() == [b"JOIN #7,#0,#1,#2,#3,#4,#5,#6,#8,#9 key\r\n", b"JOIN #10\r\n"]
    assert joining.due() == []
    assert joining.names() == [f"#{number}" for number in range(11)]


def test_a_room_is_tried_again_ever_more_slowly() -> None:
    clock = Clock()
    joining = Joining(clock, Random(1))
    joining.connected(str.lower)
    joining.want("#Room")
    waits = []
    for _ in range(10):
        assert len(joining.due()) == 1
        assert joining.refused("#room", "473") is False
        assert joining.deadline is not None
        waits.append(joining.deadline - clock.now)
        clock.now = joining.deadline
    assert all(5 <= wait <= 605 for wait in waits)
    assert max(waits) > 60
    assert joining.is_coming("#ROOM")
    joining.joined("#room")
    assert not joining.is_coming("#room")
    assert joining.refused("#room", "473") is None
    assert joining.refused("#other", "473") is None


def test_no_answer_to_a_join_is_asked_again() -> None:
    clock = Clock()
    joining = Joining(clock, Random(1))
    joining.connected(str.lower)
    joining.want("#room")
    joining.due()
    clock.now += 60
    assert joining.due() == [b"JOIN #room\r\n"]


def test_a_room_that_cannot_be_is_given_up() -> None:
    joining = Joining(Clock(), Random(1))
    joining.connected(str.lower)
    joining.want("#room")
    joining.due()
    assert joining.refused("#room", "403") is True
    assert not joining.is_coming("#room")
    joining.joined("#room")
    joining.kicked("#room")
    assert joining.names() == []


def test_a_kick_after_a_long_stay_is_the_first_one_again() -> None:
    clock = Clock()
    joining = Joining(clock, Random(1))
    joining.connected(str.lower)
    joining.want("#room")
    for _ in range(10):
        joining.joined("#room")
        joining.kicked("#room")
    joining.joined("#room")
    clock.now += 600
    joining.kicked("#room")
    assert joining.deadline is not None
    assert 2 <= joining.deadline - clock.now <= 6


def test_whoever_does_not_want_to_come_back_stays_away() -> None:
    joining = Joining(Clock(), Random(1), rejoin=False)
    joining.connected(str.lower)
    joining.want("#room")
    joining.joined("#room")
    joining.kicked("#room")
    assert joining.names() == []
    joining.disconnected()
    assert joining.deadline is None


def test_the_nick_is_asked_for_now_and_then_and_at_once_when_it_is_free() -> None:
    clock = Clock()
    keeper = NickKeeper(clock, Random(1), "bot")
    keeper.free()
    keeper.watch(True)
    assert keeper.deadline is None
    keeper.watch(False)
    assert keeper.deadline is not None
    assert 130 <= keeper.deadline <= 160
    assert keeper.due() == []
    clock.now = keeper.deadline
    assert keeper.due() == [b"NICK bot\r\n"]
    assert keeper.due() == []
    keeper.free()
    assert keeper.due() == [b"NICK bot\r\n"]
    keeper.stop()
    assert keeper.deadline is None

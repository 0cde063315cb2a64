"""The store forgets what nobody asks for, within bounded work, and keeps its promises of leases without any I/O."""

from typing import Any

import pytest

from trunkline.layer import LayerError, MemoryLayer
from trunkline.layer.store import Store, groups, letters
from trunkline.layer.store.agenda import Agenda
from trunkline.layer.store.element import ADD, DISCARD, GROUP, RELOAD
from trunkline.layer.testing import ManualClock

LIMITS = (86_400.0, 10_000, None)  # group_expiry, capacity, max_bytes


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock, wall=clock)


def put(store: Store, name: str, **options: Any) -> None:
    store.queues.put(name, "", b"body", 60.0, 1000, **options)


def kinds(store: Store, name: str) -> list[int]:
    found = store.queues.take([name], 0, 1000)
    return [element[2] for element in found[2]] if found else []


# what is forgotten


def test_queues_nobody_takes_from_are_forgotten(clock: ManualClock, store: Store) -> None:
    for n in range(3000):
        put(store, f"plain.{n}")
        put(store, f"body?{n}", credit=None)
        put(store, f"delayed.{n}", delay=10)
    assert len(store.queues) == 9000
    clock.advance(200)
    for _ in range(2000):
        put(store, "busy", last=True)
    assert len(store.queues) == 1
    assert store.statistics()["messages_count"] == 11_000


def test_empty_queues_are_forgotten_but_not_what_they_counted(clock: ManualClock, store: Store) -> None:
    for n in range(1500):
        put(store, f"c{n}")
        store.queues.take([f"c{n}"], 0, 1)
    clock.advance(100)
    for _ in range(500):
        store.queues.take(["c1499"], 0, 1)
    assert len(store.queues) == 0
    assert store.statistics()["messages_count"] == 1500
    assert store.queues.channel_statistics("c1499")["messages_count"] == 1
    assert store.queues.channel_statistics("c0")["messages_count"] == 0, "only the last thousand are remembered"
    put(store, "c1499")
    assert store.queues.channel_statistics("c1499")["messages_count"] == 2
    assert store.statistics()["messages_count"] == 1501


def test_a_queue_that_is_used_stays(clock: ManualClock, store: Store) -> None:
    put(store, "a", delay=500)
    for _ in range(10):
        clock.advance(50)
        put(store, "b")
    assert store.queues.take(["a"], 0, 1) is not None


@pytest.mark.parametrize("rounds", [1, 5])
def test_once_marks_are_forgotten(clock: ManualClock, store: Store, rounds: int) -> None:
    for _ in range(rounds):
        for n in range(500):
            put(store, "a", once=str(n), window=10, last=True)
        clock.advance(11)
    for _ in range(1000):
        put(store, "a", last=True)
    assert not store.queues._once
    assert len(store.agenda) <= 2


def test_state_is_forgotten_and_costs_one_entry_in_the_agenda(clock: ManualClock, store: Store) -> None:
    for n in range(1000):
        for _ in range(5):
            store.state.put(f"k{n}", b"", 30)
            store.state.delete(f"k{n}")
            store.state.put(f"k{n}", b"", 30)
        store.state.increment(f"c{n}", 30)
    assert len(store.agenda) == 2000
    clock.advance(31)
    for _ in range(300):
        store.state.put("other", b"", 1000)
    assert len(store.state) == 1


def test_state_that_is_renewed_stays_and_a_shorter_life_is_kept(clock: ManualClock, store: Store) -> None:
    store.state.put("long", b"1", 10)
    store.state.put("short", b"1", 1000)
    store.state.put("short", b"2", 10)
    store.state.put("again", b"1", 10)
    clock.advance(5)
    store.state.put("long", b"2", 1000)
    store.state.put("again", b"2", 5)
    store.state.put("again", b"3", 1000)
    clock.advance(10)
    for _ in range(10):
        put(store, "a")
    assert store.state.get("long")[0] == b"2"
    assert store.state.get("short") == (None, 0)
    assert store.state.get("again")[0] == b"3"
    assert len(store.state) == 2
    clock.advance(2000)
    for _ in range(10):
        put(store, "a", last=True)
    assert len(store.state) == 0


def test_groups_are_forgotten(clock: ManualClock, store: Store) -> None:
    for n in range(500):
        store.groups.add(f"g{n}", "plain", "", None, 100.0, 1000, None)
        store.groups.add(f"g{n}", f"x{n}!", "1", None, 100.0, 1000, None)
        store.groups.discard(f"g{n}", "plain", "")
        store.groups.add(f"g{n}", "plain", "", None, 100.0, 1000, None)
    before = len(store.agenda)
    for _ in range(1000):
        store.groups.add("g1", "plain", "", None, 100.0, 1000, None)
        store.groups.add("g1", "x1!", "1", None, 100.0, 1000, None)
        store.groups.discard("g1", "plain", "")
        store.groups.discard("g1", "x1!", "1")
    assert len(store.agenda) == before, "joining and leaving all day long costs nothing more"
    for _ in range(5):
        clock.advance(400)
        for _ in range(2000):
            put(store, "a", last=True)
    assert len(store.groups) == 0
    assert not store.groups._inboxes
    assert len(store.queues) == 1


def test_one_operation_forgets_a_bounded_number(clock: ManualClock) -> None:
    agenda, called = Agenda(), []

    def forget(key: str, now: float) -> float | None:
        called.append(key)
        return now + 5 if key == "again" else None

    agenda.add(1, forget, "again")
    for n in range(20):
        agenda.add(2, forget, str(n))
    agenda.run(0.5)
    assert called == []
    agenda.run(3)
    assert len(called) == Agenda.BATCH
    assert agenda.next == 2
    agenda.run(3)
    agenda.run(3)
    assert len(called) == 21
    assert agenda.next == 8
    agenda.run(8)
    assert called[-1] == "again"
    agenda.clear()
    assert len(agenda) == 0
    assert agenda.next == float("inf")


# capacity and expiry where they meet


def test_capacity_of_bytes_counts_delayed_ones_and_takes_one_that_is_larger(store: Store) -> None:
    def send(size: int, **options: Any) -> None:
        store.queues.put("x!", "a", b"x" * size, 60.0, 100, 1000, **options)

    send(5000)
    with pytest.raises(LayerError):
        send(1)
    store.queues.take(["x!"], 0, 1)
    send(600, delay=5)
    send(400)
    with pytest.raises(LayerError):
        send(1)


def test_due_messages_that_wait_for_room_expire_too(clock: ManualClock, store: Store) -> None:
    put(store, "a")
    taken = store.queues.take(["a"], 0, 1)
    assert taken is not None
    store.queues.put("a", "", b"long", 60.0, 2, delay=1.0, key="long")
    store.queues.put("a", "", b"short", 5.0, 2, delay=2.0, key="short")
    store.queues.put_back("a", taken[2] * 2)
    clock.advance(10)
    assert store.queues.channel_statistics("a")["messages_pending"] == 3
    assert store.queues.cancel("a", "short") is False
    assert store.queues.cancel("a", "long") is True
    assert store.queues.channel_statistics("a")["messages_pending"] == 2


def test_group_messages_renew_a_single_reader_channel(clock: ManualClock, store: Store) -> None:
    store.groups.add("g", "body?1", "", None, *LIMITS)
    store.groups.send("g", b"1", 60.0)
    clock.advance(50)
    store.groups.send("g", b"2", 60.0)
    clock.advance(50)
    found = store.queues.take(["body?1"], 0, 10)
    assert found is not None
    assert [element[4] for element in found[2]] == [b"1", b"2"]


def test_a_chunk_put_back_after_its_channel_was_forgotten_lives_on(clock: ManualClock, store: Store) -> None:
    put(store, "body?1")
    taken = store.queues.take(["body?1"], 0, 1)
    assert taken is not None
    clock.advance(100)
    for _ in range(10):
        put(store, "a", last=True)
    assert len(store.queues) == 1
    store.queues.put_back("body?1", taken[2])
    clock.advance(59)
    assert store.queues.take(["body?1"], 0, 1) is not None


# leases and notes


def test_a_lease_is_taken_renewed_lost_and_taken_over(clock: ManualClock, store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, True, *LIMITS)
    with pytest.raises(LayerError, match="x! is leased"):
        store.groups.lease("x!", "two", 15.0, True, *LIMITS)
    clock.advance(10)
    assert store.groups.renew("x!", "one", 15.0) is True
    assert store.groups.renew("x!", "two", 15.0) is False
    assert store.groups.renew("y!", "one", 15.0) is False
    clock.advance(16)
    assert store.groups.renew("x!", "one", 15.0) is False
    store.groups.lease("x!", "two", 15.0, True, *LIMITS)
    store.groups.release("x!", "one")
    assert store.groups.renew("x!", "two", 15.0) is True
    store.groups.release("x!", "two")
    assert store.groups.renew("x!", "two", 15.0) is False


def test_a_lapsed_process_is_skipped_and_removed_as_it_is_met(clock: ManualClock, store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, False, *LIMITS)
    store.groups.add("g", "x!", "a", None, *LIMITS)
    store.groups.add("h", "x!", "a", None, *LIMITS)
    clock.advance(16)
    store.groups.send("g", b"m", 60.0)
    assert kinds(store, "x!") == []
    assert store.groups.members("h") == {}
    store.groups.add("g", "x!", "b", None, *LIMITS)
    assert store.groups.members("g") == {}


def test_a_lapsed_process_that_nobody_meets_goes_all_the_same(clock: ManualClock, store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, False, *LIMITS)
    for n in range(100):
        store.groups.add("g", "x!", str(n), None, *LIMITS)
    for _ in range(3):
        clock.advance(groups.SWEEP)
        for _ in range(10):
            put(store, "a", last=True)
    assert len(store.groups) == 0
    assert store.queues.notes("x!") == 0
    clock.advance(LIMITS[0])
    for _ in range(20):
        put(store, "a", last=True)
    assert not store.groups._inboxes


def test_too_many_notes_become_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_NOTES", 10)
    store.groups.lease("x!", "one", 15.0, False, *LIMITS)
    for n in range(10):
        store.groups.add("g", "x!", str(n), None, *LIMITS)
    store.groups.send("g", b"m", 60.0)
    store.groups.add("g", "x!", "10", None, *LIMITS)
    store.groups.discard("g", "x!", "0")
    assert kinds(store, "x!") == [GROUP, RELOAD, DISCARD]


def test_a_plain_reader_that_missed_notes_is_given_the_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_NOTES", 10)
    layer = MemoryLayer()
    for n in range(25):
        layer.group_add("g", f"x!{n}")
    layer.group_discard("g", "x!0")
    layer.send_group("g", {})
    layer.group_add("g", "x!25")
    got = {layer.receive(["x!"])[0] for _ in range(24)}
    assert got == {f"x!{n}" for n in range(1, 25)}
    assert layer.receive(["x!"]) == (None, None)


def test_a_stale_note_does_not_bring_a_member_back(store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, True, *LIMITS)
    store.groups.add("g", "x!", "a", None, *LIMITS)
    store.groups.release("x!", "one")
    store.groups.discard("g", "x!", "a")
    upto, members = store.groups.lease("x!", "two", 15.0, True, *LIMITS)
    assert members == []
    assert upto > 0
    assert kinds(store, "x!") == []
    store.groups.add("g", "x!", "a", None, *LIMITS)
    assert kinds(store, "x!") == [ADD]


def test_leaving_compares_the_sequence(store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, False, *LIMITS)
    store.groups.add("g", "x!", "a", None, *LIMITS)
    [(_, _, first, *_)] = store.groups.snapshot("x!")[1]
    store.groups.add("g", "x!", "a", b"info", *LIMITS)
    assert store.groups.leave("g", "x!", "a", first) is False
    [(_, _, second, *_)] = store.groups.snapshot("x!")[1]
    assert store.groups.leave("g", "x!", "a", second) is True
    assert store.groups.leave("g", "x!", "a", second) is False
    assert store.groups.leave("none", "x!", "a", second) is False


def test_flush_tells_who_has_a_lease(clock: ManualClock, store: Store) -> None:
    store.groups.lease("x!", "one", 15.0, False, *LIMITS)
    store.groups.lease("y!", "one", 5.0, False, *LIMITS)
    store.groups.add("g", "x!", "a", None, *LIMITS)
    clock.advance(6)
    store.flush()
    assert kinds(store, "x!") == [RELOAD]
    assert kinds(store, "y!") == []


# the rest


def test_dead_letters_are_bounded_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "BYTES", 1000)
    for n in range(5):
        store.letters.add(str(n), "a", b"x" * 400, "r", "", 1)
    assert [letter[0] for letter in store.letters.all()] == ["3", "4"]
    store.letters.add("large", "a", b"x" * 4000, "r", "", 1)
    assert [letter[0] for letter in store.letters.all()] == ["large"]
    assert store.letters.dropped == 5


def test_rates_cover_the_last_ten_seconds_or_more(clock: ManualClock, store: Store) -> None:
    def rate() -> float:
        return float(store.queues.channel_statistics("a")["messages_count_per_second"])

    for _ in range(100):
        put(store, "a")
    assert rate() == 0.0
    clock.advance(10)
    assert rate() == 10.0
    for _ in range(5):
        clock.advance(10)
        assert rate() < 10.0
    assert rate() == 0.0


def test_the_first_channel_in_turn_that_has_something_is_served(store: Store) -> None:
    put(store, "b")
    put(store, "c")
    for start, name in ((0, "b"), (2, "c"), (3, None)):
        found = store.queues.take(["a", "b", "c"], start, 1)
        assert (found[0] if found else None) == name


def test_next_due_tells_when_to_look_again(clock: ManualClock, store: Store) -> None:
    assert store.queues.next_due(["a", "b"]) is None
    put(store, "a", delay=5)
    put(store, "b", delay=3)
    assert store.queues.next_due(["a", "b", "c"]) == 3
    clock.advance(4)
    assert store.queues.next_due(["a", "b"]) == 0
    assert store.queues.ready("b") is False
    store.queues.take(["b"], 0, 0)
    assert store.queues.ready("b") is True


def test_a_store_works_alone() -> None:
    store = Store(lambda: 0.0)
    store.calls["put"]("a", "", b"m", 60.0, 10)
    assert store.calls["take"](["a"], 0, 1)[2][0][4] == b"m"

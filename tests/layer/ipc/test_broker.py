"""The broker without a socket: what clients may do to it, byte by byte."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from trunkline.layer.ipc import frames
from trunkline.layer.ipc.broker import Broker
from trunkline.layer.ipc.checks import check
from trunkline.layer.ipc.frames import FrameError, Splitter, Writer, unpack
from trunkline.layer.ipc.session import Session
from trunkline.layer.testing import ManualClock

FRAME = Writer().frame
PUT = ("put", ("a", "", b"x", 60.0, 10, None))


class Client:
    """A client of a broker, without a socket."""

    def __init__(self, broker: Broker) -> None:
        self.cuts: list[str] = []
        self.written = b""
        self.session: Session = broker.open(self)
        self._broker = broker
        self._splitter = Splitter(1 << 30)

    def write(self, data: bytes) -> None:
        self.written += data

    def worked(self) -> None:
        pass

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)

    def send(self, *parts: Any) -> None:
        self.session.feed(FRAME(*parts))

    def told(self) -> list[tuple[Any, ...]]:
        """Let the broker work until it has nothing to do, and return the frames that came."""
        self._broker.turn()
        while self._broker._busy:
            self._broker.turn()
        written, self.written = self.written, b""
        return [unpack(frame, bounded=False) for frame in self._splitter.feed(written)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> Broker:
    return Broker(clock, lambda: None, lost=7)


@pytest.fixture
def client(broker: Broker) -> Client:
    return joined(broker)


def joined(broker: Broker) -> Client:
    client = Client(broker)
    [hello] = client.told()
    assert hello == (frames.HELLO, frames.VERSION, broker.epoch, broker.frame_limit, 7)
    return client


# frames


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_frames_arrive_in_any_pieces(step: int) -> None:
    stream = FRAME(1, "a", b"b" * 300) + FRAME(2) + FRAME(3, (1, 2))
    splitter, got = Splitter(1000), []
    for start in range(0, len(stream), step):
        got += [unpack(frame) for frame in splitter.feed(stream[start : start + step])]
    assert got == [(1, "a", b"b" * 300), (2,), (3, (1, 2))]
    assert not splitter.partial


@pytest.mark.parametrize("pieces", [[b"\0\0\3\xe9"], [b"\0", b"\0\3", b"\xe9"], [FRAME(1), b"\xff\xff\xff\xff"]])
def test_a_length_that_is_too_long_is_refused_before_it_arrives(pieces: list[bytes]) -> None:
    splitter = Splitter(1000)
    with pytest.raises(FrameError, match="is the limit"):
        for piece in pieces:
            list(splitter.feed(piece))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x01",
        b"\xc1",
        b"\x80",
        b"\x90",
        b"\x92\x01",
        b"\x91\xc7\x01\x05x",  # an extension type
        b"\x91\x81\x01\x02",  # a key that is no str
        b"\xdd\x00\x10\x00\x00" + b"\x01" * 0x100000,  # too long an array
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x91\xa1\xff",
        b"\x91\x01\x02",
    ],
)
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(FrameError):
        unpack(garbage)


# calls


WRONG: list[Any] = [
    ("nothing", ()),
    (7, ()),
    ((), ()),
    ("take", (("a",), 0, 1)),
    ("put", ()),
    ("put", None),
    ("put", ("a", "", b"x", 60.0, 10)),
    ("put", (5, "", b"x", 60.0, 10, None)),
    ("put", ("a", "", "x", 60.0, 10, None)),
    ("put", ("a", "", b"x", True, 10, None)),
    ("put", ("a", "", b"x", float("nan"), 10, None)),
    ("put", ("a", "", b"x", -1.0, 10, None)),
    ("put", ("a", "", b"x", 60.0, 10, None, float("nan"), None, None, 600, None, False)),
    ("put", ("a", "", b"x", 60.0, 10, None, 0, "k", None, 600, None, False, 1)),
    ("put_many", ("a", 60.0, 10, None, ())),
    ("put_many", ("a", 60.0, 10, None, ("",))),
    ("put_many", ("a", 60.0, 10, None, ("", "x"))),
    ("put_many", ("a", 60.0, 10, None, (b"x", b"x"))),
    ("put_many", ("a", 60.0, 10, None, ("", b"x", "a" * 256, b"x"))),
    ("put_many", ("a", float("nan"), 10, None, ("", b"x"))),
    ("put_many", ("a", 60.0, 10, None, ("", b"x") * 257)),
    ("renew", ("x!", "me", float("nan"))),
    ("purge", ("a" * 256,)),
    ("put", ("a", "", b"x", 60.0, 10, None, 0, "k" * 256, None, 600, None, False)),
    ("dead_letter", ("id", "a", b"x", "", "t" * 20_000, 1)),
    ("peek", ("a", -1)),
    ("peek", ("a", 1 << 40)),
    ("send_group", ("g", b"x", 60.0, {"x!": ("a", 5)})),
    ("send_group", ("g", b"x", 60.0, {"x!": "a"})),
    ("announce", ("w", b"", {"a": 1})),
    ("group_add", ("g", "x!", "a", "info", 60.0, 10, None)),
    ("put_back", ("a", (1,))),
    ("put_back", ("a", ((60.0, 0.0, 0, "", b"x"),))),
    ("put_back", ("a", ((float("nan"), 0.0, 0, "", b"x", None),))),
    ("put_back", ("a", ((60.0, 0.0, 3, "", b"x", None),))),
    ("put_back", ("a", ((60.0, 0.0, 0, "", None, None),))),
    ("put_back", ("a", ((60.0, 0.0, 0, "", b"x", (1, None)),))),
]


@pytest.mark.parametrize("call", WRONG, ids=str)
def test_wrong_calls_are_refused_each_time(call: tuple[Any, Any]) -> None:
    for _ in range(2):
        with pytest.raises(FrameError):
            check(*call)


@pytest.mark.parametrize(
    "frame",
    [
        (frames.CALLS,),
        (frames.CALLS, "id", ()),
        (frames.CALLS, 1, "calls"),
        (frames.CALLS, 1, (5,)),
        (frames.CALLS, 1, (("put",),)),
        *((frames.CALLS, 1, (PUT, call)) for call in WRONG[:4]),
        (frames.TAKE, 1),
        (frames.TAKE, 1, (), 0, 1, True, (), None),
        (frames.TAKE, 1, ("a",), 1, 1, True, (), None),
        (frames.TAKE, 1, ("a",), 0, 0, True, (), None),
        (frames.TAKE, 1, (5,), 0, 1, True, (), None),
        (frames.TAKE, "1", ("a",), 0, 1, True, (), None),
        (frames.TAKE, 1, ("a!",), 0, 1, True, (), None),
        (frames.TAKE, 1, ("a!",), 0, 1, True, (("a!", "me"),), None),
        (frames.TAKE, 1, ("a!", "b"), 0, 1, True, (), "me"),
        (frames.CANCEL,),
        (frames.HELLO, 1),
        ("x",),
        ((),),
    ],
    ids=str,
)
def test_a_client_that_is_wrong_is_cut_off_and_no_other(broker: Broker, client: Client, frame: tuple[Any, ...]) -> None:
    other = joined(broker)
    other.send(frames.CALLS, 1, (PUT,))
    client.send(*frame)
    assert client.told() == []
    assert len(client.cuts) == 1
    assert other.told() == [(frames.CALLS, 1, (True,), ())]
    assert other.cuts == []
    client.told()
    broker.close(client.session)


def test_a_client_that_is_cut_off_in_the_middle_of_a_flood_is_forgotten(broker: Broker, client: Client) -> None:
    for _ in range(100):
        client.send(frames.CALLS, 1, (PUT,) * 10)
    broker.close(client.session)
    assert client.told() == []
    assert broker.store.queues.balance == 0


def test_too_many_takes_are_refused(client: Client) -> None:
    for number in range(17):
        client.send(frames.TAKE, number, ("a",), 0, 1, True, (), None)
    client.told()
    assert "of 16 that wait" in client.cuts[0]


def test_errors_of_the_store_reach_the_caller_by_their_names(broker: Broker, client: Client) -> None:
    full = ("put", ("a", "", b"x", 60.0, 1, None))
    state = ("put_state", ("k", b"v", 60.0, None))
    client.send(frames.CALLS, 3, (full, full, state, ("increment_state", ("k", 60.0))))
    [(_, number, outcomes, errors)] = client.told()
    assert (number, outcomes) == (3, (True, None, 1, None))
    assert [(index, name) for index, name, _ in errors] == [(1, "ChannelFull"), (3, "TypeError")]


def test_a_queue_that_was_full_for_a_run_stays_so_to_its_end(broker: Broker, client: Client) -> None:
    """Others may take from it between two frames, and between two calls of one."""
    other = joined(broker)

    def many(count: int, capacity: int = 2) -> tuple[Any, ...]:
        return "put_many", ("a", 60.0, capacity, None, ("", b"x") * count)

    client.send(frames.CALLS, 1, (many(3), ("purge", ("a",)), many(1, 9), ("put", ("b", "", b"x", 60.0, 1, None))))
    [(_, _, outcomes, errors)] = client.told()
    assert outcomes == ((2, (2,)), 2, None, True)
    assert errors == ((2, "ChannelFull", "a is full: a send before this one found no room"),)
    other.send(frames.CALLS, 1, (("purge", ("b",)), ("put", ("c", "", b"x", 60.0, 0, None))))
    other.told()
    client.send(frames.MORE, 2, (many(2, 9), ("put", ("b", "", b"x", 60.0, 1, None))))
    [(kind, number, outcomes, errors)] = client.told()
    assert (kind, number, outcomes, [name for _, name, _ in errors]) == (frames.CALLS, 2, (None, True), ["ChannelFull"])
    assert broker.store.queues.channel_statistics("a")["channel_full_count"] == 4
    client.send(frames.CALLS, 3, (many(2, 9),))
    assert client.told() == [(frames.CALLS, 3, (None,), ())]


def test_how_many_queues_a_run_finds_full_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.layer.ipc.session._FULL", 3)
    for name in "abcd":
        client.send(frames.MORE, 1, (("put", (name, "", b"x", 60.0, 0, None)),))
    client.told()
    assert client.cuts == ["MORE: a run in which 3 queues are full"]


def test_an_error_of_the_broker_itself_ends_nobody(
    broker: Broker, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    broker.calls["purge"] = lambda name: 1 // 0
    client.send(frames.CALLS, 1, (("purge", ("a",)), PUT))
    [(_, _, outcomes, errors)] = client.told()
    assert outcomes == (None, True)
    assert errors[0][:2] == (0, "LayerError")
    assert "error in the call purge" in caplog.text


@pytest.mark.parametrize(
    "calls",
    [
        (("put", ("a", "", b"x", 60.0, 10_000, None)),) * 5000,
        (("put_many", ("a", 60.0, 100_000, None, ("", b"x") * 200)),) * 200,
    ],
    ids=["one by one", "together"],
)
def test_a_flood_leaves_the_others_their_turns(broker: Broker, client: Client, calls: tuple[Any, ...]) -> None:
    other = joined(broker)
    client.send(frames.CALLS, 1, calls)
    other.send(frames.CALLS, 1, (PUT,))
    broker.turn()
    assert other.written, "the first turn served the other"
    assert not client.written
    assert broker.store.queues.balance < 4500, "a turn is bounded"
    assert len(client.told()) == 1


def test_who_does_not_read_waits_with_its_calls(broker: Broker, client: Client) -> None:
    client.session.stalled = True
    client.send(frames.CALLS, 1, (PUT,))
    assert client.told() == []
    client.session.stalled = False
    broker.ready(client.session)
    assert client.told() == [(frames.CALLS, 1, (True,), ())]


def test_no_calls_are_answered_too(client: Client) -> None:
    client.send(frames.CALLS, 5, ())
    assert client.told() == [(frames.CALLS, 5, (), ())]


# memory


def test_a_full_bus_refuses_what_it_would_have_to_keep(clock: ManualClock) -> None:
    broker = Broker(clock, lambda: None, memory=1 << 20, lost=7)
    client = joined(broker)
    body = b"x" * 100_000
    put = ("put", ("a", "", body, 60.0, 1000, None))
    for number in range(12):
        client.send(frames.CALLS, number, (put,))
    told = client.told()
    refused = [errors[0][1] for _, _, _, errors in told if errors]
    assert set(refused) == {"ChannelFull"}
    assert 1 <= len(refused) <= 4
    client.send(frames.CALLS, 13, (("put_many", ("a", 60.0, 1000, None, ("", b"", "", b""))),))
    [(_, _, _, [(_, name, text)])] = client.told()
    assert (name, text) == ("ChannelFull", "the bus is full: it holds 1 MiB, its limit")
    client.send(frames.CALLS, 20, (("put_state", ("k", body, 60.0, None)), ("send_group", ("g", body, 60.0, {}))))
    [(_, _, _, errors)] = client.told()
    assert [(index, name) for index, name, _ in errors] == [(0, "LayerError")]
    assert "the bus is full: it holds 1 MiB" in errors[0][2]
    client.send(frames.CALLS, 21, (("statistics", ()), ("purge", ("a",))))
    [(_, _, (statistics, dropped), _)] = client.told()
    assert statistics["group_dropped_count"] == 1
    assert statistics["messages_lost_count"] == 7
    assert dropped >= 8
    element = (clock() + 60, clock(), 0, "", body, None)
    for number in range(30):
        client.send(frames.CALLS, number, (("put_back", ("b", (element,))),))
    outcomes = [errors for _, _, _, errors in client.told()]
    assert outcomes[0] == (), "what had room before has it again"
    assert outcomes[-1][0][1] == "LayerError"
    assert sum(not errors for errors in outcomes) <= 22
    client.send(frames.CALLS, 21, (("purge", ("b",)),))
    client.told()
    clock.advance(1)
    client.send(frames.CALLS, 22, (put,))
    assert client.told() == [(frames.CALLS, 22, (True,), ())]


def test_what_the_store_takes_is_counted(broker: Broker, client: Client) -> None:
    before = broker.store.size()
    client.send(
        frames.CALLS,
        1,
        (
            ("put_state", ("k", b"x" * 1000, 60.0, None)),
            ("group_add", ("g", "a", "", b"x" * 1000, 60.0, 10, None)),
            ("group_add", ("g", "x!", "1", b"x" * 1000, 60.0, 10, None)),
            ("dead_letter", ("id", "a", b"x" * 1000, "", "", 1)),
            ("put", ("a", "", b"x" * 1000, 60.0, 10, None)),
        ),
    )
    client.told()
    assert 5000 < broker.store.size() - before < 10_000


# credits


def test_a_credit_is_never_exceeded_and_answered_once(broker: Broker, client: Client) -> None:
    other = joined(broker)
    client.send(frames.TAKE, 1, ("a", "b"), 0, 2, True, (), None)
    assert client.told() == []
    other.send(frames.CALLS, 1, (PUT,) * 5)
    other.told()
    [(kind, number, queue, _, elements)] = client.told()
    assert (kind, number, queue, len(elements)) == (frames.TAKE, 1, "a", 2)
    other.send(frames.CALLS, 2, (PUT,))
    other.told()
    assert client.told() == []
    client.send(frames.CANCEL, 1)
    assert client.told() == [], "it was answered"


def test_large_messages_come_in_parts(client: Client) -> None:
    put = ("put", ("a", "", b"x" * 200_000, 60.0, 10, None))
    client.send(frames.CALLS, 1, (put,) * 5)
    client.send(frames.TAKE, 1, ("a",), 0, 100, False, (), None)
    _, (_, _, _, _, elements) = client.told()
    assert len(elements) == 2, "as many as make 256 KiB"


def test_a_take_that_waits_is_withdrawn(broker: Broker, client: Client) -> None:
    client.send(frames.TAKE, 1, ("a",), 0, 2, True, (), None)
    client.send(frames.CANCEL, 1)
    assert client.told() == [(frames.TAKE, 1, "", 0.0, ())]
    client.send(frames.TAKE, 2, ("a",), 0, 2, False, (), None)
    assert client.told() == [(frames.TAKE, 2, "", 0.0, ())]
    assert not broker._waiting


def test_who_waited_longest_is_first_and_who_left_is_forgotten(broker: Broker) -> None:
    one, two, three = joined(broker), joined(broker), joined(broker)
    for client in (one, two, three):
        client.send(frames.TAKE, 1, ("a",), 0, 1, True, (), None)
        client.told()
    broker.close(one.session)
    three.send(frames.CALLS, 1, (PUT,))
    assert [parts[0] for parts in three.told()] == [frames.CALLS]
    assert [parts[0] for parts in two.told()] == [frames.TAKE]


def test_a_take_does_not_overtake_those_that_wait(broker: Broker) -> None:
    one, two = joined(broker), joined(broker)
    one.send(frames.TAKE, 1, ("a",), 0, 1, True, (), None)
    one.told()
    two.send(frames.CALLS, 1, (PUT,))
    two.send(frames.TAKE, 1, ("a",), 0, 1, True, (), None)
    assert [parts[0] for parts in two.told()] == [frames.CALLS]
    assert [parts[0] for parts in one.told()] == [frames.TAKE]


def test_a_timer_is_wanted_for_what_somebody_waits_for(clock: ManualClock, broker: Broker, client: Client) -> None:
    later, sooner = (("put", ("a", "", b"x", 60.0, 10, None, at, "k", None, 600, None, False)) for at in (5.0, 2.0))
    client.send(frames.CALLS, 1, (later,))
    client.told()
    assert broker.due() is None, "nobody waits for it"
    client.send(frames.TAKE, 1, ("a",), 0, 1, True, (), None)
    client.told()
    assert broker.due() == 5.0
    client.send(frames.CALLS, 2, (("cancel", ("a", "k")), sooner))
    client.told()
    assert broker.due() == 2.0
    clock.advance(2)
    assert broker.due() is None
    assert [parts[:3] for parts in client.told()] == [(frames.TAKE, 1, "a")]
    clock.advance(5)
    assert broker.due() is None


def test_only_who_holds_the_lease_reads_an_inbox_with_its_notes(clock: ManualClock, client: Client) -> None:
    client.send(frames.TAKE, 1, ("x!",), 0, 10, True, (), "me")
    assert client.told() == [(frames.TAKE, 1, None, 0.0, ())]
    client.send(frames.CALLS, 1, (("lease", ("x!", "me", 15.0, False, 60.0, 10, None)),))
    client.send(frames.TAKE, 2, ("x!",), 0, 10, True, (), "me")
    assert len(client.told()) == 1
    clock.advance(16)
    client.send(frames.CALLS, 3, (("lease", ("x!", "you", 15.0, False, 60.0, 10, None)), PUT))
    client.send(frames.TAKE, 4, ("x!",), 0, 10, True, (), "you")
    client.send(frames.CALLS, 5, (("group_add", ("g", "x!", "1", None, 60.0, 10, None)),))
    told = {parts[:2]: parts for parts in client.told()}
    assert told[frames.TAKE, 2] == (frames.TAKE, 2, None, 0.0, ())
    assert told[frames.TAKE, 4][2] == "x!"


def test_many_inboxes_that_are_read_plainly_are_forgotten(broker: Broker, client: Client) -> None:
    for number in range(1500):
        name = f"x{number}!"
        client.send(frames.CALLS, 1, (("group_add", ("g", name, "1", None, 60.0, 10, None)),))
        client.send(frames.TAKE, 1, (name,), 0, 10, False, ((name, "me", 60.0, 10, None),), None)
        client.told()
    assert len(broker._readers) < 1100
    client.send(frames.CALLS, 1, (("send_group", ("g", b"x", 60.0, {})),))
    client.send(frames.TAKE, 1, ("x3!",), 0, 10, False, (("x3!", "me", 60.0, 10, None),), None)
    _, (_, _, queue, _, elements) = client.told()
    assert (queue, elements[0][3]) == ("x3!", "1"), "its members are loaded anew"


def test_who_asked_is_told_what_is_listened_to(broker: Broker, client: Client) -> None:
    other = joined(broker)
    client.send(frames.CALLS, 1, (("heard", ()),))
    assert client.told() == [(frames.CALLS, 1, ({},), ())]
    for _ in range(2):
        other.send(frames.CALLS, 1, (("announce", ("w", b"", {"a": True})),))
        other.told()
    assert client.told() == [(frames.HEARD, {"a": (True, 60.0)})], "once: nothing changed by the second"
    assert other.told() == []


def test_the_end_answers_everybody(broker: Broker, client: Client) -> None:
    other = joined(broker)
    client.send(frames.TAKE, 1, ("b",), 0, 1, True, (), None)
    client.told()
    client.send(frames.CALLS, 2, (PUT,) * 10)
    other.send(frames.CALLS, 3, (*((("put", ("a", "", b"x", 60.0, 5000, None)),) * 2000), PUT))
    broker.turn()
    assert broker.stop("the end") == 2010, "what had begun was finished"
    client.send(frames.CALLS, 4, (PUT,))
    assert [parts[0] for parts in client.told()] == [frames.CALLS, frames.TAKE, frames.BYE]
    assert [parts[0] for parts in other.told()] == [frames.CALLS, frames.BYE]


def test_the_end_does_not_care_for_a_client_that_is_wrong(broker: Broker, client: Client) -> None:
    client.send(frames.CALLS, 1, (PUT,) * 2000 + (("nothing", ()),))
    broker.turn()
    broker.stop("the end")
    assert client.told()[-1] == (frames.BYE, "the end")


def test_any_bytes_do_no_harm(broker: Broker) -> None:
    """Every byte of a frame altered: cut off, answered or ignored, and the broker works on."""
    whole = FRAME(frames.CALLS, 1, (PUT, ("group_add", ("g", "x!", "1", b"i", 60.0, 10, None)))) + FRAME(
        frames.TAKE, 2, ("a", "x!"), 0, 1, True, (("x!", "me", 60.0, 10, None),), None
    )
    cut = 0
    for index in range(len(whole)):
        for value in (0x00, 0x7F, 0x80, 0xC0, 0xCB, 0xDD, 0xFF):
            client = joined(broker)
            try:
                client.session.feed(whole[:index] + bytes([value]) + whole[index + 1 :])
            except FrameError:
                cut += 1
            client.told()
            cut += len(client.cuts)
            broker.close(client.session)
    assert cut > 200
    assert not broker._waiting
    last = joined(broker)
    last.send(frames.CALLS, 1, (("purge", ("a",)), ("flush", ()), PUT, ("peek", ("a", 10))))
    [(_, _, outcomes, _)] = last.told()
    assert outcomes[2:] == (True, (b"x",))


def test_a_frame_of_nothing_but_maps_is_bounded(client: Client) -> None:
    client.session.feed(FRAME(0)[:0] + (5).to_bytes(4, "big") + msgpack.packb([{}, {}, {}, {}]))
    assert client.told() == []
    assert client.cuts

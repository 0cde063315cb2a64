"""Both directions at their own pace: while the layer refuses, while workers lag, and while a client does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.protocol_servers.testing.websocket_frames import (
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_close,
    client_frame,
    close_code,
)

BenchWith = Callable[..., Any]


class Channel:
    """Put the layer's ``websocket.receive`` in the test's hands.

    Attributes:
        room: How many messages it still takes.
        error: What it says when there is no room.
        errors: What it says before that, once each.
        held: Outcomes are kept back until `tell`.
        taken: Text of the messages that it took.
        disconnects: How many disconnects were sent.
        tries: How often it was asked.
    """

    def __init__(self, bench: Any) -> None:
        self.room = 1_000_000
        self.error: Exception = ChannelFull("full")
        self.errors: list[Exception] = []
        self.held = False
        self.taken: list[str] = []
        self.disconnects = 0
        self.tries = 0
        self._loop = bench.loop
        self._waiting: list[tuple[Callable[[object], None], object]] = []
        bench.inbox.send = self._send

    def _send(self, channel: str, message: dict[str, Any], *, then: Callable[[object], None], **options: Any) -> None:
        outcome: object = True
        self.disconnects += channel == "websocket.disconnect"
        if channel == "websocket.receive":
            self.tries += 1
            if self.room > 0:
                self.room -= 1
                self.taken.append(message["text"])
            else:
                outcome = self.errors.pop(0) if self.errors else self.error
        if self.held:
            self._waiting.append((then, outcome))
        else:
            self._loop.call_soon(then, outcome)

    def tell(self, count: int | None = None) -> None:
        """Tell outcomes that were kept back."""
        told, self._waiting = self._waiting[:count], self._waiting[len(self._waiting[:count]) :]
        for then, outcome in told:
            then(outcome)


@pytest.fixture
def channel(bench: Any) -> Channel:
    return Channel(bench)


# The layer refuses


@pytest.mark.parametrize("error", [ChannelFull("full"), LayerUnavailable("away")])
def test_refused_messages_are_tried_again_in_order(bench: Any, channel: Channel, error: Exception) -> None:
    client = bench.open()
    channel.room, channel.error = 2, error
    for text in "abcde":
        client.say(text)
    bench.loop.turn()
    assert channel.taken == ["a", "b"]
    assert not client.read_from
    bench.loop.advance(2)
    assert channel.taken == ["a", "b"]
    channel.room = 2
    bench.loop.advance(1)
    assert channel.taken == ["a", "b", "c", "d"]
    assert not client.read_from
    channel.room = 10
    bench.loop.advance(1)
    assert channel.taken == list("abcde")
    assert client.read_from
    client.say("f")
    bench.loop.turn()
    assert channel.taken == list("abcdef")
    assert client.take() == b""
    assert bench.stats["websocket_held_up"] == 1
    assert bench.stats["websocket_receives_lost"] == 0


DOUBT = LayerUnavailable("lost", uncertain=True)


def test_what_is_in_doubt_is_not_sent_again(bench: Any, channel: Channel) -> None:
    """It is counted, and the socket goes on: nobody could tell whether a message of its is missing."""
    client = bench.open()
    channel.room, channel.error = 1, DOUBT
    for text in "abc":
        client.say(text)
    bench.loop.turn()
    channel.room = 10
    client.say("d")
    bench.loop.advance(10)
    assert channel.taken == ["a", "d"]
    assert channel.tries == 4
    assert client.read_from
    assert client.take() == b""
    assert (bench.stats["in_doubt"], bench.stats["websocket_held_up"]) == (2, 0)
    client.feed(client_close(1000))
    bench.loop.turn()
    assert channel.disconnects == 1, "nothing is waited for any more"


def test_a_repetition_in_doubt_is_the_last_of_its_message(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room, channel.error = 0, LayerUnavailable("away")
    for text in "abc":
        client.say(text)
    bench.loop.turn()
    assert channel.tries == 3
    channel.error = DOUBT
    bench.loop.advance(0.06)
    assert channel.tries == 6, "each is in doubt now, and the next is tried"
    bench.loop.advance(10)
    assert (channel.tries, channel.taken) == (6, [])
    assert client.read_from
    assert client.take() == b""
    assert (bench.stats["in_doubt"], bench.stats["websocket_receives_lost"]) == (3, 0)


def test_a_doubt_gives_no_new_patience(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room, channel.error = 0, LayerUnavailable("away")
    client.say("a")
    client.say("b")
    bench.loop.advance(4)
    channel.errors = [DOUBT]
    bench.loop.advance(2)
    assert client.code() == 1013
    assert (bench.stats["in_doubt"], bench.stats["websocket_receives_lost"]) == (1, 1)


def test_refused_for_five_seconds_closes_with_1013(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.say("a")
    client.say("b")
    bench.loop.advance(4.9)
    assert client.take() == b""
    bench.loop.advance(1.0)
    assert client.code() == 1013
    assert bench.stats["websocket_receives_lost"] == 2
    assert client.read_from, "its Close is to be read"
    tries = channel.tries
    client.feed(client_close(1013))
    bench.loop.advance(60)
    assert channel.tries == tries
    assert channel.disconnects == 1


def test_repetitions_become_rarer(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.say("a")
    bench.loop.advance(4.9)
    assert 5 <= channel.tries <= 12


def test_progress_gives_new_patience(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    for text in "abc":
        client.say(text)
    for _ in range(3):
        bench.loop.advance(3)
        channel.room = 1
    bench.loop.advance(1)
    assert channel.taken == list("abc")
    assert client.take() == b""


def test_what_was_read_already_waits_unparsed(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.say("first")
    bench.loop.turn()
    client.feed(b"".join(client_frame(TEXT, b"%d" % number) for number in range(5000)))
    bench.loop.turn()
    assert channel.tries == 1
    channel.room = 1_000_000
    bench.loop.advance(1)
    assert channel.taken == ["first", *map(str, range(5000))]
    assert client.read_from


def test_refusals_told_late_keep_their_place(bench: Any, channel: Channel) -> None:
    """Messages under way when the first refusal is told may be refused after younger ones were put aside."""
    client = bench.open()
    channel.held = True
    channel.room = 0
    client.feed(client_frame(TEXT, b"a"))
    client.feed(client_frame(TEXT, b"b"))
    channel.tell(1)
    channel.room = 10
    bench.loop.advance(1)
    assert channel.tries == 2, "nothing is repeated while an older message is under way"
    channel.tell()
    bench.loop.advance(1)
    channel.tell()
    bench.loop.advance(1)
    channel.tell()
    assert channel.taken == ["a", "b"]
    assert client.read_from


def test_more_of_the_same_read_comes_behind_what_was_refused(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.socket._inflow.send({"order": 1, "text": "a"}, 1)
    bench.loop.turn()
    client.socket._inflow.send({"order": 2, "text": "b"}, 1)
    channel.room = 5
    bench.loop.advance(1)
    assert channel.taken == ["a", "b"]


def test_a_message_too_large_for_the_layer_closes_with_1009(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room, channel.error = 0, MessageTooLarge("2 MiB")
    client.say("large")
    bench.loop.turn()
    assert client.code() == 1009
    bench.loop.advance(5)
    assert channel.tries == 1


def test_a_client_that_leaves_meanwhile_is_still_heard_out(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.say("a")
    client.say("b")
    bench.loop.turn()
    client.leave()
    assert bench.open_connections == 0
    assert channel.disconnects == 0
    channel.room = 10
    bench.loop.advance(1)
    assert channel.taken == ["a", "b"]
    assert channel.disconnects == 1, "after all it said"


@pytest.mark.parametrize("error", [ChannelFull("full"), MessageTooLarge("2 MiB")])
def test_a_refusal_told_after_the_client_left(bench: Any, channel: Channel, error: Exception) -> None:
    client = bench.open()
    channel.room, channel.error = 0, error
    client.say("a")
    client.leave()
    bench.loop.turn()
    channel.room = 1
    bench.loop.advance(1)
    assert channel.taken == (["a"] if isinstance(error, ChannelFull) else [])
    assert channel.disconnects == 1


def test_a_client_that_left_is_not_heard_out_for_ever(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    for text in "abc":
        client.say(text)
    bench.loop.turn()
    client.leave()
    bench.loop.advance(3)
    channel.room = 1
    bench.loop.advance(3)
    assert channel.taken == ["a"]
    assert channel.disconnects == 1
    assert bench.stats["websocket_receives_lost"] == 2
    tries = channel.tries
    bench.loop.advance(30)
    assert channel.tries == tries


def test_a_consumer_may_close_meanwhile(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.say("a")
    bench.loop.turn()
    client.feed(client_frame(TEXT, b"b") + client_close(4000))
    client.reply({"close": 4000})
    assert client.code() == 4000
    assert client.read_from
    assert client.closed, "its Close had been read already"
    channel.room = 1
    bench.loop.advance(1)
    assert channel.taken == ["a"]
    assert channel.disconnects == 1


# Workers lag


@pytest.mark.parametrize(("size", "count"), [(1, 64), (200_000, 5)])
def test_a_bounded_amount_is_under_way(bench: Any, channel: Channel, size: int, count: int) -> None:
    client = bench.open()
    channel.held = True
    frame = client_frame(TEXT, b"x" * size)
    sent = 0
    while client.read_from:
        client.feed(frame)
        bench.loop.turn()
        sent += 1
    assert count <= sent <= count + 1
    client.feed(frame * 2)
    assert len(channel.taken) == sent
    channel.tell(sent // 4)
    assert not client.read_from
    channel.tell()
    bench.loop.turn()
    while channel._waiting:
        channel.tell()
        bench.loop.turn()
    assert len(channel.taken) == sent + 2
    assert client.read_from


def test_an_unanswered_burst_is_parsed_in_slices(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.held = True
    client.feed(client_frame(TEXT, b"x") * 30_000)
    bench.loop.turn()
    assert 64 <= len(channel.taken) < 1000
    while channel._waiting:
        channel.tell()
        bench.loop.turn()
    assert len(channel.taken) == 30_000
    assert client.read_from


# A flood is parsed in turns, so that others are served


@pytest.mark.parametrize(
    "frame", [client_frame(PING, b""), client_frame(CONTINUATION, b"", fin=False)], ids=["pings", "fragments"]
)
def test_a_flood_leaves_turns_to_others(bench: Any, frame: bytes) -> None:
    client = bench.open()
    if frame[0] == CONTINUATION:
        client.feed(client_frame(TEXT, b"", fin=False))
    client.feed(frame * 40_000)
    assert not client.read_from, "what was read is enough for many turns"
    assert len(client.socket._held) > len(frame) * 39_000
    pongs = len(client.take())
    client.feed(frame)
    bench.loop.turn()
    assert client.read_from
    pongs += len(client.take())
    assert pongs == (2 * 40_001 if frame[0] & 0xF == PING else 0)


def test_a_failure_in_a_flood_is_lingered_for(bench: Any) -> None:
    client = bench.open()
    client.feed(client_frame(TEXT, b"a") * 100 + client_frame(3, b"") + client_frame(TEXT, b"b") * 10_000)
    bench.loop.turn()
    assert client.code() == 1002
    assert client.transport.half_closed
    client.feed(client_frame(TEXT, b"b") * 10_000)
    assert client.read_from, "what still comes is read and dropped"
    assert not bench.loop._soon


def test_a_stop_in_a_flood_lasts_until_it_is_taken_back(bench: Any, channel: Channel) -> None:
    client = bench.open()
    channel.room = 0
    client.feed(client_frame(TEXT, b"x") * 5000)
    bench.loop.turn()
    taken = len(channel.taken)
    assert not client.read_from
    bench.loop.turn()
    assert len(channel.taken) == taken
    channel.room = 1_000_000
    bench.loop.advance(10)
    assert len(channel.taken) == 5000
    assert client.read_from


# The client lags


def test_a_slow_reader_is_cut_off(bench_with: BenchWith) -> None:
    bench = bench_with(write_limit=10_000)
    client = bench.open()
    client.transport.buffered = 10_000
    client.reply({"text": "still"})
    assert client.frames() == [(TEXT, b"still")]
    client.transport.buffered = 10_001
    client.reply({"text": "over"})
    assert client.code() == 1013
    assert bench.stats["websocket_slow_readers"] == 1
    client.reply({"text": "more"})
    assert client.take() == b""
    assert bench.stats["websocket_slow_readers"] == 1
    bench.loop.advance(10.1)
    assert client.aborted
    client.leave()
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1006


def test_a_slow_reader_that_catches_up_hears_why(bench_with: BenchWith) -> None:
    bench = bench_with(write_limit=10_000)
    client = bench.open()
    client.transport.buffered = 20_000
    client.reply({"text": "over"})
    client.transport.buffered = 0
    client.feed(client_close(1013))
    assert client.closed
    assert not client.aborted
    (gone,) = client.sent("websocket.disconnect")
    assert gone["code"] == 1013


def test_pongs_count_too(bench_with: BenchWith) -> None:
    bench = bench_with(write_limit=10_000)
    client = bench.open()
    client.transport.buffered = 20_000
    client.feed(client_frame(PING, b"x" * 125) * 100)
    assert client.code() == 1013
    client.feed(client_frame(PING, b"x" * 125) * 100)
    assert client.take() == b"", "no pongs for who does not read them"
    assert bench.stats["websocket_slow_readers"] == 1


# Pings


def test_pings_come_in_their_interval_and_a_pong_keeps_it_open(bench: Any) -> None:
    client = bench.open()
    for _ in range(4):
        bench.loop.advance(20.1)
        assert client.frames() == [(PING, b"")]
        client.feed(client_frame(PONG))
    assert bench.stats["websocket_ping_timeouts"] == 0


def test_anything_heard_is_as_good_as_a_pong(bench: Any) -> None:
    client = bench.open()
    bench.loop.advance(20.1)
    client.feed(client_frame(TEXT, b"x" * 1000)[:10])
    bench.loop.advance(20.1)
    assert client.frames() == [(PING, b"")] * 2


@pytest.mark.parametrize(("interval", "timeout"), [(20, 20), (20, 5), (5, 20), (7, 7.5)])
def test_silence_closes(bench_with: BenchWith, interval: float, timeout: float) -> None:
    bench = bench_with(ping_interval=interval, ping_timeout=timeout)
    client = bench.open()
    bench.loop.advance(interval + timeout - 0.1)
    frames = client.frames()
    assert frames
    assert set(frames) == {(PING, b"")}
    bench.loop.advance(0.3)
    assert client.code() == 1011
    assert bench.stats["websocket_ping_timeouts"] == 1
    bench.loop.advance(25)
    assert client.aborted


def test_pings_keep_coming_while_a_pong_is_awaited_longer(bench_with: BenchWith) -> None:
    bench = bench_with(ping_interval=5, ping_timeout=20)
    client = bench.open()
    bench.loop.advance(20.5)
    assert client.frames() == [(PING, b"")] * 4


def test_a_prompt_pong_leaves_the_interval(bench_with: BenchWith) -> None:
    bench = bench_with(ping_interval=20, ping_timeout=5)
    client = bench.open()
    bench.loop.advance(20.1)
    assert client.frames() == [(PING, b"")]
    client.feed(client_frame(PONG))
    bench.loop.advance(19.7)
    assert client.frames() == []
    bench.loop.advance(0.5)
    assert client.frames() == [(PING, b"")]


def test_no_pings(bench_with: BenchWith) -> None:
    bench = bench_with(ping_interval=0)
    client = bench.open()
    bench.loop.advance(10_000)
    assert client.take() == b""


def test_pings_without_a_bound_for_the_pong(bench_with: BenchWith) -> None:
    bench = bench_with(ping_timeout=0)
    client = bench.open()
    bench.loop.advance(100.9)
    assert client.frames() == [(PING, b"")] * 5


def test_while_we_do_not_read_no_pong_is_missed(bench: Any) -> None:
    client = bench.open()
    channel = Channel(bench)
    channel.held = True
    while client.read_from:
        client.say("x")
    bench.loop.advance(100)
    assert client.frames()
    assert bench.stats["websocket_ping_timeouts"] == 0
    channel.tell()
    client.feed(client_frame(PONG))
    bench.loop.advance(20)
    assert not client.closed


def test_a_ping_finds_out_a_slow_reader(bench_with: BenchWith) -> None:
    bench = bench_with(write_limit=1000)
    client = bench.open()
    client.transport.buffered = 2000
    bench.loop.advance(20.1)
    ((opcode, payload),) = client.frames()
    assert close_code((opcode, payload)) == 1013


# Workers ask for order


def ordered(bench: Any) -> Any:
    """Open a socket whose messages come one at a time."""
    bench.inbox.announced = dict.fromkeys(bench.inbox.announced, True)
    client = bench.connect()
    assert [sent.channel for sent in bench.take()] == ["websocket.connect"]
    client.reply({"accept": True})
    assert client.accepted() == []
    return client


def texts(client: Any) -> list[str]:
    return [message["text"] for message in client.sent()]


def test_frames_wait_until_a_worker_is_done_with_the_connect(bench: Any) -> None:
    client = ordered(bench)
    client.say("a")
    client.say("b")
    assert texts(client) == []
    client.reply({"done": 0})
    assert texts(client) == ["a"]
    client.reply({"done": 1})
    assert texts(client) == ["b"]
    assert client.take() == b"", "a worker's word is nothing for the client"


def test_reading_stops_while_64_messages_wait_for_their_turn(bench: Any) -> None:
    client = ordered(bench)
    client.reply({"done": 0})
    for number in range(63):
        client.say(str(number))
    assert client.read_from
    client.say("63")
    assert not client.read_from
    for number in range(32):
        client.reply({"done": number + 1})
    assert not client.read_from
    client.reply({"done": 33})
    assert client.read_from
    assert texts(client) == [str(number) for number in range(34)]


def test_a_disconnect_comes_behind_all_that_was_said(bench: Any) -> None:
    client = ordered(bench)
    client.say("a")
    client.leave()
    client.reply({"done": 0})
    client.reply({"done": 1})
    sent = bench.take()
    assert [one.channel for one in sent] == ["websocket.receive", "websocket.disconnect"]
    assert [one.message["order"] for one in sent] == [1, 2]


def test_a_disconnect_waits_for_the_connect_when_nothing_was_said(bench: Any) -> None:
    client = ordered(bench)
    client.leave()
    assert bench.take() == []
    client.reply({"done": 0})
    assert [one.channel for one in bench.take()] == ["websocket.disconnect"]


def test_what_is_refused_in_its_turn_is_tried_again_in_order(bench: Any) -> None:
    client = ordered(bench)
    client.reply({"done": 0})
    bench.inbox.refusals["websocket.receive"] = ChannelFull("full")
    for text in "abc":
        client.say(text)
    bench.loop.turn()
    assert not client.read_from
    bench.inbox.refusals.clear()
    bench.inbox.take()
    bench.loop.advance(1)
    assert texts(client) == ["a"]
    for number, text in enumerate("bc"):
        client.reply({"done": number + 1})
        assert texts(client) == [text]
    client.reply({"done": 3})
    assert client.read_from
    assert bench.stats["websocket_receives_lost"] == 0

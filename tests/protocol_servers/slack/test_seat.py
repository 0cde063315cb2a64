"""One process of a workspace speaks, all receive, and another takes over when the first dies."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import Layer, LayerUnavailable, MemoryLayer
from trunkline.protocol_servers.slack import seat as seat_module
from trunkline.protocol_servers.slack.seat import Seat
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.protocol_servers.testing.slack import SlackWorkspace

Start = Callable[..., Any]
Listen = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Eventually = Callable[..., Any]

WORDS = "private words"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the lease often."""
    monkeypatch.setattr(seat_module, "LOOK", 0.05)


def test_a_second_process_receives_but_does_not_speak_and_takes_over(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message", "chat.ready")
    room = workspace.room("#dev")
    channel = f"slack.reply.acme!{room.id}"
    first = start_slack(memory_layer)
    assert take(memory_layer, "chat.ready")[0]["reply_channel"] == channel
    second = start_slack(memory_layer, connected=False)
    workspace.wait_connected(2)
    assert (first.server.speaks, second.server.speaks) == (True, False)
    for number in range(20):
        workspace.say("ann", f"#room-{number}", "hello")
    assert len(take(memory_layer, "chat.message", 20)) == 20
    assert first.stats["acknowledged"]
    assert second.stats["acknowledged"]
    for number in range(5):
        memory_layer.send(channel, {"text": f"by the first {number}"})
    workspace.wait(lambda: len(workspace.texts("#dev")) == 5)
    eventually(lambda: first.stats["said_sent"] == 5)
    assert second.stats["said_sent"] == 0
    first.stop()
    for number in range(5):
        memory_layer.send(channel, {"text": f"by the second {number}"})
    workspace.wait(lambda: len(workspace.texts("#dev")) == 10)
    assert second.server.speaks
    eventually(lambda: second.stats["said_sent"] == 5)
    assert workspace.texts("#dev") == [f"by the {who} {number}" for who in ("first", "second") for number in range(5)]
    # Whoever begins to speak tells of the rooms.
    assert channel in {each["reply_channel"] for each in take(memory_layer, "chat.ready", 20)}
    assert eventually(lambda: not workspace.undelivered())


def test_what_was_said_while_nobody_was_there_is_said_by_whoever_comes(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer
) -> None:
    room = workspace.room("#dev")
    first = start_slack(memory_layer)
    memory_layer.group_add("ops", f"slack.reply.acme!{room.id}")
    first.stop()
    memory_layer.send(f"slack.reply.acme!{room.id}", {"text": "one"})
    memory_layer.send_group("ops", {"text": "two"})
    start_slack(memory_layer)
    workspace.wait(lambda: sorted(workspace.texts("#dev")) == ["one", "two"])


class Voice:
    """Writes down what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.running = False
        self.clear = True
        self.broken = False

    async def start(self) -> None:
        self.running = True

    def say(self, conversation: str, message: Any) -> None:
        assert self.running
        if self.broken:
            raise ValueError(WORDS)
        self.said.append((conversation, message))

    async def stop(self, grace: float) -> bool:
        self.running = False
        await asyncio.sleep(0)
        return self.clear


class Rig:
    """A seat without a server."""

    def __init__(self, layer: Layer, thread: ReactorThread) -> None:
        self.layer = layer
        self.voice = Voice()
        self.stats: Counter[str] = Counter()
        self.taken = 0
        self.thread = thread
        self.refusal: Exception | None = None
        self.seat = thread.run(
            lambda: Seat(
                layer,
                "acme",
                loop=thread.loop,
                voice=self.voice,
                taken=self._take,
                send=self._send,
                stats=self.stats,
                log=logging.getLogger("trunkline.slack"),
            )
        )

    def _take(self) -> None:
        self.taken += 1

    def _send(self, channel: str, message: Any, then: Callable[[Any], None]) -> None:
        if isinstance(self.refusal, TypeError):
            raise self.refusal
        if self.refusal is None:
            self.layer.send(channel, message)
        then(self.refusal or True)

    def start(self) -> None:
        self.thread.call(self.seat.start())

    def stop(self) -> bool:
        return self.thread.call(self.seat.stop(1.0))

    def lose(self) -> None:
        """Let the layer say that another process has the lease, and later that we have it again."""
        self.thread.run(self.seat._down, "slack.reply.acme! is leased by another process")

    def regain(self) -> None:
        self.thread.run(self.seat._up)


@pytest.fixture
def make(memory_layer: MemoryLayer, reactor_thread: ReactorThread) -> Iterator[Callable[[], Rig]]:
    made: list[Rig] = []

    def making() -> Rig:
        made.append(Rig(memory_layer, reactor_thread))
        return made[-1]

    yield making
    for each in made:
        reactor_thread.call(each.seat.close())


def test_a_lease_that_was_lost_is_obeyed_and_one_that_came_back_too(
    make: Callable[[], Rig], memory_layer: MemoryLayer, eventually: Eventually
) -> None:
    rig = make()
    rig.start()
    assert (rig.seat.held, rig.taken, rig.voice.running) == (True, 1, True)
    rig.lose()
    eventually(lambda: not rig.voice.running)
    assert not rig.seat.held
    rig.thread.run(rig.seat.give_back, "C0DEV", {"text": "early"})
    rig.regain()
    eventually(lambda: rig.taken == 2)
    assert rig.voice.running
    eventually(lambda: rig.voice.said == [("C0DEV", {"text": "early"})])
    assert rig.stats["seats_lost"] == 1
    memory_layer.send("slack.reply.acme!C0DEV", {"text": "more"})
    eventually(lambda: len(rig.voice.said) == 2)


def test_a_lease_that_is_lost_and_back_at_once_is_as_if_nothing_was(
    make: Callable[[], Rig], eventually: Eventually
) -> None:
    rig = make()
    rig.start()

    def both() -> None:
        rig.seat._down("slack.reply.acme! is leased by another process")
        rig.seat._up()

    rig.thread.run(both)
    rig.thread.turns(10)
    assert (rig.seat.held, rig.voice.running, rig.taken) == (True, True, 1)


def test_an_outage_alone_is_no_reason_to_be_silent(make: Callable[[], Rig]) -> None:
    rig = make()
    rig.start()
    rig.thread.run(rig.seat._down, "the channel layer is out of reach")
    rig.thread.turns(5)
    assert rig.seat.held
    assert rig.voice.running


def test_what_was_not_said_is_given_back_for_the_next(
    make: Callable[[], Rig], memory_layer: MemoryLayer, eventually: Eventually
) -> None:
    first = make()
    first.start()
    second = make()
    second.start()
    assert not second.seat.held
    first.thread.run(first.seat.give_back, "C0DEV", {"text": "unsaid"})
    assert first.stop()
    eventually(lambda: second.voice.said == [("C0DEV", {"text": "unsaid"})])
    assert second.seat.held
    assert second.stats["seats_waited"] >= 1


def test_what_cannot_be_given_back_is_counted(make: Callable[[], Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make()
    rig.start()
    monkeypatch.setattr(seat_module, "_MOST_EARLY", 2)
    for refusal, count in ((LayerUnavailable(), 2), (TypeError("a name"), 4)):
        rig.refusal = refusal
        for _ in range(2):
            rig.thread.run(rig.seat.give_back, "C0DEV", {"text": "x"})
        rig.thread.run(rig.seat._give_all_back)
        assert rig.stats["replies_dropped"] == count
    for _ in range(3):
        rig.thread.run(rig.seat.give_back, "C0DEV", {"text": "x"})
    assert rig.stats["replies_dropped"] == 5


def test_a_reply_that_fails_hurts_no_other_and_is_not_logged(
    make: Callable[[], Rig], memory_layer: MemoryLayer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make()
    rig.start()
    rig.voice.broken = True
    memory_layer.send("slack.reply.acme!C0DEV", {"text": WORDS})
    eventually(lambda: rig.stats["failures"] == 1)
    rig.voice.broken = False
    memory_layer.send("slack.reply.acme!C0DEV", {"text": "next"})
    eventually(lambda: rig.voice.said == [("C0DEV", {"text": "next"})])
    assert WORDS not in caplog.text


def test_a_layer_that_is_away_is_asked_again(
    make: Callable[[], Rig], memory_layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    rig = make()
    with monkeypatch.context() as patch:

        def away(key: str) -> Any:
            raise LayerUnavailable

        patch.setattr(memory_layer, "get_state", away)
        rig.start()
        assert not rig.seat.held
    eventually(lambda: rig.seat.held)


def test_what_is_not_known_of_a_reply_is_said_at_the_end(make: Callable[[], Rig]) -> None:
    rig = make()
    rig.start()
    rig.voice.clear = False
    assert rig.stop() is False


def test_a_room_that_nobody_holds_is_left_silently(make: Callable[[], Rig]) -> None:
    rig = make()
    rig.thread.run(rig.seat.gone, "C0DEV")
    rig.start()
    rig.thread.run(rig.seat.gone, "C0DEV")
    assert rig.stats["failures"] == 0

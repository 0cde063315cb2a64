"""The right acknowledgement: only after the layer took it, in time, and each event once, whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerError, LayerUnavailable, MemoryLayer, MessageTooLarge
from trunkline.protocol_servers.slack import receiving as receiving_module
from trunkline.protocol_servers.slack.mapping import Delivery, Identity, Mapper
from trunkline.protocol_servers.slack.names import Names
from trunkline.protocol_servers.slack.receiving import Outcome, Receiver
from trunkline.protocol_servers.slack.web_api import NotSent
from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

Start = Callable[..., Any]
Listen = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Eventually = Callable[..., Any]

TRANSPORTS = {"sockets": {"sockets": True}, "requests": {"sockets": False, "http": True}}


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> dict[str, bool]:
    """By which of the two Slack tells."""
    return TRANSPORTS[request.param]


# With a Slack


@pytest.mark.parametrize("patience", [0.5])
def test_a_full_channel_is_not_acknowledged_and_the_retries_are_handled_once(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    with MemoryLayer(channel_capacity={"chat.message": 2}) as layer:
        listen(layer, "chat.message")
        running = start_slack(layer, **transport)
        said = [workspace.say("ann", f"#room-{number}", f"line {number}") for number in range(6)]
        eventually(lambda: running.stats["refused_full"] >= 4)
        acknowledged = [each for each in said if workspace.delivery(each.event_ids[0]).acknowledged]
        assert len(acknowledged) <= 2  # and no more than the channel holds
        texts = [each["text"] for each in take(layer, "chat.message", 6)]
        assert sorted(texts) == [f"line {number}" for number in range(6)]
        eventually(lambda: not workspace.undelivered())
        assert layer.receive(["chat.message"]) == (None, None)
        assert running.stats["not_acknowledged"] >= 4
        running.stop()


def test_what_is_told_again_is_handled_once(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message", "slack.event")
    running = start_slack(memory_layer, **transport)
    workspace.say("ann", "#dev", "once")
    workspace.command("ann", "#dev", "/deploy")
    eventually(lambda: not workspace.undelivered())
    deliveries = workspace.deliveries
    for delivery in deliveries:
        workspace.again(delivery)
    eventually(lambda: all(len(each.attempts) == 2 and each.attempts[1].outcome for each in deliveries))
    # By requests the command's repetition is the same request, which nobody but Slack could have signed, and Slack
    # does not repeat commands: it is refused. Over a socket it is known.
    repeated = [each.attempts[1].outcome for each in deliveries]
    assert repeated == ["acknowledged", "acknowledged" if "http" not in transport else "http_error"] or repeated == [
        "acknowledged",
        "acknowledged",
    ]
    for channel in ("chat.message", "slack.event", "slack.command"):
        assert len(take(memory_layer, channel)) == 1
    assert running.stats["repeats"] >= 2


def test_two_transports_at_once_tell_one_message(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """Each event comes over the socket and as a request at the same time, and is put on the bus once."""
    listen(memory_layer, "chat.message", "slack.event")
    running = start_slack(memory_layer, http=True)
    url = running.address + "/slack/events"
    statuses: list[int] = []
    threads = []
    for number in range(20):
        said = workspace.say("ann", "#dev", f"line {number}")
        body = json.dumps(workspace.delivery(said.event_ids[0]).payload).encode()
        threads.append(threading.Thread(target=lambda body=body: statuses.append(workspace.request(url, body)[0])))
        threads[-1].start()
    for thread in threads:
        thread.join(30)
    eventually(lambda: not workspace.undelivered())
    assert statuses == [200] * 20
    texts = [each["text"] for each in take(memory_layer, "chat.message", 20)]
    assert Counter(texts) == Counter(f"line {number}" for number in range(20))
    assert len(take(memory_layer, "slack.event", 20)) == 20
    assert running.stats["repeats"] == 40


def test_a_slow_web_api_delays_no_acknowledgement(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """Names take longer than Slack waits: what is said arrives under ids, and is acknowledged at the first attempt."""
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer, **transport)
    workspace.delay("users.info", 60, times=1000)
    workspace.delay("conversations.info", 60, times=1000)
    said = [workspace.say(f"user-{number}", f"#room-{number}", "hello") for number in range(30)]
    messages = take(memory_layer, "chat.message", 30)
    eventually(lambda: not workspace.undelivered())
    assert {each["user"] for each in messages} == {each.user for each in said}
    assert all(each["user"] == each["user_id"] for each in messages)
    for each in said:
        assert [attempt.outcome for attempt in workspace.delivery(each.event_ids[0]).attempts] == ["acknowledged"]
    assert running.stats["names_late"] >= 1


def test_names_that_come_late_are_there_the_next_time(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving_module, "NAMES", 0.01)
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer)
    workspace.delay("users.info", 0.3)
    ann = workspace.person("ann")
    workspace.say("ann", "#dev", "one")
    [first] = take(memory_layer, "chat.message")
    assert first["user"] == ann.id
    workspace.wait(lambda: any(call.ended for call in workspace.called("users.info")))
    end = time.monotonic() + 30
    while running.server.names.user(ann.id) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    workspace.say("ann", "#dev", "two")
    [second] = take(memory_layer, "chat.message")
    assert second["user"] == "ann"
    workspace.rename("ann", "anna")
    workspace.rename("#dev", "ops")
    workspace.say("anna", "#ops", "three")
    [third] = take(memory_layer, "chat.message")
    assert (third["user"], third["channel"]) == ("anna", "ops")
    assert len(workspace.called("users.info")) == 1


def test_a_crash_between_put_and_acknowledgement_loses_and_doubles_nothing(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is cut when the layer has it and Slack does not know: it comes again, and is known."""
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer)
    taking = running.server.receiver.take
    cut: list[Outcome] = []

    async def crashing(delivery: Delivery) -> Outcome:
        outcome: Outcome = await taking(delivery)
        if len(cut) < 5 and delivery.retry == 0:
            cut.append(outcome)
            workspace.cut_connections()
            return Outcome.REFUSED
        return outcome

    monkeypatch.setattr(running.server.receiver, "take", crashing)
    for number in range(10):
        workspace.say("ann", "#dev", f"line {number}")
        eventually(lambda: not workspace.undelivered())
    texts = [each["text"] for each in take(memory_layer, "chat.message", 10)]
    assert texts == [f"line {number}" for number in range(10)]
    assert memory_layer.receive(["chat.message"]) == (None, None)
    assert cut == [Outcome.TAKEN] * 5
    assert running.stats["repeats"] == 5


def test_what_belongs_to_one_room_keeps_its_order(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, listen: Listen, take: Take
) -> None:
    """Some names are asked for and some are known: nobody overtakes in a room."""
    listen(memory_layer, "chat.message")
    start_slack(memory_layer)
    workspace.delay("users.info", 0.05, times=1000)
    for number in range(60):
        workspace.say(f"user-{number % 20}", "#dev", f"line {number}")
    texts = [each["text"] for each in take(memory_layer, "chat.message", 60)]
    assert texts == [f"line {number}" for number in range(60)]


def test_a_stopping_server_acknowledges_what_it_took_and_nothing_else(
    transport: dict[str, bool],
    slack: SlackService,
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    first = start_slack(memory_layer, **transport)
    stop = threading.Event()
    count = 0

    def speaking() -> None:
        nonlocal count
        while not stop.is_set():
            workspace.say("ann", f"#room-{count % 7}", f"line {count}")
            count += 1
            time.sleep(0.002)

    thread = threading.Thread(target=speaking)
    thread.start()
    eventually(lambda: count > 50)
    assert first.stop()
    eventually(lambda: count > 100)
    stop.set()
    thread.join(30)
    second = start_slack(memory_layer, **transport)

    def all_told() -> bool:
        workspace.retry_now()
        return not workspace.undelivered()

    eventually(all_told)
    texts = Counter(each["text"] for each in take(memory_layer, "chat.message", count))
    assert texts == Counter(f"line {number}" for number in range(count))
    assert first.stats["acknowledged"] + second.stats["acknowledged"] >= count


# Without one


class FakeBus:
    """A layer that says what the test wants."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], str]] = []
        self.outcomes: dict[str, Any] = {}
        self.silent: set[str] = set()

    def wanted(self, channel: str) -> bool:
        return channel not in self.silent

    def put(self, channel: str, message: dict[str, Any], once: str) -> asyncio.Future[Any]:
        outcome = self.outcomes.get(channel, True)
        if outcome is TypeError:
            raise TypeError("cannot travel")
        self.sent.append((channel, message, once))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if outcome is not None:
            future.set_result(outcome)
        return future


class Rig:
    """A receiver, a layer that says what the test wants, and a Slack that never answers."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.stats: Counter[str] = Counter()
        self.followed: list[Any] = []
        self.names = Names(self._ask, spawn=asyncio.ensure_future, clock=time.monotonic, stats=self.stats)
        self.mapper = Mapper("acme", self.names)
        self.mapper.identity = Identity("T1", "U0ME", "B0ME", "bot")
        self.receiver = Receiver(
            self.mapper,
            self.names,
            self.bus,
            follow=self.followed.append,
            network="acme",
            clock=time.monotonic,
            stats=self.stats,
            log=logging.getLogger("trunkline.slack"),
        )

    async def _ask(self, method: str, arguments: Any) -> Any:
        raise NotSent("away")

    def take(self, event: Any = None, **payload: Any) -> Outcome:
        event = event or {"type": "message", "channel": "C0DEV", "user": "U0ANN", "text": "hi", "ts": "1700000000.1"}
        return asyncio.run(self.receiver.take(self.delivery(event, **payload)))

    def delivery(self, event: Any, **payload: Any) -> Delivery:
        return Delivery("events_api", {"team_id": "T1", "event_id": "Ev1", "event": event} | payload, "key")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_each_message_has_a_name_that_every_repetition_has(rig: Rig) -> None:
    assert rig.take() is rig.take(event_id="Ev2") is Outcome.TAKEN
    assert [(channel, once) for channel, _, once in rig.bus.sent] == [
        ("chat.message", "T1 C0DEV:1700000000.1"),
        ("slack.event", "T1 Ev1"),
        ("chat.message", "T1 C0DEV:1700000000.1"),
        ("slack.event", "T1 Ev2"),
    ]


@pytest.mark.parametrize(
    ("outcome", "expected", "counted"),
    [
        (True, Outcome.TAKEN, {}),
        (False, Outcome.TAKEN, {"repeats": 1}),
        (ChannelFull("full"), Outcome.REFUSED, {"refused_full": 1}),
        (LayerUnavailable(), Outcome.REFUSED, {"refused_unavailable": 1}),
        (LayerUnavailable(uncertain=True), Outcome.REFUSED, {"in_doubt": 1}),
        (LayerError("of another kind"), Outcome.REFUSED, {}),
        (MessageTooLarge("large"), Outcome.TAKEN, {"refused_too_large": 1}),
        (TypeError, Outcome.UNFIT, {"unfit_events": 1}),
    ],
)
def test_what_the_layer_says_decides(rig: Rig, outcome: Any, expected: Outcome, counted: dict[str, int]) -> None:
    rig.bus.outcomes["slack.event"] = outcome
    assert rig.take() is expected
    assert counted.items() <= rig.stats.items()
    assert rig.stats["events"] == 1


def test_a_layer_that_does_not_answer_is_waited_for_less_than_slack_waits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert receiving_module.ACKNOWLEDGE < 3
    monkeypatch.setattr(receiving_module, "ACKNOWLEDGE", 0.05)
    rig.bus.outcomes["chat.message"] = None
    assert rig.take() is Outcome.REFUSED
    assert rig.stats["late"] == 1
    rig.bus.outcomes.clear()
    assert rig.take() is Outcome.TAKEN  # nothing is left behind that others would wait for


def test_what_is_under_way_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_module, "MOST_OPEN", 2)
    rig.bus.outcomes["chat.message"] = None
    event = {"type": "message", "channel": "C0DEV", "user": "U0ANN", "text": "hi", "ts": "1700000000.1"}

    async def crowd() -> list[Outcome]:
        waiting = [asyncio.ensure_future(rig.receiver.take(rig.delivery(event))) for _ in range(2)]
        await asyncio.sleep(0)
        third = await rig.receiver.take(rig.delivery(event))
        for each in waiting:
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waiting)
        return [third]

    assert asyncio.run(crowd()) == [Outcome.REFUSED]
    assert rig.stats["held_off"] == 1
    rig.bus.outcomes.clear()
    assert rig.take() is Outcome.TAKEN


def test_what_nobody_wants_is_acknowledged_and_followed(rig: Rig) -> None:
    rig.bus.silent = {"chat.message", "slack.event"}
    assert rig.take({"type": "channel_rename", "channel": {"id": "C0DEV", "name": "ops"}}) is Outcome.TAKEN
    assert rig.bus.sent == []
    assert rig.stats["notifications_dropped"] == 1
    assert [each["type"] for each in rig.followed] == ["channel_rename"]


@pytest.mark.parametrize("event", [None, 7, [], {}, {"type": 7}, {"type": None}])
def test_what_makes_no_sense_is_said_so_and_the_next_is_taken(rig: Rig, event: Any) -> None:
    assert asyncio.run(rig.receiver.take(rig.delivery(event))) is Outcome.UNFIT
    assert rig.stats["unfit_events"] == 1
    assert rig.take() is Outcome.TAKEN

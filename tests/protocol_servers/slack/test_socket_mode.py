"""The connections of Socket Mode: overlap, single-use addresses, backoff, pings, bounds."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.slack.socket_mode import Pace, SocketMode
from trunkline.protocol_servers.slack.web_api import NotSent, RateLimited, Refused
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.protocol_servers.testing.slack import SlackWorkspace

Start = Callable[..., Any]
Listen = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Eventually = Callable[..., Any]


# With a Slack


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
def test_refreshed_connections_overlap_and_nothing_is_lost_or_doubled(
    reason: str,
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """Somebody speaks all the time while Slack refreshes the connection again and again."""
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer)
    stop = threading.Event()
    count = 0
    fewest = 10

    def speaking() -> None:
        nonlocal count, fewest
        while not stop.is_set():
            workspace.say("ann", f"#room-{count % 5}", f"line {count}")
            fewest = min(fewest, len(workspace.connections))
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=speaking)
    thread.start()
    try:
        for refresh in range(1, 9):
            workspace.disconnect(reason)
            eventually(lambda refresh=refresh: running.stats["connections"] > refresh)
            eventually(lambda: len(workspace.connections) == 1)
    finally:
        stop.set()
        thread.join(30)
    eventually(lambda: not workspace.undelivered())
    texts = Counter(each["text"] for each in take(memory_layer, "chat.message", count))
    assert texts == Counter(f"line {number}" for number in range(count))
    assert memory_layer.receive(["chat.message"]) == (None, None)
    assert fewest >= 1  # there always was one to send to
    assert running.stats["refreshed"] == 8
    assert running.stats["lost_connections"] == 0
    assert workspace.sockets.refused == 0  # no address was used twice


@pytest.mark.parametrize("how", ["cut_connections", "close_connections"])
def test_a_lost_connection_is_replaced(
    how: str,
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer)
    for number in range(1, 6):
        getattr(workspace, how)()
        eventually(lambda number=number: running.stats["connections"] > number)
        workspace.say("ann", "#dev", f"line {number}")
    texts = [each["text"] for each in take(memory_layer, "chat.message", 5)]
    assert sorted(texts) == [f"line {number}" for number in range(1, 6)]
    assert running.stats["lost_connections"] == 5
    assert workspace.sockets.refused == 0
    eventually(lambda: len(workspace.connections) == 1)


def test_a_connection_through_which_nothing_passes_is_replaced(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    pace = Pace(ping_interval=0.5, overlap=0.05, finish=0.1, shortest_wait=0.02, longest_wait=0.2)
    running = start_slack(memory_layer, pace=pace)
    workspace.freeze_connections()
    eventually(lambda: running.stats["connections"] >= 2)
    said = workspace.say("ann", "#dev", "hello")
    assert take(memory_layer, "chat.message")[0]["text"] == "hello"
    eventually(lambda: workspace.delivery(said.event_ids[0]).acknowledged)


def test_socket_mode_that_is_switched_off_is_a_problem_until_it_is_back(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, eventually: Eventually
) -> None:
    running = start_slack(memory_layer)
    fault = workspace.fail("apps.connections.open", "internal_error", times=1000)
    workspace.disconnect("link_disabled")
    assert eventually(running.problems) == ["slack.acme: Socket Mode is switched off in the app's settings"]
    fault.times = 0
    eventually(lambda: not running.problems())


def test_too_many_connections_are_waited_out(
    start_slack: Start, workspace: SlackWorkspace, eventually: Eventually
) -> None:
    """Slack has room for ten: the eleventh process waits until one of them ends, and says nothing else about it."""
    servers = [start_slack(MemoryLayer(), connected=False) for _ in range(10)]
    eventually(lambda: len(workspace.connections) == 10)
    late = start_slack(MemoryLayer(), connected=False)
    eventually(lambda: late.stats["failed_connections"] >= 2)
    assert late.problems() == []
    servers[0].stop()
    eventually(lambda: late.stats["connections"] == 1)


def test_limits_and_outages_of_slack_are_waited_out(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, eventually: Eventually
) -> None:
    workspace.limit("apps.connections.open", 1)
    running = start_slack(memory_layer)
    assert running.stats["connections"] == 1
    workspace.fail("apps.connections.open", status=503, times=3)
    workspace.cut_connections()
    eventually(lambda: running.stats["connections"] == 2)
    assert running.stats["failed_connections"] == 3


# With a Slack of the test's own, which says what it should not


class Odd:
    """A WebSocket that says what the test wants; how often it was opened, and what it was told."""

    def __init__(self, reactor_thread: ReactorThread) -> None:
        self.first: list[str] = ['{"type": "hello"}']
        self.opened = 0
        self.received: list[Any] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.status = 101
        self.silent = False
        self._thread = reactor_thread
        self._runner: web.AppRunner

    def start(self) -> str:
        async def starting() -> str:
            app = web.Application()
            app.router.add_get("/", self._serve)
            self._runner = web.AppRunner(app, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            return f"ws://127.0.0.1:{self._runner.addresses[0][1]}/"

        return self._thread.call(starting())

    def stop(self) -> None:
        async def stopping() -> None:
            for socket in self.sockets:
                await socket.close()
            await self._runner.cleanup()

        self._thread.call(stopping())

    def say(self, *frames: Any) -> None:
        """Send frames on the newest connection."""

        async def saying() -> None:
            for frame in frames:
                if isinstance(frame, bytes):
                    await self.sockets[-1].send_bytes(frame)
                else:
                    await self.sockets[-1].send_str(frame if isinstance(frame, str) else json.dumps(frame))

        self._thread.call(saying())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.opened += 1
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        for frame in self.first:
            await socket.send_str(frame)
        if self.silent:
            await asyncio.sleep(0.05)
            await socket.close()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.received.append(json.loads(message.data))
        return socket


class Client:
    """Our end, with a taker and an address of the test's own."""

    def __init__(
        self, reactor_thread: ReactorThread, address: str, pace: Pace, draw: Callable[[], float] = random.random
    ) -> None:
        self.stats: Counter[str] = Counter()
        self.taken: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.asked = 0
        self.address = address
        self.gate: asyncio.Event | None = None
        self.verdict: Any = True
        self._thread = reactor_thread
        self.mode: SocketMode = reactor_thread.run(
            lambda: SocketMode(
                self._new_address,
                self._take,
                network="acme",
                clock=time.monotonic,
                stats=self.stats,
                log=logging.getLogger("trunkline.slack"),
                pace=pace,
                draw=draw,
            )
        )

    async def _new_address(self) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.address

    async def _take(self, envelope: dict[str, Any]) -> bool:
        self.taken.append(envelope)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return bool(self.verdict)

    def start(self) -> None:
        self._thread.call(self.mode.start())

    def stop(self, grace: float = 1.0) -> None:
        self._thread.call(self.mode.stop(grace))


PACE = Pace(
    connect_timeout=5, overlap=0.02, finish=0.5, shortest_wait=0.01, longest_wait=0.05, refused_wait=0.02, most_open=3
)


@pytest.fixture
def odd(reactor_thread: ReactorThread) -> Iterator[Odd]:
    made = Odd(reactor_thread)
    made.address = made.start()  # type: ignore[attr-defined]
    yield made
    made.stop()


@pytest.fixture
def connect(reactor_thread: ReactorThread, odd: Odd) -> Iterator[Callable[..., Client]]:
    """Starts our end: ``connect(pace=…, failures=[…])``."""
    running: list[Client] = []

    def start(pace: Pace = PACE, failures: list[Exception] | None = None, **options: Any) -> Client:
        client = Client(reactor_thread, odd.address, pace, **options)  # type: ignore[attr-defined]
        client.failures = failures or []
        client.start()
        running.append(client)
        return client

    yield start
    for client in running:
        client.stop()


def envelope(number: int) -> dict[str, Any]:
    return {"envelope_id": str(number), "type": "events_api", "payload": {"number": number}}


def test_only_what_was_taken_is_acknowledged(odd: Odd, connect: Callable[..., Client], eventually: Eventually) -> None:
    client = connect()
    eventually(lambda: odd.sockets)
    odd.say(envelope(1))
    eventually(lambda: odd.received == [{"envelope_id": "1"}])
    client.verdict = False
    odd.say(envelope(2))
    eventually(lambda: client.stats["not_acknowledged"] == 1)
    client.verdict = ValueError("secret words")
    odd.say(envelope(3))
    eventually(lambda: client.stats["failures"] == 1)
    client.verdict = True
    odd.say(envelope(4))
    eventually(lambda: odd.received == [{"envelope_id": "1"}, {"envelope_id": "4"}])
    assert client.stats["acknowledged"] == 2


def test_while_many_are_being_taken_nothing_more_is_read(
    odd: Odd, connect: Callable[..., Client], eventually: Eventually, reactor_thread: ReactorThread
) -> None:
    client = connect()
    client.gate = reactor_thread.run(asyncio.Event)
    eventually(lambda: odd.sockets)
    odd.say(*map(envelope, range(20)))
    eventually(lambda: len(client.taken) == 3)
    reactor_thread.turns(20)
    assert len(client.taken) == 3
    reactor_thread.run(client.gate.set)
    eventually(lambda: len(odd.received) == 20)
    assert [each["envelope_id"] for each in odd.received] == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        "{",
        "7",
        "[" * 100_000,
        '{"type": NaN}',
        b"\xff\xfe",
        '{"envelope_id": 7, "type": "events_api"}',
        '{"type": "disconnected"}',
        '{"type": []}',
        "{}",
    ],
)
def test_frames_that_make_no_sense_hurt_nobody(
    frame: Any, odd: Odd, connect: Callable[..., Client], eventually: Eventually
) -> None:
    client = connect()
    eventually(lambda: odd.sockets)
    odd.say(frame, envelope(1))
    eventually(lambda: odd.received == [{"envelope_id": "1"}])
    assert client.stats["failures"] == 0
    assert client.stats["connections"] == 1


def test_half_a_surrogate_pair_can_travel(odd: Odd, connect: Callable[..., Client], eventually: Eventually) -> None:
    client = connect()
    eventually(lambda: odd.sockets)
    odd.say(r'{"envelope_id": "1", "payload": {"text": "\ud83d \ud83d\ude00"}}')
    eventually(lambda: odd.received)
    assert client.taken[0]["payload"]["text"] == "? \U0001f600"


@pytest.mark.parametrize(
    "first",
    [
        [],
        ['{"type": "disconnect", "reason": "too_many_websockets"}'],
        ['{"type": "goodbye"}'],
        ["{"],
    ],
)
def test_who_does_not_say_hello_is_tried_again_later(
    first: list[str], odd: Odd, connect: Callable[..., Client], eventually: Eventually
) -> None:
    odd.first = first
    odd.silent = not first
    client = connect()
    eventually(lambda: client.stats["failed_connections"] >= 3)
    assert client.asked >= odd.opened  # each connection with an address of its own
    odd.first = ['{"type": "hello"}']
    odd.silent = False
    eventually(lambda: client.stats["connections"] == 1)
    assert not client.mode.problem


def test_an_address_that_is_no_good_is_tried_again_later(
    odd: Odd, connect: Callable[..., Client], eventually: Eventually
) -> None:
    odd.status = 404
    client = connect()
    eventually(lambda: client.stats["failed_connections"] >= 2)
    client.address = "ws://127.0.0.1:1/"
    eventually(lambda: client.stats["failed_connections"] >= 4)
    client.address = "ws://[nowhere"
    eventually(lambda: client.stats["failed_connections"] >= 6)
    client.address = odd.address  # type: ignore[attr-defined]
    odd.status = 101
    eventually(lambda: client.stats["connections"] == 1)


def test_every_failure_of_asking_for_an_address_is_waited_out(
    odd: Odd, connect: Callable[..., Client], eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [NotSent("away"), RateLimited(0.01), Refused("token_revoked"), ValueError("secret words")]
    client = connect(failures=failures)
    eventually(lambda: client.stats["connections"] == 1)
    assert client.stats["failures"] == 1
    assert "Slack does not take app_token: token_revoked" in caplog.text
    assert "secret words" not in caplog.text
    assert client.mode.problem is None


def test_a_token_that_is_refused_at_the_start_is_said_at_once(connect: Callable[..., Client]) -> None:
    with pytest.raises(Refused, match="invalid_auth"):
        connect(failures=[Refused("invalid_auth")])


def test_a_slack_that_refreshes_all_the_time_is_not_hammered(
    odd: Odd, connect: Callable[..., Client], eventually: Eventually
) -> None:
    """Each connection is told to leave in its first moment: the waits grow, as no connection lived."""
    odd.first = ['{"type": "hello"}', '{"type": "disconnect", "reason": "refresh_requested"}']
    pace = Pace(overlap=0.0, shortest_wait=0.02, longest_wait=1000.0)
    began = time.monotonic()
    client = connect(pace, draw=lambda: 1.0)
    eventually(lambda: client.stats["refreshed"] >= 5)
    assert time.monotonic() - began >= 0.02 + 0.04 + 0.08 + 0.16
    assert client.asked == client.stats["connections"]


def test_stopping_lets_what_was_begun_be_acknowledged(
    odd: Odd, connect: Callable[..., Client], eventually: Eventually, reactor_thread: ReactorThread
) -> None:
    client = connect()
    client.gate = reactor_thread.run(asyncio.Event)
    eventually(lambda: odd.sockets)
    odd.say(envelope(1))
    eventually(lambda: client.taken)
    stopping = threading.Thread(target=client.stop, args=(20.0,))
    stopping.start()
    eventually(lambda: client.mode.closing)
    odd.say(envelope(2))
    reactor_thread.turns(10)
    reactor_thread.run(client.gate.set)
    stopping.join(30)
    assert odd.received == [{"envelope_id": "1"}]
    assert [each["envelope_id"] for each in client.taken] == ["1"]

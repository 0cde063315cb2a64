"""The connection that comes back, on asyncio's own loop and on uvloop, against a real Redis and what is none."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha1
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
import uvloop

from trunkline.layer import LayerUnavailable
from trunkline.layer.backoff import Backoff
from trunkline.layer.redis import stream as stream_module
from trunkline.layer.redis import wire as wire_module
from trunkline.layer.redis.address import TLS, Address
from trunkline.layer.redis.replies import Command
from trunkline.layer.redis.stream import Stream
from trunkline.layer.redis.wire import Wire

if TYPE_CHECKING:
    from tests.layer.redis.conftest import Fake, RedisServer

    Start = Callable[..., RedisServer]
    StartFake = Callable[..., Fake]

APPEND = b"return redis.call('RPUSH', KEYS[1], ARGV[1])"
SHA = sha1(APPEND).hexdigest().encode()
SCRIPTS = {SHA: APPEND}
SOON = 0.2  # seconds within which what never answers has failed
PATIENCE = 60.0


class Watched:
    """A stream, what it told, and its loop, which runs only while a test waits for something."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address, **options: Any) -> None:
        self.loop = loop
        self.told: list[str] = []
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[], None] = lambda: None
        options = {"scripts": {}, "name": "stream", "backoff": Backoff(0.01, 0.05), **options}
        self.stream = Stream(loop, address, up=self._up, down=self._down, **options)

    def _up(self) -> None:
        assert self.stream.connected
        self.told.append("up")
        self.on_up()

    def _down(self, reason: str) -> None:
        assert "\n" not in reason
        self.told.append(reason)
        self.on_down()

    def start(self) -> Watched:
        self.stream.start()
        self.until(lambda: self.told)
        return self

    def until(self, condition: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(asyncio.wait_for(wait(), PATIENCE))

    def send(self, *commands: Command) -> list[Any]:
        """Send, and return the list that its outcome will be in."""
        outcome: list[Any] = []
        self.stream.send(commands, outcome.append)
        assert outcome == []
        return outcome

    def ask(self, *commands: Command) -> Any:
        outcome = self.send(*commands)
        self.until(lambda: outcome)
        return outcome[0]

    def lost(self, *outcomes: list[Any]) -> list[bool]:
        """Wait until all were lost, and return whether they are uncertain."""
        self.until(lambda: all(outcomes))
        assert all(len(outcome) == 1 and isinstance(outcome[0], LayerUnavailable) for outcome in outcomes)
        return [outcome[0].uncertain for outcome in outcomes]

    def alternates(self) -> bool:
        ups = [told == "up" for told in self.told]
        return all(one != other for one, other in pairwise(ups))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that complains about what was left behind."""
    complaints: list[Any] = []
    made: asyncio.AbstractEventLoop = request.param()
    made.set_exception_handler(lambda _, context: complaints.append(context))
    yield made
    made.run_until_complete(asyncio.sleep(0))
    made.run_until_complete(asyncio.sleep(0.001))
    left = asyncio.all_tasks(made)
    made.run_until_complete(made.shutdown_default_executor())
    made.close()
    assert complaints == []
    assert left == set()


@pytest.fixture
def watch(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., Watched]]:
    """Make streams, which are closed at the end."""
    made: list[Watched] = []

    def make(address: Address, **options: Any) -> Watched:
        made.append(Watched(loop, address, **options))
        return made[-1]

    yield make
    for watched in made:
        watched.stream.close()


@pytest.fixture
def running(watch: Callable[..., Watched], redis_server: RedisServer) -> Watched:
    redis_server.command("FLUSHALL")
    watched = watch(redis_server.address, scripts=SCRIPTS).start()
    assert watched.told == ["up"]
    return watched


Watch = Callable[..., Watched]


# What works


def test_sends_and_answers(running: Watched, redis_server: RedisServer) -> None:
    replies = running.ask(("SET", "k", b"\x00v"), ("GET", "k"), ("GET", "none"), ("NO",), ("EVALSHA", SHA, 1, "l", 1))
    assert replies[:3] == [b"OK", b"\x00v", None]
    assert isinstance(replies[3], hiredis.ReplyError)
    assert replies[4] == 1
    assert running.ask() == []
    assert running.stream.hello.server == "redis"
    assert b" name=stream " in running.ask(("CLIENT", "INFO"))[0]


def test_replies_go_to_who_asked_in_order(running: Watched) -> None:
    order: list[Any] = []
    for number in range(500):
        running.stream.send([("ECHO", str(number))] * (number % 3 + 1), order.append)
    running.until(lambda: len(order) == 500)
    assert order == [[b"%d" % number] * (number % 3 + 1) for number in range(500)]


def test_large_both_ways(running: Watched) -> None:
    value = os.urandom(1 << 20) * 20
    assert running.ask(("SET", "large", value), ("GET", "large")) == [b"OK", value]


def test_unix_socket_user_and_database(watch: Watch, start_redis: Start) -> None:
    server = start_redis()
    server.command("ACL", "SETUSER", "bus", "on", ">p", "~*", "+@all")
    watched = watch(Address(path=str(server.socket), database=2, username="bus", password="p")).start()
    [client] = watched.ask(("CLIENT", "INFO"))
    assert b" db=2 " in client
    assert b" user=bus " in client


def test_tls(watch: Watch, start_redis: Start, certificate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pem, key = str(certificate.certificate), str(certificate.key)
    start_redis("--tls-port", str(port), "--tls-cert-file", pem, "--tls-key-file", key, "--tls-ca-cert-file", pem)
    watched = watch(Address("localhost", port, tls=TLS(pem, pem, key)), scripts=SCRIPTS).start()
    value = os.urandom(1 << 20) * 4
    assert watched.ask(("SET", "k", value), ("GET", "k")) == [b"OK", value]
    untrusting = watch(Address("localhost", port, tls=TLS())).start()
    assert untrusting.told == [
        f"cannot reach rediss://localhost:{port}/0: its certificate is not trusted: self-signed certificate"
    ]
    missing = watch(Address("localhost", port, tls=TLS("no.pem"))).start()
    assert missing.told == [f"cannot reach rediss://localhost:{port}/0: No such file or directory"]


def test_a_command_that_cannot_travel_harms_nothing(running: Watched) -> None:
    with pytest.raises(TypeError):
        running.send(("SET", "k", object()))  # type: ignore[arg-type]
    assert running.ask(("PING",)) == [b"PONG"]


def test_idle_streams_have_no_timer(watch: Watch, redis_server: RedisServer) -> None:
    watched = watch(redis_server.address, timeout=0.05).start()
    watched.ask(("PING",))
    wire = watched.stream._wire
    assert wire is not None
    watched.until(lambda: wire._timer is None)
    assert watched.ask(("PING",)) == [b"PONG"]
    assert watched.told == ["up"]


def test_one_timer_for_many(running: Watched) -> None:
    outcomes = [running.send(("PING",)) for _ in range(10)]
    wire = running.stream._wire
    assert wire is not None
    timer = wire._timer
    running.until(lambda: all(outcomes))
    running.ask(("PING",))
    assert wire._timer is timer


# Up and down


def test_before_it_is_connected(watch: Watch, redis_server: RedisServer) -> None:
    watched = watch(redis_server.address)
    early = watched.send(("SET", "early", 1))
    assert not watched.stream.connected
    watched.stream.start()
    watched.stream.start()
    assert watched.lost(early) == [False]
    assert "not connected to redis://127.0.0.1" in str(early[0])
    watched.until(lambda: watched.told)
    watched.stream.start()
    assert watched.ask(("GET", "early")) == [None]
    assert watched.told == ["up"]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_that_never_runs_leaves_nothing_to_complain_of(
    new_loop: Callable[[], asyncio.AbstractEventLoop], redis_server: RedisServer, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()  # what other tests left is theirs
    recwarn.clear()
    loop = new_loop()
    Watched(loop, redis_server.address).stream.start()
    loop.close()
    del loop
    gc.collect()
    assert [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning] == []


def test_killed_and_back(watch: Watch, start_redis: Start) -> None:
    server = start_redis()
    watched = watch(server.address, scripts=SCRIPTS).start()
    run_id = watched.stream.hello.run_id
    for times in (1, 2):
        waiting = [watched.send(("BLPOP", "q", 0)), watched.send(("INCR", "n"))]
        server.kill()
        assert watched.lost(*waiting) == [True, True]
        assert "lost redis://" in str(waiting[0][0])
        watched.until(lambda: len(watched.told) == 2 * times)  # noqa: B023
        assert not watched.stream.connected
        away = watched.send(("INCR", "n"))
        assert watched.lost(away) == [False]
        watched.until(lambda: "Connection refused" in watched.stream._reason)
        server.restart()
        watched.until(lambda: len(watched.told) == 2 * times + 1)  # noqa: B023
        assert watched.ask(("EVALSHA", SHA, 1, "l", "x"), ("GET", "n")) == [1, None]
    assert watched.stream.hello.run_id != run_id
    assert watched.alternates()


def test_down_once_when_it_was_never_there(watch: Watch, start_redis: Start) -> None:
    server = start_redis()
    server.kill()
    watched = watch(server.address).start()
    assert watched.told == [f"cannot reach redis://127.0.0.1:{server.port}/0: Connection refused"]
    attempts = []
    dial = watched.stream._connect
    watched.stream._connect = lambda: attempts.append(1) or dial()  # type: ignore[method-assign, func-returns-value]
    watched.until(lambda: len(attempts) > 3)
    assert len(watched.told) == 1
    server.restart()
    watched.until(lambda: len(watched.told) == 2)
    assert watched.told[1] == "up"


def test_client_kill(running: Watched, redis_server: RedisServer) -> None:
    waiting = running.send(("BLPOP", "q", 0))
    before = running.stream.hello.client_id
    running.until(lambda: b"cmd=blpop" in redis_server.command("CLIENT", "LIST"))
    redis_server.command("CLIENT", "KILL", "ID", before)
    assert running.lost(waiting) == [True]
    running.until(lambda: len(running.told) == 3)
    assert running.alternates()
    assert running.stream.hello.client_id != before


def test_client_pause(running: Watched, redis_server: RedisServer) -> None:
    redis_server.command("CLIENT", "PAUSE", 100)
    assert running.ask(("SET", "k", "v")) == [b"OK"]
    assert running.told == ["up"]


def test_debug_reload(running: Watched, redis_server: RedisServer) -> None:
    """It reloads in one go: whoever asks meanwhile waits, or is told that it loads. Either is right."""
    running.ask(("SET", "k", "v"))
    reloading = running.send(("DEBUG", "RELOAD"))
    running.until(lambda: reloading)
    running.until(lambda: running.stream.connected)
    assert running.ask(("GET", "k")) == [b"v"]


def test_black_hole(watch: Watch, start_redis: Start) -> None:
    server = start_redis()
    watched = watch(server.address, timeout=1.0).start()
    server.freeze()
    began = time.monotonic()
    assert watched.lost(watched.send(("PING",))) == [True]
    assert time.monotonic() - began >= 1.0
    assert watched.told[1] == f"lost redis://127.0.0.1:{server.port}/0: no answer within 1 s"
    watched.until(lambda: watched.stream._reason.startswith("cannot reach"))
    assert "no answer within 1 s" in watched.stream._reason
    server.thaw()
    watched.until(lambda: len(watched.told) == 3)
    assert watched.alternates()


def test_patience_of_a_blocking_command(watch: Watch, redis_server: RedisServer) -> None:
    watched = watch(redis_server.address, timeout=0.9, patience=SOON).start()
    assert watched.ask(("BLPOP", "q", SOON)) == [None]
    assert watched.lost(watched.send(("BLPOP", "q", 0))) == [True]
    assert "no answer within 1.1 s" in watched.told[1]


def test_the_deadline_of_each(watch: Watch, redis_server: RedisServer) -> None:
    """Answers to others do not help one that gets none; and it is its own time that counts."""
    watched = watch(redis_server.address, timeout=1.0).start()
    for _ in range(6):
        assert watched.ask(("BLPOP", "q", SOON)) == [None]
    assert watched.told == ["up"]


def test_when_this_process_stood_still(watch: Watch, redis_server: RedisServer) -> None:
    """The answer was there all the time."""
    watched = watch(redis_server.address, timeout=1.0).start()
    waiting = watched.send(("PING",))
    time.sleep(1.5)  # the loop does not run meanwhile
    watched.until(lambda: waiting)
    assert waiting == [[b"PONG"]]
    assert watched.told == ["up"]


def test_becomes_a_replica_and_a_primary_again(watch: Watch, start_redis: Start) -> None:
    server = start_redis()
    watched = watch(server.address, scripts=SCRIPTS).start()
    blocked = watch(server.address).start()
    waiting = blocked.send(("BLPOP", "q", 0))
    blocked.until(lambda: b"cmd=blpop" in server.command("CLIENT", "LIST"))
    server.command("REPLICAOF", "127.0.0.1", "1")
    outcomes = [watched.send(("EVALSHA", SHA, 1, "l", "1")), watched.send(("GET", "l"), ("SET", "k", "v"))]
    assert watched.lost(*outcomes, waiting)[::2] == [False, False]
    assert "READONLY" in watched.told[1]
    watched.until(lambda: "is a read-only replica; name its primary" in watched.stream._reason)
    server.command("REPLICAOF", "NO", "ONE")
    watched.until(lambda: len(watched.told) == 3)
    assert watched.ask(("EVALSHA", SHA, 1, "l", "1")) == [1]
    assert watched.alternates()


# Scripts


def test_scripts_are_forgotten(running: Watched, redis_server: RedisServer) -> None:
    """Nobody notices, and nothing overtakes anything on its way."""
    redis_server.command("SCRIPT", "FLUSH")
    outcomes = [running.send(("EVALSHA", SHA, 1, "l", str(number)), ("INCR", "n")) for number in range(20)]
    running.until(lambda: outcomes[0])
    outcomes.append(running.send(("EVALSHA", "0" * 40, 0)))
    running.until(lambda: all(outcomes))
    assert [outcome[0] for outcome in outcomes[:-1]] == [[number + 1, number + 1] for number in range(20)]
    assert isinstance(outcomes[-1][0][0], hiredis.ReplyError)
    assert redis_server.command("LRANGE", "l", 0, -1) == [b"%d" % number for number in range(20)]
    assert running.told == ["up"]


def test_what_is_sent_while_scripts_are_loaded_waits_its_turn(watch: Watch, fake: StartFake) -> None:
    """First what failed, in order, then what was asked for meanwhile."""
    proceed = threading.Event()
    received = bytearray()

    def behave(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(server.greeting)
        while b"\r\nC\r\n" not in received:
            received.extend(sock.recv(65536))
        received.clear()
        sock.sendall(b"-NOSCRIPT a\r\n:1\r\n")
        proceed.wait(PATIENCE)
        sock.sendall(b"-NOSCRIPT b\r\n")
        while b"\r\nD\r\n" not in received:
            received.extend(sock.recv(65536))
        sock.sendall(b"+sha\r\n:10\r\n:11\r\n:12\r\n")
        sock.recv(65536)

    server = fake(behave)
    watched = watch(server.address).start()
    wire = watched.stream._wire
    assert wire is not None
    wire._scripts = SCRIPTS
    order: list[Any] = []
    watched.stream.send([("A",), ("B",)], order.append)
    watched.stream.send([("C",)], order.append)
    watched.until(lambda: wire._spoiled)
    watched.stream.send([("D",)], order.append)
    proceed.set()
    watched.until(lambda: len(order) == 3)
    assert order == [[10, 1], [11], [12]]
    assert [part for part in received.split() if len(part) == 1] == [b"A", b"C", b"D"]


@pytest.mark.parametrize(
    ("answers", "uncertain"),
    [
        ((b"-NOSCRIPT a\r\n-NOSCRIPT a\r\n", b""), [True, True]),
        ((b"-NOSCRIPT a\r\n", None), [False, True]),
        ((b"-NOSCRIPT a\r\n-LOADING l\r\n",), [False, False]),
        ((b"-NOSCRIPT a\r\n:1\r\n", b"+sha\r\n-LOADING l\r\n"), [False, None]),
        ((b":1\r\n-READONLY r\r\n",), [None, False]),
    ],
)
def test_lost_while_scripts_are_missing(
    watch: Watch, fake: StartFake, answers: tuple[bytes | None, ...], uncertain: list[bool | None]
) -> None:
    """Only what was sent again may have been executed."""
    server = fake((b"B", answers[0]), *answers[1:])
    watched = watch(server.address, timeout=1.0 if None in answers else PATIENCE).start()
    wire = watched.stream._wire
    assert wire is not None
    wire._scripts = SCRIPTS
    outcomes = [watched.send(("A",)), watched.send(("B",))]
    if None in answers:
        watched.until(lambda: wire._spoiled)
        held = watched.send(("C",))
        assert watched.lost(held) == [False]
    watched.until(lambda: all(outcomes))
    assert [getattr(outcome[0], "uncertain", None) for outcome in outcomes] == uncertain


# What is no Redis, or not any more


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), 'this is not how Redis speaks: Protocol error, got "H"'),
        ((b"-ERR max number of clients reached\r\n" * 4,), "refuses the connection: ERR max number of clients reached"),
        ((b"",), "Redis closed the connection"),
        ((None,), "no answer within 0.4 s"),
        ((b"+OK\r\n" * 5,), "answers, but not as Redis does"),
        ((b"$1000000000000\r\n" + bytes(1 << 21), None), "a reply of more than 1048576 bytes"),
        ((b"*4294967295\r\n",), "a reply without end"),
    ],
)
def test_something_that_is_no_redis(
    watch: Watch, fake: StartFake, answers: tuple[bytes | None, ...], says: str
) -> None:
    def behave(sock: socket.socket) -> None:
        for answer in answers:
            if not sock.recv(65536) or answer is None:
                sock.recv(65536)
                return
            sock.sendall(answer)

    server = fake(behave)
    watched = watch(server.address, timeout=2 * SOON if answers == (None,) else PATIENCE).start()
    assert says in watched.told[0]
    assert f"{server.address.text}" in watched.told[0]
    watched.until(lambda: server.accepted >= 3)  # it goes on
    assert len(watched.told) == 1


@pytest.mark.parametrize(
    ("answer", "uncertain", "says"),
    [
        (b"", [True, True], "closed|reset"),
        (b"$5\r\nab", [True, True], "closed|reset"),
        (b":1\r\n*2\r\n:1\r\n", [None, True], "closed|reset"),
        (b":1\r\n!", [None, True], "this is not how Redis speaks"),
        (b":1\r\n:1\r\n:1\r\n", [None, None], "it sent more than it was asked for"),
        (b"-LOADING l\r\n-LOADING l\r\n", [False, False], "LOADING l"),
        (b"-LOADING l\r\n:1\r\n", [False, None], "LOADING l"),
        (b"-MOVED 1 h:1\r\n", [False, True], "MOVED 1 h:1"),
    ],
)
def test_what_is_lost(watch: Watch, fake: StartFake, answer: bytes, uncertain: list[bool | None], says: str) -> None:
    """Each is told what is known of it, before `down`."""
    watched = watch(fake((b"B", answer)).address).start()
    outcomes = [watched.send(("A",)), watched.send(("B",))]
    seen: list[bool] = []
    watched.on_down = lambda: seen.append(all(outcomes))
    watched.until(lambda: len(watched.told) >= 2)
    assert seen[0]
    assert [getattr(outcome[0], "uncertain", None) for outcome in outcomes] == uncertain
    assert any(word in watched.told[1] for word in says.split("|"))


def test_part_executed_is_uncertain(watch: Watch, fake: StartFake) -> None:
    watched = watch(fake((b"B", b"+OK\r\n-READONLY r\r\n")).address).start()
    assert watched.lost(watched.send(("A",), ("B",))) == [True]


def test_a_reply_without_end(watch: Watch, fake: StartFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "MAX_REPLY", 1 << 20)
    watched = watch(fake(b"$1000000000\r\n" + bytes(3 << 20)).address).start()
    assert watched.lost(watched.send(("GET", "k"))) == [True]
    assert "a reply of more than 1048576 bytes" in watched.told[1]


def test_bytes_in_flight_are_bounded(watch: Watch, start_redis: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may be large; more than that is refused, and the refusal is certain."""
    monkeypatch.setattr(wire_module, "MAX_IN_FLIGHT", 1 << 20)
    server = start_redis()
    watched = watch(server.address).start()
    server.freeze()
    value = bytes(3 << 20)
    first, second, third = (watched.send(("SET", "k", body)) for body in (value, value, b"x"))
    assert watched.lost(second, third) == [False, False]
    assert "does not keep up: 31457" in str(third[0])
    assert first == []
    server.thaw()
    watched.until(lambda: first)
    assert first == [[b"OK"]]
    assert watched.ask(("SET", "k", value)) == [b"OK"]
    assert watched.told == ["up"]


def test_no_descriptor_is_left(watch: Watch, fake: StartFake) -> None:
    before = len(os.listdir("/proc/self/fd"))
    server = fake(b"!")
    watched = watch(server.address)
    watched.on_up = lambda: watched.stream.send([("A",)], lambda _: None)
    watched.start()
    watched.until(lambda: len(watched.told) > 20)
    watched.stream.close()
    server.close()
    watched.until(lambda: len(os.listdir("/proc/self/fd")) < before + 5)
    assert watched.alternates()


def test_a_server_that_accepts_and_drops_is_not_asked_all_the_time(watch: Watch, fake: StartFake) -> None:
    ceilings: list[float] = []

    class Recorded(Backoff):
        def next(self) -> float:
            ceilings.append(self._ceiling)
            return super().next()

    def up() -> None:
        if len(ceilings) == 3:
            watched.stream._since -= 60  # as if this one had lived long
        watched.stream.send([("A",)], lambda _: None)

    watched = watch(fake(b"").address, backoff=Recorded(0.001, 30, draw=lambda: 1.0))
    watched.on_up = up
    watched.start()
    watched.until(lambda: len(ceilings) >= 5)
    assert ceilings[:5] == [0.001, 0.002, 0.004, 0.001, 0.002]


# Callbacks


def test_an_error_in_done_harms_nobody_else(running: Watched, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise KeyError("mine")

    running.stream.send([("PING",)], fail)
    running.stream.send([("PING",)], fail)
    assert running.ask(("PING",)) == [b"PONG"]
    assert [record.getMessage() for record in caplog.records] == ["error in a callback"] * 2
    assert running.told == ["up"]


def test_an_error_in_up_and_down_ends_nothing(
    watch: Watch, start_redis: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("mine")

    server = start_redis()
    watched = watch(server.address)
    watched.on_up = watched.on_down = fail
    watched.start()
    server.restart()
    watched.until(lambda: len(watched.told) == 3)
    assert watched.ask(("PING",)) == [b"PONG"]
    assert len(caplog.records) == 3


def test_done_may_send(running: Watched) -> None:
    counted: list[Any] = []

    def again(replies: Any) -> None:
        counted.append(replies)
        if len(counted) < 50:
            running.stream.send([("INCR", "n")], again)

    running.stream.send([("INCR", "n")], again)
    running.until(lambda: len(counted) == 50)
    assert counted == [[number] for number in range(1, 51)]


def test_done_may_send_when_it_was_lost(running: Watched) -> None:
    outcomes: list[Any] = []

    def again(outcome: Any) -> None:
        outcomes.append(outcome)
        running.stream.send([("PING",)], outcomes.append)

    running.stream.send([("QUIT",), ("PING",)], again)
    running.until(lambda: len(outcomes) == 2)
    assert [outcome.uncertain for outcome in outcomes] == [True, False]


def test_close_within_done(running: Watched) -> None:
    def close(_: Any) -> None:
        running.stream.close()

    outcomes: list[Any] = []
    running.stream.send([("PING",)], close)
    for _ in range(3):
        running.stream.send([("PING",)], outcomes.append)
    running.until(lambda: len(outcomes) == 3)
    assert [outcome.uncertain for outcome in outcomes] == [True] * 3
    assert running.lost(running.send(("PING",))) == [False]
    assert running.told == ["up"]


@pytest.mark.parametrize("when", ["up", "down", "lost"])
def test_close_within_up_and_down(watch: Watch, start_redis: Start, when: str) -> None:
    server = start_redis()
    watched = watch(server.address)
    if when == "up":
        watched.on_up = watched.stream.close
        watched.start()
        assert watched.told == ["up"]
    elif when == "down":
        server.kill()
        watched.on_down = watched.stream.close
        watched.start()
        assert len(watched.told) == 1
    else:
        watched.start()
        waiting: list[Any] = []

        def close(outcome: Any) -> None:
            waiting.append(outcome)
            watched.stream.close()

        watched.stream.send([("BLPOP", "q", 0)], close)
        server.kill()
        watched.until(lambda: waiting)
        assert watched.told == ["up"]
    assert "is closed" in str(watched.ask(("PING",)))


def test_close_at_any_moment(watch: Watch, redis_server: RedisServer) -> None:
    """While it connects, while it shakes hands, and when it is there."""
    for turns in range(12):
        watched = watch(redis_server.address, scripts=SCRIPTS)
        watched.stream.start()
        for _ in range(turns):
            watched.loop.run_until_complete(asyncio.sleep(0))
        watched.stream.close()
        watched.stream.close()
        told = list(watched.told)
        watched.stream.start()
        watched.until(lambda: b"name=stream" not in redis_server.command("CLIENT", "LIST"))
        assert watched.told == told


def test_lost_before_the_handshake_is_looked_at(watch: Watch, fake: StartFake) -> None:
    """Redis answered well, and was gone in the same moment."""

    def behave(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(server.greeting + b"!")

    server: Fake = fake(behave)
    watched = watch(server.address).start()
    assert "this is not how Redis speaks" in watched.told[0]


def test_whatever_happens_it_goes_on(
    watch: Watch, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(stream_module, "handshake", lambda *_: 1 / 0)
        watched = watch(redis_server.address).start()
    assert "division by zero" in watched.told[0]
    assert "connecting to redis://" in caplog.text
    watched.until(lambda: len(watched.told) == 2)
    assert watched.ask(("PING",)) == [b"PONG"]


def test_a_wire_given_up_before_it_is_connected(loop: asyncio.AbstractEventLoop, redis_server: RedisServer) -> None:
    lost: list[str] = []
    wire = Wire(loop, redis_server.address, {}, 1.0, lost.append)
    wire.drop("it was given up")
    loop.run_until_complete(loop.create_connection(lambda: wire, "127.0.0.1", redis_server.port))
    outcomes: list[Any] = []
    wire.send([("PING",)], outcomes.append)
    wire.data_received(b"+PONG\r\n")
    loop.run_until_complete(asyncio.sleep(0.01))
    assert [outcome.uncertain for outcome in outcomes] == [False]
    assert lost == []

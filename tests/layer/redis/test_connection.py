"""The blocking connection and its pool, against a real Redis and against what is none."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from trunkline.layer import LayerUnavailable
from trunkline.layer.backoff import Backoff
from trunkline.layer.redis import connection as connection_module
from trunkline.layer.redis import replies as replies_module
from trunkline.layer.redis.address import TLS, Address
from trunkline.layer.redis.connection import Connection, Pool

if TYPE_CHECKING:
    from tests.layer.redis.conftest import Fake, RedisServer

    Start = Callable[..., RedisServer]
    StartFake = Callable[..., Fake]

APPEND = b"return redis.call('RPUSH', KEYS[1], ARGV[1])"
SHA = sha1(APPEND).hexdigest().encode()
SCRIPTS = {SHA: APPEND}
SOON = 0.2  # seconds within which what never answers has failed
PATIENCE = 60.0


def opened(address: Address, scripts: dict[bytes, bytes] | None = None, **options: Any) -> Connection:
    connection = Connection(address, scripts or {}, **options)
    connection.open()
    return connection


@pytest.fixture
def connection(redis_server: RedisServer) -> Iterator[Connection]:
    redis_server.command("FLUSHALL")
    made = opened(redis_server.address, SCRIPTS)
    yield made
    made.close()


def lost(connection: Connection, call: Callable[[], Any]) -> LayerUnavailable:
    with pytest.raises(LayerUnavailable) as failed:
        call()
    assert connection.closed
    assert "\n" not in str(failed.value)
    return failed.value


# What works


def test_runs_many_commands(connection: Connection, redis_server: RedisServer) -> None:
    replies = connection.run([("SET", "k", b"\x00v"), ("GET", b"k"), ("INCRBY", "n", 5), ("GET", "none"), ("NO",)])
    assert replies[:4] == [b"OK", b"\x00v", 5, None]
    assert isinstance(replies[4], hiredis.ReplyError)
    assert connection.run([]) == []
    assert redis_server.command("GET", "n") == b"5"


def test_says_who_answers(connection: Connection, redis_server: RedisServer) -> None:
    hello = connection.hello
    assert hello.server == "redis"
    assert hello.version >= (7, 0)
    assert [hello.run_id] == [
        line[7:] for line in connection.run([("INFO", "server")])[0].decode().splitlines() if line.startswith("run_id:")
    ]
    [client] = connection.run([("CLIENT", "INFO")])
    assert f"id={hello.client_id} ".encode() in client
    assert b" name=trunkline " in client
    seconds, microseconds = map(int, connection.run([("TIME",)])[0])
    assert abs(time.monotonic() + hello.offset - seconds - microseconds / 1e6) < 60  # and not decades


def test_unix_socket_and_database(redis_server: RedisServer) -> None:
    connection = opened(Address(path=str(redis_server.socket), database=3), SCRIPTS, name="me")
    [client] = connection.run([("CLIENT", "INFO")])
    assert b" db=3 " in client
    assert b" name=me " in client
    connection.close()


def test_large_both_ways(connection: Connection) -> None:
    """More than a socket takes at once."""
    value = os.urandom(1 << 20) * 20
    assert connection.run([("SET", "large", value), ("GET", "large")]) == [b"OK", value]


def test_reads_in_two_steps(connection: Connection, redis_server: RedisServer) -> None:
    connection.write([("SET", "a", 1), ("SET", "b", 2), ("BLPOP", "list", 10)])
    assert connection.read(2) == [b"OK", b"OK"]
    assert not connection.wait(0.01)
    with pytest.raises(ValueError, match="1 replies are to be read first"):
        connection.run([("PING",)])
    redis_server.command("RPUSH", "list", "x")
    assert connection.wait(PATIENCE)
    assert connection.read(1) == [[b"list", b"x"]]
    with pytest.raises(ValueError, match="1 replies wanted, 0 outstanding"):
        connection.read(1)


def test_a_command_that_cannot_travel_harms_nothing(connection: Connection) -> None:
    with pytest.raises(TypeError):
        connection.run([("SET", "k", object())])  # type: ignore[list-item]
    assert connection.run([("PING",)]) == [b"PONG"]


def test_acl_user(start_redis: Start) -> None:
    """A user who may do no more than it needs to."""
    server = start_redis()
    server.command("ACL", "SETUSER", "bus", "on", ">p/w", "~*", "+time", "+script|exists", "+script|load", "+evalsha")
    server.command("ACL", "SETUSER", "bus", "+rpush")
    address = Address(port=server.port, username="bus", password="p/w")
    connection = opened(address, SCRIPTS)
    assert connection.hello.run_id == ""
    assert connection.run([("EVALSHA", SHA, 1, "list", "x")]) == [1]
    [refused] = connection.run([("GET", "k")])
    assert isinstance(refused, hiredis.ReplyError)
    connection.close()
    for wrong in (Address(port=server.port, username="bus", password="x"), Address(port=server.port, password="x")):
        server.command("CONFIG", "SET", "requirepass", "other")
        with pytest.raises(LayerUnavailable, match="refuses this user name and password"):
            opened(wrong)
    with pytest.raises(LayerUnavailable, match="wants a user name and password"):
        opened(Address(port=server.port))


# TLS


@pytest.fixture
def tls(start_redis: Start, certificate: Any) -> tuple[int, TLS]:
    """A Redis with TLS that wants a certificate from its clients: its port, and how to connect."""
    port = free_port()
    pem, key = str(certificate.certificate), str(certificate.key)
    start_redis("--tls-port", str(port), "--tls-cert-file", pem, "--tls-key-file", key, "--tls-ca-cert-file", pem)
    return port, TLS(pem, pem, key)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("chunk", [1000, 65536])
def test_tls_with_client_certificate(tls: tuple[int, TLS], chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is read at a time, what TLS has already is not waited for."""
    monkeypatch.setattr(connection_module, "_CHUNK", chunk)
    connection = opened(Address("localhost", tls[0], tls=tls[1]), SCRIPTS)
    value = os.urandom(1 << 20) * 8
    assert connection.run([("SET", "large", value), ("GET", "large")]) == [b"OK", value]
    connection.write([("BLPOP", "list", 10)])
    assert not connection.wait(0.01)
    other = opened(Address("localhost", tls[0], tls=tls[1]))
    connection.write([("ECHO", "1"), ("ECHO", b"2" * 20000)])
    other.run([("RPUSH", "list", "x")])
    for expected in ([b"list", b"x"], b"1", b"2" * 20000):
        assert connection.wait(PATIENCE)
        assert connection.read(1) == [expected]
    assert connection.alive()
    other.run([("CLIENT", "KILL", "ID", connection.hello.client_id)])
    assert connection.wait(PATIENCE)
    assert not connection.alive()
    other.close()


def test_tls_pool_takes_a_session_ticket_for_no_more_than_it_is(tls: tuple[int, TLS]) -> None:
    pool = Pool(Address("localhost", tls[0], tls=tls[1]), {})
    [first] = pool.run([("CLIENT", "ID")])
    assert [pool.run([("CLIENT", "ID")]) for _ in range(3)] == [[first]] * 3
    pool.close()


def test_tls_refusals(tls: tuple[int, TLS], redis_server: RedisServer) -> None:
    port, trusted = tls
    for address, says in (
        (Address("localhost", port, tls=TLS()), "its certificate is not trusted: self-signed certificate"),
        (
            Address("localhost", port, tls=TLS(trusted.ca)),
            "closed|reset|TLS failed: (EOF|.*ALERT CERTIFICATE REQUIRED)",
        ),
        (Address("localhost", redis_server.port, tls=trusted), "TLS failed: WRONG VERSION NUMBER|timed out"),
        (Address("localhost", port), "closed|not how Redis speaks|reset"),
    ):
        with pytest.raises(LayerUnavailable, match=says) as failed:
            opened(address, timeout=1.0)
        assert not failed.value.uncertain


# Waiting


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_wait_can_be_ended(connection: Connection, pipe: tuple[int, int], redis_server: RedisServer) -> None:
    connection.write([("BLPOP", "list", 30)])
    assert not connection.wait(0.0, pipe[0])
    timer = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    timer.start()
    began = time.monotonic()
    assert not connection.wait(PATIENCE, pipe[0])
    assert time.monotonic() - began < PATIENCE / 2
    os.read(pipe[0], 1)
    threading.Timer(0.05, redis_server.command, ("RPUSH", "list", "x")).start()
    assert connection.wait(None, pipe[0])
    assert connection.wait(None, pipe[0])  # it is still there
    assert connection.read(1) == [[b"list", b"x"]]


def test_wait_ends_when_the_signal_handler_says_so(connection: Connection, pipe: tuple[int, int]) -> None:
    """Signals come and go; the wait goes on until its time has passed, or the handler wrote."""
    seen = []

    def handler(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            os.write(pipe[1], b"x")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        connection.write([("BLPOP", "list", 0.1)])
        assert not connection.wait(PATIENCE, pipe[0])
        assert len(seen) >= 3
        assert connection.wait(PATIENCE)
        assert connection.read(1) == [None]
        connection.write([("BLPOP", "list", 0.1)])
        assert connection.read(1) == [None]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_wait_sees_the_end(start_redis: Start) -> None:
    server = start_redis()
    connection = opened(server.address)
    connection.write([("BLPOP", "list", 30)])
    server.kill()
    assert connection.wait(PATIENCE)
    error = lost(connection, lambda: connection.read(1))
    assert error.uncertain
    assert str(error).startswith(f"lost redis://127.0.0.1:{server.port}/0: ")


def test_wait_is_not_for_half_a_reply(fake: StartFake) -> None:
    connection = opened(fake(b"$5\r\nab", None).address)
    connection.write([("GET", "k")])
    assert not connection.wait(0.05)
    assert lost(connection, lambda: connection.read(1, SOON)).uncertain


# What breaks


def test_redis_killed(start_redis: Start) -> None:
    server = start_redis()
    connection = opened(server.address)
    server.kill()
    error = lost(connection, lambda: connection.run([("PING",)]))
    assert "lost redis://127.0.0.1" in str(error)
    assert not connection.alive()
    error = lost(connection, lambda: connection.run([("PING",)]))
    assert not error.uncertain
    assert str(error) == f"the connection to redis://127.0.0.1:{server.port}/0 is closed"
    assert not lost(connection, lambda: connection.read(1)).uncertain
    with pytest.raises(LayerUnavailable, match=r"^cannot reach redis://.*: Connection refused$"):
        connection.open()


def test_client_kill(connection: Connection, redis_server: RedisServer) -> None:
    connection.write([("BLPOP", "list", 30)])
    redis_server.command("CLIENT", "KILL", "ID", connection.hello.client_id)
    assert lost(connection, lambda: connection.read(1)).uncertain


def test_client_pause(connection: Connection, redis_server: RedisServer) -> None:
    """A pause shorter than the deadline is no more than that."""
    redis_server.command("CLIENT", "PAUSE", 100)
    assert connection.run([("SET", "k", "v")]) == [b"OK"]


def test_black_hole(start_redis: Start) -> None:
    server = start_redis()
    connection = opened(server.address, timeout=PATIENCE)
    connection._timeout = SOON
    server.freeze()
    began = time.monotonic()
    error = lost(connection, lambda: connection.run([("PING",)]))
    assert error.uncertain
    assert "no answer in time" in str(error)
    with pytest.raises(LayerUnavailable, match="no answer in time"):
        connection.open()
    assert SOON <= time.monotonic() - began < PATIENCE / 2
    server.thaw()
    connection._timeout = PATIENCE
    connection.open()
    assert connection.run([("PING",)]) == [b"PONG"]


def test_a_black_hole_that_takes_nothing(fake: StartFake) -> None:
    """It fails within the time for a write; some of it was sent."""

    def behave(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(fake_greeting)
        enough.wait(PATIENCE)

    enough = threading.Event()
    server = fake(behave)
    fake_greeting = server.greeting
    connection = opened(server.address, timeout=PATIENCE)
    connection._timeout = SOON
    error = lost(connection, lambda: connection.run([("SET", "k", bytes(64 << 20))]))
    assert error.uncertain
    assert "it takes nothing more" in str(error)
    enough.set()


def test_nothing_was_written(connection: Connection) -> None:
    assert connection._socket is not None
    connection._socket.shutdown(socket.SHUT_WR)
    error = lost(connection, lambda: connection.run([("PING",)]))
    assert not error.uncertain
    assert "Broken pipe" in str(error)


def test_scripts_are_forgotten(connection: Connection, redis_server: RedisServer) -> None:
    redis_server.command("SCRIPT", "FLUSH")
    replies = connection.run(
        [("EVALSHA", SHA, 1, "l", "1"), ("SET", "k", "v"), ("EVALSHA", SHA, 1, "l", "2"), ("EVALSHA", "0" * 40, 0)]
    )
    assert replies[:3] == [1, b"OK", 2]
    assert isinstance(replies[3], hiredis.ReplyError)
    assert redis_server.command("LRANGE", "l", 0, -1) == [b"1", b"2"]
    assert connection.run([("EVALSHA", SHA, 1, "l", "3")]) == [3]


def test_scripts_are_forgotten_before_a_wait(connection: Connection, redis_server: RedisServer) -> None:
    """What follows in the same write is neither lost nor run twice."""
    redis_server.command("SCRIPT", "FLUSH")
    connection.write([("EVALSHA", SHA, 1, "l", "1"), ("INCR", "n"), ("EVALSHA", SHA, 1, "l", "2"), ("BLPOP", "q", 0.1)])
    assert connection.read(1) == [1]
    assert connection.read(1) == [1]
    assert connection.read(2) == [2, None]
    assert redis_server.command("GET", "n") == b"1"


def test_scripts_are_forgotten_and_then_redis_is_lost(fake: StartFake) -> None:
    """Only what was sent again is uncertain."""
    gone, ok = b"-NOSCRIPT No matching script\r\n", b"+OK\r\n"
    for answers, commands, uncertain in (
        ((gone, b""), 1, True),
        ((gone, ok + b"-LOADING Redis is loading\r\n"), 1, False),
        ((gone + ok, ok + b"-LOADING Redis is loading\r\n"), 2, True),
    ):
        connection = opened(fake(*answers).address)
        connection._scripts = SCRIPTS
        assert lost(connection, lambda: connection.run([("X",)] * commands)).uncertain == uncertain  # noqa: B023
    connection = opened(fake(gone, None).address, patience=SOON, timeout=PATIENCE)
    connection._timeout = SOON
    connection.write([("X",), ("BLPOP", "q", 1)])
    assert not lost(connection, lambda: connection.read(1)).uncertain


@pytest.mark.parametrize(
    "text",
    ["READONLY r", "UNBLOCKED u", "MASTERDOWN m", "LOADING l", "CLUSTERDOWN c", "MOVED 1 h:1", "TRYAGAIN t", "BUSY b"],
)
def test_not_serving(fake: StartFake, text: str) -> None:
    """It was not executed if Redis says so to all of it; of a part, nobody can say so in one word."""
    refused = f"-{text}\r\n".encode()
    connection = opened(fake(refused * 2).address)
    error = lost(connection, lambda: connection.run([("X",), ("X",)]))
    assert not error.uncertain
    assert text in str(error)
    connection = opened(fake(b"+OK\r\n" + refused).address)
    assert lost(connection, lambda: connection.run([("X",), ("X",)])).uncertain


@pytest.mark.parametrize("text", ["OOM o", "MISCONF m", "NOPERM n", "WRONGTYPE w", "ERR e"])
def test_errors_of_one_command(fake: StartFake, text: str) -> None:
    connection = opened(fake(f"-{text}\r\n:1\r\n".encode()).address)
    error, one = connection.run([("X",), ("X",)])
    assert str(error) == text
    assert one == 1
    connection.close()


def test_redis_becomes_a_replica(start_redis: Start) -> None:
    server = start_redis()
    connection = opened(server.address, SCRIPTS)
    waiting = opened(server.address)
    waiting.write([("BLPOP", "q", 30)])
    server.command("REPLICAOF", "127.0.0.1", "1")
    error = lost(connection, lambda: connection.run([("EVALSHA", SHA, 1, "l", "1")]))
    assert not error.uncertain
    assert "READONLY" in str(error)
    error = lost(waiting, lambda: waiting.read(1))
    assert not error.uncertain
    assert "UNBLOCKED" in str(error)
    with pytest.raises(LayerUnavailable, match="is a read-only replica; name its primary"):
        opened(server.address)


def test_sentinel(start_redis: Start) -> None:
    server = start_redis("--sentinel")
    with pytest.raises(LayerUnavailable, match="is a Sentinel"):
        opened(server.address)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), 'this is not how Redis speaks: Protocol error, got "H"'),
        ((b"-ERR max number of clients reached\r\n" * 4,), "refuses the connection: ERR max number of clients reached"),
        ((b"",), "Redis closed the connection"),
        ((None,), "no answer in time"),
        ((b"+OK\r\n" * 5,), "it sent more than it was asked for"),
        ((b"+OK\r\n" * 4,), "answers, but not as Redis does"),
        ((b"$1000000000000\r\n" + bytes(1 << 21), None), "a reply of more than 1048576 bytes"),
        ((b"*4294967295\r\n",), "a reply without end"),
    ],
)
def test_something_that_is_no_redis(fake: StartFake, answers: tuple[bytes | None, ...], says: str) -> None:
    def behave(sock: socket.socket) -> None:
        for answer in answers:
            if not sock.recv(65536) or answer is None:
                time.sleep(1)
                return
            sock.sendall(answer)

    began = time.monotonic()
    with pytest.raises(LayerUnavailable) as failed:
        opened(fake(behave).address, timeout=SOON if answers == (None,) else PATIENCE)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)
    assert not failed.value.uncertain
    assert time.monotonic() - began < PATIENCE / 2


def test_a_reply_without_end(fake: StartFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_REPLY", 1 << 20)
    connection = opened(fake(b"$1000000000\r\n" + bytes(3 << 20)).address)
    error = lost(connection, lambda: connection.run([("GET", "k")]))
    assert error.uncertain
    assert "a reply of more than 1048576 bytes" in str(error)


def test_more_than_was_asked_for(fake: StartFake) -> None:
    """Nobody knows which reply is whose: none is taken."""
    connection = opened(fake(b"+1\r\n+2\r\n").address)
    assert lost(connection, lambda: connection.run([("X",)])).uncertain


def test_a_write_after_the_end(fake: StartFake) -> None:
    connection = opened(fake(b":1\r\n").address)
    assert connection.run([("X",)]) == [1]
    assert connection.wait(PATIENCE)
    assert not lost(connection, lambda: connection.run([("X",)])).uncertain


@pytest.mark.parametrize("answer", [b"$5\r\nab", b"*2\r\n+a\r\n", b"+O", b"!x\r\n"])
def test_ends_within_a_reply(fake: StartFake, answer: bytes) -> None:
    connection = opened(fake(answer).address)
    assert lost(connection, lambda: connection.run([("X",)])).uncertain


def test_a_host_with_no_address() -> None:
    with pytest.raises(LayerUnavailable, match=r"^cannot reach redis://no.such.host.invalid:6379/0: "):
        opened(Address("no.such.host.invalid"))
    with pytest.raises(LayerUnavailable, match=r"^cannot reach unix:///no/such.sock.db=0: No such file or directory$"):
        opened(Address(path="/no/such.sock"))


def test_every_address_of_a_host_is_tried(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (1, redis_server.port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    opened(Address("redis.example")).close()
    found.pop()
    with pytest.raises(LayerUnavailable, match="Connection refused"):
        opened(Address("redis.example"))
    found.clear()
    with pytest.raises(LayerUnavailable, match="the host has no address"):
        opened(Address("redis.example"))


class Stop(BaseException):
    """What a signal handler might raise."""


def test_an_exception_from_a_signal_handler_closes_it(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    """Nobody knows any more which reply is whose."""

    def stop(*_: Any) -> None:
        raise Stop

    for method in ("_send", "_fill"):
        made = opened(redis_server.address)
        with monkeypatch.context() as patched:
            patched.setattr(made, method, stop)
            with pytest.raises(Stop):
                made.run([("PING",)])
            assert made.closed
            with pytest.raises(Stop):
                made.open()
            assert made.closed


def test_after_a_failure_nothing_stays_open(fake: StartFake) -> None:
    before = len(os.listdir("/proc/self/fd"))
    server = fake(b"!")
    for _ in range(20):
        connection = opened(server.address)
        lost(connection, lambda: connection.run([("X",)]))  # noqa: B023
    server.close()
    assert len(os.listdir("/proc/self/fd")) < before + 10


# The pool


@pytest.fixture
def pool(redis_server: RedisServer) -> Iterator[Pool]:
    redis_server.command("FLUSHALL")
    made = Pool(redis_server.address, SCRIPTS, name="pool")
    yield made
    made.close()


def clients(server: RedisServer, name: bytes = b"pool") -> int:
    return int(server.command("CLIENT", "LIST").count(b" name=" + name + b" "))


def test_pool_uses_one_connection_again(pool: Pool, redis_server: RedisServer) -> None:
    ids = {pool.run([("CLIENT", "ID")])[0] for _ in range(10)}
    assert len(ids) == 1
    assert clients(redis_server) == 1


def test_pool_of_many_threads(pool: Pool, redis_server: RedisServer) -> None:
    """Each gets its own replies, and there are no more connections than threads."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        for turn in range(100):
            text = b"%d.%d" % (number, turn)
            replies = pool.run([("ECHO", text), ("EVALSHA", SHA, 1, f"l{number}", text)])
            if replies != [text, turn + 1]:
                wrong.append((text, replies))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
    assert 1 <= clients(redis_server) <= 8
    assert [redis_server.command("LLEN", f"l{number}") for number in range(8)] == [100] * 8


def test_pool_replaces_what_died_while_it_was_idle(start_redis: Start) -> None:
    server = start_redis()
    pool = Pool(server.address, SCRIPTS)
    assert pool.run([("SET", "k", 1)]) == [b"OK"]
    server.command("CLIENT", "KILL", "TYPE", "normal")
    assert pool.run([("INCR", "k")]) == [2]
    server.restart()
    assert pool.run([("INCR", "k")]) == [1]
    pool.close()


def test_pool_forgets_what_was_lost(pool: Pool, redis_server: RedisServer) -> None:
    [first] = pool.run([("CLIENT", "ID")])
    with pytest.raises(LayerUnavailable) as failed:
        pool.run([("QUIT",), ("PING",)])
    assert failed.value.uncertain
    assert pool.run([("CLIENT", "ID")]) > [first]


def test_pool_keeps_no_more_than_it_needs(
    redis_server: RedisServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_KEPT", 2)
    made = [pool._idle_connection() or pool._new_connection() for _ in range(5)]
    for connection in made:
        pool._give_back(connection)
    assert [connection.closed for connection in made] == [True, True, True, False, False]


def test_pool_while_redis_is_away(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []
    real_open = Connection.open

    def open_(self: Connection) -> None:
        attempts.append(1)
        real_open(self)

    monkeypatch.setattr(Connection, "open", open_)
    pool = Pool(Address(port=free_port()), {}, backoff=Backoff(60, 60, draw=lambda: 1.0))
    for _ in range(5):
        with pytest.raises(LayerUnavailable, match=r"cannot reach .*Connection refused") as failed:
            pool.run([("PING",)])
        assert not failed.value.uncertain
    assert len(attempts) == 1
    pool._where = redis_server.address
    pool._next_attempt = 0.0
    assert pool.run([("PING",)]) == [b"PONG"]
    assert len(attempts) == 2
    pool.close()


def test_pool_tries_once_at_a_time(fake: StartFake) -> None:
    """While one thread waits for a black hole, the others are told what is known."""
    enough = threading.Event()
    hole = fake(lambda sock: enough.wait(PATIENCE))
    pool = Pool(hole.address, {}, timeout=SOON, backoff=Backoff(0, 0))
    with pytest.raises(LayerUnavailable):
        pool.run([("PING",)])
    accepted = hole.accepted
    pool._timeout = PATIENCE

    def probe() -> None:
        with pytest.raises(LayerUnavailable):
            pool.run([("PING",)])

    probing = threading.Thread(target=probe)
    probing.start()
    while hole.accepted == accepted:
        time.sleep(0.005)
    began = time.monotonic()
    with pytest.raises(LayerUnavailable, match="no answer in time"):
        pool.run([("PING",)])
    assert time.monotonic() - began < PATIENCE / 2
    enough.set()
    hole.close()
    probing.join(PATIENCE)
    assert not probing.is_alive()


def test_closed_pool(pool: Pool, redis_server: RedisServer) -> None:
    pool.run([("PING",)])
    busy = pool._new_connection()
    pool.close()
    pool._give_back(busy)
    assert busy.closed
    with pytest.raises(LayerUnavailable, match=r"the connection to redis://.* is closed"):
        pool.run([("PING",)])
    pool._drop_idle()  # another thread was faster


def test_a_forked_process_begins_with_no_connections(pool: Pool, redis_server: RedisServer) -> None:
    [mine] = pool.run([("CLIENT", "ID")])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, b"%d" % pool.run([("CLIENT", "ID")])[0])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert theirs != mine
    assert pool.run([("CLIENT", "ID")]) == [mine]


def test_bounds_are_what_redis_allows() -> None:
    assert replies_module.MAX_GREETING < replies_module.MAX_REPLY == 512 << 20

"""A worker in another language joins: examples/node-worker takes `chat.message` from a real Redis, and answers."""

from __future__ import annotations

import itertools
import json
import math
import os
import secrets
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from trunkline import message_formats
from trunkline.layer.redis.keys import Keys
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.testing import Instance

if TYPE_CHECKING:
    from .conftest import RedisServer

FOLDER = Path(__file__).parents[3] / "examples" / "node-worker"
PATIENCE = 60.0
INBOX = "irc.reply.net!"

Start = Callable[[], "Worker"]


class Worker:
    """A running worker."""

    def __init__(self, program: str, url: str) -> None:
        self._process = subprocess.Popen(
            [program, "worker.js"],
            cwd=FOLDER, env=os.environ | {"TRUNKLINE_LAYER": url}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def listens(self) -> str:
        """Wait until it listens; return its name."""
        assert self._process.stdout is not None
        name, _, rest = self._process.stdout.readline().partition(" ")
        assert rest == "listens to chat.message\n"
        return name

    def complains(self) -> str:
        """Wait until it says on one line what is wrong; return that."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def ended(self) -> tuple[int, dict[str, int], str]:
        """Wait for its end; return its exit code, its counts and its log."""
        out, log = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, json.loads(out.splitlines()[-1]), log

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def prefix() -> str:
    return f"node.{secrets.token_hex(8)}"


@pytest.fixture
def layer(redis_server: RedisServer, prefix: str) -> Iterator[RedisLayer]:
    with RedisLayer(redis_server.url, prefix=prefix) as layer:
        yield layer


@pytest.fixture
def server(layer: RedisLayer) -> Iterator[Instance]:
    """The inbox of a server for chat."""
    instance = Instance(layer, INBOX)
    yield instance
    instance.close()


@pytest.fixture
def start(peer: Callable[[str], str], redis_server: RedisServer, prefix: str) -> Iterator[Start]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(peer("nodejs"), f"{redis_server.url}?prefix={prefix}"))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


numbers = itertools.count()


def said(user: str, text: str, **more: Any) -> dict[str, Any]:
    message = {
        "reply_channel": INBOX + user.lower(), "service": "irc", "network": "net", "channel": "#büro",
        "user": user, "user_id": f"{user}!x@example.com", "text": text, "id": str(next(numbers)),
        "time": 1_800_000_000.5, **more,
    }  # fmt: skip
    message_formats.validate("chat.message", message)
    return message


def heard(server: Instance, count: int) -> list[tuple[str | None, list[str], str]]:
    """Wait for so many messages; return them as (group, local parts, text)."""
    server.wait(lambda: len(server.items) >= count)
    items, server.items = server.items, []
    chat = message_formats.get("chat.message")
    assert chat is not None
    assert chat.reply is not None
    for item in items:
        chat.reply.validate(item.message)
    return [(item.group, sorted(item.names), item.message["text"]) for item in items]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_takes_and_answers(layer: RedisLayer, server: Instance, start: Start) -> None:
    layer.send("chat.message", said("Ann", "too late"), expiry=0.2)
    lines = [f"Grüße № {n}, “ça va”? 你好 🎉 \x00" for n in range(10)]
    layer.send(
        "chat.message", said("Zoe", lines[0], files=[], direct=True, raw={"n": [2**63 - 1, -1.5, b"\xff", None]})
    )
    time.sleep(0.25)
    worker = start()
    name = worker.listens()
    assert layer.listeners() == {name: {"channels": {"chat.message": False}}}
    for line in lines[1:]:
        layer.send("chat.message", said("Zoe", line))
    assert heard(server, 10) == [(None, ["zoe"], f"Zoe, you said: {line}") for line in lines]
    server.wait(lambda: dict(server.inbox.listening()) == {"chat.message": False})

    worker.terminate()
    code, counts, log = worker.ended()
    assert (code, log) == (0, "")
    assert counts == {"taken": 11, "answered": 10, "expired": 1, "failed": 0}
    assert layer.listeners() == {}
    layer.send("chat.message", said("Zoe", "nobody is there"))
    assert layer.channel_statistics("chat.message")["messages_pending"] == 1


def test_a_group(layer: RedisLayer, server: Instance, start: Start) -> None:
    start().listens()
    for user in ("Ann", "Bob", "Cem"):
        layer.send("chat.message", said(user, "join"))
    assert len(heard(server, 3)) == 3
    assert sorted(layer.group_channels("node.room")) == [f"{INBOX}{user}" for user in ("ann", "bob", "cem")]
    layer.send("chat.message", said("Ann", "all: Grüße an alle 🎉"))
    assert heard(server, 1) == [("node.room", ["bob", "cem"], "Ann: Grüße an alle 🎉")]
    layer.group_add("node.room", "websocket.send")
    layer.send_group("node.room", {"text": "ä"}, exclude=[f"{INBOX}ann"])
    layer.send("chat.message", said("Bob", "all: x"))
    assert heard(server, 2) == [("node.room", ["bob", "cem"], "ä"), ("node.room", ["ann", "cem"], "Bob: x")]
    assert [layer.receive(["websocket.send"])[1] for _ in range(2)] == [{"text": "ä"}, {"text": "Bob: x"}]


def test_what_is_no_message_of_ours_is_dropped(
    redis_server: RedisServer, prefix: str, layer: RedisLayer, server: Instance, start: Start
) -> None:
    worker = start()
    worker.listens()
    head = struct.pack(">ddBBI", time.time() + 60, time.time(), 0, 0, 0)
    deep = b"\x91" * 100_000 + b"\xc0"
    for body in (b"", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", deep, b"\x80", b"\x07"):
        redis_server.command("RPUSH", Keys(prefix).list("chat.message"), head + body)
    layer.send("chat.message", said("Ann", "still there?"))
    assert heard(server, 1) == [(None, ["ann"], "Ann, you said: still there?")]
    worker.terminate()
    code, counts, log = worker.ended()
    assert (code, counts["failed"], counts["answered"]) == (0, 7, 1)
    assert "the message is too deep" in log


def test_it_comes_back_and_renews(redis_server: RedisServer, layer: RedisLayer, server: Instance, start: Start) -> None:
    worker = start()
    name = worker.listens()
    layer.announce(name, None)
    wait_until(lambda: name in layer.listeners())

    redis_server.command("SCRIPT", "FLUSH")
    layer.send("chat.message", said("Ann", "one"))
    assert heard(server, 1) == [(None, ["ann"], "Ann, you said: one")]

    for client in redis_server.command("CLIENT", "LIST").decode().splitlines():
        fields = dict(field.partition("=")[::2] for field in client.split(" "))
        if fields["name"] == name:
            redis_server.command("CLIENT", "KILL", "ID", fields["id"])
    layer.send("chat.message", said("Ann", "two"))
    assert heard(server, 1) == [(None, ["ann"], "Ann, you said: two")]
    assert worker.listens() == name
    worker.terminate()
    code, counts, log = worker.ended()
    assert (code, counts["answered"]) == (0, 2)
    assert "no connection to Redis: " in log


def test_nothing_is_lost_when_it_is_told_to_end(layer: RedisLayer, server: Instance, start: Start) -> None:
    worker = start()
    worker.listens()
    for n in range(200):
        layer.send("chat.message", said("Ann", str(n)))
        if n == 100:
            worker.terminate()
    code, counts, log = worker.ended()
    assert (code, log) == (0, "")
    pending = layer.channel_statistics("chat.message")["messages_pending"]
    assert counts["taken"] == counts["answered"] == 200 - pending
    assert len(heard(server, counts["answered"])) == counts["answered"]


def test_it_ends_where_there_is_no_redis(peer: Callable[[str], str]) -> None:
    worker = Worker(peer("nodejs"), "redis://127.0.0.1:1")
    try:
        assert "ECONNREFUSED" in worker.complains()
        worker.terminate()
        code, counts, _ = worker.ended()
        assert (code, counts["taken"]) == (0, 0)
    finally:
        worker.kill()


def test_it_does_not_take_part_in_a_durable_channel(redis_server: RedisServer, prefix: str, start: Start) -> None:
    with RedisLayer(redis_server.url, prefix=prefix, durable=["chat.*"]) as layer:
        layer.send("chat.message", said("Ann", "do not lose me"))
        code, counts, log = start().ended()
        assert (code, counts["taken"]) == (3, 0)
        assert log == "chat.message is a durable channel here, and this worker knows plain ones only\n"
        assert [message["text"] for message in layer.peek("chat.message")] == ["do not lose me"]


def test_messagepack_of_other_hands(peer: Callable[[str], str]) -> None:
    """What Python packs, Node.js unpacks and packs again, and it is the same for Python."""
    whole = [0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 2**15, -(2**15), 2**16, 2**31, 2**32, -(2**31) - 1]
    values: list[Any] = [
        None, True, False, *whole, 2**53 - 1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63),
        0.5, -1e300, math.pi, "", "é" * 20, "x" * 31, "x" * 32, "x" * 255, "x" * 256, "🎉" * 20_000,
        b"", b"\xff" * 255, b"\x00" * 256, b"x" * 70_000, [], [[1]], list(range(15)), list(range(16)), [None] * 70_000,
        {}, {"": {"__proto__": b"y", "1": 2}}, {str(n): n for n in range(16)}, {str(n): n for n in range(70_000)},
    ]  # fmt: skip
    echo = """
        const { pack, unpack } = require('./messagepack')
        const read = require('fs').readFileSync(0)
        process.stdout.write(pack(unpack(read)))
    """
    told = subprocess.run([peer("nodejs"), "-e", echo], cwd=FOLDER, input=msgpack.packb(values), capture_output=True)
    assert told.returncode == 0, told.stderr.decode()
    got = msgpack.unpackb(told.stdout)
    for value, back in zip(values, got, strict=True):
        assert back == value
        assert type(back) is type(value)

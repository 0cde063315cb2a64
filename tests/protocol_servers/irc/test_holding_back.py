"""What becomes of lines while the layer is full or away, and while workers come and go: counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import route
from trunkline.layer import ChannelFull, LayerUnavailable, MemoryLayer
from trunkline.protocol_servers.irc.server import IrcServer
from trunkline.protocol_servers.testing import ReactorThread, StubLayer
from trunkline.workers import Worker

Start = Callable[..., IrcServer]


class StatefulStub(StubLayer):
    """The layer that only records, with marks of its own."""

    def get_state(self, key: str) -> tuple[Any, int]:
        return None, 0

    def put_state(self, key: str, value: Any, ttl: float) -> int:
        return 1


@pytest.fixture
def stub() -> StatefulStub:
    return StatefulStub()


def test_an_outage_is_bridged(
    start_irc: Start, serve_realm: Any, stub: StatefulStub, eventually: Any, reactor_thread: ReactorThread
) -> None:
    """Nobody is known to listen for as long as the layer is away; who did before counts."""
    network = serve_realm()
    server = start_irc(stub, network.port, join=["#dev"])
    inbox = stub.inbox
    assert (inbox.name, inbox.lasting) == ("irc.reply.test!", True)
    inbox.announced = {"chat.message": True}
    eventually(lambda: "#dev" in server.session.rooms)

    def numbers() -> list[str]:
        return [each.message["text"] for each in inbox.sent if each.channel == "chat.message"]

    with network.lock:
        network.realm.say("ann", "#dev", "0")
    eventually(lambda: numbers() == ["0"])
    inbox.refusals["chat.message"] = LayerUnavailable("away")
    assert inbox.down
    assert inbox.up
    reactor_thread.run(inbox.down, "away")
    inbox.announced = {}
    with network.lock:
        for number in range(1, 51):
            network.realm.say("ann", "#dev", str(number))
    eventually(lambda: len(server._outbox) == 50)
    reactor_thread.run(inbox.take)
    inbox.refusals.clear()
    inbox.announced = {"chat.message": True}
    reactor_thread.run(inbox.up)
    eventually(lambda: len(server._outbox) == 0)
    assert list(dict.fromkeys(numbers())) == [str(number) for number in range(1, 51)]
    assert server.stats["held_back"] == 50
    assert server.stats["held_back_dropped"] == 0
    assert server.stats["layer_outages"] == 1
    once = [each.options.get("once") for each in inbox.sent if each.channel == "chat.message"]
    assert once[0] == "test id2"


def test_what_waits_when_it_ends_is_counted(
    start_irc: Start, serve_realm: Any, stub: StatefulStub, eventually: Any, reactor_thread: ReactorThread
) -> None:
    """And the next process fetches it again, where the network remembers: its mark is not written down."""
    network = serve_realm()
    server = start_irc(stub, network.port, join=["#dev"])
    stub.inbox.announced = {"chat.message": True}
    stub.inbox.refusals["chat.message"] = ChannelFull("full")
    eventually(lambda: "#dev" in server.session.rooms)
    with network.lock:
        for number in range(5):
            network.realm.say("ann", "#dev", str(number))
    eventually(lambda: len(server._outbox) == 5)
    assert reactor_thread.call(server.stop(30)) is True
    assert server.stats["held_back_dropped"] == 5
    assert server._memory.changed


def test_workers_are_restarted_while_lines_come(
    start_irc: Start, serve_realm: Any, work: Any, eventually: Any, tell: Callable[[str], None]
) -> None:
    """Every line is answered, once and in order, although the channel is full most of the time."""
    layer = MemoryLayer(channel_capacity={"chat.message": 20})
    network, lines = serve_realm(), 300

    def answer(message: Any) -> None:
        message.reply("answer " + message["text"])

    first = Worker(layer, [route("chat.message", answer)])
    first_thread = threading.Thread(target=first.run, daemon=True)
    first_thread.start()
    eventually(layer.listeners)
    server = start_irc(layer, network.port, join=["#dev"])
    eventually(lambda: "#dev" in server.session.rooms)

    def speak() -> None:
        for number in range(lines):
            with network.lock:
                network.realm.say("ann", "#dev", str(number))
            time.sleep(0.002)

    speaking = threading.Thread(target=speak)
    speaking.start()

    def answers() -> list[str]:
        with network.lock:
            return [each.text for each in network.realm.log if each.nick == "bot"]

    eventually(lambda: len(answers()) > 10)
    first.stop()
    speaking.join()
    eventually(lambda: server.stats["held_back"] > 50)
    # The next one begins when the first has put back what it did not start: two at once keep no order.
    first_thread.join()
    work(layer, [route("chat.message", answer)])
    eventually(lambda: len(answers()) >= lines)
    found = answers()
    tell(f"said {lines}, answered {len(found)}, held back {server.stats['held_back']}")
    assert found == [f"answer {number}" for number in range(lines)]
    assert server.stats["held_back_dropped"] == 0
    layer.close()

"""The inbox on a real Redis: restarts, cuts and flushes, with what was sent, what arrived and what was told counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from trunkline.layer import ChannelFull, Inbox, InboxItem, LayerError, LayerUnavailable
from trunkline.layer.redis import inbox as inbox_module
from trunkline.layer.redis.layer import RedisLayer

if TYPE_CHECKING:
    from tests.layer.redis.conftest import RedisServer

NAME = "server.1!"
PATIENCE = 60.0
_prefixes = count()


class Server:
    """A server instance: its inbox, and what it was told."""

    def __init__(self, url: str, lasting: bool = False, name: str = NAME, prefix: str | None = None) -> None:
        self.prefix = prefix or f"inbox.{next(_prefixes)}"
        self.layer = RedisLayer(url, prefix=self.prefix)
        self.loop = asyncio.new_event_loop()
        self.items: list[InboxItem] = []
        self.told: list[str] = []
        self.outcomes: list[Any] = []
        self.inbox: Inbox = self.layer.open_inbox(
            name,
            loop=self.loop,
            receive=self.items.extend,
            up=lambda: self.told.append("up"),
            down=lambda reason: self.told.append("down"),
            lasting=lasting,
        )

    def wait(self, done: Callable[[], bool]) -> None:
        async def until() -> None:
            while not done():
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(asyncio.wait_for(until(), PATIENCE))

    def send(self, channel: str, n: int) -> None:
        self.inbox.send(channel, {"n": n}, then=self.outcomes.append)

    def sync(self) -> None:
        """Wait until all that was sent so far has arrived, here and there."""
        marker = self.inbox.new_channel("sync?")
        self.layer.send(NAME + marker.replace("?", "."), {"n": None})
        self.wait(lambda: any(item.names == (marker.replace("?", "."),) for item in self.items))
        self.items[:] = [item for item in self.items if item.message["n"] is not None]
        before = len(self.outcomes)
        self.send("sync", 0)
        self.wait(lambda: len(self.outcomes) > before)
        del self.outcomes[before:]

    def wait_for_down(self) -> None:
        self.wait(lambda: self.told == ["down"])

    def numbers(self) -> list[tuple[list[str], Any]]:
        items, self.items[:] = list(self.items), []
        return [(sorted(item.names), item.message["n"]) for item in items]

    def renew(self) -> None:
        """Have the time of a renewal come, and wait for what is answered."""
        inbox: Any = self.inbox
        inbox._check()
        self.wait(lambda: not inbox._asking)

    def ready(self) -> None:
        inbox: Any = self.inbox
        self.wait(lambda: inbox._up is True)

    def connections(self) -> tuple[int, int]:
        """The ids of the connections that send and receive."""
        inbox: Any = self.inbox
        return inbox._tx.hello.client_id, inbox._rx.hello.client_id

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.run_until_complete(asyncio.wait_for(self.inbox.close(), PATIENCE))
            self.layer.close()
            self.loop.close()


@pytest.fixture
def open(redis_server: RedisServer) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def opened(url: str | None = None, **options: Any) -> Server:
        servers.append(Server(url or redis_server.url, **options))
        servers[-1].ready()
        return servers[-1]

    yield opened
    for server in servers:
        server.close()


def test_an_empty_redis_that_comes_back_has_all_members_again(
    start_redis: Callable[..., RedisServer], open: Callable[..., Server]
) -> None:
    redis = start_redis()
    server = open(redis.url)
    for local in ("a", "b", "closed"):
        server.layer.group_add("g", NAME + local, {"name": local})
    server.layer.announce("worker.1", {"channels": {"http.request": True}})
    server.sync()
    redis.kill()
    server.wait_for_down()
    server.inbox.gone("closed")
    for n in range(3):
        server.send("a", n)
    server.wait(lambda: len(server.outcomes) == 3)
    assert [outcome.uncertain for outcome in server.outcomes] == [False] * 3
    assert redis._start()
    server.wait(lambda: server.told == ["down", "up"])
    assert server.layer.group_members("g") == {NAME + local: {"name": local} for local in ("a", "b")}
    assert dict(server.inbox.listening()) == {"http.request": True}
    server.layer.send_group("g", {"n": 1})
    server.sync()
    assert server.numbers() == [(["a", "b"], 1)]
    assert server.layer.receive(["a"]) == (None, None)
    assert dict(server.inbox.stats) == {"outages": 1, "receives_cut": 1, "replays": 1}


def test_members_come_back_after_flushall(open: Callable[..., Server], start_redis: Callable[..., RedisServer]) -> None:
    redis = start_redis()
    server = open(redis.url)
    server.layer.group_add("g", NAME + "a", 7)
    server.sync()
    redis.command("FLUSHALL")
    server.layer.group_add("g", NAME + "b")
    assert server.layer.group_members("g") == {NAME + "b": None}
    server.renew()
    server.wait(lambda: server.layer.group_members("g") == {NAME + "a": 7, NAME + "b": None})
    server.layer.send_group("g", {"n": 1})
    server.sync()
    assert server.numbers() == [(["a", "b"], 1)]
    assert server.told == []


def test_a_lease_is_renewed_while_memory_is_short(
    open: Callable[..., Server], start_redis: Callable[..., RedisServer]
) -> None:
    redis = start_redis()
    server = open(redis.url)
    server.layer.group_add("g", NAME + "a", 7)
    server.sync()
    redis.command("CONFIG", "SET", "maxmemory", 1)
    server.renew()
    server.layer.announce("worker.1", {"channels": {"http.request": False}})
    server.wait(lambda: "http.request" in server.inbox.listening())
    with pytest.raises(ChannelFull):
        server.layer.send("x", {})
    redis.command("CONFIG", "SET", "maxmemory", 0)
    server.layer.send_group("g", {"n": 1})
    server.sync()
    assert server.numbers() == [(["a"], 1)]
    assert server.told == []


def test_a_lease_that_lapsed_is_taken_again(open: Callable[..., Server]) -> None:
    server = open()
    server.layer.group_add("g", NAME + "a")
    server.sync()
    inbox: Any = server.inbox
    server.layer._call(("renew", (NAME, inbox._holder, -1.0)))
    assert server.layer.group_members("g") == {}
    server.renew()
    server.wait(lambda: server.layer.group_members("g") == {NAME + "a": None})
    server.sync()


def test_layer_flush_forgets_the_members(open: Callable[..., Server]) -> None:
    server = open()
    server.layer.group_add("g", NAME + "a")
    server.sync()
    server.layer.flush()
    server.layer.group_add("g", NAME + "b")
    server.layer.send_group("g", {"n": 1})
    server.sync()
    assert server.numbers() == [(["b"], 1)]


def test_ten_thousand_members_come_back(open: Callable[..., Server], start_redis: Callable[..., RedisServer]) -> None:
    redis = start_redis()
    server = open(redis.url)
    for first in range(0, 10_000, 1000):
        calls = [server.layer._calls.group_add("g", f"{NAME}{n}", n) for n in range(first, first + 1000)]
        server.layer._run(calls)
    server.sync()
    redis.restart()
    server.wait(lambda: server.told == ["down", "up"])
    assert server.layer.group_members("g") == {f"{NAME}{n}": n for n in range(10_000)}


@pytest.mark.parametrize("which", ["tx", "rx", "both"])
def test_cut_again_and_again_nothing_comes_twice_and_every_loss_was_told(
    open: Callable[..., Server], redis_server: RedisServer, which: str
) -> None:
    server = open()
    other = RedisLayer(redis_server.url, prefix=server.prefix)
    sent = 0
    for turn in range(15):
        for _ in range(20):
            server.send(NAME + "a", sent)
            sent += 1
        server.loop.run_until_complete(asyncio.sleep(0))
        if turn % 5 == 4:
            ids = server.connections()
            for id in {"tx": ids[:1], "rx": ids[1:], "both": ids}[which]:
                redis_server.command("CLIENT", "KILL", "ID", id)
            server.wait(lambda: server.told[-1:] == ["down"])
            server.wait(lambda: server.told[-1] == "up")
    server.wait(lambda: len(server.outcomes) == sent)
    server.sync()
    arrived = [n for _, n in server.numbers()]
    taken = sum(outcome is True for outcome in server.outcomes)
    doubtful = sum(isinstance(outcome, LayerUnavailable) and outcome.uncertain for outcome in server.outcomes)
    assert len(set(arrived)) == len(arrived)
    assert arrived == sorted(arrived)
    assert server.inbox.stats["in_doubt"] == doubtful
    if which == "tx":
        assert taken <= len(arrived) <= taken + doubtful, "what was taken arrives, for the other connection was not cut"
    assert server.told == ["down", "up"] * 3
    other.close()


def test_a_member_that_left_while_the_connection_was_cut_stays_away(
    open: Callable[..., Server], redis_server: RedisServer
) -> None:
    server = open(lasting=True)
    for local in ("a", "b"):
        server.layer.group_add("g", NAME + local)
    server.sync()
    for id in server.connections():
        redis_server.command("CLIENT", "KILL", "ID", id)
    server.wait_for_down()
    server.inbox.gone("a")
    server.layer.group_discard("g", NAME + "b")
    server.layer.group_add("g", NAME + "c")
    server.wait(lambda: server.told == ["down", "up"])
    assert server.layer.group_members("g") == {NAME + "c": None}
    server.layer.send_group("g", {"n": 1})
    server.sync()
    assert server.numbers() == [(["c"], 1)]


def test_a_lasting_inbox_that_was_closed_takes_nothing_any_more(open: Callable[..., Server]) -> None:
    server = open(lasting=True)
    server.layer.group_add("g", NAME + "a")
    server.sync()
    server.loop.run_until_complete(server.inbox.close())
    for n in range(5):
        server.layer.send(NAME + "a", {"n": n})
    server.layer.send_group("g", {"n": 5})
    again = open(lasting=True, prefix=server.prefix)
    again.sync()
    assert again.numbers() == [(["a"], n) for n in range(6)]
    assert server.numbers() == []


def test_another_process_took_the_lease(open: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    server = open(lasting=True)
    inbox: Any = server.inbox
    server.layer._call(("renew", (NAME, inbox._holder, -1.0)))
    other = open(lasting=True, prefix=server.prefix)
    server.renew()
    server.wait_for_down()
    server.renew()
    assert caplog.text.count("leased by another process") == 1
    with pytest.raises(LayerError, match="leased by another process"):
        open(lasting=True, prefix=server.prefix)
    other.close()
    server.renew()
    server.wait(lambda: server.told == ["down", "up"])


def test_delayed_messages_arrive_in_servers_that_are_alone(open: Callable[..., Server]) -> None:
    one = open()
    two = open(name="server.2!", prefix=one.prefix)
    one.inbox.send("server.2!b", {"n": 2}, delay=0.1)
    one.inbox.send(NAME + "a", {"n": 1}, delay=0.05)
    one.wait(lambda: len(one.items) == 1)
    two.wait(lambda: len(two.items) == 1)
    assert one.numbers() == [(["a"], 1)]
    assert two.numbers() == [(["b"], 2)]


def test_room_in_an_inbox_comes_back_as_it_is_read(open: Callable[..., Server]) -> None:
    server = open()
    small = RedisLayer(server.layer._address.text, prefix=server.prefix, capacity=3)
    sent = 0
    with pytest.raises(ChannelFull):
        while sent < 100:  # one pull takes some while nobody works on them
            small.send(NAME + "a", {"n": sent})
            sent += 1
    server.wait(lambda: len(server.items) == sent)
    for n in range(sent, 60):
        small.send(NAME + "a", {"n": n})
        server.sync()
    assert [n for _, n in server.numbers()] == list(range(60))
    assert server.layer.channel_statistics(NAME)["messages_pending"] == 0
    small.close()


def test_closing_while_redis_is_away_or_coming_back_is_quick(
    start_redis: Callable[..., RedisServer], open: Callable[..., Server]
) -> None:
    redis = start_redis()
    servers = [open(redis.url, name=f"server.{n}!") for n in range(2)]
    redis.kill()
    began = time.monotonic()
    for server in servers:
        server.wait_for_down()
        server.send("a", 1)
    servers[0].close()
    assert redis._start()
    servers[1].close()
    assert time.monotonic() - began < PATIENCE / 2
    assert [len(server.outcomes) for server in servers] == [1, 1]


def test_closing_while_redis_hangs_ends(
    start_redis: Callable[..., RedisServer], open: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_CLOSING", 0.2)
    redis = start_redis()
    server = open(redis.url)
    redis.freeze()
    server.send("a", 1)
    server.loop.run_until_complete(server.inbox.close())
    assert [outcome.uncertain for outcome in server.outcomes] == [True]
    redis.thaw()


def test_a_layer_that_is_closed_gives_its_inboxes_back(open: Callable[..., Server]) -> None:
    server = open()
    server.layer.group_add("g", NAME + "a")
    server.sync()
    server.layer.close()
    inbox: Any = server.inbox
    server.wait(lambda: inbox._closing is not None and inbox._closing.done())
    with RedisLayer(server.layer._address.text, prefix=server.prefix) as layer:
        assert layer.group_members("g") == {}


def test_an_idle_inbox_asks_for_nothing(open: Callable[..., Server], redis_server: RedisServer) -> None:
    server = open()
    server.sync()

    def executed() -> int:
        return int(redis_server.command("INFO", "stats")["total_commands_processed"])

    before = executed()
    server.loop.run_until_complete(asyncio.sleep(0.3))
    assert executed() - before <= 5, "a renewal may have fallen into this time, and we asked once ourselves"

"""Groups: one frame for all members, whatever state each is in; and the end of all when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.http.websocket import broadcast, close_all
from trunkline.protocol_servers.testing.websocket_frames import BINARY, COMPRESSED, TEXT, close_code

BenchWith = Callable[..., Any]
DEFLATE = {b"sec-websocket-extensions": b"permessage-deflate"}
NARROW = {b"sec-websocket-extensions": b"permessage-deflate; server_max_window_bits=9"}


def group_send(bench: Any, clients: list[Any], message: dict[str, Any]) -> None:
    bench.inbox.answer_group([client.reply_channel for client in clients], message)


def test_all_members_get_it(bench: Any) -> None:
    clients = [bench.open() for _ in range(10)]
    group_send(bench, clients, {"text": "hé"})
    group_send(bench, clients[:5], {"bytes": b"\0"})
    group_send(bench, clients, {"text": "", "close": 4000})
    for number, client in enumerate(clients):
        frames = client.frames()
        assert frames[0] == (TEXT, "hé".encode())
        assert (BINARY, b"\0") in frames or number >= 5
        assert frames[-2] == (TEXT, b"")
        assert close_code(frames[-1]) == 4000


def test_the_frame_is_built_once(bench: Any) -> None:
    clients = [bench.open() for _ in range(3)]
    written: list[bytes] = []
    for client in clients:
        client.transport.write = written.append
    group_send(bench, clients, {"text": "x" * 2000})
    assert len(written) == 3
    assert written[0] is written[1] is written[2]


def test_compressed_once_for_each_window(bench: Any) -> None:
    clients = [bench.open(DEFLATE), bench.open(NARROW), bench.open(), bench.open(DEFLATE), bench.open(NARROW)]
    written: list[bytes] = []
    for client in clients:
        client.transport.write = written.append
    group_send(bench, clients, {"text": "again " * 2000})
    assert written[0] is written[3]
    assert written[1] is written[4]
    assert written[0][0] == written[1][0] == 0x80 | TEXT | COMPRESSED
    assert written[2][0] == 0x80 | TEXT


def test_nobody_and_nothing(bench: Any) -> None:
    broadcast([], {"text": "x"})
    client = bench.open()
    group_send(bench, [client], {})
    assert client.take() == b""


def test_what_is_no_reply_is_ignored(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    clients = [bench.open(), bench.connect()]
    for message in ({"text": 5}, {"close": 1005}, {"bytes": "x", "close": True}):
        group_send(bench, clients, message)
    assert bench.stats["unfit_messages"] == 3
    assert len(caplog.records) == 1
    group_send(bench, clients, {"text": "a", "bytes": b"b", "close": True})
    assert bench.stats["websocket_ambiguous"] == 1
    assert [client.take() for client in clients] == [b"", b""]
    group_send(bench, clients[:1], {"text": "fine"})
    assert clients[0].frames() == [(TEXT, b"fine")]


def test_members_that_cannot_take_it_do_not_hurt_the_others(bench_with: BenchWith) -> None:
    bench = bench_with(write_limit=1000)
    slow, closing, broken, waiting, fine = bench.open(), bench.open(), bench.open(), bench.connect(), bench.open()
    slow.transport.buffered = 2000
    closing.reply({"close": True})
    closing.take()

    def fail(_: bytes) -> None:
        raise OSError("broken")

    broken.transport.write = fail
    group_send(bench, [slow, closing, broken, waiting, fine], {"text": "x"})
    assert slow.code() == 1013
    assert closing.take() == b""
    assert waiting.take() == b""
    assert fine.frames() == [(TEXT, b"x")]
    assert bench.stats["failures"] == 1
    waiting.reply({"accept": True})
    assert waiting.accepted() == [(TEXT, b"x")]


def run(bench: Any, clients: list[Any], grace: float) -> list[float]:
    """Stop; return the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    asyncio.run(close_all([client.socket for client in clients], grace, sleep=sleep))
    return pauses


def test_a_stop_sends_everybody_away(bench: Any) -> None:
    opened, waiting, closing, gone = bench.open(), bench.connect(), bench.open(), bench.open()
    closing.reply({"close": 4000})
    closing.take()
    gone.leave()
    assert run(bench, [opened, waiting, closing, gone], 30) == []
    assert opened.code() == 1012
    assert waiting.take().startswith(b"HTTP/1.1 503 ")
    assert closing.take() == b""
    assert gone.take() == b""


def test_who_does_not_answer_a_stop_is_cut_within_the_grace(bench: Any) -> None:
    silent, closing, refused = bench.open(), bench.open(), bench.connect()
    closing.reply({"close": True})
    run(bench, [silent, closing, refused], 4)
    bench.loop.advance(1.1)
    assert silent.closed
    assert closing.closed
    assert refused.aborted


@pytest.mark.parametrize(("count", "grace", "longest"), [(1000, 30.0, 0.7), (1000, 0.5, 0.25), (1000, 0.0, 0.0)])
def test_many_go_in_slices_within_half_the_grace(bench: Any, count: int, grace: float, longest: float) -> None:
    clients = [bench.open() for _ in range(count)]
    pauses = run(bench, clients, grace)
    assert len(pauses) == count // 100 - 1
    assert sum(pauses) <= 1.5 * longest
    if grace:
        assert len(set(pauses)) > 1, "with jitter"
    assert {client.code() for client in clients} == {1012}


def test_the_order_is_drawn(bench: Any) -> None:
    clients = [bench.open() for _ in range(200)]
    told: list[Any] = []
    for client in clients:
        client.transport.write = lambda _, client=client: told.append(client)
    run(bench, clients, 1)
    assert told != clients
    assert set(told) == set(clients)

"""Whatever comes, from the client or from the bus: nothing is raised, and nothing grows without bound."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.testing.websocket_frames import (
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    server_frames,
)

BenchWith = Callable[..., Any]
DEFLATE = {b"sec-websocket-extensions": b"permessage-deflate"}
MAX = 2000  # bytes of a message

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

payloads = st.one_of(st.binary(max_size=200), st.text(max_size=60).map(str.encode), st.just(b"x" * (MAX + 1)))
good_frames = st.builds(
    client_frame,
    st.sampled_from([CONTINUATION, TEXT, 2, PING, PONG]),
    st.binary(max_size=125) | st.text(max_size=30).map(str.encode),
    fin=st.sampled_from([True, True, True, False]),
)
odd_frames = st.builds(
    client_frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, COMPRESSED, 0x20, 0x70]),
    mask=st.sampled_from([b"\0\0\0\0", b"abcd", None]),
)
closes = st.integers(0, 65535).map(lambda code: client_frame(CLOSE, struct.pack("!H", code)))
streams = st.lists(
    st.one_of(good_frames, good_frames, good_frames, odd_frames, closes, st.binary(max_size=30)), max_size=12
)


def held_bytes(client: Any) -> int:
    """Bytes that a socket keeps of what its client sent."""
    protocol = client.socket._protocol
    if protocol is None:
        return 0
    return len(protocol.reader.buffer) + len(protocol._fragments or b"") + len(client.socket._held or b"")


def outcome(client: Any) -> tuple[list[Any], bytes]:
    """What the bus was told, and what the client was."""
    told = [
        (sent.channel, {name: value for name, value in sent.message.items() if name != "reply_channel"})
        for sent in client.bench.take()
    ]
    return told, client.take()


@quick
@given(pieces=streams, cuts=st.lists(st.integers(0, 400), max_size=8), compressed=st.booleans())
def test_any_bytes_in_any_pieces(bench_with: BenchWith, pieces: list[bytes], cuts: list[int], compressed: bool) -> None:
    """The outcome is the same however the bytes arrive, also by the shortcut for whole short frames."""
    bench = bench_with(ws_max=MAX)
    stream = b"".join(pieces)
    at = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    ways = [
        [stream],
        pieces,
        [stream[start:end] for start, end in itertools.pairwise(at)],
        [stream[index : index + 1] for index in range(len(stream))],
    ]
    outcomes = []
    for way in ways:
        client = bench.open(DEFLATE if compressed else {})
        for piece in way:
            client.feed(piece)
            assert held_bytes(client) <= 2 * MAX + len(piece) + 14
        told, written = outcome(client)
        server_frames(written)
        client.leave()
        outcomes.append((told, written))
        bench.take()
        assert bench.open_connections == 0
    assert outcomes.count(outcomes[0]) == len(outcomes)
    assert bench.stats["failures"] == 0


@quick
@given(data=st.binary(max_size=3000))
def test_noise(bench_with: BenchWith, data: bytes) -> None:
    bench = bench_with(ws_max=MAX)
    client = bench.open()
    client.feed(data)
    server_frames(client.take())
    client.leave()
    assert bench.open_connections == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
codes = st.integers(990, 1020) | st.integers(2990, 5010)
replies = st.fixed_dictionaries(
    {},
    optional={
        "accept": st.booleans() | anything,
        "text": st.text(max_size=20) | anything,
        "bytes": st.binary(max_size=20) | anything,
        "close": st.booleans() | codes | anything,
        "subprotocol": st.sampled_from(["chat", "other"]) | anything,
        "more": anything,
    },
)


@quick
@given(messages=st.lists(st.tuples(st.booleans(), replies), max_size=8))
def test_any_messages_from_the_bus(bench_with: BenchWith, messages: list[tuple[bool, dict[str, Any]]]) -> None:
    bench = bench_with()
    client = bench.connect({b"sec-websocket-protocol": b"chat", **DEFLATE})
    for to_group, message in messages:
        if to_group:
            bench.inbox.answer_group([client.reply_channel], message)
        else:
            client.reply(message)
    written = client.take()
    if written:
        head, _, rest = written.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        assert status in (101, 403, 500)
        if status == 101:
            server_frames(rest)
    bench.loop.advance(60)
    client.leave()
    assert bench.open_connections == 0
    assert bench.stats["failures"] == 0


header_values = st.one_of(
    st.binary(max_size=60).map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)),
    st.sampled_from([b"13", b"websocket", b"Upgrade", b"permessage-deflate; client_max_window_bits=", b"a, b;c"]),
)
header_names = st.sampled_from(
    [
        b"host",
        b"connection",
        b"upgrade",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
        b"sec-websocket-\xff",
    ]
)


@quick
@given(headers=st.lists(st.tuples(header_names, header_values), max_size=5), replace=st.booleans())
def test_any_upgrade_request(bench_with: BenchWith, headers: list[tuple[bytes, bytes]], replace: bool) -> None:
    bench = bench_with()
    request = bench.request()
    if replace:
        names = {name for name, _ in headers}
        request.headers = [line for line in request.headers if line[0] not in names]
    request.headers.extend(headers)
    client = bench.ask(request)
    client.reply({"accept": True, "subprotocol": "a"})
    assert client.status() in (101, 400, 403, 426)
    client.leave()
    assert bench.open_connections == 0
    assert bench.stats["failures"] == 0


@pytest.mark.parametrize("fragment", [b"", b"x"])
def test_endless_fragments_stay_bounded(bench_with: BenchWith, fragment: bytes) -> None:
    bench = bench_with(ws_max=MAX)
    client = bench.open()
    client.feed(client_frame(TEXT, b"", fin=False))
    client.feed(client_frame(CONTINUATION, fragment, fin=False) * MAX)
    bench.loop.turn()
    assert held_bytes(client) <= MAX
    assert client.take() == b""
    client.feed(client_frame(CONTINUATION, b"x" * MAX + b"x" * (not fragment)))
    bench.loop.turn()
    assert client.code() == 1009
    assert held_bytes(client) == 0

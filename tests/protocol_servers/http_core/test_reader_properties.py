"""Whatever bytes come, however they are cut: one outcome, bounded memory, and nothing read that the grammar forbids."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

Read = Callable[..., Any]

# The grammar of RFC 9112 written down once more, on its own, for what the parser may accept at most.
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
GRAMMAR = re.compile(
    rb"(?:\r\n)?"
    rb"[A-Z-]+ [\x21\x22\x24-\x7e]+ HTTP/1\.[01]\r\n"
    rb"(?:" + TOKEN + rb":[ \t]*(?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*\r\n)*"
    rb"\r\n"
)

SMALL = {"max_head": 400, "max_headers": 4, "max_body": 300}

# fmt: off
WORDS = [
    b"GET ", b"POST ", b"OPTIONS ", b"CONNECT ", b"/ ", b"/%41?q ", b"* ", b"http://a/b ",
    b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"HTTP/2.0\r\n",
    b"Host: a\r\n", b"Host: ", b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ", b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n", b"X:", b"X_Y: z\r\n",
    b"\r\n", b"\r\n\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"\x7f", b"\xff", b"%",
    b"5\r\n", b"hello", b"0\r\n", b"0\r\n\r\n", b"5;x\r\n", b"ffff\r\n", b"a" * 50,
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
]
# fmt: on

words = st.sampled_from(WORDS)
traffic = st.one_of(st.binary(max_size=200), st.lists(words, max_size=20).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(data=traffic, cuts=st.lists(st.integers(0, 400), max_size=6))
@example(data=b"\r\n\r", cuts=[1, 2])
def test_any_bytes_come_to_one_outcome_however_they_are_cut(
    read: Read, read_cut: Read, data: bytes, cuts: list[int]
) -> None:
    outcome = read(data, **SMALL)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert read_cut(pieces, **SMALL)[:-1] == outcome[:-1]


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "]), data=traffic
)
def test_what_is_accepted_follows_the_grammar(read_cut: Read, start: bytes, data: bytes) -> None:
    data = start + data
    end = data.find(b"\r\n\r\n", 2 if data.startswith(b"\r\n") else 0)
    outcome = read_cut([data])
    if outcome.requests:
        assert GRAMMAR.fullmatch(data[: end + 4])


@settings(max_examples=100, deadline=None)
@given(start=traffic, filler=st.sampled_from([b"a", b"a: b\r\n", b"1\r\nx\r\n", b"\r\n", b" ", b";", b"\0", b"0"]))
def test_no_bytes_fill_the_memory(read_cut: Read, start: bytes, filler: bytes) -> None:
    outcome = read_cut([start] + [filler * 10] * 300, **SMALL)
    assert outcome.held <= 512 + len(start)
    assert sum(map(len, outcome.bodies)) <= 300 * max(len(outcome.requests), 1)

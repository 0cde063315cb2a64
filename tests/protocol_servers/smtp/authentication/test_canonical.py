"""The forms that DKIM hashes, taken piece by piece; beside them, dkimpy's, which takes a body whole."""

from __future__ import annotations

import time

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp.authentication.canonical import Body, RelaxedBody, relaxed_header

PIECES = st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"x", b"y z", b"\r\n\r\n"]), max_size=30)


def fed(kind: type[Body], pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    body = kind(out.append)
    for piece in pieces:
        body.feed(piece)
    body.end()
    assert body.size == len(b"".join(out))
    return b"".join(out)


@settings(max_examples=150, deadline=None)
@given(PIECES, st.integers(1, 5))
@example([b"x \r", b"\n"], 1)
def test_as_dkimpy_does(pieces: list[bytes], size: int) -> None:
    whole = b"".join([*pieces, b"\r\n"])  # without the last line's end, dkimpy keeps white space that the RFC does not
    cut = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert fed(Body, cut) == Simple.canonicalize_body(whole)
    assert fed(RelaxedBody, cut) == Relaxed.canonicalize_body(whole)


@pytest.mark.parametrize(
    ("kind", "body", "canonical"),
    [
        (Body, b"", b"\r\n"),
        (Body, b"\r\n\r\n", b"\r\n"),
        (Body, b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),
        (Body, b"x", b"x\r\n"),
        (RelaxedBody, b"", b""),
        (RelaxedBody, b"\r\n\r\n", b""),
        (RelaxedBody, b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (RelaxedBody, b"x \t \r\n \r\n", b"x\r\n"),
        (RelaxedBody, b"x \t", b"x\r\n"),
        (RelaxedBody, b" \t", b""),
        (RelaxedBody, b"x\rz\ny\r\n", b"x\rz\ny\r\n"),
        (Body, b"x\n\r\n\r\r\n", b"x\n\r\n\r\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_bodies(kind: type[Body], body: bytes, canonical: bytes, size: int) -> None:
    """The examples of RFC 6376 section 3.4.5, and others, in pieces of any size."""
    assert fed(kind, [body[start : start + size] for start in range(0, len(body), size)]) == canonical


def test_headers() -> None:
    assert relaxed_header(b"A", b" X") == b"a:X"
    assert relaxed_header(b"B ", b" Y\t\r\n\tZ  ") == b"b:Y Z"


@pytest.mark.parametrize("piece", [b" ", b"\r\n", b" \r\n", b"\n\r", b"\t x", b"\r"])
@pytest.mark.parametrize("kind", [Body, RelaxedBody])
def test_cost_does_not_explode(kind: type[Body], piece: bytes) -> None:
    def seconds(size: int) -> float:
        chunk = piece * (65536 // len(piece))
        best = 1e9
        for _ in range(3):
            began = time.thread_time()
            fed(kind, [chunk] * (size // 65536))
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(1024 * 1024) < max(10 * seconds(256 * 1024), 0.2)

"""Mail data in blocks: where it ends, what is refused, and that the size of the blocks makes no difference."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp import replies
from trunkline.protocol_servers.smtp.data import DataReader

MAX_SIZE, MAX_LINE = 1000, 100


def read(data: bytes, step: int) -> tuple[bytes, int | None, bytes | None]:
    """Feed `data` in blocks of `step` bytes; return (content, refusal's code, what follows the end or None)."""
    reader = DataReader(MAX_SIZE, MAX_LINE)
    for position in range(0, len(data), step):
        rest = reader.feed(data[position : position + step])
        assert reader.held <= MAX_SIZE
        if rest is not None:
            rest += data[position + step :]
            break
    else:
        rest = None
    return reader.content(), reader.refusal.code if reader.refusal else None, rest


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10_000])
@pytest.mark.parametrize(
    ("data", "content", "refusal", "rest"),
    [
        (b".\r\n", b"", None, b""),
        (b".\r\nQUIT\r\n", b"", None, b"QUIT\r\n"),
        (b"hi\r\n.\r\n", b"hi\r\n", None, b""),
        (b"\r\n.\r\n", b"\r\n", None, b""),
        (b"\r\n\r\n\r\n.\r\n", b"\r\n\r\n\r\n", None, b""),
        (b"hi", b"hi", None, None),
        (b"..\r\n...\r\n.x\r\n.\r\n", b".\r\n..\r\nx\r\n", None, b""),
        (b"a.\r\nb\r\n.\r\n", b"a.\r\nb\r\n", None, b""),
        (b"a\r\n.b\r\n.\r\n.\r\n", b"a\r\nb\r\n", None, b".\r\n"),
        (b"x" * 100 + b"\r\n.\r\n", b"x" * 100 + b"\r\n", None, b""),
        (b"." + b"x" * 100 + b"\r\n.\r\n", b"x" * 100 + b"\r\n", None, b""),
        ((b"x" * 98 + b"\r\n") * 10 + b".\r\n", (b"x" * 98 + b"\r\n") * 10, None, b""),
        (b"\xff\0\r\n.\r\n", b"\xff\0\r\n", None, b""),
        # A bare CR or LF, wherever other software might see an end in it.
        (b"a\nb\r\n.\r\n", b"", 550, b""),
        (b"a\rb\r\n.\r\n", b"", 550, b""),
        (b"a\n.\nMAIL FROM:<b@c>\r\n.\r\n", b"", 550, b""),
        (b"a\n.\r\nMAIL FROM:<b@c>\r\n.\r\n", b"", 550, b""),
        (b"a\r.\rMAIL FROM:<b@c>\r\n.\r\n", b"", 550, b""),
        (b"a\r\n.\nMAIL FROM:<b@c>\r\n.\r\n", b"", 550, b""),
        (b"a\r\n.\rMAIL FROM:<b@c>\r\n.\r\n", b"", 550, b""),
        (b"a\r\r\n.\r\r\n.\r\n", b"", 550, b""),
        (b"\n.\r\n\r\n.\r\nx", b"", 550, b"x"),
        (b"a\r\n\n.\r\n\r\n.\r\n", b"", 550, b""),
        # Lines and size.
        (b"x" * 101 + b"\r\n.\r\n", b"", 500, b""),
        (b"a\r\n" + b"x" * 101 + b"\r\nb\r\n.\r\nrest", b"", 500, b"rest"),
        (b"x" * 101, None, None, None),
        (b"x" * 500 + b"\r\n.\r\n", b"", 500, b""),
        ((b"x" * 98 + b"\r\n") * 10 + b"y\r\n.\r\n", b"", 552, b""),
        ((b"x" * 98 + b"\r\n") * 1000 + b".\r\n", b"", 552, b""),
        (b"a\nb\r\n" * 1000 + b".\r\n", b"", 550, b""),
    ],
)
def test_data(data: bytes, content: bytes | None, refusal: int | None, rest: bytes | None, step: int) -> None:
    found = read(data, step)
    if content is not None:
        assert found == (content, refusal, rest)
    else:  # a long line is told at its end, or when the next block shows it
        assert found[2] is None


def test_a_refusal_from_outside_stays_the_first() -> None:
    reader = DataReader(MAX_SIZE, MAX_LINE)
    reader.feed(b"some data\r\n")
    reader.refuse(replies.NO_ROOM)
    reader.refuse(replies.TOO_LARGE)
    assert reader.feed(b"a\nb\r\n.\r\nrest") == b"rest"
    assert (reader.refusal, reader.held, reader.content()) == (replies.NO_ROOM, 0, b"")


def test_small_blocks_take_no_more_memory_than_large_ones() -> None:
    """A client may send two bytes a packet: kept one by one, a mail would take thirty times its size."""
    reader = DataReader(200_000, 200_000)
    tracemalloc.start()
    try:
        for _ in range(50_000):
            reader.feed(b"a" + b"b")
        assert tracemalloc.get_traced_memory()[0] < 2 * reader.held == 200_000
    finally:
        tracemalloc.stop()


PIECES = st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"..", b"x", b"\r\n.\r\n", b"x" * 40])


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 9))
def test_the_size_of_blocks_makes_no_difference(data: bytes, step: int) -> None:
    whole, parts = read(data, len(data) or 1), read(data, step)
    if whole[2] is not None:
        # A mail with several faults may be refused for another one of them.
        assert (parts[0], parts[1] is None, parts[2]) == (whole[0], whole[1] is None, whole[2])
        end = data.index(b"\r\n.\r\n") if not data.startswith(b".\r\n") else -2
        assert whole[2] == data[end + 5 :]
        if whole[1] is None:
            sent = data[: end + 2]
            assert b"\n" not in whole[0].replace(b"\r\n", b"")
            assert whole[0] == b"".join(line.removeprefix(b".") for line in sent.splitlines(keepends=True))
    else:
        assert parts[2] is None

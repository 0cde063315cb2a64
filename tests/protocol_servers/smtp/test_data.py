"""Mail data in blocks: where it ends, what is refused, and that the size of the blocks makes no difference."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp import replies
from trunkline.protocol_servers.smtp.content import Content, Room
from trunkline.protocol_servers.smtp.data import ChunkReader, DataReader, Incoming

MAX_SIZE, MAX_LINE = 1000, 100


def incoming(max_size: int = MAX_SIZE, max_line: int = MAX_LINE, *, binary: bool = False) -> Incoming:
    return Incoming(Content(Room(10**6, 10**6), 300), max_size, max_line, binary=binary)


def read(data: bytes, step: int) -> tuple[bytes, int | None, bytes | None]:
    """Feed `data` in blocks of `step` bytes; return (content, refusal's code, what follows the end or None)."""
    mail = incoming()
    reader = DataReader(mail)
    for position in range(0, len(data), step):
        rest = reader.feed(data[position : position + step])
        assert mail.content.size <= MAX_SIZE
        if rest is not None:
            rest += data[position + step :]
            break
    else:
        rest = None
    content = mail.content.read(0, MAX_SIZE + 1)
    mail.content.close()
    return content, mail.refusal.code if mail.refusal else None, rest


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


def test_a_refusal_stays_the_first() -> None:
    mail = incoming()
    reader = DataReader(mail)
    reader.feed(b"some data\r\n")
    mail.refuse(replies.NO_ROOM)
    mail.refuse(replies.TOO_LARGE)
    assert reader.feed(b"a\nb\r\n.\r\nrest") == b"rest"
    assert (mail.refusal, mail.content.size, reader.discarded) == (replies.NO_ROOM, 0, 16)


def test_small_blocks_take_no_more_memory_than_large_ones() -> None:
    """A client may send two bytes a packet: kept one by one, a mail would take thirty times its size."""
    mail = Incoming(Content(Room(10**6, 10**6)), 200_000, 200_000)
    reader = DataReader(mail)
    tracemalloc.start()
    try:
        for _ in range(50_000):
            reader.feed(b"a" + b"b")
        assert tracemalloc.get_traced_memory()[0] < 2 * mail.content.size == 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("chunks", "content", "refusal"),
    [
        ([b""], b"", None),
        ([b"hi"], b"hi", None),
        ([b"a\r\n.\r\n..b", b"\r\n"], b"a\r\n.\r\n..b\r\n", None),  # a dot is a dot
        ([b"a\r", b"\nb"], b"a\r\nb", None),  # a line end may be cut in two
        ([b"a\r", b"b"], b"", 550),
        ([b"a\r", b""], b"", 550),
        ([b"a", b"\nb"], b"", 550),
        ([b"\r\n.\n", b"x"], b"", 550),
        ([b"x" * 101], b"", 500),
        ([b"x" * 60, b"x" * 60], b"", 500),
        ([(b"x" * 98 + b"\r\n") * 10], (b"x" * 98 + b"\r\n") * 10, None),
        ([(b"x" * 98 + b"\r\n") * 10, b"y"], b"", 552),
    ],
)
def test_chunks(chunks: list[bytes], content: bytes, refusal: int | None, step: int) -> None:
    mail = incoming()
    for chunk in chunks:
        reader = ChunkReader(mail, len(chunk))
        rest = reader.feed(b"")
        data = chunk + b"REST"
        for position in range(0, len(data), step):
            if rest is not None:
                break
            rest = reader.feed(data[position : position + step])
        assert rest is not None
        assert b"REST".startswith(rest)
    mail.end()
    assert (mail.content.read(0, 2000), mail.refusal and mail.refusal.code) == (content, refusal)


def test_a_binary_mail_may_hold_anything() -> None:
    mail = incoming(binary=True)
    data = bytes(range(256)) * 3 + b"\n.\r\r"
    assert ChunkReader(mail, len(data)).feed(data + b"QUIT") == b"QUIT"
    mail.end()
    assert (mail.content.read(0, 2000), mail.refusal) == (data, None)


def test_a_refused_chunk_goes_nowhere() -> None:
    reader = ChunkReader(None, 10)
    assert reader.feed(b"0123456") is None
    assert reader.feed(b"789QUIT") == b"QUIT"
    assert reader.discarded == 10


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

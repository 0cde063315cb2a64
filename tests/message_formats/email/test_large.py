"""Large mails: parsed from a mapped file, their large parts decoded piece by piece, with memory that stays bounded."""

from __future__ import annotations

import base64
import binascii
import mmap
import quopri
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.message_formats.email import mime, parse_mail, transfer
from trunkline.message_formats.email.parts import Memory

RANDOM = random.Random(7)
CONTENT = RANDOM.randbytes(1_000_000)
TEXT = "".join(
    RANDOM.choice(["Grüße ", "= ", "word ", "\r\n", "\t \r\n", ".", "x" * 90]) for _ in range(80_000)
).encode()


def wrapped(letters: bytes, width: int = 76, end: bytes = b"\r\n") -> bytes:
    return b"".join(letters[at : at + width] + end for at in range(0, len(letters), width))


def uuencoded(data: bytes) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return b"begin 644 x\n" + lines + b"`\nend\n"


def quoted(text: bytes) -> bytes:
    return quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")


def mail(encoding: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    head = "Message-ID: <1>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n"
    return (
        f"{head}Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
        + body
        + b"\r\n--b--\r\n"
    )


@pytest.fixture
def mapped() -> Iterator[Any]:
    """Makes a mapped file of bytes."""
    files = []

    def make(raw: bytes) -> mmap.mmap:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        files.append(file)
        file.write(raw)
        file.flush()
        return mmap.mmap(file.fileno(), len(raw), access=mmap.ACCESS_READ)

    yield make
    for file in files:
        file.close()


@pytest.mark.parametrize(
    ("encoding", "encoded", "content"),
    [
        ("binary", CONTENT.replace(b"\n", b""), CONTENT.replace(b"\n", b"")),
        ("8bit", TEXT, TEXT),
        ("base64", wrapped(base64.b64encode(CONTENT)), CONTENT),
        ("base64", wrapped(base64.b64encode(CONTENT), 77, b" \n"), CONTENT),
        ("base64", base64.b64encode(CONTENT), CONTENT),
        ("base64", base64.b64encode(CONTENT) + b"=junk" * 90_000, CONTENT),
        ("base64", wrapped(base64.b64encode(CONTENT)).replace(b"=", b""), CONTENT),
        ("quoted-printable", quoted(TEXT), quopri.decodestring(quoted(TEXT))),
        ("quoted-printable", b"=41" * 200_000, b"A" * 200_000),
        ("quoted-printable", b"x" * 262_143 + b"=\r\n" + b"y" * 300_000, b"x" * 262_143 + b"y" * 300_000),
        ("x-uuencode", uuencoded(CONTENT), CONTENT),
        ("uuencode", b"x" * 600_000, b"x" * 600_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_large_parts_are_decoded_piece_by_piece(encoding: str, encoded: bytes, content: bytes, mapped: Any) -> None:
    raw = mail(encoding, encoded)
    for where in (raw, mapped(raw)):
        parsed = parse_mail(where)
        ((node, part),) = parsed.large
        assert node["size"] == part.size == len(content)
        assert part.read() == content
        assert b"".join(part.read(at, 65_536) for at in range(0, part.size, 65_536)) == content
        assert part.read(part.size, 10) == part.read(part.size + 5) == b""


def test_what_breaks_off_late_is_kept_up_to_there() -> None:
    broken = uuencoded(CONTENT).replace(b"\n`\n", b"\n#\xff\xff\xff\xff\n`\n")
    ((_, part),) = (parsed := parse_mail(mail("uuencode", broken))).large
    assert part.read() == CONTENT
    assert "uuencode has an unreadable line" in parsed.fields["defects"]


def test_what_is_large_only_in_its_encoding_is_in_the_message() -> None:
    parsed = parse_mail(mail("base64", wrapped(base64.b64encode(b"small")) + b"\r\n" * 200_000))
    assert parsed.large == []
    assert parsed.fields["content"]["parts"][1]["body"] == b"small"


@pytest.mark.parametrize("size", [0, 1, 100, transfer.PIECE, mime._WINDOW + 7])
def test_a_mapped_file_is_read_as_bytes_are(size: int, mapped: Any) -> None:
    """Boundaries that lie across the windows in which a mapped file is searched are found."""
    for shift in range(-3, 4):
        filler = b"x" * max(0, size + shift - 150)
        raw = mail(
            "7bit", filler + b"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>page</p>" + b"\r\n--b x\r\n--bb\r\n--b"
        )
        assert parse_mail(mapped(raw)).fields == parse_mail(raw).fields


def test_a_boundary_is_looked_for_in_linear_time(mapped: Any) -> None:
    """Whatever almost is the boundary, over and over."""
    boundary = b"a" * 900
    head = b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"
    parsed = parse_mail(mapped(head + b"\n--" + b"a" * 20_000_000))
    assert parsed.fields["defects"] == ["multipart without any boundary line"]


def test_memory_is_bounded(mapped: Any) -> None:
    raw = mapped(mail("base64", wrapped(base64.b64encode(CONTENT * 18))))
    assert len(raw) > 24_000_000

    class Counted(Memory):
        def write(self, data: bytes) -> None:
            self.size += len(data)

    store = Counted()
    tracemalloc.start()
    try:
        parsed = parse_mail(raw, store=store)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.size == parsed.large[0][1].size == 18_000_000
    assert peak < 4_000_000


def test_a_store_that_is_full_is_told_of() -> None:
    class Full(Memory):
        def write(self, data: bytes) -> None:
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        parse_mail(mail("base64", wrapped(base64.b64encode(CONTENT))), store=Full())

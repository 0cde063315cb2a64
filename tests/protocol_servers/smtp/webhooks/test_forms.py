"""Forms: what aiohttp writes, and what nobody should."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp.webhooks.forms import Field, read_form
from trunkline.protocol_servers.smtp.webhooks.posted import MAX_FIELDS, Malformed

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
IN_A_LINE = b"application/x-www-form-urlencoded"
FILE = "multipart/form-data; boundary=b"


class _Writer:
    def __init__(self) -> None:
        self.written = b""

    async def write(self, data: bytes) -> None:
        self.written += data


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, st.text(max_size=50) | st.binary(max_size=300), min_size=1, max_size=8))
def test_what_aiohttp_writes(fields: dict[str, str | bytes]) -> None:
    async def written() -> tuple[bytes, str]:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, content in fields.items():
            if isinstance(content, str):
                form.add_field(name, content)
            else:
                form.add_field(name, content, filename=f"{name}.bin", content_type="application/x-test")
        payload = form()
        writer = _Writer()
        await payload.write(writer)  # type: ignore[arg-type]
        return writer.written, payload.headers["Content-Type"]

    body, content_type = asyncio.run(written())
    assert read_form(content_type.encode(), body) == {
        name: Field(content.encode())
        if isinstance(content, str)
        else Field(content, "application/x-test", f"{name}.bin")
        for name, content in fields.items()
    }


def test_a_form_in_a_line() -> None:
    form = read_form(b"application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=%C3%BC+x&a=2&c=")
    assert {name: field.text for name, field in form.items()} == {"a": "1", "b": "ü x", "c": ""}


def test_a_long_form_in_a_line() -> None:
    """It is read in pieces, wherever they are cut; each % would make an object."""
    for before in range(4):
        value = "x" * before + "ü+ %" * 50_000
        body = urlencode({"a": value, "b": ""}).encode()
        assert {name: field.text for name, field in read_form(IN_A_LINE, body).items()} == {"a": value, "b": ""}
    tracemalloc.start()
    try:
        assert read_form(IN_A_LINE, b"a=" + b"%41" * 1_000_000)["a"].content == b"A" * 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"a", b"a=1&b", b"a=\xfc", b"a=1&&b=2", b"&".join([b"a="] * (MAX_FIELDS + 1))])
def test_a_form_in_a_line_that_makes_no_sense(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_form(IN_A_LINE, body)


def test_files() -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="../\xc3\xbc.txt"\r\nContent-Type: TEXT/x\r\n\r\n'
    form = read_form(FILE.encode(), b"pre\r\n--b\r\n" + head + b"\r\n--x\r\n--b--\r\nafter")
    assert form == {"f": Field(b"\r\n--x", "text/x", "ü.txt")}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"x"),
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary=" + "b" * 300, b""),
        (FILE, b""),
        (FILE, b"--b"),
        (FILE, b"--b\r\n"),
        (FILE, b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx"),
        (FILE, b"--bb\r\n\r\n--b--"),
        (FILE, b"--b\r\n\r\nx\r\n--b--"),
        (FILE, b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--"),
        (FILE, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        (FILE, b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * (MAX_FIELDS + 1) + b"--b--"),
        ("application/x-www-form-urlencoded", b"\xff=1"),
        ("application/x-www-form-urlencoded", b"a"),
        ("application/x-www-form-urlencoded", b"a=1&" * (MAX_FIELDS + 1) + b"a=1"),
    ],
)
def test_what_is_no_form(content_type: str, body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_form(content_type.encode(), body)
    assert len(str(caught.value)) < 60


@pytest.mark.parametrize("piece", [b"--b\r\n", b"\r\n--b", b"\r\n--", b"\r\n", b"--b--", b"\r\n--b\r\n\r\n", b"="])
@pytest.mark.parametrize("content_type", [FILE, "application/x-www-form-urlencoded"])
def test_cost_does_not_explode(piece: bytes, content_type: str) -> None:
    def seconds(size: int) -> float:
        body = b"--b\r\n" + piece * (size // len(piece))
        best = 1e9
        for _ in range(3):
            began = time.thread_time()
            try:
                read_form(content_type.encode(), body)
            except Malformed:
                pass
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(4_000_000) < max(10 * seconds(1_000_000), 0.2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"Content-Disposition: form-data; name=a", b"x", b": ", b"\xff"]))
)
def test_nothing_else_is_raised(pieces: list[Any]) -> None:
    try:
        read_form(FILE.encode(), b"".join(pieces))
    except Malformed:
        pass

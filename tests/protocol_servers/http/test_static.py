"""Static files: what is served, what never is, conditions and ranges of RFC 9110, and clients of any pace."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.operations.errors import SettingsError
from trunkline.operations.settings import load
from trunkline.protocol_servers.http import HttpSettings
from trunkline.protocol_servers.http.files import Folders
from trunkline.protocol_servers.http.ranges import MOST, ranges_of

Staging = Callable[..., Any]
Housing = Callable[..., Any]

PATIENCE = 60  # seconds; a bound against hanging
TEN = b"0123456789"
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"  # of a file's last change


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files beside a secret, with all that could lead out of it."""
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    here = tmp_path / "assets"
    (here / "sub").mkdir(parents=True)
    (here / "empty").mkdir()
    (here / ".hidden").mkdir()
    for name, content in {
        "ten.txt": TEN,
        "a b.css": b"body {}",
        "page.tar.gz": b"packed",
        "none": b"",
        ".env": b"secret",
        ".hidden/file": b"secret",
        "sub/index.html": b"<p>index",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}": b"coffee",
    }.items():
        (here / name).write_bytes(content)
        os.utime(here / name, (1_000_000_000, 1_000_000_000))
    (here / "inside").symlink_to("ten.txt")
    (here / "outside").symlink_to("../secret")
    (here / "up").symlink_to("..")
    (here / "veiled").symlink_to(".env")
    (here / "around").symlink_to("around")
    os.mkfifo(here / "pipe")
    return here


class Answer:
    """A response taken apart."""

    def __init__(self, data: bytes) -> None:
        head, _, self.content = data.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = dict(each.split(": ", 1) for each in lines)
        self.headers.pop("date")  # one second later it is another


@pytest.fixture
def get(stage: Staging, folder: Path) -> Callable[..., Answer]:
    """Ask a server in memory for a path below ``/s/``: ``get("ten.txt", "Range: bytes=0-0", method="GET")``."""
    here = stage(static={"/s/": str(folder)})

    def get(path: str, *headers: str, method: str = "GET") -> Answer:
        lines = [f"{method} /s/{path} HTTP/1.1", "Host: x", *headers]
        answer = Answer(here.feed("".join(f"{line}\r\n" for line in [*lines, ""]).encode()).take())
        assert here.inbox.take() == []  # the bus hears nothing of it
        return answer

    return get


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("ten.txt", TEN, "text/plain; charset=utf-8"),
        ("ten.txt?v=2", TEN, "text/plain; charset=utf-8"),
        ("inside", TEN, "text/plain; charset=utf-8"),
        ("a%20b.css", b"body {}", "text/css; charset=utf-8"),
        ("page.tar.gz", b"packed", "application/gzip"),
        ("caf%C3%A9", b"coffee", "application/octet-stream"),
        ("none", b"", "application/octet-stream"),
        ("sub/", b"<p>index", "text/html; charset=utf-8"),
        ("sub/index.html", b"<p>index", "text/html; charset=utf-8"),
    ],
)
def test_files_are_served(get: Any, path: str, content: bytes, kind: str) -> None:
    answer = get(path)
    assert (answer.status, answer.content) == (200, content)
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["last-modified"] == DATE
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    alone = get(path, method="HEAD")
    assert (alone.status, alone.content) == (200, b"")
    assert alone.headers == answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "missing", "ten.txt/", "empty/", "../secret", "..%2fsecret", "%2e%2e/secret", "sub/../../secret",
        "sub/../ten.txt", "./ten.txt", "%2e/ten.txt", "..", "%2e%2e", "sub/..", "..%5csecret", "..\\secret",
        "%5c..%5csecret", "%2fsecret",
        "/ten.txt", "sub//index.html", "//", ".env", "%2eenv", ".hidden/file", "outside", "up/secret", "up/", "veiled",
        "around", "pipe", "%252e%252e/secret", "x" * 300, "a/" * 2000,
    ],
)  # fmt: skip
def test_nothing_else_is(get: Any, path: str) -> None:
    answer = get(path)
    assert answer.status == 404
    assert b"secret" not in answer.content


@pytest.mark.parametrize("path", ["ten.txt%00", "%00", "%ff"])
def test_paths_that_name_no_file(get: Any, path: str) -> None:
    assert get(path).status in (400, 404)


def test_no_text_leads_out(folder: Path) -> None:
    """Whatever a decoded path is made of."""
    folders = Folders({"/s": str(folder)})
    pieces = st.sampled_from(
        ["..", ".", "/", "\\", "sub", "up", "outside", "secret", "assets", "\0", "~", "", "\udc80"]
    )

    @given(st.lists(pieces, max_size=8))
    def check(parts: list[str]) -> None:
        found = folders.find("/s/" + "".join(parts))
        if found is not None and not isinstance(found, str):
            real = os.readlink(f"/proc/self/fd/{found.descriptor}")
            os.close(found.descriptor)
            assert real.startswith(f"{folder}/")

    check()


def test_a_folder_is_shown_under_its_own_path(get: Any, stage: Staging, folder: Path) -> None:
    answer = get("sub?x=1")
    assert (answer.status, answer.headers["location"]) == (308, "/s/sub/?x=1")
    here = stage(static={"/": str(folder)})
    assert b"location: /sub/\r\n" in here.feed(b"GET /sub HTTP/1.1\r\nHost: x\r\n\r\n").take()
    assert Answer(here.feed(b"GET //sub HTTP/1.1\r\nHost: x\r\n\r\n").take()).status == 404  # or it led to a host
    here = stage(static={"/s": str(folder)})
    assert b"location: /s/\r\n" in here.feed(b"GET /s HTTP/1.1\r\nHost: x\r\n\r\n").take()


def test_what_is_under_no_prefix_is_the_consumers(stage: Staging, folder: Path) -> None:
    here = stage(static={"/s/": str(folder), "/s/sub/deep": str(folder / "sub")})
    for path in ("/", "/static", "/sx", "/s%5cten.txt"):
        here.feed(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        here.only("http.request")
    assert Answer(here.feed(b"GET /s/sub/deep/ HTTP/1.1\r\nHost: x\r\n\r\n").take()).content == b"<p>index"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_files_are_only_read(get: Any, method: str) -> None:
    answer = get("ten.txt", "Content-Length: 0", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_body_is_not_waited_for(get: Any) -> None:
    answer = get("ten.txt", "Content-Length: 1000", "", "x", method="PUT")
    assert (answer.status, answer.headers["connection"]) == (405, "close")
    assert get("ten.txt", "Content-Length: 3", "", "x").content == TEN


# Conditions


@pytest.fixture
def etag(get: Any) -> str:
    value: str = get("ten.txt").headers["etag"]
    assert re.fullmatch(r'"[0-9a-f-]+"', value)
    return value


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["If-None-Match: {etag}"], 304),
        (['If-None-Match: "x", W/{etag}'], 304),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "x"'], 200),
        (['If-None-Match: "x"', f"If-Modified-Since: {DATE}"], 200),  # the one wins over the other
        ([f"If-Modified-Since: {DATE}"], 304),
        (["If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT"], 200),
        (["If-Modified-Since: nonsense"], 200),
        (["If-Match: {etag}"], 200),
        (["If-Match: *"], 200),
        (['If-Match: "x"'], 412),
        (["If-Match: W/{etag}"], 412),
        ([f"If-Unmodified-Since: {DATE}"], 200),
        (["If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT"], 412),
        (["If-Match: {etag}", "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT"], 200),
    ],
)
def test_conditions(get: Any, etag: str, headers: list[str], status: int) -> None:
    answer = get("ten.txt", *[header.format(etag=etag) for header in headers])
    assert answer.status == status
    if status == 304:
        assert answer.content == b""
        assert answer.headers["etag"] == etag


def test_a_file_that_may_still_change_has_a_weak_validator(get: Any, folder: Path) -> None:
    (folder / "new").write_bytes(TEN)
    os.utime(folder / "new", (4_000_000_000, 4_000_000_000))
    etag = get("new").headers["etag"]
    assert etag.startswith('W/"')
    assert get("new", f"If-None-Match: {etag}").status == 304
    assert get("new", f"If-Match: {etag}").status == 412
    assert get("new", "Range: bytes=0-0", f"If-Range: {etag}").status == 200


# Ranges


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=5-", [(5, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=8-99", [(8, 10)]),
        ("BYTES= 1-2 ,\t4-5", [(1, 3), (4, 6)]),
        ("bytes=4-5,1-2", [(4, 6), (1, 3)]),
        ("bytes=0-5,3-8", [(0, 9)]),
        ("bytes=6-7,0-3,2-4", [(0, 5), (6, 8)]),
        ("bytes=0-1,99-", [(0, 2)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=0-1,,", [(0, 2)]),
        ("bytes=2-1", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1;2-3", None),
        ("bytes=+1-2", None),
        ("bytes 0-1", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=" + ",".join(["0-0"] * (MOST + 1)), None),
    ],
)
def test_ranges(value: str, ranges: list[tuple[int, int]] | None) -> None:
    assert ranges_of(value.encode(), len(TEN)) == ranges


@given(st.binary(max_size=40), st.integers(0, 20))
def test_no_range_is_outside(value: bytes, size: int) -> None:
    for begin, end in ranges_of(b"bytes=" + value, size) or ():
        assert 0 <= begin < end <= size


def test_one_range(get: Any) -> None:
    answer = get("ten.txt", "Range: bytes=2-4")
    assert (answer.status, answer.content) == (206, b"234")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert answer.headers["content-length"] == "3"


def test_several_ranges(get: Any) -> None:
    answer = get("ten.txt", "Range: bytes=0-1,-2")
    assert answer.status == 206
    kind, boundary = answer.headers["content-type"].split("; boundary=")
    assert kind == "multipart/byteranges"
    assert int(answer.headers["content-length"]) == len(answer.content)
    part = "--{}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {}/10\r\n\r\n{}\r\n"
    expected = part.format(boundary, "0-1", "01") + part.format(boundary, "8-9", "89") + f"--{boundary}--\r\n"
    assert answer.content.decode() == expected


def test_no_range_in_the_file(get: Any) -> None:
    answer = get("ten.txt", "Range: bytes=10-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")


def test_ranges_that_do_not_count(get: Any, etag: str) -> None:
    assert get("ten.txt", "Range: nonsense").status == 200
    assert get("ten.txt", "Range: bytes=0-0", method="HEAD").status == 200
    for condition, status in {
        etag: 206,
        DATE: 206,
        f"W/{etag}": 200,
        '"x"': 200,
        "Sun, 09 Sep 2001 01:46:41 GMT": 200,
    }.items():
        assert get("ten.txt", "Range: bytes=0-0", f"If-Range: {condition}").status == status
    assert get("ten.txt", "Range: bytes=0-0", f"If-None-Match: {etag}").status == 304


# Clients of any pace


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def large(folder: Path) -> bytes:
    """A file of 1 MiB and a little."""
    data = os.urandom(1024 * 1024 + 1)
    (folder / "large").write_bytes(data)
    return data


REQUEST = b"GET /s/large HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_slow_client_gets_it_at_its_pace(stage: Staging, folder: Path, large: bytes) -> None:
    here = stage(static={"/s/": str(folder)})
    before = open_files()
    client = here.connect()
    client.slow()
    here.feed(REQUEST, client)
    assert open_files() == before + 1
    took = client.take()
    while open_files() > before:
        client.producer.resumeProducing()
        client.slow()
        here.loop.turn()
        piece = client.take()
        assert len(piece) <= 2 * 65536
        took += piece
    client.producer.resumeProducing()
    assert Answer(took + client.take()).content == large


def test_a_client_that_takes_nothing_is_cut_off(stage: Staging, folder: Path, large: bytes) -> None:
    here = stage(static={"/s/": str(folder)}, idle_timeout=10)
    before = open_files()
    client = here.connect()
    client.slow()
    here.feed(REQUEST, client)
    here.manual.advance(11)
    client.producer.resumeProducing()
    client.slow()
    here.loop.turn()
    here.manual.advance(11)
    assert not client.disconnecting  # it took a piece
    here.manual.advance(11)
    assert client.disconnecting
    assert here.server.stats["slow_clients_cut"] == 1
    assert open_files() == before


def test_a_client_that_leaves_has_its_file_closed(stage: Staging, folder: Path, large: bytes) -> None:
    here = stage(static={"/s/": str(folder)})
    before = open_files()
    client = here.connect()
    client.slow()
    here.feed(REQUEST, client)
    client.protocol.connectionLost()
    here.loop.turn()
    assert open_files() == before


def test_a_file_that_becomes_shorter_cuts_its_response(stage: Staging, folder: Path, large: bytes) -> None:
    here = stage(static={"/s/": str(folder)})
    client = here.connect()
    client.slow()
    here.feed(REQUEST, client)
    os.truncate(folder / "large", 0)
    client.producer.resumeProducing()
    here.loop.turn()
    assert client.disconnecting


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_gets_files_slowly_and_in_part(
    house: Housing, peer: Callable[[str], str], folder: Path, tmp_path: Path, version: str
) -> None:
    data = os.urandom(3_000_000)
    (folder / "large").write_bytes(data)
    here = house(static={"/s/": str(folder)})
    command = [peer("curl"), "-sS", version, f"http://127.0.0.1:{here.port}/s/large"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.read() == data
    assert running.wait(PATIENCE) == 0
    part = subprocess.run([*command, "-r", "5-104,-100"], stdout=subprocess.PIPE, check=True).stdout
    assert data[5:105] in part
    assert data[-100:] in part
    with socket.create_connection(("127.0.0.1", here.port), PATIENCE) as client:
        client.sendall(b"GET /s/sub/index.html HTTP/1.0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('"s" = "."', "a prefix"),
        ('"/../" = "."', "a prefix"),
        ('"/a//b/" = "."', "a prefix"),
        ('"/s/" = "missing"', "no folder"),
        ('"/s/" = 5', "static"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text(f"[http.static]\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=problem):
        load(str(path), {}, {}, {"http": HttpSettings})


def test_the_table(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text(f'[http.static]\n"/s/" = "{tmp_path}"\n', encoding="utf-8")
    assert load(str(path), {}, {}, {"http": HttpSettings}).servers["http"].static == {"/s/": str(tmp_path)}

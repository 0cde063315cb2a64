"""The spool: what went in comes out, in order and within its limits."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.spool import Spool, SpoolFull


def test_little_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: pytest.fail("nothing needs a file"))
    spool = Spool(memory=10)
    for _ in range(100):
        spool.write(b"12345")
        spool.write(b"67890")
        assert spool.size == 10
        assert spool.read(3) + spool.read(7) == b"1234567890"
    assert spool.size == 0
    assert spool.read(1) == b""


def test_much_goes_through_a_file_that_is_given_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(memory=4)
    spool.write(b"abc")
    spool.write(b"defgh")
    spool.write(b"i")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert spool.size == 9
    assert spool.read(100) == b"abcdefghi"
    assert len(os.listdir("/proc/self/fd")) == before
    spool.write(b"xyz")
    assert spool.read(3) == b"xyz"


def test_over_the_limit_nothing_is_added() -> None:
    spool = Spool(memory=4, limit=10)
    spool.write(b"12345678")
    with pytest.raises(SpoolFull, match="more than 10 bytes are waiting"):
        spool.write(b"abc")
    assert spool.read(100) == b"12345678"
    spool.write(b"abc")
    assert spool.read(100) == b"abc"


def test_a_reader_who_never_catches_up_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []
    make = tempfile.TemporaryFile

    def watched(**options: Any) -> Any:
        files.append(make(**options))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    spool = Spool(memory=0, file_size=300)
    spool.write(b"x" * 500)
    most = 0
    for number in range(1000):
        spool.write(number.to_bytes(2, "big") * 50)
        spool.read(100)
        files = [file for file in files if not file.closed]
        most = max(most, sum(os.fstat(file.fileno()).st_size for file in files))
    assert spool.size == 500
    assert spool.read(500) == b"".join(number.to_bytes(2, "big") * 50 for number in range(995, 1000))
    assert 500 <= most <= 1000
    assert all(file.closed for file in files)


def test_a_full_disk_is_said_and_loses_nothing_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(memory=2)
    spool.write(b"a")
    spool.write(b"bcd")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(SpoolFull, match="disk is full"):
            spool.write(b"efg")
    spool.write(b"hij")
    assert spool.read(100) == b"abcdhij"

    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output error"):
        spool.write(b"klm")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_was_cut_short_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(memory=0)
    spool.write(b"abc")
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    with pytest.raises(OSError, match="cut short"):
        spool.read(3)


def test_closing_forgets_and_may_be_repeated() -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(memory=1)
    spool.write(b"a")
    spool.write(b"bc")
    spool.close()
    spool.close()
    assert (spool.size, spool.read(10)) == (0, b"")
    assert len(os.listdir("/proc/self/fd")) == before


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=30), st.integers(0, 40)), max_size=60),
    st.integers(0, 20),
    st.integers(20, 60),
    st.integers(1, 30),
)
def test_it_is_a_queue_of_bytes(steps: list[bytes | int], memory: int, limit: int, file_size: int) -> None:
    spool, model = Spool(memory, limit, file_size), b""
    for step in steps:
        if isinstance(step, int):
            expected, model = model[:step], model[step:]
            assert spool.read(step) == expected
        elif len(model) + len(step) > limit:
            with pytest.raises(SpoolFull):
                spool.write(step)
        else:
            spool.write(step)
            model += step
        assert spool.size == len(model)
    spool.close()

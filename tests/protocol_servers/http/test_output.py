"""Standard output: whoever reads it may be slow, absent or gone, and no request notices."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.http.output import KEPT, Output, standard_output

LINE = "x" * 99 + "\n"


class Pipe:
    """A pipe that the test reads, and an output into it."""

    def __init__(self, manual: Any) -> None:
        self.reading, self.writing = os.pipe()
        self.stats: Counter[str] = Counter()
        self.output = Output(self.writing, manual.call_later, self.stats)
        self.manual = manual

    def read(self) -> bytes:
        """Read until nothing more comes."""
        os.set_blocking(self.reading, False)
        data = b""
        while True:
            try:
                data += os.read(self.reading, 65536)
            except BlockingIOError:
                if not self.manual.scheduled():
                    return data
                self.manual.advance(1)


@pytest.fixture
def pipe(manual: Any) -> Iterator[Pipe]:
    made = Pipe(manual)
    yield made
    os.close(made.writing)
    if made.reading >= 0:
        os.close(made.reading)


def test_lines_are_written_at_once(pipe: Pipe) -> None:
    pipe.output.write("a\n")
    pipe.output.write("\udc80\xe4\n")
    assert pipe.read() == b"a\n\\udc80\xc3\xa4\n"


def test_a_pipe_that_nobody_reads_stops_nobody_and_loses_whole_lines_only(pipe: Pipe) -> None:
    count = 2 * KEPT // len(LINE)
    for number in range(count):
        pipe.output.write(f"{number:99}\n")
    dropped = pipe.stats["log_lines_dropped"]
    assert 0 < dropped < count
    lines = pipe.read().split(b"\n")
    assert lines.pop() == b""
    assert [int(line) for line in lines] == list(range(count - dropped)), "the first are kept"
    assert not pipe.manual.scheduled(), "nothing is looked at any more once all is out"
    pipe.output.write("again\n")
    assert pipe.read() == b"again\n"


def test_a_pipe_whose_reader_is_gone_stops_nobody(pipe: Pipe) -> None:
    os.close(pipe.reading)
    pipe.reading = -1
    for _ in range(3):
        pipe.output.write(LINE)
    assert not pipe.manual.scheduled()


def test_a_reader_that_goes_meanwhile_stops_nobody(pipe: Pipe) -> None:
    pipe.output.write(LINE * 10_000)
    assert pipe.manual.scheduled()
    os.close(pipe.reading)
    pipe.reading = -1
    pipe.manual.advance(1)
    assert not pipe.manual.scheduled()


def test_files_take_everything(manual: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        Output(file.fileno(), manual.call_later, Counter()).write(LINE * 20_000)
    assert path.read_text() == LINE * 20_000


class NoDescriptor:
    """A stream as test runners put in place of standard output."""

    def __init__(self, closed: bool) -> None:
        self.closed = closed
        self.written = ""

    def fileno(self) -> int:
        raise ValueError

    def write(self, text: str) -> None:
        if self.closed:
            raise ValueError
        self.written += text


@pytest.mark.parametrize("closed", [False, True])
def test_a_stream_without_a_descriptor_is_written_to(
    manual: Any, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    stream = NoDescriptor(closed)
    monkeypatch.setattr(sys, "stdout", stream)
    standard_output(manual.call_later, Counter())(LINE)
    assert stream.written == ("" if closed else LINE)


def test_a_process_may_have_no_standard_output(manual: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    standard_output(manual.call_later, Counter())(LINE)


def test_standard_output_is_written_to_by_its_descriptor(
    manual: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        standard_output(manual.call_later, Counter())(LINE)
        assert (tmp_path / "out").read_text() == LINE

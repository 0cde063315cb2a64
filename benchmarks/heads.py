"""Heads of requests, read by our HTTP core: what it costs to remember header lines, and what it saves.

    python benchmarks/heads.py [--rounds 5]

same lines      a client that sends the same header lines with each request, as nearly all do
own lines       each request has a line of its own, as behind a proxy that numbers them: nothing is remembered for long
httptools       the same heads, split and judged by nobody
h11             the same heads, by the strict parser in Python that many servers use

Every row is measured once a round, rows taking turns; the median and the spread are printed. Only ratios taken in one
run mean anything.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterable

import h11
from httptools import HttpRequestParser

from trunkline.protocol_servers.http_core import HeadParser, HttpLimits, RequestReader

COUNT = 10_000
LINES = b"".join(
    line + b"\r\n"
    for line in (
        b"Host: www.example.org",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: en-US,en;q=0.5",
        b"Accept-Encoding: gzip, deflate, br",
        b"Connection: keep-alive",
        b"Cookie: session=0123456789abcdef0123456789abcdef",
    )
)
_numbers = itertools.count()


def same() -> list[bytes]:
    """Return heads that differ in their targets alone."""
    return [b"GET /pages/%d?q=a%%20b HTTP/1.1\r\n%b\r\n" % (number, LINES) for number in range(COUNT)]


def own() -> list[bytes]:
    """Return heads of which each has a line that no other has."""
    return [b"GET / HTTP/1.1\r\n%bX-Request-Id: %d\r\n\r\n" % (LINES, next(_numbers)) for _ in range(COUNT)]


def ours(heads: Iterable[bytes]) -> None:
    """Read heads as a connection does."""
    limits = HttpLimits()
    reader = RequestReader(limits, HeadParser(limits))
    for head in heads:
        if reader.recall_head(head) is None:
            reader.feed(head)
            assert reader.read_head() is not None


class _Collector:
    def on_url(self, url: bytes) -> None:
        self.url = url
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def bare(heads: Iterable[bytes]) -> None:
    """Split heads."""
    parser = HttpRequestParser(_Collector())
    for head in heads:
        parser.feed_data(head)


def strict(heads: Iterable[bytes]) -> None:
    """Read each head on a connection of its own, which is little beside the reading."""
    for head in heads:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        assert isinstance(connection.next_event(), h11.Request)


def measured(read: Callable[[Iterable[bytes]], None], make: Callable[[], list[bytes]]) -> float:
    """Return the seconds that a head takes."""
    heads = make()
    began = time.perf_counter()
    read(heads)
    return (time.perf_counter() - began) / len(heads)


ROWS: dict[str, tuple[Callable[[Iterable[bytes]], None], Callable[[], list[bytes]]]] = {
    "same lines": (ours, same),
    "own lines": (ours, own),
    "httptools": (bare, same),
    "h11": (strict, same),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(options.rounds):
        for name, row in ROWS.items():
            found[name].append(measured(*row))
    print(f"heads of {len(same()[0])} bytes; median of {options.rounds} rounds (lowest … highest)")
    for name, seconds in found.items():
        median, low, high = (1e6 * figure for figure in (statistics.median(seconds), min(seconds), max(seconds)))
        times = median / 1e6 / statistics.median(found["httptools"])
        print(f"{name:12} {median:8.2f} µs ({low:.2f} … {high:.2f})  {times:5.2f} × httptools")


if __name__ == "__main__":
    main()

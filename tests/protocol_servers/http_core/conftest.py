"""Reading bytes as a connection does, cut in any way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from trunkline.protocol_servers.http_core import BadRequest, HeadParser, HttpLimits, Request, RequestReader


class Outcome(NamedTuple):
    """What a client's bytes came to."""

    requests: list[Request]
    bodies: list[bytes]  # of the requests, the last one perhaps incomplete
    complete: bool  # the last request was read to its end
    fault: tuple[int, str] | None
    held: int  # the most bytes that waited in the reader


def read_pieces(pieces: Iterable[bytes], limits: HttpLimits, heads: HeadParser | None = None) -> Outcome:
    """Feed pieces and read whatever can be read after each; what the parser of heads remembers, as connections do."""
    reader = RequestReader(limits, heads or HeadParser(limits))
    requests: list[Request] = []
    bodies: list[bytes] = []
    held = 0
    inside = False
    try:
        for piece in pieces:
            recalled = None if inside else reader.recall_head(piece)
            if recalled is not None:
                requests.append(recalled)
                bodies.append(b"")
                continue
            reader.feed(piece)
            while True:
                if inside:
                    bodies[-1] += (data := reader.read_body())
                    inside = reader.in_body
                    if inside and not data:
                        break
                else:
                    request = reader.read_head()
                    if request is None:
                        break
                    requests.append(request)
                    bodies.append(b"")
                    inside = True
            held = max(held, reader.waiting)
    except BadRequest as fault:
        return Outcome(requests, bodies, not inside, (fault.status, fault.reason), held)
    return Outcome(requests, bodies, not inside, None, held)


@pytest.fixture(scope="session")
def read() -> Callable[..., Outcome]:
    """Read bytes whole, once more with what is remembered of that, and one at a time; all must come to the same."""

    def reading(data: bytes, **limits: Any) -> Outcome:
        settings = HttpLimits(**limits)
        heads = HeadParser(settings)
        whole = read_pieces([data], settings, heads)
        again = read_pieces([data], settings, heads)
        single = read_pieces([data[i : i + 1] for i in range(len(data))], settings)
        assert whole[:-1] == again[:-1] == single[:-1]
        return whole

    return reading


@pytest.fixture(scope="session")
def read_cut() -> Callable[..., Outcome]:
    """Read bytes in given pieces; and once more with what is remembered of that, which must come to the same."""

    def reading(pieces: list[bytes], **limits: Any) -> Outcome:
        settings = HttpLimits(**limits)
        heads = HeadParser(settings)
        first = read_pieces(pieces, settings, heads)
        assert first[:-1] == read_pieces(pieces, settings, heads)[:-1]
        return first

    return reading

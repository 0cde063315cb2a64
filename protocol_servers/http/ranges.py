"""Which bytes of a file are asked for (RFC 9110 section 14)."""

from __future__ import annotations

import re
from itertools import pairwise

MOST = 16
"""Ranges of one request; whoever asks for more gets the whole (RFC 9110 section 14.2 allows it, 17.15 says why)."""

_SPEC = re.compile(rb"(\d*)-(\d*)")
_DIGITS = 20  # of a number; what is longer is no position in any file

Range = tuple[int, int]
"""The first byte, and the one behind the last."""


def ranges_of(value: bytes, size: int) -> list[Range] | None:
    """Read a Range header.

    Args:
        value: the header's value.
        size: bytes of the file.

    Returns:
        The ranges within the file, in the order they were asked for; joined and ascending where any overlap. None:
        the header is to be ignored, and the whole file is the answer. Empty: no range is within the file.
    """
    unit, equals, text = value.partition(b"=")
    if unit.strip().lower() != b"bytes" or not equals or text.count(b",") >= MOST:
        return None
    found: list[Range] = []
    for part in text.split(b","):
        spec = part.strip(b" \t")
        if not spec:
            continue  # RFC 9110 section 5.6.1.2: empty elements of a list are ignored
        parsed = _SPEC.fullmatch(spec)
        if parsed is None or len(spec) > 2 * _DIGITS:
            return None
        first, last = parsed.groups()
        if not first and not last:
            return None
        if not first:
            begin, end = max(0, size - int(last)), size
        else:
            begin, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < begin:
                return None
        if begin < end:
            found.append((begin, end))
    if not text.strip(b" \t,"):
        return None
    return _joined(found)


def _joined(ranges: list[Range]) -> list[Range]:
    ascending = sorted(ranges)
    if all(one[1] <= next_[0] for one, next_ in pairwise(ascending)):
        return ranges
    joined = [ascending[0]]
    for begin, end in ascending[1:]:
        if begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined

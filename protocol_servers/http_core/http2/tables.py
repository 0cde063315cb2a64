"""HPACK with a short memory: what is sent again and again is neither decoded nor encoded again (RFC 7541).

A representation by index means the same until the table changes, and changes nothing itself. So a block of nothing
else, which is what a client sends for one more request like the last, and a field of a response that is in the table
already, are looked up; whatever moves the table ends what was remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hpack import Decoder, Encoder

_REMEMBERED = 64  # blocks, or fields
_INDEXES = re.compile(rb"[\x80-\xfe]*")  # one byte each
_MOVES, _ADDED = 0xC0, 0x40  # a literal that goes into the table (section 6.2.1)
# Mostly different in each response: in the table they would only push out what is of use. Their names are in the
# static table, so that what they are encoded as does not depend on the other.
_NOT_INDEXED = frozenset((b"age", b"content-length", b"etag", b"last-modified", b"location", b"set-cookie"))

Fields = Iterable[Any]


class ShortDecoder(Decoder):
    """Decodes header blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, Fields] = {}

    def decode(self, data: bytes, raw: bool = False) -> Fields:
        """Decode a block, as `hpack.Decoder.decode` does; the result is not to be changed."""
        known = self._known.get(data)
        if known is None:
            known = super().decode(data, raw)
            if not _INDEXES.fullmatch(data) or len(self._known) >= _REMEMBERED:
                self._known.clear()
            else:
                self._known[data] = known
        return known


class ShortEncoder(Encoder):
    """Encodes header lists."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, bytes] = {}

    @property
    def header_table_size(self) -> int:
        """Bytes of the table; a change is told to the client with the next list (RFC 7541 section 4.2)."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        if size == self.header_table.maxsize:
            return  # `hpack` would forget the change before, and the tables would differ from then on
        self.header_table.maxsize = size
        lowest = min([size, *self.table_size_changes])
        self.table_size_changes = [lowest, size] if lowest < size else [size]

    def encode(self, headers: Fields, huffman: bool = True) -> bytes:
        """Encode a list of (name, value) in bytes, as `hpack.Encoder.encode` does."""
        known = self._known
        if self.header_table.resized:
            known.clear()
            return super().encode(headers, huffman)
        parts = []
        for field in headers:
            part = known.get(field)
            if part is None:
                part = self.add(field, field[0] in _NOT_INDEXED, huffman)
                if part[0] & _MOVES == _ADDED or len(known) >= _REMEMBERED:
                    known.clear()
                else:
                    known[field] = part
            parts.append(part)
        return b"".join(parts)

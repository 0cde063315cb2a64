"""What comes in: bytes to whole messages, text decoded (RFC 6455, 5 and 8.1).

`websockets` parses the frames, unmasks, inflates, keeps the limits, answers pings and Close, and fails with the code
due. Nearly every read, though, is one short message in one frame and nothing else; such a one is taken apart here, in
a fifth of the time.
"""

from __future__ import annotations

import codecs
import logging
from typing import Any

from websockets.extensions import ServerExtensionFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library's own choice where its C part is missing
    from websockets.utils import apply_mask

_TEXT, _BINARY, _CONTINUATION, _CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE
_FINAL_TEXT, _FINAL_BINARY = 0x80 | _TEXT, 0x80 | _BINARY
_MASKED = 0x80
_decoder = codecs.getincrementaldecoder("utf-8")
_AT_A_FRAME = StreamReader.at_eof.__code__

# The library logs every opening and closing as news; here they are counted.
_log = logging.getLogger("trunkline.http.websocket")
_log.setLevel(logging.WARNING)


class MessageProtocol(ServerProtocol):
    """Put together what one client says, from the end of its handshake on.

    Args:
        extensions: what we can agree on with the client.
        max_size: bytes that a message may have, also after inflating.
    """

    def __init__(self, extensions: list[ServerExtensionFactory], max_size: int) -> None:
        super().__init__(extensions=extensions, state=State.OPEN, max_size=max_size, logger=_log)
        self._max_size = max_size
        self._messages: list[str | bytes] = []
        self._fragments: bytearray | None = None
        self._look: codecs.IncrementalDecoder | None = (
            None  # at the fragments of text: it fails with the first wrong one
        )

    def read(self, data: bytes) -> list[str | bytes]:
        """Take bytes from the client; afterwards there may be `data_to_send`.

        Returns:
            The messages that are whole now: str for text, bytes for binary.
        """
        start = self._whole(data)
        if start:
            payload = apply_mask(data[start:], data[start - 4 : start])
            if data[0] == _FINAL_BINARY:
                return [payload]
            try:
                return [payload.decode()]
            except UnicodeDecodeError as error:
                self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
                return []
        self.receive_data(data)
        self.events_received()
        messages, self._messages = self._messages, []
        return messages

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame from the library's parser; text that is not UTF-8 makes it fail with 1007 (RFC 6455, 8.1)."""
        opcode = frame.opcode
        if opcode is _CLOSE and self._fragments is not None:
            # A Close may come within a message (RFC 6455, 5.4 and 5.5.1), which never ends then. The library takes that
            # for an error, so it is told of an end first.
            self._fragments = self._look = None
            super().recv_frame(Frame(_CONTINUATION, b""))
        super().recv_frame(frame)
        payload: Any = frame.data
        if opcode is _TEXT or opcode is _BINARY:
            is_text = opcode is _TEXT
            if not frame.fin:
                self._fragments = bytearray(payload)
                if is_text:
                    self._look = _decoder()
                    self._look.decode(payload)
                return
        elif opcode is _CONTINUATION and self._fragments is not None:
            self._fragments += payload
            is_text = self._look is not None
            if self._look is not None:
                self._look.decode(payload, frame.fin)
            if not frame.fin:
                return
            payload, self._fragments, self._look = self._fragments, None, None
        else:
            return
        self._messages.append(payload.decode() if is_text else bytes(payload))

    def stop(self) -> None:
        """Forget what came so far; nothing more will be read."""
        # The parser is a generator that holds its protocol, as the frames of an exception's traceback do: without
        # these circles no collector is needed.
        del self.parser
        self._fragments = self.handshake_exc = self.parser_exc = None

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
        parser: Any = self.parser
        waits_in = parser.gi_yieldfrom.gi_yieldfrom
        return start if waits_in is not None and waits_in.gi_code is _AT_A_FRAME else 0

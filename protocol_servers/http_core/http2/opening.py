"""How `h2` is set up for one connection: what it checks, how much is granted to the client, and the greeting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hyperframe.frame import SettingsFrame

from .faults import ErrorCodes
from .tables import ShortDecoder, ShortEncoder

if TYPE_CHECKING:
    from ..limits import HttpLimits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384  # bytes of a frame's payload, both ways; RFC 9113 section 4.2: nobody may be refused so much
MAX_STREAMS = 100  # that a client may have open at a time
STREAM_WINDOW = 256 * 1024  # bytes of one request's body that may be on their way or wait for the consumer
CONNECTION_WINDOW = 1024 * 1024  # bytes of all bodies together
HEADER_TABLE = 4096  # bytes of our encoder's table, however much more the client would keep
REMEMBERED = 1000  # streams that were reset; their late frames are no mistake

LAST_ID = 2**31 - 1  # the highest number that a stream may have

_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    # Header lists are checked by us, where a mistake can be told from an attack on the connection, and only once.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class H2(H2Connection):
    """What an error means is for the `Engine` to say: this one only raises it."""

    MAX_CLOSED_STREAMS = REMEMBERED

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """Leave the connection as it is."""


def open_h2(limits: HttpLimits) -> tuple[H2Connection, bytes]:
    """Set h2 up for one connection.

    Args:
        limits: `max_head` for header lists.

    Returns:
        The connection, which has read the preface, and our SETTINGS, which go out before anything else.
    """
    h2 = H2(_CONFIGURATION)
    # Towards h2 there is room for more streams than we grant: the one too many is refused, not the connection.
    h2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: LAST_ID,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        },
    )
    h2.encoder = ShortEncoder()
    h2.decoder = ShortDecoder()
    # Twice what is asked for, so that a list which is a little too long gets its 431.
    h2.decoder.max_header_list_size = 2 * limits.max_head
    h2.initiate_connection()
    h2.clear_outbound_data_buffer()
    h2.receive_data(PREFACE)
    h2.increment_flow_control_window(CONNECTION_WINDOW - h2.inbound_flow_control_window)
    settings: dict[int, int] = {
        SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head,
        SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
    }
    return h2, SettingsFrame(0, settings=settings).serialize()

"""What may travel: the message formats, their documentation, checks, JSON form and answers."""

from . import chat, delay, email, http, udp, websocket
from .format import Composed, Format, FormatError, Message
from .json_form import from_json, to_json
from .kinds import Field
from .registry import formats, get, names, register, validate
from .typed import record_of

__all__ = [
    "Composed",
    "Field",
    "Format",
    "FormatError",
    "Message",
    "formats",
    "from_json",
    "get",
    "names",
    "record_of",
    "register",
    "to_json",
    "validate",
]

for _protocol in (http, websocket, chat, email, udp, delay):
    for _format in _protocol.FORMATS:
        register(_format)

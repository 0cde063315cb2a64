"""Email: its message formats and the codec between mail and messages."""

from .formats import FORMATS
from .mime import ParsedMail, parse_mail
from .receive import mail_id, normalise_address, receive_message, split_address

__all__ = [
    "FORMATS",
    "ParsedMail",
    "mail_id",
    "normalise_address",
    "parse_mail",
    "receive_message",
    "split_address",
]

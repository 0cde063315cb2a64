"""Email: its message formats and the codec between mail and messages."""

from .bounces import Outcome, delivery_report
from .formats import FORMATS
from .mime import ParsedMail, parse_mail
from .parts import LargePart
from .receive import mail_id, normalise_address, receive_message, split_address

__all__ = [
    "FORMATS",
    "LargePart",
    "Outcome",
    "ParsedMail",
    "delivery_report",
    "mail_id",
    "normalise_address",
    "parse_mail",
    "receive_message",
    "split_address",
]

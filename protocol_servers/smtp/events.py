"""What passes between an SMTP session and whoever drives it: the open mail, its recipients, and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from .replies import Reply


@dataclass(slots=True, eq=False)
class Recipient:
    """One recipient of the open mail; `reply` is None until it is known."""

    address: str
    reply: Reply | None = None


@dataclass(slots=True, eq=False)
class Mail:
    """The open mail.

    Attributes:
        sender: Envelope sender; None: the null sender.
        smtputf8: Whether its addresses and headers may hold UTF-8 (RFC 6531).
        recipients: By address, refused ones too.
        content: The bytes, dots unstuffed, once they are there.
    """

    sender: str | None
    smtputf8: bool = False
    recipients: dict[str, Recipient] = field(default_factory=dict)
    content: bytes = b""

    @property
    def accepted(self) -> list[str]:
        """The addresses that were accepted."""
        return [address for address, one in self.recipients.items() if one.reply is not None and one.reply.is_good]


@dataclass(frozen=True, slots=True)
class RecipientAsked:
    """Somebody wants to send to this recipient; answer by `Session.answer_recipient`."""

    mail: Mail
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class MailReceived:
    """A mail is complete; answer by `Session.answer_mail`."""

    mail: Mail


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """Send what is to be sent, then start TLS, then call `Session.tls_started`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Send what is to be sent, then close."""


Event = RecipientAsked | MailReceived | TlsWanted | Closed

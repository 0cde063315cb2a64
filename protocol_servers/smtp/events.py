"""What passes between an SMTP session and whoever drives it: the open mail, its recipients, and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .content import Content
from .replies import Reply


@dataclass(slots=True, eq=False)
class Recipient:
    """One recipient of the open mail.

    Attributes:
        address: Where the mail goes.
        reply: The answer to RCPT; None until it is known.
        original: The address that the sender meant, as ORCPT says it: ``rfc822;ann@example.org`` (RFC 3461 section
            4.2), or None.
        never: The sender wants no report about this recipient, whatever happens (``NOTIFY=NEVER``).
    """

    address: str
    reply: Reply | None = None
    original: str | None = None
    never: bool = False


@dataclass(slots=True, eq=False)
class Mail:
    """The open mail.

    Attributes:
        sender: Envelope sender; None: the null sender.
        smtputf8: Whether its addresses and headers may hold UTF-8 (RFC 6531).
        binary: Whether it may hold anything, and not lines alone (RFC 3030 section 3).
        envelope_id: The sender's name for it, to be told in reports (RFC 3461 section 4.4), or None.
        headers_only: Reports are to hold its header and not all of it (``RET=HDRS``).
        recipients: By address, refused ones too.
        named: The addresses of all RCPTs, in their order; in LMTP one that was named twice stands twice.
        content: The bytes, once they are there; to be closed by who took the mail.
    """

    sender: str | None
    smtputf8: bool = False
    binary: bool = False
    envelope_id: str | None = None
    headers_only: bool = False
    recipients: dict[str, Recipient] = field(default_factory=dict)
    named: list[str] = field(default_factory=list)
    content: Content | None = None

    @property
    def accepted(self) -> list[str]:
        """The addresses that were accepted, each once."""
        return [address for address in self.recipients if self._took(address)]

    @property
    def promised(self) -> list[str]:
        """The accepted addresses, each as often as RCPT named it: so many answers LMTP gives (RFC 2033 section 4.2)."""
        return [address for address in self.named if self._took(address)]

    def _took(self, address: str) -> bool:
        reply = self.recipients[address].reply
        return reply is not None and reply.is_good

    def take_content(self) -> Content:
        """Return the bytes, whose keeper the caller becomes."""
        assert self.content is not None
        content, self.content = self.content, None
        return content


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mail comes from.

    Attributes:
        peer: [host, port] of the client.
        helo: What it calls itself.
        tls: Whether it came over TLS.
        user: Who logged in, or None.
        trusted: The client is known to be well-behaved, or logged in.
        judged: Its address tells who sends; that of our own machines, of whoever logged in, or of a relay does not.
        spf: What SPF says, where somebody else asked already, whom we believe.
    """

    peer: list[Any]
    helo: str = ""
    tls: bool = False
    user: str | None = None
    trusted: bool = False
    judged: bool = False
    spf: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RecipientAsked:
    """Somebody wants to send to this recipient; answer by `Session.answer_recipient`."""

    mail: Mail
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class MailReceived:
    """A mail is complete; answer by `Session.answer_mail`, or by `Session.answer_copy` for each recipient in LMTP."""

    mail: Mail


@dataclass(frozen=True, slots=True)
class LoginAsked:
    """Somebody says who they are; answer by `Session.answer_login`."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """Send what is to be sent, then start TLS, then call `Session.tls_started`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Send what is to be sent, then close."""


Event = RecipientAsked | MailReceived | LoginAsked | TlsWanted | Closed

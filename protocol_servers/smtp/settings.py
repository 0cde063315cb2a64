"""The table `[smtp]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .addresses import is_domain, parse_path


@dataclass(kw_only=True)
class SmtpSettings:
    """What can be set of the SMTP server; times in seconds, sizes in bytes.

    Args:
        endpoints: where to listen, as Twisted endpoint strings.
        hostname: our own name, in the greeting; "": the machine's.
        accept: "consumed": a mail is accepted once the consumers of all its recipients are done with it.
        rcpt: "route": RCPT asks the workers whether the recipient exists; "any": every recipient is accepted there,
            and the consumers decide once the mail is complete.
        max_size: a mail; over it 552.
        max_recipients: recipients of a mail; over it 452.
        max_line: a line of a mail; over it 500.
        max_errors: commands of a session that make no sense; over it 421.
        answer_timeout: for the answers of all consumers to a mail; over it 451.
        idle_timeout: without a byte from the client; over it 421 (RFC 5321 section 4.5.3.2 asks for 300).
        certificate: path of a PEM file; with it STARTTLS is offered. It is read again when it changes.
        key: path of its key; None: in the same file.
        postmaster: the address that mail for "postmaster" goes to, at whatever domain; None: left as it is.
    """

    endpoints: list[str] = field(default_factory=lambda: ["tcp:2525"])
    hostname: str = ""
    accept: str = "consumed"
    rcpt: Literal["route", "any"] = "route"
    max_size: int = field(default=25 * 1024 * 1024, metadata={"min": 1024, "max": 256 * 1024 * 1024})
    max_recipients: int = field(default=100, metadata={"min": 1, "max": 1000})
    max_line: int = field(default=65536, metadata={"min": 1000})
    max_errors: int = field(default=10, metadata={"min": 1})
    answer_timeout: float = field(default=300.0, metadata={"min": 0.01})
    idle_timeout: float = field(default=300.0, metadata={"min": 0.01})
    certificate: str | None = None
    key: str | None = None
    postmaster: str | None = None

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        if self.accept == "queued":
            raise ValueError('accept = "queued" needs a durable email.receive, which this version has not')
        if self.accept != "consumed":
            raise ValueError(f'accept: expected "consumed", got "{self.accept}"')
        if self.hostname and not (self.hostname.isascii() and is_domain(self.hostname)):
            raise ValueError(f"hostname: {self.hostname!r} is not a host name")
        if self.key is not None and self.certificate is None:
            raise ValueError("key: there is no certificate that it belongs to")
        if self.postmaster is not None:
            address = parse_path(f"<{self.postmaster}>")
            if address is None or address.text is None or address.rest:
                raise ValueError(f"postmaster: {self.postmaster!r} is not an address such as admin@example.org")
            self.postmaster = address.text

"""The tables `[smtp]` and `[lmtp]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..listening import ListeningSettings
from ..networks import Networks
from .addresses import is_domain, parse_path
from .outgoing.relay import Relay, Tls, parse_relay
from .webhooks.settings import WebhooksSettings


@dataclass(kw_only=True)
class MailSettings(ListeningSettings):
    """What can be set of a server that takes mail; times in seconds, sizes in bytes. `ListeningSettings` has the rest.

    Args:
        endpoints: where to listen, as Twisted endpoint strings.
        hostname: our own name, in the greeting; "": the machine's.
        accept: "consumed": a mail is accepted once the consumers of all its recipients are done with it; "queued": once
            all of it is in the channel email.receive, which has to be durable for that.
        rcpt: "route": RCPT asks the workers whether the recipient exists; "any": every recipient is accepted there,
            and the consumers decide once the mail is complete.
        max_size: a mail; over it 552.
        max_recipients: recipients of a mail; over it 452.
        max_line: a line of a mail; over it 500.
        max_errors: commands of a session that make no sense, and recipients that do not exist; over it 421.
        max_spool: all mails together that are being received or consumed, on disk; over it 451.
        rate: mails a minute from one address, and a hundred times as many commands; over it 451 and 421; None: any.
        trusted: addresses or networks of clients that are known to be well-behaved, "unix" for those on unix sockets:
            they have no rate, may ask for recipients that do not exist, and their senders may get bounces.
        answer_timeout: for the answers of all consumers to a mail; over it 451.
        idle_timeout: without a command or data from the client; over it 421 (RFC 5321 section 4.5.3.2 asks for 300).
        min_data_rate: bytes a second that a mail has to come at once the idle timeout is used up; below it 421.
        certificate: path of a PEM file; with it STARTTLS is offered. It is read again when it changes.
        key: path of its key; None: in the same file.
        auth_file: path of a file with the users that can log in and their hashed passwords; it is read again when it
            changes. Nobody can log in without TLS.
        auth_callable: "module:function", called in a thread with a user and a password, in its place: True, or the name
            to call the user by, lets them in.
        relay: the server that mail is sent through, such as "smtp://user@mail.example.com:587"; with it email.send is
            taken, and a mail that only some recipients take is accepted, and its sender told of the others, where
            somebody vouches for the sender.
        relay_password: the password of the user in `relay`.
        relay_tls: "starttls": the relay has to offer STARTTLS, and to show a certificate of its name that the system
            trusts, or nothing is sent; "tls": TLS from the beginning; "none": all is sent in the clear.
        postmaster: the address that mail for "postmaster" goes to, at whatever domain; None: left as it is.
    """

    endpoints: list[str]
    hostname: str = ""
    accept: Literal["consumed", "queued"] = "consumed"
    rcpt: Literal["route", "any"] = "route"
    max_size: int = field(default=25 * 1024 * 1024, metadata={"min": 1024, "max": 256 * 1024 * 1024})
    max_recipients: int = field(default=100, metadata={"min": 1, "max": 1000})
    max_line: int = field(default=65536, metadata={"min": 1000})
    max_errors: int = field(default=10, metadata={"min": 1})
    max_spool: int = field(default=4 * 1024**3, metadata={"min": 1024 * 1024})
    rate: int | None = field(default=None, metadata={"min": 1})
    trusted: list[str] = field(default_factory=list)
    answer_timeout: float = field(default=300.0, metadata={"min": 0.01})
    idle_timeout: float = field(default=300.0, metadata={"min": 0.01})
    min_data_rate: int = field(default=500, metadata={"min": 1})
    certificate: str | None = None
    key: str | None = None
    auth_file: str | None = None
    auth_callable: str | None = None
    relay: str | None = None
    relay_password: str | None = None
    relay_tls: Tls = "starttls"
    postmaster: str | None = None

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        super().__post_init__()
        if self.hostname and not (self.hostname.isascii() and is_domain(self.hostname)):
            raise ValueError(f"hostname: {self.hostname!r} is not a host name")
        if self.key is not None and self.certificate is None:
            raise ValueError("key: there is no certificate that it belongs to")
        if self.auth_file is not None and self.auth_callable is not None:
            raise ValueError("auth_file and auth_callable: only one of them can know the users")
        Networks(self.trusted, "trusted")
        if self.relay is None and self.relay_password is not None:
            raise ValueError("relay_password: there is no relay that it belongs to")
        _ = self.parsed_relay  # which looks at it
        if self.postmaster is not None:
            address = parse_path(f"<{self.postmaster}>")
            if address is None or address.text is None or address.rest:
                raise ValueError(f"postmaster: {self.postmaster!r} is not an address such as admin@example.org")
            self.postmaster = address.text

    @property
    def parsed_relay(self) -> Relay | None:
        """The relay, if there is one.

        Raises:
            ValueError: it makes no sense.
        """
        return None if self.relay is None else parse_relay(self.relay, self.relay_password, self.relay_tls)


@dataclass(kw_only=True)
class SmtpSettings(MailSettings):
    """What can be set of the SMTP server; times in seconds, sizes in bytes.

    Args:
        webhooks: providers that take mail and post it to us.
    """

    endpoints: list[str] = field(default_factory=lambda: ["tcp:2525"])
    webhooks: WebhooksSettings = field(default_factory=WebhooksSettings)


@dataclass(kw_only=True)
class LmtpSettings(MailSettings):
    """What can be set of the LMTP server: the same, on another port, and without webhooks."""

    endpoints: list[str] = field(default_factory=lambda: ["tcp:2424"])

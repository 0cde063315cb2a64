"""The SMTP session of a server, as a state machine without sockets, clocks or messages (RFC 5321).

Bytes go in by `Session.receive_data`; what happened comes out of `Session.events`, what is to be sent out of
`Session.data_to_send`. Two questions are asked of whoever drives it, and may be answered at any later time: whether a
recipient is taken (`RecipientAsked`, `Session.answer_recipient`) and whether a mail is (`MailReceived`,
`Session.answer_mail`). Recipients that were pipelined (RFC 2920) are asked all at once and answered in their order;
any other command waits until they are. However much was pipelined, only so many replies are made before they are
taken: then `Session.is_behind`, and `Session.go_on` reads on.

What keeps mail from being smuggled in: only CR LF ends a command, and a line with a bare CR or LF in it is refused
as a whole, up to its CR LF; `data.py` does the same for mails. After STARTTLS everything that was read in plain text
is thrown away (RFC 3207 section 4.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from . import replies
from .addresses import Address, parse_parameters, parse_path
from .data import DataReader
from .events import Closed, Event, Mail, MailReceived, Recipient, RecipientAsked, TlsWanted
from .replies import Reply

MAX_COMMAND = 1024  # RFC 5321 section 4.5.3.1.4 has 512, and our extensions lengthen MAIL
MAX_BUFFERED = 64 * 1024
MAX_REPLIES = 256  # that wait to be sent, or for an answer
_PATIENCE = 8  # times the largest mail, of what is thrown away before the session is ended


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session allows.

    Attributes:
        hostname: Our own name.
        max_size: Bytes of a mail.
        max_recipients: Recipients of a mail, refused ones included.
        max_line: Bytes of a line of a mail.
        max_errors: Commands that make no sense, before the session is ended.
        postmaster: The address that mail for ``postmaster`` goes to; None: ``postmaster`` at `hostname`.
    """

    hostname: str = "localhost"
    max_size: int = 25 * 1024 * 1024
    max_recipients: int = 100
    max_line: int = 65536
    max_errors: int = 10
    postmaster: str | None = None


class Session:
    """One SMTP session.

    Args:
        limits: What is allowed.
        offers_tls: Whether STARTTLS is offered.
        tls: Whether TLS is on already.

    Attributes:
        helo: The name the client gave; "" before it did.
        tls: Whether TLS is on.
        closed: Nothing more is read or said.
    """

    def __init__(self, limits: Limits, *, offers_tls: bool = False, tls: bool = False) -> None:
        self.limits = limits
        self.helo = ""
        self.tls = tls
        self.closed = False
        self._offers_tls = offers_tls
        self._mail: Mail | None = None
        self._data: DataReader | None = None
        self._awaits_mail_answer = False
        self._awaits_tls = False
        self._ending: Reply | None = None  # said after the open mail
        self._errors = 0
        self._buffer = b""
        self._position = 0
        self._line_refused = False  # what is read now is refused, up to a CR LF
        self._line_answered = False  # and had its reply already, up to a bare LF
        self._line_discarded = 0
        self._stopped = False  # reading, for there were too many replies
        self._unsaid: deque[bytes | Recipient] = deque()  # from the first recipient on that has no reply yet
        self._out: list[bytes] = []
        self._events: list[Event] = []

    # What goes out

    def data_to_send(self) -> bytes:
        """Return what is to be sent since the last call."""
        out, self._out = self._out, []
        return b"".join(out)

    def events(self) -> list[Event]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for us, and not we for the client."""
        return self._awaits_mail_answer or bool(self._unsaid)

    @property
    def is_behind(self) -> bool:
        """Whether `go_on` would read on, now that the replies were taken."""
        return self._stopped and not self.closed and self._has_room

    @property
    def is_full(self) -> bool:
        """Whether so much was received ahead of answers that reading should pause."""
        return len(self._buffer) > MAX_BUFFERED

    @property
    def held(self) -> int:
        """Bytes of mail data held."""
        return self._data.held if self._data is not None else 0

    # What comes in

    def begin(self) -> None:
        """Greet the client."""
        self._out.append(b"220 %b ESMTP Trunkline\r\n" % self.limits.hostname.encode())

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.closed or self._awaits_tls:  # what came in plain text after STARTTLS is not to be believed
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def go_on(self) -> None:
        """Read on in what was received."""
        self._advance()

    def answer_recipient(self, recipient: Recipient, reply: Reply) -> None:
        """Answer `RecipientAsked`; a second answer is ignored."""
        if recipient.reply is None:
            recipient.reply = reply
            self._say_what_is_known()
            self._advance()

    def answer_mail(self, reply: Reply) -> None:
        """Answer `MailReceived`; an answer that nobody waits for is ignored."""
        if self._awaits_mail_answer:
            self._awaits_mail_answer = False
            self._end_mail(reply)
            self._advance()

    def refuse_data(self, reply: Reply) -> None:
        """Keep nothing of the mail that is being received, and refuse it at its end."""
        if self._data is not None:
            self._data.refuse(reply)

    def tls_started(self) -> None:
        """Begin anew on TLS: nothing that was said before counts (RFC 3207 section 4.2)."""
        self._awaits_tls = False
        self.tls = True
        self.helo = ""

    def end(self, reply: Reply) -> None:
        """Say `reply` and close, at once or after the mail that is open."""
        if self._mail is None:
            self._close(reply)
        else:
            self._ending = reply

    def end_now(self, reply: Reply) -> None:
        """Say `reply` and close, whatever is open."""
        self._close(reply)

    # Reading

    def _advance(self) -> None:
        self._stopped = False
        while not self.closed and self._position < len(self._buffer) and not self._awaits_mail_answer:
            if not self._has_room:
                self._stopped = True
                break
            if not (self._read_line() if self._data is None else self._read_data(self._data)):
                break
        if self._position:
            self._buffer = self._buffer[self._position :]
            self._position = 0

    @property
    def _has_room(self) -> bool:
        return len(self._out) + len(self._unsaid) < MAX_REPLIES

    def _read_data(self, data: DataReader) -> bool:
        rest = data.feed(self._buffer[self._position :] if self._position else self._buffer)
        self._buffer, self._position = rest or b"", 0
        if rest is None:
            if data.discarded > _PATIENCE * self.limits.max_size:
                self._close(replies.TOO_MUCH_DATA)
            return False
        self._data = None
        if data.refusal is not None:
            self._end_mail(data.refusal)
        elif self._mail is not None:
            self._mail.content = data.content()
            self._awaits_mail_answer = True
            self._events.append(MailReceived(self._mail))
        return True

    def _read_line(self) -> bool:
        """Read one line, or as much of it as is there; return whether there may be more to read."""
        start = self._position
        end = self._buffer.find(b"\n", start)
        if end < 0:
            self._read_unfinished(start)
            return False
        is_whole = end > start and self._buffer[end - 1] == 0x0D
        line = self._buffer[start : end - 1 if is_whole else end]
        if not is_whole:
            # The client may think that its command ended here: it hears of every one.
            if not self._line_answered:
                self._error(replies.BARE_IN_COMMAND)
            self._line_refused, self._line_answered = True, False
        elif self._line_refused:
            self._line_refused = self._line_answered = False
            self._line_discarded = 0
        elif b"\r" in line:
            self._error(replies.BARE_IN_COMMAND)
        elif len(line) > MAX_COMMAND:
            self._error(replies.COMMAND_TOO_LONG)
        elif self._unsaid and line[:5].upper() != b"RCPT ":
            return False
        else:
            self._command(line)
        if not self._awaits_tls:
            self._position = end + 1
        return True

    def _read_unfinished(self, start: int) -> None:
        """Bound the memory of a line whose end has not come, and the patience with it."""
        if not self._line_refused:
            if len(self._buffer) - start <= MAX_COMMAND + 1:
                return
            self._line_refused = self._line_answered = True
            self._error(replies.COMMAND_TOO_LONG)
        self._position = len(self._buffer) - self._buffer.endswith(b"\r")
        self._line_discarded += self._position - start
        if self._line_discarded > _PATIENCE * self.limits.max_size:
            self._close(replies.TOO_MUCH_DATA)

    # Commands

    def _command(self, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._error(replies.COMMAND_NOT_UTF8)
            return
        verb, _, argument = text.partition(" ")
        handler = _COMMANDS.get(verb.upper())
        if self._ending is not None and self._mail is None:
            self._close(self._ending)
        elif handler is None:
            self._error(replies.COMMAND_UNKNOWN)
        else:
            handler(self, argument.strip(" "))

    def _ehlo(self, argument: str) -> None:
        if not self._hello(argument):
            return
        lines = [f"{self.limits.hostname} greets you", "PIPELINING", f"SIZE {self.limits.max_size}", "8BITMIME"]
        lines += ["SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._offers_tls and not self.tls:
            lines.append("STARTTLS")
        self._say(replies.encode_lines(250, lines))

    def _helo(self, argument: str) -> None:
        if self._hello(argument):
            self._say(b"250 %b\r\n" % self.limits.hostname.encode())

    def _hello(self, argument: str) -> bool:
        if not argument or len(argument) > 255 or not argument.isprintable():
            self._error(replies.HELO_ARGUMENT)
            return False
        self.helo = argument
        self._mail = None
        return True

    def _mail_from(self, argument: str) -> None:
        if not self.helo:
            self._error(replies.HELO_FIRST)
        elif self._mail is not None:
            self._error(replies.MAIL_TWICE)
        elif argument[:5].upper() != "FROM:":
            self._error(replies.MAIL_SYNTAX)
        else:
            address = parse_path(argument[5:].lstrip(" "), null=True)
            if address is None:
                self._error(replies.BAD_SENDER)
            else:
                self._open_mail(address)

    def _open_mail(self, address: Address) -> None:
        parameters = parse_parameters(address.rest)
        if parameters is None:
            self._error(replies.MAIL_SYNTAX)
            return
        smtputf8 = "SMTPUTF8" in parameters
        size = parameters.pop("SIZE", "0") or ""
        body = parameters.pop("BODY", "7BIT") or ""
        wrong = parameters.pop("SMTPUTF8", None) is not None or not size.isdecimal() or not size.isascii()
        if parameters:
            self._error(replies.UNKNOWN_PARAMETER)
        elif wrong or len(size) > 20 or body.upper() not in ("7BIT", "8BITMIME"):
            self._error(replies.BAD_PARAMETER)
        elif int(size) > self.limits.max_size:
            self._reply(replies.TOO_LARGE)
        elif not smtputf8 and not (address.text or "").isascii():
            self._reply(replies.NEEDS_SMTPUTF8)
        else:
            self._mail = Mail(address.text, smtputf8)
            self._reply(replies.SENDER_OK)

    def _rcpt_to(self, argument: str) -> None:
        if self._mail is None:
            self._error(replies.MAIL_FIRST)
            return
        if argument[:3].upper() != "TO:":
            self._error(replies.RCPT_SYNTAX)
            return
        address = parse_path(argument[3:].lstrip(" "), postmaster=True)
        if address is None or address.text is None:
            self._error(replies.BAD_RECIPIENT)
        elif not self._mail.smtputf8 and not address.text.isascii():
            self._reply(replies.NEEDS_SMTPUTF8)
        elif address.rest.strip(" "):
            wrong = parse_parameters(address.rest) is None
            self._error(replies.RCPT_SYNTAX if wrong else replies.UNKNOWN_PARAMETER)
        else:
            self._add_recipient(self._mail, self._routed(address.text))

    def _routed(self, address: str) -> str:
        """Give mail for the postmaster, who exists at every host (RFC 5321 section 4.5.1), the configured address."""
        local, _, domain = address.partition("@")
        if local.lower() != "postmaster":
            return address
        return self.limits.postmaster or f"{local}@{domain or self.limits.hostname.lower()}"

    def _add_recipient(self, mail: Mail, address: str) -> None:
        recipient = mail.recipients.get(address)
        if recipient is not None:  # named twice, counts once
            self._unsaid.append(recipient)
            self._say_what_is_known()
        elif len(mail.recipients) >= self.limits.max_recipients:
            self._reply(replies.TOO_MANY_RECIPIENTS)
        else:
            recipient = mail.recipients[address] = Recipient(address)
            self._unsaid.append(recipient)
            self._events.append(RecipientAsked(mail, recipient))

    def _begin_data(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
        elif self._mail is None:
            self._error(replies.MAIL_FIRST)
        elif not self._mail.recipients:
            self._error(replies.RCPT_FIRST)
        elif not self._mail.accepted:
            # To a client that does not look at each reply, this one stands for all of them.
            again = any(one.reply is not None and one.reply.is_temporary for one in self._mail.recipients.values())
            self._reply(replies.NO_RECIPIENTS_NOW if again else replies.NO_RECIPIENTS)
        else:
            self._data = DataReader(self.limits.max_size, self.limits.max_line)
            self._reply(replies.GO_AHEAD)

    def _rset(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
        else:
            self._end_mail(replies.GOOD)

    def _starttls(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
        elif self.tls:
            self._error(replies.TLS_TWICE)
        elif not self._offers_tls:
            self._error(replies.COMMAND_NOT_BUILT)
        else:
            self._mail = None
            self._reply(replies.READY_FOR_TLS)
            self._awaits_tls = True
            self._buffer, self._position = b"", 0
            self._events.append(TlsWanted())

    def _noop(self, argument: str) -> None:
        self._reply(replies.GOOD)

    def _vrfy(self, argument: str) -> None:
        self._reply(replies.CANNOT_VERIFY)

    def _help(self, argument: str) -> None:
        self._reply(replies.HELP)

    def _quit(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
        else:
            self._close(replies.BYE)

    def _not_built(self, argument: str) -> None:
        self._error(replies.COMMAND_NOT_BUILT)

    def _http(self, argument: str) -> None:
        # Somebody's browser, sent here by a page whose form has an SMTP session in its body.
        self._close(replies.NOT_HTTP)

    # Answering

    def _reply(self, reply: Reply) -> None:
        self._say(reply.encode())

    def _error(self, reply: Reply) -> None:
        """Say that a command made no sense, unless that was said too often."""
        self._errors += 1
        if self._errors > self.limits.max_errors:
            self._close(replies.TOO_MANY_ERRORS)
        else:
            self._say(reply.encode())

    def _say(self, encoded: bytes) -> None:
        if self._unsaid:
            self._unsaid.append(encoded)
        else:
            self._out.append(encoded)

    def _say_what_is_known(self) -> None:
        while self._unsaid:
            head = self._unsaid[0]
            if isinstance(head, Recipient):
                if head.reply is None:
                    return
                head_bytes = head.reply.encode()
            else:
                head_bytes = head
            self._out.append(head_bytes)
            self._unsaid.popleft()

    def _end_mail(self, reply: Reply) -> None:
        self._mail = None
        self._say(reply.encode())
        if self._ending is not None:
            self._close(self._ending)

    def _close(self, reply: Reply) -> None:
        if not self.closed:
            self._unsaid.clear()
            self._out.append(reply.encode())
            self.closed = True
            self._mail = self._data = None
            self._buffer, self._position = b"", 0
            self._events.append(Closed())


_COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "EHLO": Session._ehlo,
    "HELO": Session._helo,
    "MAIL": Session._mail_from,
    "RCPT": Session._rcpt_to,
    "DATA": Session._begin_data,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "VRFY": Session._vrfy,
    "HELP": Session._help,
    "QUIT": Session._quit,
    "STARTTLS": Session._starttls,
    **dict.fromkeys(("EXPN", "AUTH", "BDAT", "ETRN", "TURN", "SEND", "SOML", "SAML"), Session._not_built),
    **dict.fromkeys(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"), Session._http),
}

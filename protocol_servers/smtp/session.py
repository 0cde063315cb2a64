"""The session of an SMTP or LMTP server, as a state machine without sockets, clocks or messages (RFC 5321, RFC 2033).

Bytes go in by `Session.receive_data`; what happened comes out of `Session.events`, what is to be sent out of
`Session.data_to_send`. Three questions are asked of whoever drives it, and may be answered at any later time: whether
a recipient is taken (`RecipientAsked`, `Session.answer_recipient`), whether a mail is (`MailReceived`,
`Session.answer_mail`), and whether somebody is who they say (`LoginAsked`, `Session.answer_login`). Recipients that
were pipelined (RFC 2920) are asked all at once and answered in their order; any other command waits until they are.
However much was pipelined, only so many replies are made before they are taken: then `Session.is_behind`, and
`Session.go_on` reads on. What the commands do stands in `commands.py`.

What keeps mail from being smuggled in stands in `lines.py` for commands and in `data.py` for mails. After STARTTLS
everything that was read in plain text is thrown away (RFC 3207 section 4.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from . import replies
from .commands import SMTP, Dialect
from .content import Content, Room
from .data import Incoming, Reader
from .envelope import Limits
from .events import Closed, Event, LoginAsked, Mail, MailReceived, Recipient, RecipientAsked, TlsWanted
from .lines import Fault, Lines
from .replies import Reply
from .sasl import MAX_RESPONSE

MAX_COMMAND = 1024  # RFC 5321 section 4.5.3.1.4 has 512, and our extensions lengthen MAIL and RCPT
MAX_BUFFERED = 64 * 1024
MAX_REPLIES = 256  # that wait to be sent, or for an answer
MAX_LOGINS = 3  # that fail, before the session is ended
_PATIENCE = 8  # times the largest mail, of what is thrown away before the session is ended
_SENSELESS = frozenset((500, 501, 502, 503, 504, 538, 555))  # what is said to commands that make no sense

_FAULTS = {Fault.BARE: replies.BARE_IN_COMMAND, Fault.TOO_LONG: replies.COMMAND_TOO_LONG}
_FAULTS_OF_RESPONSES = {Fault.BARE: replies.BARE_IN_COMMAND, Fault.TOO_LONG: replies.AUTH_TOO_LONG}


class Session:
    """One session.

    Args:
        limits: What is allowed.
        dialect: SMTP or LMTP.
        offers_tls: Whether STARTTLS is offered.
        tls: Whether TLS is on already.
        open_content: Makes the place for the bytes of a mail.
        admit_mail: Says why no mail may begin now, or None.

    Attributes:
        limits: As given.
        dialect: As given.
        offers_tls: As given.
        helo: The name the client gave; "" before it did.
        extended: It gave it by EHLO or LHLO.
        tls: Whether TLS is on.
        user: Who logged in, or None.
        trusted: Recipients that do not exist are no errors of this client.
        mail: The open mail, or None.
        incoming: Its bytes, once they began, or None.
        chunks_refused: A chunk of the open mail was refused.
        commands: How many were read: with the next, this tells who is busy from who only keeps us waiting.
        data_size: Bytes of mails that were read.
        closed: Nothing more is read or said.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        dialect: Dialect = SMTP,
        offers_tls: bool = False,
        tls: bool = False,
        open_content: Callable[[], Content] | None = None,
        admit_mail: Callable[[], Reply | None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.dialect = dialect
        self.offers_tls = offers_tls
        self.helo = ""
        self.admit_mail = admit_mail
        self.extended = False
        self.tls = tls
        self.user: str | None = None
        self.trusted = False
        self.mail: Mail | None = None
        self.incoming: Incoming | None = None
        self.chunks_refused = False
        self.commands = 0
        self.data_size = 0
        self.closed = False
        room = Room(limits.max_size, limits.max_size)
        self._open_content = open_content or (lambda: Content(room))
        self._reader: Reader | None = None
        self._when_read: Callable[[], None] = self._mail_ended
        self._expected: Callable[[bytes], None] | None = None  # what takes the next line in the place of commands
        self._answers: deque[str] | None = None  # the recipients of the mail whose answers are open
        self._copies: dict[str, Reply] = {}
        self._awaits_login = False
        self._awaits_tls = False
        self._ending: Reply | None = None  # said after the open mail
        self._errors = 0
        self._failed_logins = 0
        self._lines = Lines()
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
    def offers_auth(self) -> bool:
        """Whether the client can log in: never without TLS."""
        return self.limits.offers_auth and self.tls

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for us, and not we for the client."""
        return self._awaits_answer or bool(self._unsaid)

    @property
    def is_reading_data(self) -> bool:
        """Whether what comes next are bytes of a mail."""
        return self._reader is not None

    @property
    def is_behind(self) -> bool:
        """Whether `go_on` would read on, now that the replies were taken."""
        return self._stopped and not self.closed and self._has_room

    @property
    def is_full(self) -> bool:
        """Whether so much was received ahead of answers that reading should pause."""
        return len(self._lines) > MAX_BUFFERED

    # What comes in

    def begin(self) -> None:
        """Greet the client."""
        self._out.append(f"220 {self.limits.hostname} {self.dialect.name} Trunkline\r\n".encode())

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.closed or self._awaits_tls:  # what came in plain text after STARTTLS is not to be believed
            return
        self._lines.add(data)
        self._advance()

    def go_on(self) -> None:
        """Read on in what was received."""
        self._advance()

    def answer_recipient(self, recipient: Recipient, reply: Reply) -> None:
        """Answer `RecipientAsked`; a second answer is ignored."""
        if recipient.reply is not None:
            return
        recipient.reply = reply
        if not (reply.is_good or reply.is_temporary or self.trusted):
            self._errors += 1  # somebody may be guessing who is here
        self._say_what_is_known()
        if self._errors > self.limits.max_errors:
            self.close(replies.TOO_MANY_ERRORS)
        self._advance()

    def answer_mail(self, reply: Reply) -> None:
        """Answer `MailReceived`, for all recipients that have no answer yet; what nobody waits for is ignored."""
        if self._answers is not None:
            for address in [*self._answers] if self.dialect.answers_each else [""]:
                self._send_verdict(self._copies.get(address, reply))
            self._mail_answered()

    def answer_copy(self, address: str, reply: Reply) -> None:
        """Answer `MailReceived` for one recipient, where each has an answer; they leave in the order of the RCPTs."""
        if self._answers is not None:
            self._copies[address] = reply
            while self._answers and self._answers[0] in self._copies:
                self._send_verdict(self._copies[self._answers.popleft()])
            if not self._answers:
                self._mail_answered()

    def answer_login(self, reply: Reply, user: str | None = None) -> None:
        """Answer `LoginAsked`; `user` is who logged in, None where nobody did. What nobody waits for is ignored."""
        if not self._awaits_login:
            return
        self._awaits_login = False
        if user is not None:
            self.user = user
            self.trusted = True
        elif not reply.is_temporary:
            self._failed_logins += 1
            if self._failed_logins >= MAX_LOGINS:
                self._ending = replies.AUTH_TOO_OFTEN
        self.send(reply.encode())
        self._advance()

    def tls_started(self) -> None:
        """Begin anew on TLS: nothing that was said before counts (RFC 3207 section 4.2)."""
        self._awaits_tls = self.extended = False
        self.tls = True
        self.helo = ""

    def end(self, reply: Reply) -> None:
        """Say `reply` and close, at once or after the mail that is open."""
        if self.mail is None:
            self.close(reply)
        else:
            self._ending = reply

    def lost(self) -> None:
        """Take note that the client is gone."""
        self.closed = True
        self.forget_mail()

    # Reading

    def _advance(self) -> None:
        self._stopped = False
        while not self.closed and self._lines and not self._awaits_answer:
            if not self._has_room:
                self._stopped = True
                break
            if not (self._read_line() if self._reader is None else self._read_data(self._reader)):
                break
        self._lines.forget_read()

    @property
    def _awaits_answer(self) -> bool:
        return self._answers is not None or self._awaits_login

    @property
    def _has_room(self) -> bool:
        return len(self._out) + len(self._unsaid) < MAX_REPLIES

    def _read_data(self, reader: Reader) -> bool:
        block = self._lines.take_all()
        rest = reader.feed(block)
        self._lines.add(rest or b"")
        self.data_size += len(block) - len(self._lines)
        if rest is None:
            self._lose_patience(reader.discarded)
            return False
        self._reader = None
        self._when_read()
        return True

    def _read_line(self) -> bool:
        """Read one line; return whether there may be more to read."""
        line = self._lines.next(MAX_COMMAND if self._expected is None else MAX_RESPONSE)
        if line is None:
            self._lose_patience(self._lines.discarded)
            return False
        if isinstance(line, Fault):
            self.say(_FAULTS[line] if self._expected is None else _FAULTS_OF_RESPONSES[line])
            self._expected = None
        elif self._unsaid and line[:5].upper() != b"RCPT ":
            self._lines.give_back()
            return False
        else:
            self.commands += 1
            self._take_line(line)
        return True

    def _lose_patience(self, discarded: int) -> None:
        if discarded > _PATIENCE * self.limits.max_size:
            self.close(replies.TOO_MUCH_DATA)

    def _take_line(self, line: bytes) -> None:
        if self._ending is not None and self.mail is None:
            self.close(self._ending)
        elif self._expected is not None:
            take, self._expected = self._expected, None
            take(line)
        else:
            self._command(line)

    def _command(self, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.say(replies.COMMAND_NOT_UTF8)
            return
        verb, _, argument = text.partition(" ")
        command = self.dialect.commands.get(verb.upper())
        if command is None:
            self.say(replies.COMMAND_UNKNOWN)
        else:
            command(self, argument.strip(" "))

    # What commands do

    def say(self, reply: Reply) -> None:
        """Say a reply; the one too many to commands that make no sense ends the session."""
        if reply.code in _SENSELESS:
            self._errors += 1
            if self._errors > self.limits.max_errors:
                self.close(replies.TOO_MANY_ERRORS)
                return
        self.send(reply.encode())

    def send(self, encoded: bytes) -> None:
        """Send a reply, after those that are not known yet."""
        if self._unsaid:
            self._unsaid.append(encoded)
        else:
            self._out.append(encoded)

    def say_of(self, recipient: Recipient) -> None:
        """Say what is said of a recipient, once it is known."""
        self._unsaid.append(recipient)
        self._say_what_is_known()

    def _say_what_is_known(self) -> None:
        while self._unsaid:
            head = self._unsaid[0]
            if isinstance(head, Recipient):
                if head.reply is None:
                    return
                head = head.reply.encode()
            self._out.append(head)
            self._unsaid.popleft()

    def ask(self, question: RecipientAsked) -> None:
        """Have a recipient asked about."""
        self._unsaid.append(question.recipient)
        self._events.append(question)

    def expect(self, take: Callable[[bytes], None]) -> None:
        """Give the next line to `take` instead of reading a command."""
        self._expected = take

    def await_login(self, question: LoginAsked) -> None:
        """Have a login checked, and read nothing meanwhile."""
        self._awaits_login = True
        self._events.append(question)

    def await_tls(self, wish: TlsWanted) -> None:
        """Have TLS started, and throw away what was read in plain text."""
        self._awaits_tls = True
        self._lines.clear()
        self._events.append(wish)

    # The open mail

    def open_mail(self, mail: Mail) -> None:
        """Begin a mail."""
        self.mail = mail
        self.say(replies.SENDER_OK)

    def forget_mail(self) -> None:
        """Forget the open mail, if there is one, and what came of it."""
        if self.incoming is not None:
            self.incoming.content.close()
        self.mail = self.incoming = self._reader = self._answers = None
        self.chunks_refused = False
        self._copies = {}

    def receive_mail(self) -> Incoming:
        """Return what takes the bytes of the open mail."""
        assert self.mail is not None
        if self.incoming is None:
            limits = self.limits
            self.incoming = Incoming(self._open_content(), limits.max_size, limits.max_line, binary=self.mail.binary)
        return self.incoming

    def read_with(self, reader: Reader, when_read: Callable[[], None] | None = None) -> None:
        """Give what comes next to `reader`, up to the end that it finds.

        Args:
            reader: Takes the bytes.
            when_read: Is called at the end; None: the mail is complete then.
        """
        self._when_read = when_read or self._mail_ended
        if reader.feed(b"") is None:
            self._reader = reader
        else:
            self._when_read()

    def chunk_ended(self, refusal: Reply | None, size: int, is_last: bool) -> None:
        """Answer a BDAT whose bytes were read.

        Args:
            refusal: Why it is refused, or None.
            size: How many bytes they were.
            is_last: No more are to come.
        """
        if refusal is None and is_last:
            self._mail_ended()
            return
        if refusal is None and self.incoming is not None and self.incoming.refusal is not None:
            refusal, self.chunks_refused = self.incoming.refusal, True
        self.say(refusal or Reply(250, f"2.0.0 {size} bytes"))
        if is_last and not self.closed:
            self.end_mail([])

    def _mail_ended(self) -> None:
        mail, incoming = self.mail, self.incoming
        assert mail is not None
        assert incoming is not None
        incoming.end()
        if incoming.refusal is not None:
            self.end_mail([incoming.refusal] * (len(mail.promised) if self.dialect.answers_each else 1))
            return
        mail.content, self.incoming = incoming.content, None
        self._answers = deque(mail.promised)
        self._events.append(MailReceived(mail))

    def _send_verdict(self, reply: Reply) -> None:
        if reply.is_good:
            self._errors = 0
        self.send(reply.encode())

    def _mail_answered(self) -> None:
        self.end_mail([])
        self._advance()

    def end_mail(self, said: Iterable[Reply]) -> None:
        """Say what became of the open mail and forget it; close where the session is to end after it."""
        self.forget_mail()
        for reply in said:
            self.send(reply.encode())
        if self._ending is not None:
            self.close(self._ending)

    def close(self, reply: Reply) -> None:
        """Say `reply` and close, whatever is open."""
        if not self.closed:
            self._unsaid.clear()
            self._out.append(reply.encode())
            self.closed = True
            self.forget_mail()
            self._awaits_login = False
            self._lines.clear()
            self._events.append(Closed())

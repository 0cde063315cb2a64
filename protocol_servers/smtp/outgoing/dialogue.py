"""What a client says to a mail server, and what it understands of the answers; no I/O.

A dialogue is a generator: it yields what to send and how many answers to wait for, is sent the answers, and returns
what it was for. RFC 5321 (commands, answers), 2920 (pipelining), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 4954
(AUTH), 3207 (STARTTLS).

Ready-made clients fell short: `aiosmtplib` waits for each answer before the next command, and neither it nor Twisted's
tells whether the connection was lost before or after the end of the mail was sent, which decides whether somebody may
get it twice.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")

MAX_LINE = 4096  # bytes; RFC 5321 section 4.5.3.1.5 says 512, and some say more
MAX_LINES = 200
MOST_RECIPIENTS = 100  # of one transaction: what every server has to take (RFC 5321 section 4.5.3.1.8)
_MAX_TEXT = 1000

# Seconds to wait for answers (RFC 5321 section 4.5.3.2).
COMMAND_TIMEOUT = 300.0
DATA_TIMEOUT = 120.0
END_TIMEOUT = 600.0

_ANSWER = re.compile(rb"([2-5]\d\d)(?:([ -])([^\r\n]*))?\Z")
_EXTENSION = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?\Z")
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Answer(NamedTuple):
    """One answer of the server.

    Attributes:
        code: From 200 to 599.
        lines: What it says, without the code.
    """

    code: int
    lines: tuple[str, ...] = ("",)

    @property
    def text(self) -> str:
        """What it says, in one line."""
        return _NOT_PRINTABLE.sub(" ", " ".join(self.lines))[:_MAX_TEXT].strip()

    @property
    def is_good(self) -> bool:
        """Whether the server did, or goes on with, what it was asked for."""
        return self.code < 400

    @property
    def is_permanent(self) -> bool:
        """Whether asking again would not help."""
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


class RelayError(Exception):
    """The conversation cannot go on; nothing of it tells anything about a recipient.

    Attributes:
        in_doubt: The mail may have arrived: its end was sent, and no answer came.
    """

    in_doubt = False


class Ask(NamedTuple):
    """What to send, and how many answers to wait for, each for so many seconds."""

    data: bytes
    answers: int = 1
    seconds: float = COMMAND_TIMEOUT
    is_end: bool = False  # of a mail


Dialogue = Generator[Ask, Sequence[Answer], T]


class AnswerReader:
    """Takes bytes apart into answers."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[str] = []

    @property
    def is_between(self) -> bool:
        """Whether nothing of a further answer is here."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[Answer]:
        """Take bytes; return the answers that are complete.

        Raises:
            RelayError: These are no answers.
        """
        answers = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            found = _ANSWER.match(line.removesuffix(b"\r"))
            if found is None or len(line) > MAX_LINE or len(self._lines) >= MAX_LINES:
                raise RelayError(f"what it says is no SMTP: {line[:80]!r}")
            self._lines.append((found[3] or b"").decode("utf-8", "replace"))
            if found[2] != b"-":
                answers.append(Answer(int(found[1]), tuple(self._lines)))
                self._lines = []
        if len(self._rest) > MAX_LINE:
            raise RelayError("what it says is no SMTP: a line without an end")
        return answers


class Extensions(dict[str, str]):
    """What the server can do: the keyword in upper case → its parameters."""

    @property
    def max_size(self) -> int | None:
        """Bytes that a mail may have; None: it does not say."""
        size = self.get("SIZE", "")
        return int(size) if size.isascii() and size.isdecimal() and len(size) < 20 and int(size) else None

    @property
    def mechanisms(self) -> frozenset[str]:
        """How one may log in."""
        return frozenset(self.get("AUTH", "").upper().split())


@dataclass(slots=True)
class Envelope:
    """A mail for some recipients.

    Attributes:
        sender: None: the null sender.
        recipients: Where it goes.
        content: The mail, lines ended by CRLF.
        smtputf8: Whether an address or a header of it is not ASCII.
    """

    sender: str | None
    recipients: Sequence[str]
    content: bytes
    smtputf8: bool = False


@dataclass(slots=True)
class Transfer:
    """What became of a mail: an answer for each recipient, and who is to have a transaction of their own."""

    answers: dict[str, Answer] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def greeting() -> Dialogue[None]:
    """Wait for the server's first words."""
    (answer,) = yield Ask(b"")
    if answer.code != 220:
        raise RelayError(f"it does not want to talk: {answer}")


def hello(name: str) -> Dialogue[Extensions]:
    """Say who we are, and learn what the server can do."""
    (answer,) = yield Ask(f"EHLO {name}\r\n".encode("ascii"))
    if answer.code == 250:
        found = (_EXTENSION.match(line.strip()) for line in answer.lines[1:])
        return Extensions({each[1].upper(): (each[2] or "").strip() for each in found if each is not None})
    if answer.is_permanent:
        (answer,) = yield Ask(f"HELO {name}\r\n".encode("ascii"))
        if answer.code == 250:
            return Extensions()
    raise RelayError(f"it refused EHLO: {answer}")


def start_tls(extensions: Extensions) -> Dialogue[None]:
    """Ask for TLS. Without it nothing is sent: whoever stands between would only have to take the offer away."""
    if "STARTTLS" not in extensions:
        raise RelayError('it does not offer STARTTLS; relay_tls = "none" would do without')
    (answer,) = yield Ask(b"STARTTLS\r\n")
    if answer.code != 220:
        raise RelayError(f"it refused STARTTLS: {answer}")


def log_in(extensions: Extensions, user: str, password: str) -> Dialogue[None]:
    """Say who we are, and prove it."""
    name, secret = user.encode(), password.encode()
    if "PLAIN" in extensions.mechanisms:
        plain = base64.b64encode(b"\0" + name + b"\0" + secret)
        (answer,) = yield Ask(b"AUTH PLAIN " + plain + b"\r\n")
    elif "LOGIN" in extensions.mechanisms:
        answer = Answer(334)
        for step in (b"AUTH LOGIN", base64.b64encode(name), base64.b64encode(secret)):
            if answer.code == 334:
                (answer,) = yield Ask(step + b"\r\n")
    else:
        offered = ", ".join(sorted(extensions.mechanisms)) or "none"
        raise RelayError(f"it offers no way to log in that we know, which are PLAIN and LOGIN; it has {offered}")
    if answer.code != 235:
        raise RelayError(f"it does not let {user} in: {answer}")


def transfer(extensions: Extensions, mail: Envelope) -> Dialogue[Transfer]:
    """Give a mail to the server, for up to `MOST_RECIPIENTS` of its recipients.

    Returns:
        What it answered for each of them.

    Raises:
        RelayError: It wants something of us first, or says what makes no sense.
    """
    result = Transfer(left=list(mail.recipients[MOST_RECIPIENTS:]))
    recipients = mail.recipients[:MOST_RECIPIENTS]
    refusal = _cannot(extensions, mail)
    if refusal is not None:
        result.answers = dict.fromkeys(recipients, refusal)
        return result
    commands = [_mail_command(extensions, mail), *(f"RCPT TO:<{address}>\r\n".encode() for address in recipients)]
    answers: list[Answer] = []
    if "PIPELINING" in extensions:
        answers += yield Ask(b"".join(commands), len(commands))
    else:
        for number, command in enumerate(commands):
            if number == 0 or answers[0].is_good:
                answers += yield Ask(command)
    first, *rest = answers
    if not first.is_good:
        _refuse_ours(first)
        result.answers = dict.fromkeys(recipients, first)
        yield from _reset()
        return result
    accepted = []
    for address, answer in zip(recipients, rest, strict=True):
        if answer.is_good:
            accepted.append(address)
        elif answer.code in (452, 552) and accepted:  # too many of them (RFC 5321 section 4.5.3.1.10)
            result.left.append(address)
        else:
            _refuse_ours(answer)
            result.answers[address] = answer
    if not accepted:
        yield from _reset()
        return result
    (answer,) = yield Ask(b"DATA\r\n", seconds=DATA_TIMEOUT)
    if answer.code == 354:
        (answer,) = yield Ask(stuffed(mail.content), seconds=END_TIMEOUT, is_end=True)
    elif answer.is_good:
        raise RelayError(f"to DATA it answered {answer}")
    else:
        yield from _reset()
    if answer.is_good:
        # A mail that was only begun is none: 3yz here is no acceptance.
        if answer.code >= 300:
            raise RelayError(f"to the end of the mail it answered {answer}")
    else:
        _refuse_ours(answer)
    result.answers |= dict.fromkeys(accepted, answer)
    return result


def quit_() -> Dialogue[None]:
    """Say goodbye."""
    yield Ask(b"QUIT\r\n", seconds=5.0)


def stuffed(mail: bytes) -> bytes:
    """Return a mail as it stands on the wire, with its end (RFC 5321 section 4.5.2)."""
    data = mail.replace(b"\n.", b"\n..")
    if data.startswith(b"."):
        data = b"." + data
    return data + (b".\r\n" if data.endswith(b"\r\n") or not data else b"\r\n.\r\n")


def _mail_command(extensions: Extensions, mail: Envelope) -> bytes:
    command = f"MAIL FROM:<{mail.sender or ''}>"
    if "SIZE" in extensions:
        command += f" SIZE={len(mail.content)}"
    if "8BITMIME" in extensions and not mail.content.isascii():
        command += " BODY=8BITMIME"
    if mail.smtputf8:
        command += " SMTPUTF8"
    return f"{command}\r\n".encode()


def _cannot(extensions: Extensions, mail: Envelope) -> Answer | None:
    """Return the answer that the server would have to give, where what it says of itself tells it already."""
    if extensions.max_size is not None and len(mail.content) > extensions.max_size:
        return Answer(552, (f"5.3.4 The relay takes mails of at most {extensions.max_size} bytes",))
    if mail.smtputf8 and "SMTPUTF8" not in extensions:
        return Answer(553, ("5.6.7 The relay takes no addresses that are not ASCII",))
    return None


def _refuse_ours(answer: Answer) -> None:
    """Tell a refusal of us from one of the mail: it closes (421), or wants TLS or a login first (530, 538).

    Raises:
        RelayError: It is one of us.
    """
    if answer.code in (421, 530, 534, 535, 538):
        raise RelayError(str(answer))


def _reset() -> Dialogue[None]:
    (answer,) = yield Ask(b"RSET\r\n")
    if not answer.is_good:
        raise RelayError(f"it refused RSET: {answer}")

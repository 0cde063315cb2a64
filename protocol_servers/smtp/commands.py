"""The commands of SMTP (RFC 5321) and of LMTP (RFC 2033), each a function of the session and its argument.

They read and set the session's state and say what is to be said; how lines and mails are read, and in which order
replies leave, is `session.py`'s. A dialect is the table of the commands that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from . import replies
from .data import ChunkReader, DataReader
from .envelope import read_mail, read_recipient
from .events import LoginAsked, Mail, RecipientAsked, TlsWanted
from .replies import Reply
from .sasl import MECHANISMS, Exchange, Login, Senseless

if TYPE_CHECKING:
    from .session import Session

Command = Callable[["Session", str], None]

# What clients say is often no domain, with spaces it is no name at all.
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\"(),;<>@\\]{1,255}")
_CHUNK = re.compile(r"(\d{1,20})(?: +(LAST))? *", re.IGNORECASE | re.ASCII)


class Dialect(NamedTuple):
    """SMTP or LMTP.

    Attributes:
        name: What the greeting says.
        commands: By their names.
        answers_each: A mail is answered once for each recipient.
    """

    name: str
    commands: Mapping[str, Command]
    answers_each: bool


# Saying hello


def _ehlo(session: Session, argument: str) -> None:
    if _hello(session, argument):
        session.extended = True
        limits = session.limits
        lines = [f"{limits.hostname} greets you", "PIPELINING", f"SIZE {limits.max_size}", "8BITMIME", "SMTPUTF8"]
        lines += ["ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME"]
        if session.offers_tls and not session.tls:
            lines.append("STARTTLS")
        if session.offers_auth:
            lines.append("AUTH " + " ".join(MECHANISMS))
        session.send(replies.encode_lines(250, lines))


def _helo(session: Session, argument: str) -> None:
    if _hello(session, argument):
        session.send(b"250 %b\r\n" % session.limits.hostname.encode())


def _hello(session: Session, argument: str) -> bool:
    if not _NAME.fullmatch(argument) or not argument.isprintable():
        session.say(replies.HELO_ARGUMENT)
        return False
    session.helo = argument
    session.forget_mail()
    return True


def _starttls(session: Session, argument: str) -> None:
    if argument:
        session.say(replies.NO_ARGUMENT)
    elif session.tls:
        session.say(replies.TLS_TWICE)
    elif not session.offers_tls:
        session.say(replies.COMMAND_NOT_BUILT)
    else:
        session.forget_mail()
        session.say(replies.READY_FOR_TLS)
        session.await_tls(TlsWanted())


# Logging in (RFC 4954)


def _auth(session: Session, argument: str) -> None:
    name, *initial = argument.split() or [""]
    refusal = _why_no_login(session, name.upper(), initial) if argument else replies.AUTH_SYNTAX
    if refusal is not None:
        session.say(refusal)
        return
    exchange = MECHANISMS[name.upper()]()
    if initial:
        _respond(session, exchange, "" if initial[0] == "=" else initial[0])
    else:
        _challenge(session, exchange, exchange.begin())


def _why_no_login(session: Session, name: str, initial: list[str]) -> Reply | None:
    if not session.limits.offers_auth:
        return replies.COMMAND_NOT_BUILT
    if not session.tls:
        return replies.AUTH_NEEDS_TLS
    if not session.extended:
        return replies.HELO_FIRST
    if session.user is not None:
        return replies.AUTH_TWICE
    if session.mail is not None:
        return replies.AUTH_IN_MAIL
    if name not in MECHANISMS:
        return replies.AUTH_MECHANISM
    return replies.AUTH_SYNTAX if len(initial) > 1 else None


def _challenge(session: Session, exchange: Exchange, challenge: bytes) -> None:
    session.send(b"334 %b\r\n" % challenge)
    session.expect(lambda line: _take_response(session, exchange, line))


def _take_response(session: Session, exchange: Exchange, line: bytes) -> None:
    if line == b"*":
        session.say(replies.AUTH_CANCELLED)
    else:
        _respond(session, exchange, line.decode("ascii", "replace"))


def _respond(session: Session, exchange: Exchange, response: str) -> None:
    try:
        answer = exchange.respond(response)
    except Senseless:
        session.say(replies.AUTH_RESPONSE)
        return
    if isinstance(answer, Login):
        session.await_login(LoginAsked(*answer))
    else:
        _challenge(session, exchange, answer)


# A mail


def _mail_from(session: Session, argument: str) -> None:
    if not session.helo:
        session.say(replies.HELO_FIRST)
    elif session.mail is not None:
        session.say(replies.MAIL_TWICE)
    else:
        mail = read_mail(argument, session.limits, logs_in=session.offers_auth)
        if isinstance(mail, Mail):
            mail = session.admit_mail() or mail
        if isinstance(mail, Reply):
            session.say(mail)
        else:
            session.open_mail(mail)


def _rcpt_to(session: Session, argument: str) -> None:
    mail = session.mail
    if mail is None:
        session.say(replies.MAIL_FIRST)
        return
    if session.incoming is not None:
        session.say(replies.RCPT_AFTER_CHUNK)
        return
    recipient = read_recipient(argument, mail, session.limits)
    if isinstance(recipient, Reply):
        session.say(recipient)
        return
    known = mail.recipients.get(recipient.address)
    if known is not None and not session.dialect.answers_each:
        session.say_of(known)  # named twice, counts once
    elif len(mail.named) >= session.limits.max_recipients:
        session.say(replies.TOO_MANY_RECIPIENTS)
    else:
        mail.named.append(recipient.address)
        if known is None:
            mail.recipients[recipient.address] = recipient
            session.ask(RecipientAsked(mail, recipient))
        else:  # one mail, and one answer more
            session.say_of(known)


def _data(session: Session, argument: str) -> None:
    refusal = replies.NO_ARGUMENT if argument else _why_no_data(session)
    if refusal is None and session.incoming is not None:
        refusal = replies.DATA_AFTER_CHUNK
    elif refusal is None and session.mail is not None and session.mail.binary:
        refusal = replies.BINARY_IN_DATA
    if refusal is not None:
        session.say(refusal)
    else:
        session.say(replies.GO_AHEAD)
        session.read_with(DataReader(session.receive_mail()))


def _bdat(session: Session, argument: str) -> None:
    found = _CHUNK.fullmatch(argument)
    if found is None:
        session.close(replies.BDAT_SYNTAX)
        return
    size, is_last = int(found[1]), found[2] is not None
    refusal = replies.CHUNK_AFTER_REFUSAL if session.chunks_refused else _why_no_data(session)
    incoming = None if refusal is not None else session.receive_mail()
    session.read_with(ChunkReader(incoming, size), lambda: session.chunk_ended(refusal, size, is_last))


def _why_no_data(session: Session) -> Reply | None:
    mail = session.mail
    if mail is None:
        return replies.MAIL_FIRST
    if not mail.recipients:
        return replies.RCPT_FIRST
    if mail.accepted:
        return None
    # To a client that does not look at each reply, this one stands for all of them.
    again = any(one.reply is not None and one.reply.is_temporary for one in mail.recipients.values())
    return replies.NO_RECIPIENTS_NOW if again else replies.NO_RECIPIENTS


def _rset(session: Session, argument: str) -> None:
    if argument:
        session.say(replies.NO_ARGUMENT)
    else:
        session.end_mail([replies.GOOD])


# The rest


def _noop(session: Session, argument: str) -> None:
    session.say(replies.GOOD)


def _vrfy(session: Session, argument: str) -> None:
    session.say(replies.CANNOT_VERIFY)


def _help(session: Session, argument: str) -> None:
    built = [name for name, command in session.dialect.commands.items() if command not in (_not_built, _http)]
    session.say(Reply(214, f"2.0.0 {' '.join(built)}"))


def _quit(session: Session, argument: str) -> None:
    if argument:
        session.say(replies.NO_ARGUMENT)
    else:
        session.close(replies.BYE)


def _not_built(session: Session, argument: str) -> None:
    session.say(replies.COMMAND_NOT_BUILT)


def _http(session: Session, argument: str) -> None:
    # Somebody's browser, sent here by a page whose form has an SMTP session in its body.
    session.close(replies.NOT_HTTP)


_BOTH: dict[str, Command] = {
    "MAIL": _mail_from,
    "RCPT": _rcpt_to,
    "DATA": _data,
    "BDAT": _bdat,
    "RSET": _rset,
    "NOOP": _noop,
    "VRFY": _vrfy,
    "STARTTLS": _starttls,
    "AUTH": _auth,
    "HELP": _help,
    "QUIT": _quit,
    **dict.fromkeys(("EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"), _not_built),
    **dict.fromkeys(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"), _http),
}

SMTP = Dialect("ESMTP", {"EHLO": _ehlo, "HELO": _helo, "LHLO": _not_built, **_BOTH}, answers_each=False)
LMTP = Dialect("LMTP", {"LHLO": _ehlo, "EHLO": _not_built, "HELO": _not_built, **_BOTH}, answers_each=True)

"""The arguments of MAIL and RCPT: a path, and the parameters of the extensions that we know.

SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), AUTH (RFC 4954 section 5) and those of delivery reports
(RFC 3461): which we do not advertise, for we report no success, but some clients give them all the same, and a report
of a failure does as they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass

from . import replies
from .addresses import Address, give_postmaster, parse_parameters, parse_path
from .events import Mail, Recipient
from .replies import Reply


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session allows.

    Attributes:
        hostname: Our own name.
        max_size: Bytes of a mail.
        max_recipients: Recipients of a mail, refused ones included.
        max_line: Bytes of a line of a mail.
        max_errors: Commands that make no sense and recipients that do not exist, before the session is ended.
        postmaster: The address that mail for ``postmaster`` goes to; None: ``postmaster`` at `hostname`.
        offers_auth: Whether clients can log in, on TLS.
    """

    hostname: str = "localhost"
    max_size: int = 25 * 1024 * 1024
    max_recipients: int = 100
    max_line: int = 65536
    max_errors: int = 10
    postmaster: str | None = None
    offers_auth: bool = False


_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 section 4
_ESCAPED = re.compile(r"\+([0-9A-F]{2})")
_MAX_ENVELOPE_ID = 100
_MAX_ORIGINAL = 500
_NOTIFY = frozenset(("NEVER", "SUCCESS", "FAILURE", "DELAY"))

_Parameters = dict[str, str | None]


def read_mail(argument: str, limits: Limits, *, logs_in: bool) -> Mail | Reply:
    """Read what follows MAIL.

    Args:
        argument: What follows it.
        limits: What is allowed.
        logs_in: Whether AUTH is offered on this connection.

    Returns:
        The mail, or why there is none.
    """
    if argument[:5].upper() != "FROM:":
        return replies.MAIL_SYNTAX
    address = parse_path(argument[5:].lstrip(" "), null=True)
    if address is None:
        return replies.BAD_SENDER
    parameters = _parameters(address, _OF_MAIL.keys() if logs_in else _WITHOUT_AUTH, replies.MAIL_SYNTAX)
    if isinstance(parameters, Reply):
        return parameters
    mail = Mail(address.text)
    for name, value in parameters.items():
        refusal = _OF_MAIL[name](mail, value, limits)
        if refusal is not None:
            return refusal
    return mail if mail.smtputf8 or (address.text or "").isascii() else replies.NEEDS_SMTPUTF8


def read_recipient(argument: str, mail: Mail, limits: Limits) -> Recipient | Reply:
    """Read what follows RCPT; return the recipient, or why there is none."""
    if argument[:3].upper() != "TO:":
        return replies.RCPT_SYNTAX
    address = parse_path(argument[3:].lstrip(" "), postmaster=True)
    if address is None or address.text is None:
        return replies.BAD_RECIPIENT
    if not mail.smtputf8 and not address.text.isascii():
        return replies.NEEDS_SMTPUTF8
    parameters = _parameters(address, _OF_RCPT.keys(), replies.RCPT_SYNTAX)
    if isinstance(parameters, Reply):
        return parameters
    recipient = Recipient(give_postmaster(address.text, limits.postmaster, limits.hostname))
    if all(_OF_RCPT[name](recipient, value) for name, value in parameters.items()):
        return recipient
    return replies.BAD_PARAMETER


def _parameters(address: Address, known: Set[str], wrong: Reply) -> _Parameters | Reply:
    parameters = parse_parameters(address.rest.rstrip(" "))
    if parameters is None:
        return wrong
    return parameters if parameters.keys() <= known else replies.UNKNOWN_PARAMETER


def _undo_xtext(text: str) -> str | None:
    """Undo xtext; None where it is none, or hides what is not to be printed."""
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return plain if _XTEXT.fullmatch(text) and plain.isascii() and plain.isprintable() else None


# MAIL: each sets something, or says why it is refused.


def _size(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    if value is None or not (value.isdecimal() and value.isascii()) or len(value) > 20:
        return replies.BAD_PARAMETER
    return replies.TOO_LARGE if int(value) > limits.max_size else None


def _body(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    mail.binary = (value or "").upper() == "BINARYMIME"
    return None if mail.binary or (value or "").upper() in ("7BIT", "8BITMIME") else replies.BAD_PARAMETER


def _smtputf8(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    mail.smtputf8 = True
    return None if value is None else replies.BAD_PARAMETER


def _auth(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    """Read who the mail is said to come from; nobody is trusted to say so, which the RFC allows."""
    return None if value == "<>" or (value and _undo_xtext(value)) else replies.BAD_PARAMETER


def _ret(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    mail.headers_only = (value or "").upper() == "HDRS"
    return None if (value or "").upper() in ("HDRS", "FULL") else replies.BAD_PARAMETER


def _envid(mail: Mail, value: str | None, limits: Limits) -> Reply | None:
    mail.envelope_id = _undo_xtext(value or "")
    return None if mail.envelope_id and len(mail.envelope_id) <= _MAX_ENVELOPE_ID else replies.BAD_PARAMETER


_OF_MAIL: dict[str, Callable[[Mail, str | None, Limits], Reply | None]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _smtputf8,
    "AUTH": _auth,
    "RET": _ret,
    "ENVID": _envid,
}
_WITHOUT_AUTH = _OF_MAIL.keys() - {"AUTH"}


# RCPT: each says whether it makes sense.


def _notify(recipient: Recipient, value: str | None) -> bool:
    wanted = (value or "").upper().split(",")
    recipient.never = wanted == ["NEVER"]
    return recipient.never or (set(wanted) <= _NOTIFY - {"NEVER"} and len(set(wanted)) == len(wanted))


def _original(recipient: Recipient, value: str | None) -> bool:
    kind, _, text = (value or "").partition(";")
    plain = _undo_xtext(text)
    if not plain or not kind.isascii() or not kind.replace("-", "").isalnum() or len(value or "") > _MAX_ORIGINAL:
        return False
    recipient.original = f"{kind.lower()};{plain}"
    return True


_OF_RCPT: dict[str, Callable[[Recipient, str | None], bool]] = {"NOTIFY": _notify, "ORCPT": _original}

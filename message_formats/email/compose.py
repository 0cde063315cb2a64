"""The bytes of a mail to send, out of an `email.send`.

Python's email package writes it; what is done here is what it leaves open: which headers are made from what, ids that
must not be taken apart when lines are folded, nobody in Bcc, and the same bytes each time, so that whoever gets a mail
twice can tell.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.generator import BytesGenerator
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP, SMTPUTF8, compat32
from email.utils import format_datetime
from io import BytesIO
from typing import Any, NamedTuple

MAX_HOPS = 50
"""Received headers of a mail that is said to be in a loop (RFC 5321 section 6.3)."""

_MAX_REFERENCES = 8192
_MAX_MAILBOX = 1000  # characters of an address with its name
_ID = re.compile(r"<[^<>\s]{1,900}>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BARE = re.compile(rb"\r\n|\r|\n")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,200}")
_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ADDRESS = re.compile(rf'(?:[^\s<>()\[\],;:\\"@]+|{_QUOTED})@(?:[^\s<>@,;:"()\[\]\\]+|\[[0-9A-Za-z.:]+\])')
# What has a key of its own, or is made here.
_OWN = {"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to", "subject": "subject"}
_OWN |= {"in-reply-to": "in_reply_to", "mime-version": "the parts", "return-path": "from", "resent-bcc": "bcc"}


class CompositionError(ValueError):
    """No mail can be made of this; the text says why, in one line."""


class Mailbox(NamedTuple):
    """An address with the name that people know."""

    name: str
    address: str


class _Ids(UnstructuredHeader):
    """Message-IDs: folded between them only, and never encoded."""

    name: str  # which the package gives it

    def fold(self, *, policy: Any) -> str:
        lines, line = [], f"{self.name}:"
        for word in str(self).split():
            if len(line) + len(word) >= 78 and not line.endswith(":"):
                lines.append(line)
                line = ""
            line += f" {word}"
        return "".join(f"{each}{policy.linesep}" for each in (*lines, line))


_registry = HeaderRegistry()
for _name in ("message-id", "in-reply-to", "references"):
    _registry.map_to_type(_name, _Ids)  # type: ignore[arg-type]
_PLAIN = SMTP.clone(header_factory=_registry, cte_type="7bit")
_UTF8 = SMTPUTF8.clone(header_factory=_registry, cte_type="7bit")


def mailbox(text: str) -> Mailbox:
    """Read one address, with a name or without: `Ann Lee <ann@example.com>`.

    Raises:
        CompositionError: It is none.
    """
    text = text.strip(" \t")
    name, address = "", text
    if text.endswith(">") and "<" in text:
        name, _, address = text[:-1].rpartition("<")
        name = name.strip()
    wrong = len(text) > _MAX_MAILBOX or _CONTROL.search(text) or not _ADDRESS.fullmatch(address)
    if wrong or not (re.fullmatch(_QUOTED, name) or not re.search(r'[<>"]', name)):
        raise CompositionError(f"{text!r:.200} is no address")
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    local, _, domain = address.rpartition("@")
    domain = domain.lower()
    # Where the local part is ASCII, the whole can be, and every server can take it (RFC 5890).
    return Mailbox(name, f"{local}@{(_ascii_domain(domain) if local.isascii() else None) or domain}")


def envelope(message: Mapping[str, Any]) -> tuple[str | None, list[str], list[str]]:
    """Return whom a mail is from, and whom it goes to.

    Returns:
        (the sender's address, None: the null sender, which `from` "" stands for; the recipients, each once; what
        stands among the recipients and is no address).

    Raises:
        CompositionError: `from` is no address.
    """
    sender = mailbox(message["from"]).address if message["from"].strip() else None
    found: dict[str, None] = {}
    wrong: dict[str, None] = {}
    for key in ("to",) if message.get("raw") is not None else ("to", "cc", "bcc"):
        for text in message.get(key) or ():
            try:
                found[mailbox(text).address] = None
            except CompositionError:
                wrong[text] = None
    return sender, list(found), list(wrong)


def compose_mail(
    message: Mapping[str, Any], *, id: str, date: float, read: Callable[[str], bytes] | None = None
) -> bytes:
    """Make the mail of an `email.send`. The same arguments make the same bytes.

    Args:
        message: The `email.send`, valid by its format.
        id: A name for the mail, for its Message-ID where the headers have none.
        date: When it was sent, in Unix seconds.
        read: Returns the bytes behind a `body_key`.

    Returns:
        The mail, lines ended by CRLF. Unless it is `raw`, or an address is not ASCII, all is 7-bit.

    Raises:
        CompositionError: No mail can be made of it, or it is in a loop.
    """
    if message.get("raw") is not None:
        return _checked(_BARE.sub(b"\r\n", message["raw"]))
    try:
        sender, recipients, _ = envelope(message)
        international = not all(_local(address).isascii() for address in [*recipients, *([sender] if sender else [])])
        policy = _UTF8 if international else _PLAIN
        digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        mail = _body(message, policy, read)
        _name_boundaries(mail, digest)
        _address_headers(mail, message)
        domain = _ascii_domain((sender or "").rpartition("@")[2]) or "localhost"
        own = {name.lower(): value for name, value in (message.get("headers") or {}).items()}
        mail["Subject"] = message.get("subject") or ""
        if "date" not in own:
            mail["Date"] = format_datetime(datetime.fromtimestamp(int(date), UTC))
        if "message-id" not in own:
            mail["Message-ID"] = f"<{digest[:32]}@{domain}>"
        _thread(mail, message, own)
        for name, value in (message.get("headers") or {}).items():
            if name.lower() not in ("references", *_OWN) and not name.lower().startswith("content-"):
                mail[name] = value
        _refuse_own(own)
        buffer = BytesIO()
        BytesGenerator(buffer, policy=policy).flatten(mail)
        return _checked(buffer.getvalue())
    except CompositionError:
        raise
    except (ValueError, LookupError, TypeError, UnicodeError) as error:
        raise CompositionError(f"no mail can be made of it: {error}"[:300]) from error


def seven_bit(mail: bytes) -> bytes:
    """Encode a mail anew so that a server without 8BITMIME can carry it (RFC 6152 section 3).

    Raises:
        CompositionError: That cannot be done without altering what it says.
    """
    if mail.isascii():
        return mail
    parsed = BytesParser(policy=compat32).parsebytes(mail)
    for part in parsed.walk():
        content = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(content, bytes) and not content.isascii():
            del part["Content-Transfer-Encoding"]
            part["Content-Transfer-Encoding"] = "base64"
            part.set_payload(base64.encodebytes(content).decode("ascii"))
    buffer = BytesIO()
    try:
        policy = compat32.clone(linesep="\r\n", cte_type="7bit")
        BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(parsed)
    except (ValueError, LookupError) as error:
        raise CompositionError(f"it cannot be made 7-bit: {error}"[:300]) from error
    if not buffer.getvalue().isascii():
        raise CompositionError("it cannot be made 7-bit")
    return buffer.getvalue()


def _checked(mail: bytes) -> bytes:
    head = mail.partition(b"\r\n\r\n")[0]
    hops = len(re.findall(rb"^received[ \t]*:", head, re.IGNORECASE | re.MULTILINE))
    if hops > MAX_HOPS:
        raise CompositionError(f"it went through {hops} servers, so it seems to be in a loop")
    return mail


def _refuse_own(own: Mapping[str, str]) -> None:
    for name in own:
        if name in _OWN or name.startswith("content-"):
            made_of = _OWN.get(name, "the parts")
            raise CompositionError(f"headers: {name} is made from {made_of}")
        if not _HEADER_NAME.fullmatch(name):
            raise CompositionError(f"headers: {name!r:.100} is no name of a header")


def _body(message: Mapping[str, Any], policy: Any, read: Callable[[str], bytes] | None) -> EmailMessage:
    mail = EmailMessage(policy)
    text, html = message.get("text"), message.get("html")
    if text is not None or html is None:
        mail.set_content(_lines(text or ""), cte=_encoding(text or ""))
    if html is not None:
        add = mail.set_content if text is None else mail.add_alternative
        add(_lines(html), subtype="html", cte=_encoding(html))
    for attachment in message.get("attachments") or ():
        content = attachment.get("content")
        if content is None:
            if read is None:
                raise CompositionError("an attachment is not in the message, and nobody says where it is")
            content = read(attachment["body_key"])
        kind = attachment["content-type"]
        if not _MIME_TYPE.fullmatch(kind) or kind.lower().startswith(("multipart/", "message/")):
            # Of these the package would make what it believes to be in them.
            kind = "application/octet-stream"
        main, _, sub = kind.partition("/")
        mail.add_attachment(content, maintype=main, subtype=sub, cte="base64", filename=attachment["filename"])
    return mail


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(text: str) -> str:
    """Choose an encoding that nobody on the way has a reason to alter, the shorter one."""
    data = text.encode("utf-8", "surrogatepass")
    if data.isascii():
        plain = b"\0" not in data and b"--=_" not in data and all(len(line) <= 900 for line in data.split(b"\n"))
        return "7bit" if plain else "quoted-printable"
    return "quoted-printable" if sum(byte > 127 for byte in data) * 6 < len(data) else "base64"


def _name_boundaries(mail: EmailMessage, digest: str) -> None:
    """Give each multipart a boundary that does not depend on chance, and cannot be in what it divides."""
    for number, part in enumerate(mail.walk()):
        if part.is_multipart():
            # "=_" is in no base64 and in no quoted-printable text (RFC 2045 section 6.7), and a text with it is such.
            part.set_boundary(f"=_{number}_{digest[:40]}")


def _address_headers(mail: EmailMessage, message: Mapping[str, Any]) -> None:
    if message["from"].strip():
        mail["From"] = _header_address(mailbox(message["from"]))
    for name, key in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        found = []
        for text in message.get(key) or ():
            try:
                found.append(_header_address(mailbox(text)))
            except CompositionError:
                if key == "reply_to":
                    raise
        if found:
            mail[name] = found


def _header_address(box: Mailbox) -> Address:
    local = _local(box.address)
    domain = box.address.rpartition("@")[2]
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(box.name, local, domain)


def _thread(mail: EmailMessage, message: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Write what the mail answers (RFC 5322 section 3.6.4)."""
    answered = _ID.search(message.get("in_reply_to") or "")
    references = _ID.findall(own.get("references", "")[-_MAX_REFERENCES:])
    if answered is not None:
        mail["In-Reply-To"] = answered[0]
        if answered[0] not in references:
            references.append(answered[0])
    if references:
        mail["References"] = " ".join(references)


def _local(address: str) -> str:
    return address.rpartition("@")[0]


def _ascii_domain(domain: str) -> str | None:
    """Return a domain as the DNS knows it (RFC 5890); None where it has no such form."""
    try:
        return domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None

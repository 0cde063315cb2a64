"""Bounces, both ways: the report that tells a sender what became of a mail, and the reading of anybody's reports.

RFC 6522 (multipart/report), RFC 3464 (delivery status), RFC 3463 (status codes), RFC 6533 (addresses that are not
ASCII). Reports of real servers break all of them, and some servers write none but a header or a text of their own, so
reading never raises and takes what it finds.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

from . import headers
from .charsets import cut, decode
from .parts import LargePart

Node = dict[str, Any]

MAX_RETURNED = 64 * 1024  # bytes of the original header that go back with a report
MAX_RECIPIENTS = 1000  # that are read of one report
MAX_TEXTS = 64 * 1024  # characters of what their servers said, together
MAX_BOUNCE = MAX_RETURNED + MAX_TEXTS + 600 * MAX_RECIPIENTS  # about how many bytes a bounce takes in a message
_MAX_REPORT = 512 * 1024  # bytes of one that are looked at
_MAX_DIAGNOSTIC = 1000

_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?<![\d.])([245]\d\d)(?![\d.])(?:[ -]|\Z)")
_ADDRESS = re.compile(r"[^\s<>,;:\"()\[\]\\]{1,128}@[^\s<>,;:\"()\\]{1,255}")
_GROUPS = re.compile(rb"\r?\n[ \t]*(?:\r?\n[ \t]*)+")
_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")
_REPORTS = ("message/delivery-status", "message/global-delivery-status")
_RETURNED = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "message/rfc822-headers",
    "message/global-headers",
)
_QMAIL = re.compile(r"^<([^<>\s@]{1,128}@[^<>\s]{1,255})>:[ \t]*+\n((?:(?!<)[^\n]+\n?)*)", re.MULTILINE)


class Outcome(NamedTuple):
    """What became of a mail for one recipient.

    Attributes:
        address: The recipient.
        code: The SMTP reply code.
        text: What the reply said; may begin with an enhanced status code.
        action: "failed" for good, or "delayed": somebody goes on trying.
        original: The recipient as the sender named it, ``type;address`` (ORCPT, RFC 3461), or None.
    """

    address: str
    code: int
    text: str
    action: str = "failed"
    original: str | None = None

    @property
    def status(self) -> str:
        """The status code (RFC 3463): the one that the text begins with, or one of the code's class."""
        found = _STATUS.match(self.text)
        kind = {"failed": "5", "delayed": "4"}.get(self.action, "2")
        return found[0] if found is not None and found[1] == kind else f"{kind}.0.0"


def delivery_report(
    *,
    reporting_mta: str,
    to: str,
    outcomes: Sequence[Outcome],
    original: bytes,
    date: float,
    arrival: float | None = None,
    envelope_id: str | None = None,
) -> bytes:
    """Write the mail that tells a sender what became of a mail: a bounce.

    It is sent with the null sender (RFC 5321 section 4.5.5), and never in answer to a mail that has the null sender
    itself, or whose sender nobody has verified: it would reach somebody who never wrote.

    Args:
        reporting_mta: Our own name.
        to: The envelope sender of the mail.
        outcomes: What became of it, for each recipient that the sender has to hear of; at least one.
        original: The mail, or its beginning: its header goes back.
        date: Now, in Unix seconds.
        arrival: When the mail came, in Unix seconds.
        envelope_id: The name that the sender gave to the transaction (ENVID, RFC 3461).

    Returns:
        The bytes of the mail, lines ended by CRLF. The same arguments make the same bytes.
    """
    returned = _returned_header(original)
    international = not all(text.isascii() for text in (to, *(outcome.address for outcome in outcomes)))
    delayed = all(outcome.action == "delayed" for outcome in outcomes)
    told = _told(outcomes, delayed, reporting_mta).encode()
    status = "\r\n\r\n".join(
        [_of_message(reporting_mta, arrival, envelope_id), *(_of_recipient(outcome) for outcome in outcomes)]
    ).encode()
    seed = b"\0".join((told, status, returned, f"{to} {date}".encode()))
    digest = hashlib.sha256(seed).hexdigest()
    boundary = f"report-{digest[:40]}"
    kind = "global-" if international else ""
    original_kind = "message/global-headers" if international else "text/rfc822-headers"
    subject = "Delayed Mail (still being retried)" if delayed else "Undelivered Mail Returned to Sender"
    head = [
        f"From: Mail Delivery System <MAILER-DAEMON@{_line(reporting_mta)}>",
        f"To: <{_line(to)}>",
        f"Subject: {subject}",
        f"Date: {_date(date)}",
        f"Message-ID: <{digest[:32]}@{_line(reporting_mta)}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind}delivery-status;\r\n\tboundary="{boundary}"',
    ]
    parts = [
        (f"text/plain; charset={'us-ascii' if told.isascii() else 'utf-8'}", told),
        (f"message/{kind}delivery-status", status + b"\r\n"),
        (original_kind, returned),
    ]
    pieces = ["\r\n".join(head).encode() + b"\r\n\r\n"]
    for type_, body in parts:
        encoding = "7bit" if body.isascii() else "8bit"
        head_of_part = f"--{boundary}\r\nContent-Type: {type_}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        pieces += [head_of_part.encode(), body, b"\r\n"]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _told(outcomes: Sequence[Outcome], delayed: bool, reporting_mta: str) -> str:
    """Write the part that people read."""
    begin = "Your mail could not be delivered to the recipients below. What was said stands behind each address."
    if delayed:
        begin = "Your mail could not be delivered to the recipients below yet. It is being tried again."
    paragraphs = [f"This is the mail system at {_line(reporting_mta)}.", begin]
    paragraphs += [f"<{_line(each.address)}>: {_diagnostic(each)}" for each in outcomes]
    return "\r\n\r\n".join("\r\n".join(textwrap.wrap(text, 76)) for text in paragraphs) + "\r\n"


def _of_message(reporting_mta: str, arrival: float | None, envelope_id: str | None) -> str:
    lines = [] if envelope_id is None else [f"Original-Envelope-Id: {_line(envelope_id)}"]
    lines.append(f"Reporting-MTA: dns; {_line(reporting_mta)}")
    if arrival is not None:
        lines.append(f"Arrival-Date: {_date(arrival)}")
    return "\r\n".join(lines)


def _of_recipient(outcome: Outcome) -> str:
    kind = "rfc822" if outcome.address.isascii() else "utf-8"
    diagnostic = textwrap.wrap(f"Diagnostic-Code: smtp; {_diagnostic(outcome)}", 76, break_on_hyphens=False)
    named = [] if outcome.original is None else [f"Original-Recipient: {_line(outcome.original)}"]
    return "\r\n".join(
        [
            *named,
            f"Final-Recipient: {kind}; {_line(outcome.address)}",
            f"Action: {outcome.action}",
            f"Status: {outcome.status}",
            "\r\n ".join(diagnostic),
        ]
    )


def _diagnostic(outcome: Outcome) -> str:
    return f"{outcome.code} {_line(outcome.text)[:_MAX_DIAGNOSTIC]}".rstrip()


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC))


def _line(text: str) -> str:
    """Make one line of a text from outside."""
    return _NOT_PRINTABLE.sub(" ", text).strip()


def _returned_header(original: bytes) -> bytes:
    """Return the header of a mail, its lines ended by CRLF and no longer than may be (RFC 5322 section 2.1.1)."""
    head = re.split(rb"\r?\n\r?\n", original[: MAX_RETURNED + 4], maxsplit=1)[0][:MAX_RETURNED]
    lines = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").split(b"\n")
    return b"".join(line[:998] + b"\r\n" for line in lines if line)


# Reading


def read_bounce(
    content: Node, by_name: Mapping[str, str], large: Sequence[tuple[Node, LargePart]]
) -> dict[str, Any] | None:
    """Read the delivery report that a mail is.

    Args:
        content: The MIME tree of `parse_mail`.
        by_name: The mail's own header.
        large: The leaves whose bytes are not in the tree.

    Returns:
        The `bounce` of `email.receive`; None where the mail is no report.
    """
    leaves = list(_leaves(content))
    bodies = {id(node): body for node, body in large}

    def bytes_of(node: Node) -> bytes:
        if "body" in node:
            return bytes(node["body"][:_MAX_REPORT])
        return bodies[id(node)].read(0, _MAX_REPORT) if id(node) in bodies else b""

    bounce: dict[str, Any] = {}
    recipients: list[dict[str, Any]] = []
    reports = [node for node in leaves if node["content-type"] in _REPORTS]
    for node in reports:
        told, found = _read_status(bytes_of(node))
        bounce.update({key: value for key, value in told.items() if key not in bounce})
        recipients += found
    if not recipients:
        recipients = _from_header(by_name) or _from_qmail(leaves, bytes_of)
    if not recipients and not reports:
        return None
    bounce["recipients"] = recipients[:MAX_RECIPIENTS]
    left = MAX_TEXTS
    for each in bounce["recipients"]:
        left -= len(each["text"])
        if left < 0:
            each["text"] = ""
    returned = next((node for node in leaves if node["content-type"] in _RETURNED), None)
    if returned is not None:
        bounce.update(_original(bytes_of(returned)))
    return bounce


def _leaves(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if "parts" in each:
            waiting.extend(reversed(each["parts"]))
        else:
            yield each


def _groups(body: bytes) -> Iterator[dict[str, str]]:
    """Yield the groups of fields of a delivery status, names in lower case; the first of a name counts."""
    for group in _GROUPS.split(body.strip(b"\r\n \t")):
        found, _ = headers.fields(group, 0, len(group), 32 * 1024, 100, _unheard)
        fields: dict[str, str] = {}
        for name, raw in found:
            fields.setdefault(name.lower(), headers.text_value(name, raw, _unheard).strip())
        if fields:
            yield fields


def _read_status(body: bytes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Read a delivery status (RFC 3464 section 2): what it says of the mail, and of each recipient."""
    of_message: dict[str, str] = {}
    recipients: list[dict[str, Any]] = []
    for fields in _groups(body):
        recipient = _recipient(fields)
        if recipient is not None and len(recipients) < MAX_RECIPIENTS:
            recipients.append(recipient)
        # Some servers have one group for all.
        for name, key in (("reporting-mta", "reporting_mta"), ("original-envelope-id", "envelope_id")):
            if fields.get(name):
                of_message.setdefault(key, cut(_typed(fields[name]) if name == "reporting-mta" else fields[name], 255))
    return of_message, recipients


def _recipient(fields: Mapping[str, str]) -> dict[str, Any] | None:
    address = next(
        (found for name in ("final-recipient", "original-recipient") if (found := _address(fields.get(name, "")))), None
    )
    diagnostic = fields.get("diagnostic-code", "")
    if address is None:
        return None
    text = cut(_typed(diagnostic), _MAX_DIAGNOSTIC)
    status = _STATUS.search(fields.get("status", "")) or _STATUS.search(text)
    action = re.split(r"[\s(;]", fields.get("action", "").lower(), maxsplit=1)[0]
    if action not in _ACTIONS:
        action = "delayed" if status is not None and status[1] == "4" else "failed"
    return _made(address, action, status[0] if status else "", text, _address(fields.get("original-recipient", "")))


def _made(address: str, action: str, status: str, text: str, original: str | None = None) -> dict[str, Any]:
    code = _CODE.search(text)
    made: dict[str, Any] = {
        "address": address,
        "action": action,
        "status": status or {"failed": "5.0.0", "delayed": "4.0.0"}.get(action, "2.0.0"),
        "text": text,
    }
    if code is not None:
        made["code"] = int(code[1])
    if original is not None and original != address:
        made["original"] = original
    return made


def _typed(value: str) -> str:
    """Take the type off a value such as `dns; mail.example.org`; not all servers write one."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w.+-]{1,40}", kind.strip()) else value.strip()


def _address(value: str) -> str | None:
    found = _ADDRESS.search(_typed(value))
    if found is None:
        return None
    local, _, domain = found[0].rpartition("@")
    return f"{local}@{domain.rstrip('.').lower()}"


def _from_header(by_name: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read X-Failed-Recipients, which Exim and Gmail write."""
    named = _ADDRESS.findall(by_name.get("x-failed-recipients", ""))[:MAX_RECIPIENTS]
    return [_made(address, "failed", "", "") for name in dict.fromkeys(named) if (address := _address(name))]


def _from_qmail(leaves: Sequence[Node], bytes_of: Any) -> list[dict[str, Any]]:
    """Read the text of qmail, "Hi. This is the qmail-send program", which has an address and what was said below."""
    first = next((node for node in leaves if node["content-type"] == "text/plain"), None)
    if first is None:
        return []
    text = decode(bytes_of(first), first.get("charset"), _unheard).replace("\r\n", "\n")
    if not text.lstrip().startswith("Hi. This is the "):
        return []
    found = []
    for address, said in _QMAIL.findall(text)[:MAX_RECIPIENTS]:
        line = cut(" ".join(said.split()), _MAX_DIAGNOSTIC)
        status = _STATUS.search(line)
        found.append(_made(address, "failed", status[0] if status else "", line))
    return found


def _original(body: bytes) -> dict[str, Any]:
    """Read what the report returns of the mail that it is about."""
    found, _ = headers.fields(body, 0, len(body), MAX_RETURNED, 200, _unheard)
    values: dict[str, str] = {}
    for name, raw in found:
        values.setdefault(name.lower(), headers.text_value(name, raw, _unheard))
    told: dict[str, Any] = {"headers": values} if values else {}
    if values.get("message-id"):
        told["message_id"] = values["message-id"].strip()
    return told


def _unheard(defect: str) -> None:
    """Take a defect of a report: nobody needs to hear of it."""

"""The messages of email: questions at RCPT TO, received mail, mail to send, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ..format import Format, Message
from ..kinds import Characters, Range
from ..rules import Instead, exactly_one
from ..typed import Default, record_of
from ..vocabulary import Address, BodyChunk, Line
from .reply_mail import compose

_HeaderName = Annotated[str, Characters(r"^!-9;-~", "header name", empty=False)]
_Headers = dict[_HeaderName, Line]
_Code = Annotated[int, Range(200, 599, without=(range(300, 400),))]

_ADDRESS = "The recipient, its domain in lower case, as in the envelope."
_FROM = "The envelope sender; absent for the null sender, that is, for a bounce."
_CLIENT = "The host and port of the peer that speaks SMTP to us."
_HELO = "The name that the peer gave with EHLO, HELO or LHLO."

EmailRecipient = TypedDict(
    "EmailRecipient",
    {
        "reply_channel": Annotated[str, "Where the answer to RCPT TO goes."],
        "address": Annotated[Line, _ADDRESS],
        "from": NotRequired[Annotated[Line, _FROM]],
        "client": Annotated[Address, _CLIENT],
        "helo": Annotated[Line, _HELO],
    },
)
EmailRecipient.__doc__ = "Somebody wants to send mail to an address, asked at RCPT TO: does anybody take it?"


class EmailReply(TypedDict):
    """The answer to one recipient, in the open SMTP transaction."""

    accept: NotRequired[Annotated[bool, Default(True), "Whether the recipient, or the mail for it, is taken."]]
    code: NotRequired[Annotated[_Code, "The SMTP reply code, such as 550 (for good) or 451 (for now)."]]
    text: NotRequired[Annotated[Line, "What the SMTP reply says; may begin with an enhanced status code."]]


MailPart = Annotated["MailNode", exactly_one("parts", "body", "body_channel", "body_key"), exactly_one("parts", "size")]

MailNode = TypedDict(
    "MailNode",
    {
        "content-type": Annotated[Line, "The media type, in lower case, without parameters."],
        "headers": NotRequired[Annotated[_Headers, Default({}), "The part's own headers, names in lower case."]],
        "parts": NotRequired[Annotated[list[MailPart], "The parts of a multipart; all other parts are leaves."]],
        "body": NotRequired[Annotated[bytes, "The content of a leaf, transfer encoding undone."]],
        "body_channel": NotRequired[Annotated[str, "A single-reader channel that holds the content of a large leaf."]],
        "body_key": NotRequired[Annotated[str, "The stored content of a large leaf of a queued mail."]],
        "charset": NotRequired[Annotated[str, "The charset that the leaf names."]],
        "filename": NotRequired[Annotated[str, "The file name that the leaf suggests."]],
        "disposition": NotRequired[Annotated[str, 'Such as "attachment" or "inline".']],
        "content_id": NotRequired[Annotated[str, "The name that other parts refer to the leaf by."]],
        "size": NotRequired[Annotated[int, Range(0), "The bytes of a leaf's content."]],
    },
)
MailNode.__doc__ = "A node of a MIME tree: a multipart, which has parts, or a leaf, which has a body."

ReceivedAttachment = TypedDict(
    "ReceivedAttachment",
    {
        "filename": Annotated[str, "The file name that the sender suggests."],
        "content-type": Annotated[Line, "The media type."],
        "size": Annotated[int, Range(0), "The bytes of the content."],
        "path": Annotated[list[int], "Where it is in `content`: the index to take at each level of `parts`."],
    },
)
ReceivedAttachment.__doc__ = "An attachment of a mail that came in."


class BouncedRecipient(TypedDict):
    """What a delivery report says of one recipient."""

    address: Annotated[str, "Whom it was for, as the reporting server knows it."]
    action: Annotated[
        Literal["failed", "delayed", "delivered", "relayed", "expanded"], "What became of the mail, so far or for good."
    ]
    status: Annotated[str, 'The status code (RFC 3463), such as "5.1.1".']
    text: Annotated[str, "What the recipient's server said."]
    code: NotRequired[Annotated[int, "The SMTP reply code in it."]]
    original: NotRequired[Annotated[str, "The address that the sender wrote, where it is another one."]]


class Bounce(TypedDict):
    """A delivery report (RFC 3464), also one that its server wrote in a manner of its own."""

    recipients: Annotated[list[BouncedRecipient], "What became of the mail for each."]
    reporting_mta: NotRequired[Annotated[str, "The server that reports."]]
    envelope_id: NotRequired[Annotated[str, "The name that the sender gave to the transaction (ENVID)."]]
    message_id: NotRequired[Annotated[str, "The Message-ID of the mail that it is about, with its angle brackets."]]
    headers: NotRequired[
        Annotated[dict[str, str], "The header of that mail, as far as it came back: names in lower case."]
    ]


_Verdict = Literal["pass", "fail", "softfail", "neutral", "none", "policy", "temperror", "permerror"]
_DOMAIN = "The domain that it is about."


class SpfResult(TypedDict):
    """Whether the client may send for the domain of the envelope sender (RFC 7208)."""

    result: Annotated[_Verdict, '"none": nobody was asked, or the domain has no record.']
    domain: NotRequired[Annotated[Line, _DOMAIN]]
    identity: NotRequired[
        Annotated[
            Literal["mailfrom", "helo"], 'Whose domain it is: of a bounce, that of the name the peer gave: "helo".'
        ]
    ]


class DkimSignature(TypedDict):
    """What became of one signature."""

    result: Annotated[_Verdict, '"pass": the mail is what the domain signed.']
    domain: NotRequired[Annotated[Line, "Whose signature it is."]]
    selector: NotRequired[Annotated[Line, "Which of the domain's keys it was made with."]]
    reason: NotRequired[Annotated[Line, "Why it did not pass."]]


class DkimResult(TypedDict):
    """Who signed the mail (RFC 6376)."""

    result: Annotated[_Verdict, 'That of the best signature; "none": there is none.']
    signatures: NotRequired[Annotated[list[DkimSignature], "Each signature, at most five."]]


class DmarcResult(TypedDict):
    """Whether the domain in From is one that SPF or DKIM vouch for (RFC 9989)."""

    result: Annotated[_Verdict, '"none": the domain has no record, or nobody was asked.']
    domain: NotRequired[Annotated[Line, "The domain in From."]]
    policy: NotRequired[
        Annotated[Literal["none", "quarantine", "reject"], "What the domain wants done with mail that fails."]
    ]


class Authentication(TypedDict):
    """Who sent a mail, as far as the DNS tells."""

    spf: NotRequired[Annotated[SpfResult, "Whether the client may send for the domain of the envelope sender."]]
    dkim: NotRequired[Annotated[DkimResult, "Which domains signed the mail."]]
    dmarc: NotRequired[Annotated[DmarcResult, "Whether the domain in From is one of these."]]


EmailReceive = TypedDict(
    "EmailReceive",
    {
        "reply_channel": Annotated[str, "This recipient's answer in the open transaction."],
        "id": Annotated[str, "Names this mail for this recipient; the same when the sender repeats it."],
        "address": Annotated[Line, _ADDRESS],
        "tag": NotRequired[Annotated[Line, "The part of the address after `+`."]],
        "from": NotRequired[Annotated[Line, _FROM]],
        "to": Annotated[list[Line], "All recipients of the envelope."],
        "headers": Annotated[_Headers, "Header names in lower case, and the first value of each, decoded."],
        "header_list": Annotated[list[tuple[_HeaderName, Line]], "Every header, in order, decoded."],
        "subject": NotRequired[Annotated[Line, Default(""), "The subject, decoded."]],
        "message_id": NotRequired[Annotated[Line, Default(""), "The Message-ID, with its angle brackets."]],
        "text": NotRequired[
            Annotated[
                str, Default(""), "The best plain text, at most 256 KiB; made from HTML where that is all there is."
            ]
        ],
        "reply_to_text": Annotated[str, "`text` without quoted history and signature."],
        "html": NotRequired[Annotated[str, "The HTML, at most 256 KiB; the whole stands in `content`."]],
        "content": Annotated[MailPart, "The MIME tree."],
        "attachments": NotRequired[Annotated[list[ReceivedAttachment], Default([]), "What is attached."]],
        "size": Annotated[int, Range(0), "The bytes of the whole mail."],
        "client": Annotated[Address, _CLIENT],
        "helo": Annotated[Line, _HELO],
        "tls": NotRequired[Annotated[bool, Default(False), "Whether it came over TLS."]],
        "auth_user": NotRequired[Annotated[Line, "The user that the peer authenticated as."]],
        "authentication": NotRequired[
            Annotated[Authentication, Default({}), "Who sent it; empty where nobody was there to ask."]
        ],
        "auto_submitted": NotRequired[
            Annotated[
                bool, Default(False), "A machine sent it: a bounce, an out-of-office note, a list. Never answered."
            ]
        ],
        "bounce": NotRequired[Annotated[Bounce, "The delivery report, where the mail is one."]],
        "defects": NotRequired[Annotated[list[str], Default([]), "What was wrong with the mail."]],
    },
)
EmailReceive.__doc__ = "A mail for one recipient. A mail to several becomes one message for each."

SentAttachment = TypedDict(
    "SentAttachment",
    {
        "filename": Annotated[Line, "The file name to suggest."],
        "content-type": Annotated[Line, "The media type."],
        "content": NotRequired[Annotated[bytes, "The content."]],
        "body_key": NotRequired[Annotated[str, "The stored content."]],
    },
)
SentAttachment.__doc__ = "An attachment of a mail to send."

EmailSend = TypedDict(
    "EmailSend",
    {
        "id": NotRequired[Annotated[str, "A name for the mail, which `email.delivered` and `email.failed` repeat."]],
        "to": Annotated[list[Line], "The recipients; with `raw`, those of the envelope."],
        "from": Annotated[Line, 'The sender; "" with `raw`: the null sender, which bounces have.'],
        "subject": NotRequired[Annotated[Line, Default(""), "The subject."]],
        "text": NotRequired[Annotated[str, "The plain text."]],
        "html": NotRequired[Annotated[str, "The HTML."]],
        "headers": NotRequired[Annotated[_Headers, Default({}), "Further headers."]],
        "cc": NotRequired[Annotated[list[Line], Default([]), "Further recipients, whom everybody sees."]],
        "bcc": NotRequired[Annotated[list[Line], Default([]), "Further recipients, whom nobody sees."]],
        "reply_to": NotRequired[Annotated[list[Line], Default([]), "Where answers are to go."]],
        "attachments": NotRequired[
            Annotated[
                list[Annotated[SentAttachment, exactly_one("content", "body_key")]], Default([]), "What to attach."
            ]
        ],
        "in_reply_to": NotRequired[Annotated[Line, "The Message-ID of the mail that this one answers."]],
        "raw": NotRequired[Annotated[bytes, "The finished mail, instead of everything that it would be made from."]],
    },
)
EmailSend.__doc__ = "A mail to send. Any email server with a relay takes it; it is durable where the engine can."


class _EmailResult(TypedDict):
    id: Annotated[str, "The `id` of the `email.send`, or the one that it was given."]
    address: Annotated[Line, "The recipient."]
    code: Annotated[_Code, "The SMTP reply code."]
    text: Annotated[Line, "What the SMTP reply said."]
    permanent: Annotated[bool, "Whether this is the last word."]


class EmailDelivered(_EmailResult):
    """A mail reached a recipient's server."""


class EmailFailed(_EmailResult):
    """A mail did not reach a recipient's server."""


_NO_SUCH_RECIPIENT: Message = {"accept": False, "code": 550, "text": "5.1.1 No such recipient here"}
_TRY_AGAIN: Message = {"accept": False, "code": 451, "text": "4.3.0 Temporary failure, please try again later"}
_BUSY: Message = {"accept": False, "code": 451, "text": "4.3.0 This mail is being handled, please try again later"}


def _limited(seconds: float) -> Message:
    return {"accept": False, "code": 451, "text": "4.7.1 Too many mails, please try again later"}


def _is_temporary(answer: Mapping[str, Any]) -> bool:
    """Tell a 4yz code (RFC 5321 section 4.2.1) from the others."""
    return 400 <= (answer.get("code") or 0) < 500


REPLY = Format("email reply", record_of(EmailReply))

_MADE_FROM = ("subject", "text", "html", "headers", "cc", "bcc", "reply_to", "attachments", "in_reply_to")

FORMATS = (
    Format(
        "email.recipient",
        record_of(EmailRecipient),
        reply=REPLY,
        default={"accept": True},
        failure=_TRY_AGAIN,
        unrouted=_NO_SUCH_RECIPIENT,
        limited=_limited,
        judged_by="email.receive",
        alone=True,
        published=False,
        sender_repeats=True,
    ),
    Format(
        "email.receive",
        record_of(EmailReceive),
        reply=REPLY,
        default={"accept": True},
        failure=_TRY_AGAIN,
        unrouted=_NO_SUCH_RECIPIENT,
        limited=_limited,
        busy=_BUSY,
        together=("email.recipient",),
        alone=True,
        sender_repeats=True,
        claim="id",
        temporary=_is_temporary,
        compose=compose,
    ),
    Format("email.body?", record_of(BodyChunk), published=False),
    Format(
        "email.send",
        record_of(EmailSend, Instead("raw", _MADE_FROM)),
        published=False,
        needs_listener=True,
    ),
    Format("email.delivered", record_of(EmailDelivered), notification=True),
    Format("email.failed", record_of(EmailFailed), notification=True),
)

"""Requests as the providers' documentation shows them, signed with keys of the tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from trunkline.protocol_servers.http_core.hooks import HookRequest

NOW = 1_760_000_000.0
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
RAW = (
    b"Return-Path: <ann@example.org>\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.com\r\n"
    b"Subject: Gr\xc3\xbc\xc3\x9fe\r\nMessage-ID: <1@example.org>\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello, B\xc3\xb6b.\r\n"
)


def request(body: bytes, content_type: str = "application/json", **headers: str) -> HookRequest:
    given = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    return HookRequest("POST", "/mail", b"", pairs, body, ["127.0.0.1", 4000])


def password(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def multipart(fields: dict[str, Any]) -> tuple[bytes, str]:
    """Write a form: a text, bytes, or (file name, type, content) by name."""
    boundary = "xYzZY-boundary"
    parts = []
    for name, value in fields.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: {value[1]}'
            value = value[2]
        content = value.encode() if isinstance(value, str) else value
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class MailgunPeer:
    """Mailgun, as its documentation has it."""

    key = "key-of-the-test"

    def fields(self, **more: Any) -> dict[str, Any]:
        timestamp, token = more.pop("timestamp", str(int(NOW))), more.pop("token", secrets.token_hex(25))
        signature = hmac.new(self.key.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
        return {
            "recipient": "bob@example.com",
            "sender": "ann@example.org",
            "from": "Ann <ann@example.org>",
            "subject": "Grüße",
            "timestamp": timestamp,
            "token": token,
            "signature": signature,
        } | more

    def mime(self, raw: bytes = RAW, **more: Any) -> HookRequest:
        body, kind = multipart(self.fields(**{"body-mime": raw, **more}))
        return request(body, kind)

    def parsed(self, **more: Any) -> HookRequest:
        headers = [["From", "Ann <ann@example.org>"], ["Subject", "Grüße"], ["Message-Id", "<1@example.org>"],
                   ["Content-Type", "multipart/mixed; boundary=gone"]]  # fmt: skip
        fields = {"message-headers": json.dumps(headers), "body-plain": "Hello, Böb.", "body-html": "<p>Hello</p>"}
        body = urlencode(self.fields(**fields, **more)).encode()
        return request(body, "application/x-www-form-urlencoded")

    def parsed_with_files(self) -> HookRequest:
        headers = [["From", "Ann <ann@example.org>"], ["Message-Id", "<1@example.org>"]]
        fields = self.fields(**{
            "message-headers": json.dumps(headers), "body-plain": "see there", "attachment-count": "2",
            "content-id-map": json.dumps({"<pic@1>": "attachment-2"}),
            "attachment-1": ("Grüße.pdf", "application/pdf", b"%PDF\r\n--xYz\x00"),
            "attachment-2": ("a.png", "image/png", b"\x89PNG"),
        })  # fmt: skip
        body, kind = multipart(fields)
        return request(body, kind)


class PostmarkPeer:
    """Postmark, as its documentation has it."""

    secret = "hook:a long password"

    def payload(self, **more: Any) -> dict[str, Any]:
        return {
            "FromName": "Ann", "MessageStream": "inbound", "From": "ann@example.org",
            "FromFull": {"Email": "ann@example.org", "Name": "Ann", "MailboxHash": ""},
            "To": '"Bob" <bob+7@example.com>',
            "ToFull": [{"Email": "bob+7@example.com", "Name": "Bob", "MailboxHash": "7"}],
            "Cc": "", "CcFull": [], "Bcc": "", "BccFull": [], "OriginalRecipient": "bob+7@example.com",
            "Subject": "Grüße", "MessageID": "73e6d360-66eb-11e1-8e72-a8904824019b", "ReplyTo": "", "MailboxHash": "7",
            "Date": "Fri, 1 Aug 2014 16:45:32 -04:00", "TextBody": "Hello, Böb.", "HtmlBody": "<p>Hello</p>",
            "StrippedTextReply": "", "Tag": "",
            "Headers": [
                {"Name": "Return-Path", "Value": "<ann@example.org>"},
                {"Name": "Received-SPF", "Value": "Pass (sender SPF authorized)"},
                {"Name": "Message-ID", "Value": "<1@example.org>"},
            ],
            "Attachments": [
                {"Content": base64.b64encode(b"%PDF").decode(), "ContentLength": 4, "Name": "a.pdf",
                 "ContentType": "application/pdf", "ContentID": ""},
            ],
        } | more  # fmt: skip

    def post(self, **more: Any) -> HookRequest:
        return request(json.dumps(self.payload(**more)).encode(), authorization=password(self.secret))


class SendGridPeer:
    """SendGrid, as its documentation has it; signs where it is told to."""

    secret = "hook:a long password"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public = base64.b64encode(public).decode()

    def raw(self, **more: Any) -> tuple[bytes, str]:
        return multipart(
            {
                "dkim": "{@example.org : pass}",
                "to": "bob@example.com",
                "from": "Ann <ann@example.org>",
                "sender_ip": "192.0.2.1",
                "envelope": json.dumps({"to": ["bob@example.com"], "from": "ann@example.org"}),
                "SPF": "pass",
                "email": RAW,
            }
            | more
        )

    def parsed(self) -> tuple[bytes, str]:
        return multipart(
            {
                "headers": "From: Ann <ann@example.org>\nSubject: two\n lines\nMessage-ID: <1@example.org>\n",
                "to": "bob@example.com",
                "text": "Hello, Böb.".encode("iso-8859-1"),
                "html": "<p>Hello</p>",
                "envelope": json.dumps({"to": ["bob@example.com"], "from": ""}),
                "charsets": json.dumps({"to": "UTF-8", "text": "iso-8859-1", "html": "UTF-8"}),
                "attachments": "1",
                "attachment-info": json.dumps({"attachment1": {"filename": "a.png", "content-id": "pic"}}),
                "attachment1": ("a.png", "image/png", b"\x89PNG"),
            }
        )

    def with_password(self, form: tuple[bytes, str]) -> HookRequest:
        return request(*form, authorization=password(self.secret))

    def signed(self, form: tuple[bytes, str], timestamp: str = str(int(NOW))) -> HookRequest:
        signature = self._key.sign(timestamp.encode() + form[0], ec.ECDSA(hashes.SHA256()))
        return request(
            *form,
            x_twilio_email_event_webhook_signature=base64.b64encode(signature).decode(),
            x_twilio_email_event_webhook_timestamp=timestamp,
        )


class Amazon:
    """SNS and SES, as their documentation has them.

    Attributes:
        fetched: The addresses that were asked for.
        away: It does not answer.
    """

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.away = False
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        begin = datetime.fromtimestamp(NOW, UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(begin - timedelta(days=30))
            .not_valid_after(begin + timedelta(days=30))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        if self.away:
            raise OSError("nobody there")
        return self.certificate if address.endswith(".pem") else b"<ConfirmSubscriptionResponse/>"

    def mail(self, raw: bytes = RAW, encoding: str | None = None, **more: Any) -> dict[str, Any]:
        action = {"type": "SNS", "topicArn": TOPIC} | ({"encoding": encoding} if encoding else {})
        content = base64.b64encode(raw).decode() if encoding == "BASE64" else raw.decode()
        return {
            "notificationType": "Received",
            "receipt": {
                "timestamp": "2015-09-11T20:32:33.936Z", "processingTimeMillis": 222,
                "recipients": ["bob@example.com", "eve@example.com"], "spamVerdict": {"status": "PASS"},
                "virusVerdict": {"status": "PASS"}, "spfVerdict": {"status": "PASS"},
                "dkimVerdict": {"status": "PASS"}, "dmarcVerdict": {"status": "GRAY"}, "action": action,
            },
            "mail": {
                "timestamp": "2015-09-11T20:32:33.936Z", "source": "ann@example.org", "messageId": "d6iitobk75ur44p8",
                "destination": ["bob@example.com"], "headersTruncated": False, "headers": [],
            },
            "content": content,
        } | more  # fmt: skip

    def message(self, kind: str = "Notification", text: str | None = None, version: str = "2", **more: Any) -> Any:
        """Return a signed message; `more` is changed after that, `signed` before."""
        message = {
            "Type": kind,
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "TopicArn": TOPIC,
            "Message": json.dumps(self.mail()) if text is None else text,
            "Timestamp": datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE_URL,
        }
        if kind == "Notification":
            message["Subject"] = "Amazon SES Email Receipt Notification"
        else:
            message["Token"] = "2336412f37"
            message["SubscribeURL"] = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"
        message |= more.pop("signed", {})
        keys = sorted({"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"})
        text = "".join(f"{key}\n{message[key]}\n" for key in keys if key in message)
        digest = hashes.SHA256() if version == "2" else hashes.SHA1()
        message["Signature"] = base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), digest)).decode()
        return message | more

    def post(self, *args: Any, **more: Any) -> HookRequest:
        return request(json.dumps(self.message(*args, **more)).encode(), "text/plain; charset=UTF-8")


@pytest.fixture(scope="session")
def mailgun_peer() -> MailgunPeer:
    return MailgunPeer()


@pytest.fixture(scope="session")
def postmark_peer() -> PostmarkPeer:
    return PostmarkPeer()


@pytest.fixture(scope="session")
def sendgrid_peer() -> SendGridPeer:
    return SendGridPeer()


@pytest.fixture(scope="session")
def amazon_key() -> Amazon:
    return Amazon()


@pytest.fixture
def amazon(amazon_key: Amazon) -> Amazon:
    """Amazon, having been asked nothing yet; the key of all tests is one."""
    amazon_key.fetched.clear()
    amazon_key.away = False
    return amazon_key


@pytest.fixture
def wall() -> Callable[[], float]:
    """The time at which the requests were made."""
    return lambda: NOW


@pytest.fixture
def raw() -> bytes:
    """The mail that all of them post."""
    return RAW

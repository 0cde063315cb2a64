"""Who sent a request: passwords, and signatures over it, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ....operations.secret import Secret
from ...http_core.hooks import HookRequest
from .posted import Unbelieved

REMEMBERED = 5 * 86400.0  # seconds that a repeat of a mail is known, and its signature may be old
MAILGUN_WINDOW = 9 * 3600.0  # its last attempt comes after eight hours
_AHEAD = 300.0  # seconds that a provider's clock may be fast
_MOST_TOKENS = 100_000
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def same(one: bytes, other: bytes) -> bool:
    """Compare in a time that tells nothing, not even of their lengths."""
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def check_password(request: HookRequest, secret: Secret) -> None:
    """Check the basic authentication of a request (RFC 7617) against "user:password".

    Raises:
        Unbelieved: It is wrong or missing.
    """
    scheme, _, given = (request.header(b"authorization") or b"").strip().partition(b" ")
    try:
        said = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        said = b""
    if not same(said, secret.value.encode()) or scheme.lower() != b"basic":
        raise Unbelieved("the user or the password is wrong")


def check_time(timestamp: float, window: float, now: float) -> None:
    """Check that a signature is neither old nor of the future.

    Raises:
        Unbelieved: It is.
    """
    if not now - window <= timestamp <= now + _AHEAD:
        raise Unbelieved("its signature is too old, or of the future")


class MailgunSignatures:
    """Signatures of Mailgun, which are over a time and a token, and not over the mail: each is good for one mail.

    https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks

    Args:
        secret: The signing key.
        wall: Unix time in seconds.
    """

    def __init__(self, secret: Secret, wall: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._wall = wall
        self._mutex = threading.Lock()
        self._tokens: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def check(self, timestamp: str, token: str, signature: str) -> None:
        """Check one.

        Args:
            timestamp: As sent.
            token: As sent.
            signature: As sent.

        Raises:
            Unbelieved: It is not Mailgun's.
        """
        told = hmac.new(self._secret.value.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
        if not _TIMESTAMP.fullmatch(timestamp) or not same(told.encode(), signature.encode()):
            raise Unbelieved("its signature is wrong")
        check_time(int(timestamp), MAILGUN_WINDOW, self._wall())

    def use(self, token: str, mail: bytes) -> None:
        """Use one that was checked.

        Args:
            token: As sent.
            mail: What tells the mail, and whom it is for.

        Raises:
            Unbelieved: It was used for another mail.
        """
        now = self._wall()
        key = hashlib.sha256(token.encode()).digest()
        with self._mutex:
            tokens = self._tokens
            _, of = tokens.setdefault(key, (now, mail))
            while len(tokens) > _MOST_TOKENS or next(iter(tokens.values()))[0] < now - MAILGUN_WINDOW - _AHEAD:
                tokens.popitem(last=False)
        if of != mail:
            raise Unbelieved("its signature was used for another mail")


def check_sendgrid(request: HookRequest, key: str, now: float) -> None:
    """Check a signature of SendGrid, ECDSA over a time and the body.

    https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks

    Args:
        request: The request.
        key: The public key, as SendGrid shows it.
        now: Unix time in seconds.

    Raises:
        Unbelieved: It is not SendGrid's.
    """
    timestamp = request.header(b"x-twilio-email-event-webhook-timestamp") or b""
    try:
        signature = base64.b64decode(request.header(b"x-twilio-email-event-webhook-signature") or b"", validate=True)
        read_ecdsa_key(key).verify(signature, timestamp + request.body, ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        raise Unbelieved("its signature is wrong") from None
    text = timestamp.decode("latin-1")
    check_time(int(text) if _TIMESTAMP.fullmatch(text) else 0, REMEMBERED, now)


def read_ecdsa_key(text: str) -> EllipticCurvePublicKey:
    """Read a public key, base64 of DER.

    Raises:
        ValueError: It is none.
    """
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError("this is no public key") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("this is no public key for ECDSA")
    return key

"""Amazon SNS, which posts what happens on a topic: whose words they are, and the certificate that says so.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. Anybody can have a topic, and Amazon
signs for all of them: so it is one topic that is listened to, and certificates are fetched from its region's host only.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import Certificate, load_pem_x509_certificate

from .believing import REMEMBERED, check_time
from .posted import Malformed, Unbelieved, Unverifiable, text_of
from .settings import region_host

Fetch = Callable[[str], bytes]
"""Fetches an https address; OSError where that fails."""

_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,100}\.pem")
_MAX_CERTIFICATES = 8
_MAX_FETCHED = 64 * 1024
_MAX_FETCHING = 4  # addresses at a time: anybody can name a certificate that does not exist
_FETCH_TIMEOUT = 10.0
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class Topic:
    """One topic. What is asked of it may take as long as Amazon does: ask in a thread.

    Args:
        arn: Its name.
        wall: Unix time in seconds.
        fetch: Fetches certificates and confirms subscriptions.
    """

    def __init__(self, arn: str, wall: Callable[[], float], fetch: Fetch) -> None:
        host = region_host(arn)
        assert host is not None
        self._arn = arn
        self._host = host
        self._wall = wall
        self._fetch = fetch
        self._certificates: dict[str, Certificate] = {}
        self._fetching = threading.BoundedSemaphore(_MAX_FETCHING)

    def check(self, message: dict[str, Any]) -> str:
        """Check that Amazon sent something of this topic, and return its type.

        Raises:
            Unbelieved: Anybody may have sent it.
            Malformed: It makes no sense.
            Unverifiable: The certificate cannot be fetched now.
        """
        kind = text_of(message, "Type")
        if kind not in _SIGNED:
            raise Malformed("its type is none of SNS")
        if text_of(message, "TopicArn") != self._arn:
            raise Unbelieved("it is of another topic")
        signed = "".join(
            f"{name}\n{text_of(message, name)}\n" for name in _SIGNED[kind] if name != "Subject" or message.get(name)
        )
        version = text_of(message, "SignatureVersion")
        if version not in ("1", "2"):
            raise Unbelieved("its signature is of an unknown version")
        address = text_of(message, "SigningCertURL")
        if not self._is_ours(address, path=_CERTIFICATE_PATH):
            raise Unbelieved("its certificate is not at Amazon")
        certificate = self._certificate(address)
        key = certificate.public_key()
        try:
            assert isinstance(key, rsa.RSAPublicKey)
            signature = base64.b64decode(text_of(message, "Signature"), validate=True)
            digest = hashes.SHA256() if version == "2" else hashes.SHA1()
            key.verify(signature, signed.encode("utf-8", "replace"), padding.PKCS1v15(), digest)
        except (InvalidSignature, binascii.Error, ValueError, UnsupportedAlgorithm):
            raise Unbelieved("its signature is wrong") from None
        check_time(_moment(text_of(message, "Timestamp")), REMEMBERED, self._wall())
        return kind

    def confirm(self, message: dict[str, Any]) -> None:
        """Confirm a subscription that was checked.

        Raises:
            Unbelieved: Its address is not Amazon's.
            Unverifiable: Amazon does not answer.
        """
        address = text_of(message, "SubscribeURL")
        if not self._is_ours(address):
            raise Unbelieved("its address is not at Amazon")
        self._fetched(address)

    def _is_ours(self, address: str, path: re.Pattern[str] | None = None) -> bool:
        """Tell whether an address is at the host of the topic's region."""
        try:
            parts = urlsplit(address)
            where = (parts.scheme, parts.netloc)
        except ValueError:
            return False
        is_plain = address.isascii() and address.isprintable() and " " not in address
        if not is_plain or where != ("https", self._host):
            return False
        # Nothing behind the path of a certificate: each address is fetched.
        return path is None or (bool(path.fullmatch(parts.path)) and address.endswith(parts.path))

    def _certificate(self, address: str) -> Certificate:
        certificate = self._certificates.get(address)
        now = datetime.fromtimestamp(self._wall(), UTC)
        if certificate is None:
            try:
                certificate = load_pem_x509_certificate(self._fetched(address))
            except ValueError:
                raise Unverifiable("its certificate is none") from None
            if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
                raise Unbelieved("its certificate is of another kind")
            if len(self._certificates) >= _MAX_CERTIFICATES:
                self._certificates.clear()
            self._certificates[address] = certificate
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Unbelieved("its certificate has expired")
        return certificate

    def _fetched(self, address: str) -> bytes:
        if not self._fetching.acquire(blocking=False):
            raise Unverifiable("Amazon is asked too much already")
        try:
            return self._fetch(address)
        except OSError:
            raise Unverifiable("Amazon cannot be asked") from None
        finally:
            self._fetching.release()


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def fetch(address: str) -> bytes:
    """Fetch an https address whose host was checked, from there and from nowhere else.

    Raises:
        OSError: That failed, or what came is too large.
    """
    opener = urllib.request.OpenerDirector()  # without redirects, which would lead away from that host
    for handler in (
        urllib.request.HTTPSHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
    ):
        opener.add_handler(handler())
    try:
        with opener.open(address, timeout=_FETCH_TIMEOUT) as answer:
            content: bytes = answer.read(_MAX_FETCHED + 1)
    except http.client.HTTPException as error:
        raise OSError("no answer of HTTP") from error
    if len(content) > _MAX_FETCHED:
        raise OSError("too large")
    return content

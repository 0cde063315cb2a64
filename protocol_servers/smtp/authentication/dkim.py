"""DKIM: which domains signed a mail, and whether it is still what they signed (RFC 6376, 8301, 8463).

`dkimpy` fell short in trials: it has the whole mail in memory several times; it took 5 s for one line of 64 KB of
spaces, four times as long for twice as many, and 7 s for the key of 16384 bits that a stranger's DNS may hold, in which
nothing else of the process ran. Here a body goes through a hash piece by piece, in a thread, once for each of the two
forms; no longer key than 8192 bits is taken; and `cryptography` does the arithmetic. `dkimpy` signs in the tests.

Stricter than the RFC, as its section 8.15 recommends: a mail that has twice what may stand only once, such as From or
Subject, is verified by no signature, for a reader may believe the one that is not signed. Nor is a signature taken that
covers only the beginning of the body ("l=").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ....message_formats.email.parts import Source
from .canonical import Body, RelaxedBody, relaxed_header
from .lookups import LookupFailed, Resolver
from .spf import is_name
from .tags import read_tags

MAX_SIGNATURES = 5  # that are looked at
MAX_HEAD = 256 * 1024
_MAX_KEY_RECORD = 4096
_KEY_BITS = (1024, 8192)
_CHUNK = 64 * 1024
_ONCE = frozenset(
    b"from sender reply-to to cc bcc message-id in-reply-to references subject date mime-version content-type "
    b"content-transfer-encoding".split()
)
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:", re.DOTALL)
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(r"[ \t\r\n]+")
PublicKey = rsa.RSAPublicKey | Ed25519PublicKey
_ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}


class Verdict(NamedTuple):
    """What became of one signature.

    Attributes:
        result: "pass", "fail", "policy", "permerror" or "temperror" (RFC 8601 section 2.7.1).
        domain: Who says to have signed; "" where nobody can tell.
        selector: Which key of theirs; "" where nobody can tell.
        reason: Why it is no pass; "" for one.
    """

    result: str
    domain: str = ""
    selector: str = ""
    reason: str = ""


class _Wrong(Exception):
    """A signature is no pass: (result, reason)."""


class Head(NamedTuple):
    """The header of a mail, as it came.

    Attributes:
        fields: (name in lower case, the whole field without its line end), in their order.
        size: Bytes up to the body.
        defect: What keeps any signature from counting; "" where nothing does.
    """

    fields: list[tuple[bytes, bytes]]
    size: int
    defect: str

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, in their order."""
        return [field.partition(b":")[2] for each, field in self.fields if each == name]


def read_head(source: Source) -> Head:
    """Find the header of a mail."""
    data = source.read(0, MAX_HEAD)
    end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
    if end == 1:
        if len(data) == MAX_HEAD:
            return Head([], 0, "the header is too large")
        data = data.removesuffix(b"\r\n") + b"\r\n"
        end = len(data)
    fields: list[tuple[bytes, bytes]] = []
    for text in _FIELD_END.split(data[:end])[:-1]:
        found = _FIELD.match(text)
        if found is None:
            return Head(fields, end + 2, "the header has a line that is none")
        fields.append((found[1].lower(), text))
    twice = next((name for name, count in Counter(n for n, _ in fields if n in _ONCE).items() if count > 1), None)
    return Head(fields, end + 2, f"{twice.decode()} stands twice" if twice else "")


class Signature:
    """One DKIM-Signature header.

    Args:
        number: Its place in the header.
        head: The header.
    """

    def __init__(self, number: int, head: Head) -> None:
        self._number = number
        self._head = head
        self._field = head.fields[number][1]
        try:
            text = self._field.partition(b":")[2].decode()
        except UnicodeDecodeError:
            text = ""
        self._tags = read_tags(text) or {}
        self.domain = self._tags.get("d", "").lower()
        self.selector = self._tags.get("s", "").lower()

    def verdict(self, result: str, reason: str = "") -> Verdict:
        """Return what became of it, and name who signed as far as that makes sense."""
        known = is_name(self.domain) and is_name(f"{self.selector}.x")
        return Verdict(result, self.domain if known else "", self.selector if known else "", reason)

    def check(self, now: float) -> None:
        """Check what it says of itself (section 6.1.1).

        Raises:
            _Wrong: It makes no sense.
        """
        tags = self._tags
        if tags.get("v") != "1" or not all(tags.get(name) for name in ("a", "b", "bh", "d", "h", "s")):
            raise _Wrong("permerror", "the signature makes no sense")
        if tags["a"] not in _ALGORITHMS:
            raise _Wrong("permerror", "its algorithm is not taken")
        if not is_name(self.domain) or not is_name(f"{self.selector}.x"):
            raise _Wrong("permerror", "its domain makes no sense")
        if not {"simple", "relaxed"} >= set(self._forms) or "from" not in self._signed:
            raise _Wrong("permerror", "the signature makes no sense")
        if "dns/txt" not in tags.get("q", "dns/txt").split(":"):
            raise _Wrong("permerror", "its key is not in the DNS")
        if self._agent != self.domain and not self._agent.endswith(f".{self.domain}"):
            raise _Wrong("permerror", "it signs for another domain")
        if "x" in tags and (not tags["x"].isdecimal() or len(tags["x"]) > 12 or int(tags["x"]) < now):
            raise _Wrong("fail", "the signature has expired")

    @property
    def _agent(self) -> str:
        """The domain of whoever it is said to speak for."""
        return self._tags.get("i", self.domain).rpartition("@")[2].lower()

    @property
    def _signed(self) -> list[str]:
        return [name.strip().lower() for name in self._tags["h"].split(":")]

    @property
    def _forms(self) -> tuple[str, str]:
        header, _, body = self._tags.get("c", "simple/simple").lower().partition("/")
        return header, body or "simple"

    @property
    def body_form(self) -> str:
        """How the body is to be hashed: "simple" or "relaxed"."""
        return self._forms[1]

    async def key(self, resolver: Resolver) -> PublicKey:
        """Fetch the key (section 6.1.2).

        Raises:
            LookupFailed: Nobody could say.
            _Wrong: There is none that can be used.
        """
        records = await resolver.texts(f"{self.selector}._domainkey.{self.domain}")
        if not records:
            raise _Wrong("permerror", "there is no such key")
        return self._read_key(records[0])

    def _read_key(self, record: bytes) -> PublicKey:
        broken = _Wrong("permerror", "the key makes no sense")
        if len(record) > _MAX_KEY_RECORD:
            raise broken
        tags = read_tags(record.decode("ascii", "replace"))
        if tags is None or tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
            raise broken
        kind = tags.get("k", "rsa")
        if not tags["p"]:
            raise _Wrong("permerror", "the key was revoked")
        if kind != _ALGORITHMS[self._tags["a"]] or "sha256" not in _words(tags.get("h", "sha256")):
            raise _Wrong("permerror", "the key is for another algorithm")
        if not {"*", "email"} & _words(tags.get("s", "*")):
            raise _Wrong("permerror", "the key is not for mail")
        if "s" in _words(tags.get("t", "")) and self._agent != self.domain:
            raise _Wrong("permerror", "the key is not for subdomains")
        try:
            data = base64.b64decode(_SPACES.sub("", tags["p"]), validate=True)
            key = Ed25519PublicKey.from_public_bytes(data) if kind == "ed25519" else load_der_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise broken from error
        if isinstance(key, Ed25519PublicKey):
            return key
        if not isinstance(key, rsa.RSAPublicKey) or not _KEY_BITS[0] <= key.key_size <= _KEY_BITS[1]:
            raise _Wrong("policy", "the key is too short or too long")
        return key

    def verify(self, key: PublicKey, body: _Hashed) -> None:
        """Verify it (section 6.1.3).

        Raises:
            _Wrong: The mail is not what was signed.
        """
        length = self._tags.get("l", str(body.size))
        if not length.isdecimal() or len(length) > 20 or int(length) > body.size:
            raise _Wrong("permerror", "the signature makes no sense")
        if int(length) < body.size:
            raise _Wrong("policy", "it covers only a part of the body")
        if _base64(self._tags["bh"]) != body.digest:
            raise _Wrong("fail", "the body was altered")
        digest = self._header_digest()
        signature = _base64(self._tags["b"])
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, digest)
            else:
                key.verify(signature, digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        except InvalidSignature as error:
            raise _Wrong("fail", "the header was altered, or somebody else signed") from error

    def _header_digest(self) -> bytes:
        """Hash the signed headers, of one name the last first, and the signature without itself (section 3.7)."""
        is_relaxed = self._forms[0] == "relaxed"
        left: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name, field in self._head.fields:
            left[name].append(field)
        digest = hashlib.sha256()
        for signed in self._signed:
            fields = left[signed.encode()]
            if fields:
                digest.update(_in_form(fields.pop(), is_relaxed) + b"\r\n")
        own, _, value = self._field.partition(b":")
        pieces = value.split(b";")
        for number, piece in enumerate(pieces):
            tag = piece.partition(b"=")[0]
            if tag.strip() == b"b":
                pieces[number] = tag + b"="
        digest.update(_in_form(own + b":" + b";".join(pieces), is_relaxed))
        return digest.digest()


class _Hashed(NamedTuple):
    """A canonical body: its SHA-256, and its bytes."""

    digest: bytes
    size: int


def signatures(head: Head) -> list[Signature]:
    """Return the first signatures of a mail."""
    numbers = [number for number, (name, _) in enumerate(head.fields) if name == b"dkim-signature"]
    return [Signature(number, head) for number in numbers[:MAX_SIGNATURES]]


def hash_bodies(source: Source, start: int, forms: set[str]) -> dict[str, _Hashed]:
    """Hash the body of a mail; takes its time, so call it in a thread.

    Args:
        source: The mail.
        start: Where its body begins.
        forms: "simple", "relaxed".
    """
    hashed = {form: hashlib.sha256() for form in forms}
    bodies = {form: (RelaxedBody if form == "relaxed" else Body)(hashed[form].update) for form in forms}
    while chunk := source.read(start, _CHUNK):
        start += len(chunk)
        for body in bodies.values():
            body.feed(chunk)
    for body in bodies.values():
        body.end()
    return {form: _Hashed(hashed[form].digest(), body.size) for form, body in bodies.items()}


async def fetch(signature: Signature, resolver: Resolver, now: float) -> PublicKey | Verdict:
    """Return the key that a signature is verified with, or what became of the signature already."""
    try:
        signature.check(now)
        return await signature.key(resolver)
    except LookupFailed:
        return signature.verdict("temperror", "its key could not be fetched")
    except _Wrong as wrong:
        return signature.verdict(*wrong.args)


def verify(keyed: list[tuple[Signature, PublicKey]], source: Source, head: Head) -> list[Verdict]:
    """Verify signatures; takes its time, so call it in a thread.

    Args:
        keyed: The signatures, with their keys.
        source: The mail.
        head: Its header.
    """
    bodies: Mapping[str, _Hashed] = hash_bodies(source, head.size, {signature.body_form for signature, _ in keyed})
    verdicts = []
    for signature, key in keyed:
        try:
            signature.verify(key, bodies[signature.body_form])
            verdicts.append(signature.verdict("pass"))
        except _Wrong as wrong:
            verdicts.append(signature.verdict(*wrong.args))
    return verdicts


def _in_form(field: bytes, is_relaxed: bool) -> bytes:
    if not is_relaxed:
        return field
    name, _, value = field.partition(b":")
    return relaxed_header(name, value)


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(":")}


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(_SPACES.sub("", text), validate=True)
    except (binascii.Error, ValueError):
        return b""

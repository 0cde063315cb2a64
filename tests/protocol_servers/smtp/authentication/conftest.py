"""A DNS of the tests' own, and keys made for them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from trunkline.protocol_servers.smtp.authentication.lookups import LookupFailed


class Zone:
    """Records by name: `{"example.org": {"TXT": ["v=spf1 -all"]}}`; "FAILS" in the place of records fails.

    Attributes:
        asked: What was asked for, in its order.
    """

    def __init__(self, records: dict[str, dict[str, Any]]) -> None:
        self.records = {name.lower(): kinds for name, kinds in records.items()}
        self.asked: list[tuple[str, str]] = []

    def _find(self, name: str, kind: str) -> list[str]:
        self.asked.append((name, kind))
        found = self.records.get(name.lower(), {}).get(kind, [])
        if found == "FAILS":
            raise LookupFailed("the test says so")
        return list(found)

    async def texts(self, name: str) -> Sequence[bytes]:
        return [text.encode() for text in self._find(name, "TXT")]

    async def names(self, name: str, kind: str) -> Sequence[str]:
        return self._find(name, kind)


class Silence:
    """A DNS that never answers."""

    async def texts(self, name: str) -> Sequence[bytes]:
        await asyncio.Event().wait()
        return []

    async def names(self, name: str, kind: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []


@pytest.fixture
def zone() -> Callable[[dict[str, dict[str, Any]]], Zone]:
    return Zone


@pytest.fixture
def silence() -> Silence:
    return Silence()


class Key:
    """A key of a domain, and the record that tells of it."""

    def __init__(self, bits: int = 2048) -> None:
        key = rsa.generate_private_key(65537, bits)
        self._pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.record = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()

    def sign(
        self, mail: bytes, *, domain: str = "example.org", forms: str = "relaxed/relaxed", **options: Any
    ) -> bytes:
        """Have dkimpy sign a mail."""
        header, body = forms.encode().split(b"/")
        signature = dkim.sign(mail, b"s1", domain.encode(), self._pem, canonicalize=(header, body), **options)
        return bytes(signature) + mail


@pytest.fixture(scope="session")
def key() -> Key:
    return Key()


@pytest.fixture(scope="session")
def short_key() -> Key:
    return Key(1024)

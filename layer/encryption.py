"""Encrypting what travels: Fernet (AES-128-CBC with HMAC-SHA256; https://github.com/fernet/spec), several keys.

Message bodies, chunks of blobs, state, infos of members and dead letters are encrypted. Names of channels, groups, keys
and listeners, and all times, are not: whoever has the bus sees who talks to whom, and when. What was not encrypted with
one of the keys is not taken, so whoever can write into the bus but has no key can say nothing.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

SHORTEST = 16


class Cipher:
    """Encrypts with the first key, decrypts with any.

    To change keys, put the new one behind the old one everywhere, then in front of it, then take the old one away.

    Args:
        keys: Secrets of 16 characters at least; random ones, since nothing slows down whoever guesses.

    Raises:
        ValueError: A key is too short, or `cryptography` is not installed.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ModuleNotFoundError:
            raise ValueError(
                "encryption_keys needs trunkline[encryption]: pip install 'trunkline[encryption]'"
            ) from None
        if isinstance(keys, str | bytes):
            raise ValueError("encryption_keys is a list of keys, not one key")
        for number, key in enumerate(keys, 1):
            if not isinstance(key, str | bytes) or len(key) < SHORTEST:
                raise ValueError(f"encryption_keys: key {number} is no text of at least {SHORTEST} characters")
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])
        self._invalid: Any = InvalidToken

    def encrypt(self, body: bytes) -> bytes:
        """Return what may be shown to everybody."""
        return self._fernet.encrypt(body)

    def decrypt(self, body: bytes) -> bytes:
        """Return what was encrypted.

        Raises:
            ValueError: None of the keys opens it.
        """
        try:
            return self._fernet.decrypt(body)
        except self._invalid:
            raise ValueError("none of the encryption keys opens it") from None


def _derive(key: str | bytes) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode() if isinstance(key, str) else key).digest())

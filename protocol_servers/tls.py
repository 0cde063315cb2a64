"""TLS by certificate files that are read again when they change."""

from __future__ import annotations

import functools
import logging
import os
import ssl
from collections.abc import Sequence

_log = logging.getLogger("trunkline.tls")

# HTTP/2 over TLS 1.2 forbids the others (RFC 9113 section 9.2.2); all of TLS 1.3 are such. Where mail is encrypted if
# the other side can, an older one is better than none.
_AUTHENTICATED = "ECDHE+AESGCM:ECDHE+CHACHA20"


class _Files:
    """A certificate and key on disk, and what was last known of them."""

    def __init__(self, certificate: str, key: str, protocols: Sequence[str]) -> None:
        self._protocols = protocols
        self.context = self._new_context()
        self._certificate = certificate
        self._key = key
        self._seen: object = self._look()
        self.context.load_cert_chain(certificate, key, _no_password)

    def _look(self) -> object:
        seen: list[object] = []
        for path in (self._certificate, self._key):
            try:
                found = os.stat(path)
                seen.append((found.st_mtime_ns, found.st_ino, found.st_size))
            except OSError as error:
                seen.append(error.errno)
        return seen

    def client_hello(self, connection: ssl.SSLObject, name: str | None, _first: ssl.SSLContext) -> None:
        """Give a handshake that begins now the certificate of now; a pair that does not load keeps the old one."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                # A fresh context: a pair that is half written must not spoil the one in use.
                context = self._new_context()
                context.load_cert_chain(self._certificate, self._key, _no_password)
                self.context = context
                _log.info("read the changed certificate %s", self._certificate)
            except OSError as error:
                _log.warning("changed certificate %s cannot be used, the old one stays: %s", self._certificate, error)
        connection.context = self.context

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # TLS compression and client-side renegotiation only serve attackers.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if self._protocols:
            context.set_alpn_protocols(self._protocols)
            context.set_ciphers(_AUTHENTICATED)
        return context


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal and waits, the whole loop with it.
    raise OSError("the key is locked with a password; store it without one")


@functools.cache
def client_context(*, verify: bool = True, certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Return the context of a client for TLS 1.2 and later; the same arguments share one, for it is large.

    Args:
        verify: Whether a server has to show a certificate of its name that the system trusts.
        certificate: Path of a PEM file with a certificate to show to servers.
        key: Path of its key; ``certificate`` holds it too when None.

    Raises:
        OSError: A file cannot be read, the key is locked, or (``ssl.SSLError``) the two do not make a pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if verify:
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key, _no_password)
    return context


def server_context(certificate: str, key: str | None = None, *, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later that follows its files.

    Args:
        certificate: Path of a PEM file with the certificate and its chain.
        key: Path of a PEM file with the private key; ``certificate`` holds it too when None.
        protocols: What is offered to be spoken, the best first (ALPN, RFC 7301), such as "h2".

    Raises:
        OSError: A file cannot be read, the key is locked, or (``ssl.SSLError``) the two do not make a pair.
    """
    files = _Files(certificate, key or certificate, protocols)
    context = files.context
    context.sni_callback = files.client_hello
    return context

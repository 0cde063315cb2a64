"""Certificates that change on disk while a server runs."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.tls import server_context


def presented(context: ssl.SSLContext, server_hostname: str | None = "localhost") -> bytes:
    """Shake hands with ``context`` and return the certificate it showed."""
    ours, theirs = socket.socketpair()
    accepting = ssl.create_default_context()
    accepting.check_hostname = False
    accepting.verify_mode = ssl.CERT_NONE

    def serve() -> None:
        with theirs:
            context.wrap_socket(theirs, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    with accepting.wrap_socket(ours, server_hostname=server_hostname) as client:
        found = client.getpeercert(binary_form=True)
    thread.join()
    assert found is not None
    return found


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


@pytest.fixture
def files(tmp_path: Path, certificate: Any) -> Any:
    """A copy of the certificate, to be changed."""
    for source in certificate:
        shutil.copy(source, tmp_path / source.name)
    return type(certificate)(tmp_path / certificate.certificate.name, tmp_path / certificate.key.name)


def replace(files: Any, other: Any) -> None:
    for target, source in zip(files, other, strict=True):
        shutil.copy(source, f"{target}.new")
        os.replace(f"{target}.new", target)


@pytest.mark.parametrize("name", ["localhost", None])
def test_a_changed_certificate_is_shown_from_the_next_handshake(
    files: Any, other_certificate: Any, name: str | None
) -> None:
    context = server_context(str(files.certificate), str(files.key))
    assert presented(context, name) == der(files.certificate)
    replace(files, other_certificate)
    assert presented(context, name) == der(other_certificate.certificate)
    assert presented(context, name) == der(other_certificate.certificate)


def test_a_pair_that_does_not_fit_keeps_the_old_one_and_is_said_once(
    files: Any, other_certificate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    context = server_context(str(files.certificate), str(files.key))
    before = der(files.certificate)
    shutil.copy(other_certificate.certificate, files.certificate)
    assert presented(context) == before
    assert presented(context) == before
    assert caplog.text.count("the old one stays") == 1
    shutil.copy(other_certificate.key, files.key)
    assert presented(context) == der(other_certificate.certificate)


def test_files_that_went_away_keep_the_old_certificate(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    context = server_context(str(files.certificate), str(files.key))
    before = der(files.certificate)
    files.key.unlink()
    assert presented(context) == before
    assert presented(context) == before
    assert caplog.text.count("the old one stays") == 1


def test_certificate_and_key_may_share_a_file(files: Any, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    assert presented(server_context(str(both))) == der(files.certificate)


def test_what_cannot_be_used_is_an_error_at_once(files: Any, other_certificate: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        server_context(str(tmp_path / "missing.pem"))
    with pytest.raises(ssl.SSLError):
        server_context(str(files.certificate), str(other_certificate.key))


def test_a_locked_key_is_an_error_and_nobody_is_asked_for_its_password(
    files: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from cryptography.hazmat.primitives import serialization

    context = server_context(str(files.certificate), str(files.key))
    key: Any = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(OSError, match="the key is locked with a password; store it without one"):
        server_context(str(files.certificate), str(files.key))
    assert presented(context) == der(files.certificate)
    assert "the key is locked" in caplog.text


def test_old_versions_are_refused(files: Any) -> None:
    context = server_context(str(files.certificate), str(files.key))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2

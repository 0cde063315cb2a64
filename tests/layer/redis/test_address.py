"""What a URL says, and what is wrong with it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer.redis.address import TLS, Address, read_address


@pytest.mark.parametrize(
    ("scheme", "place", "expected", "text"),
    [
        ("redis", "localhost", Address("localhost"), "redis://localhost:6379/0"),
        ("redis", "localhost/", Address("localhost"), "redis://localhost:6379/0"),
        ("redis", "10.0.0.1:7000/3", Address("10.0.0.1", 7000, database=3), "redis://10.0.0.1:7000/3"),
        ("redis", "[::1]", Address("::1"), "redis://[::1]:6379/0"),
        ("redis", "[fe80::1]:1/2", Address("fe80::1", 1, database=2), "redis://[fe80::1]:1/2"),
        ("redis", "u:p@h", Address("h", username="u", password="p"), "redis://h:6379/0"),
        ("redis", ":p@h", Address("h", password="p"), "redis://h:6379/0"),
        ("redis", "a%40b:%2F%3A%25@h", Address("h", username="a@b", password="/:%"), "redis://h:6379/0"),
        ("redis", "u:p@q@h", Address("h", username="u", password="p@q"), "redis://h:6379/0"),
        ("rediss", "h:1", Address("h", 1, tls=TLS()), "rediss://h:1/0"),
        ("unix", "/run/redis.sock", Address("", 0, "/run/redis.sock"), "unix:///run/redis.sock?db=0"),
        ("unix", "/a%20b", Address("", 0, "/a b"), "unix:///a b?db=0"),
        ("unix", "/run/@r", Address("", 0, "/run/@r"), "unix:///run/@r?db=0"),
        ("unix", "u:p@/r", Address("", 0, "/r", username="u", password="p"), "unix:///r?db=0"),
    ],
)
def test_reads(scheme: str, place: str, expected: Address, text: str) -> None:
    address = read_address(scheme, place)
    assert address == expected
    assert address.text == text


@pytest.mark.parametrize("db", [4, "4"])
def test_database_as_an_option(db: int | str) -> None:
    assert read_address("unix", "/r", db=db).text == "unix:///r?db=4"
    assert read_address("redis", "h", db=db).database == 4


@pytest.mark.parametrize(
    ("scheme", "place", "options", "says"),
    [
        ("http", "h", {}, "http:// is no Redis address; there is redis://, rediss://, unix://"),
        ("redis", "", {}, "redis://: the host is missing"),
        ("redis", ":6379", {}, "the host is missing"),
        ("redis", "h:port", {}, "the port is 'port'"),
        ("redis", "h:", {}, "the port is ''"),
        ("redis", "h:0", {}, "from 1 to 65535"),
        ("redis", "h:65536", {}, "from 1 to 65535"),
        ("redis", "h:²", {}, "from 1 to 65535"),
        ("redis", "h/x", {}, "the database is 'x'"),
        ("redis", "h/-1", {}, "the database is '-1'"),
        ("redis", "h/9999999999", {}, "the database is"),
        ("redis", "h/0/1", {}, "redis://h/0/1: expected redis://[user:password@]host"),
        ("redis", "h/0", {"db": 1}, "the database stands twice"),
        ("redis", "h", {"db": "x"}, "the database is 'x'"),
        ("redis", "::1", {}, "stands in brackets: [::1]:6379"),
        ("redis", "[::1", {}, "expected an IPv6 address"),
        ("redis", "[::1]7", {}, "expected an IPv6 address"),
        ("redis", "a,b", {}, "expected one host"),
        ("redis", f"{'a' * 64}.example", {}, "is no host name"),
        ("redis", "user@h", {}, "a user name needs a password"),
        ("redis", "h", {"tls_ca": "ca.pem"}, "tls_ca is for rediss://"),
        ("unix", "/r", {"tls_key": "k"}, "tls_key is for rediss://"),
        ("unix", "", {}, "expected unix://[user:password@]/path/redis.sock"),
        ("unix", "host/r", {}, "unix://host/r: expected"),
        ("unix", "/r", {"db": "x"}, "the database is 'x'"),
        ("rediss", "h", {"tls_key": "k"}, "tls_key needs tls_certificate"),
        ("rediss", "h", {"tls_ca": "missing.pem"}, "tls_ca=missing.pem: No such file or directory"),
    ],
)
def test_says_what_is_wrong(scheme: str, place: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as failed:
        read_address(scheme, place, **options)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("place", ["u:secret@h:x", "u:secret@h/x", ":se/cret@h", ":s@e/cret@h/0/1", "u:secret@"])
def test_no_error_shows_a_password(place: str) -> None:
    with pytest.raises(ValueError) as failed:
        read_address("redis", place)
    assert "cret" not in str(failed.value)


def test_neither_text_nor_representation_shows_a_password() -> None:
    address = read_address("redis", "u:secret@h")
    assert "secret" not in repr(address) + address.text


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"tls_ca=.*ca\.pem"):
        read_address("rediss", "h", tls_ca=str(tmp_path / "ca.pem"))


def test_context_verifies(certificate: Any) -> None:
    address = read_address(
        "rediss",
        "localhost",
        tls_ca=str(certificate.certificate),
        tls_certificate=str(certificate.certificate),
        tls_key=str(certificate.key),
    )
    assert address.tls is not None
    context = address.tls.context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname

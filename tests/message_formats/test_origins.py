"""Which pages may open a WebSocket."""

from __future__ import annotations

import pytest

from trunkline.message_formats.origins import OriginPolicy


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        (None, "example.com", False),
        ("http://example.com", "example.com", False),
        ("http://EXAMPLE.com", "Example.COM", False),
        ("http://example.com:80", "example.com", False),
        ("http://example.com", "example.com:80", False),
        ("http://example.com:8000", "example.com:8000", False),
        ("https://example.com", "example.com", True),
        ("https://example.com:443", "example.com", True),
        ("https://example.com", "example.com:443", True),
        ("https://example.com", "example.com", False),  # a proxy ended TLS and passed Host on
        ("https://example.com:8443", "example.com:8443", False),
        ("http://[::1]:8000", "[::1]:8000", False),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", False),
    ],
)
def test_own_host_and_port_may_connect(origin: str | None, host: str, secure: bool) -> None:
    assert OriginPolicy().allows(origin, host, secure)


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("http://evil.example", "example.com", False),
        ("http://example.com.evil.example", "example.com", False),
        ("http://notexample.com", "example.com", False),
        ("http://sub.example.com", "example.com", False),
        ("http://example.com:8001", "example.com:8000", False),
        ("http://example.com:8000", "example.com", False),
        ("http://example.com", "example.com:8000", False),
        ("https://example.com", "example.com:80", False),
        ("http://example.com", "example.com", True),  # a page without TLS must not speak to the server with TLS
        ("null", "example.com", False),
        ("", "example.com", False),
        ("example.com", "example.com", False),
        ("http://", "example.com", False),
        ("http://example.com/", "example.com", False),
        ("http://user@example.com", "example.com", False),
        ("http://example.com http://evil.example", "example.com", False),
        ("http://example.com:99999999999999999999", "example.com", False),
        ("app://example.com", "example.com", False),
        ("http://example.com", "", False),
        ("http://example.com", "exa mple.com", False),
    ],
)
def test_others_may_not(origin: str, host: str, secure: bool) -> None:
    assert not OriginPolicy().allows(origin, host, secure)


def test_the_list_widens() -> None:
    policy = OriginPolicy(["https://app.example.org", "http://localhost:3000", "capacitor://localhost"])
    assert policy.allows("https://app.example.org", "example.com", True)
    assert policy.allows("https://APP.example.org:443", "example.com", True)
    assert policy.allows("http://localhost:3000", "example.com", False)
    assert policy.allows("capacitor://localhost", "example.com", False)
    assert policy.allows("http://example.com", "example.com", False)
    assert not policy.allows("http://app.example.org", "example.com", False)
    assert not policy.allows("https://app.example.org:8443", "example.com", True)
    assert not policy.allows("null", "example.com", True)


def test_star_allows_all_and_null_only_pages_without_an_origin() -> None:
    assert OriginPolicy(["*"]).allows("what ever", "", True)
    assert OriginPolicy(["null"]).allows("null", "example.com", True)
    assert not OriginPolicy(["null"]).allows("http://evil.example", "example.com", True)


@pytest.mark.parametrize("entry", ["example.com", "https://example.com/", "https://*.example.com/x", "", "https://"])
def test_an_entry_that_is_no_origin_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is no origin; write https://host") as caught:
        OriginPolicy([entry])
    assert repr(entry) in str(caught.value)

"""Paths and parameters of MAIL and RCPT, by the grammar of RFC 5321 section 4.1.2, with RFC 6531 for non-ASCII.

The whole command line is bounded before it comes here. What one part took, the next cannot match, so matching is
linear.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_ATOM = r"[^\x00-\x20\x7f\"(),.:;<>@\[\\\]]++"
_LETTER = r"[A-Za-z0-9\x80-\U0010ffff]"
_LABEL = rf"{_LETTER}(?:-*+{_LETTER})*"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_QUOTED = r'"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*"'
_LOCAL = rf"{_ATOM}(?:\.{_ATOM})*|{_QUOTED}"
_PATH = re.compile(
    rf"<(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN}|\[[^\x00-\x20\x7f-\xff\[\\\]]++\])>"
)
_POSTMASTER = re.compile(r"<postmaster>", re.IGNORECASE)
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED_PAIR = re.compile(r"\\(.)")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([^\x00-\x20\x7f=]++))?")
_WHOLE_DOMAIN = re.compile(_DOMAIN)

MAX_ADDRESS = 320  # octets; RFC 5321 section 4.5.3.1 has 64 and 255, and real return paths go over the 64
_MAX_DOMAIN = 255
_MAX_LABEL = 63


class Address(NamedTuple):
    """An address and what follows its path in the command.

    Attributes:
        text: Without source route, domain in lower case, quotes only where they are needed; None: the null path.
        rest: What follows.
    """

    text: str | None
    rest: str


def parse_path(text: str, *, null: bool = False, postmaster: bool = False) -> Address | None:
    """Read the path at the beginning of `text`.

    Args:
        text: What follows ``FROM:`` or ``TO:``.
        null: Whether ``<>`` is allowed.
        postmaster: Whether ``<postmaster>`` is allowed without a domain; its text is then ``postmaster``.

    Returns:
        The address, or None where there is none.
    """
    if null and text.startswith("<>"):
        return Address(None, text[2:])
    found = _POSTMASTER.match(text) if postmaster else None
    if found:
        return Address("postmaster", text[found.end() :])
    found = _PATH.match(text)
    if found is None or not found[0].isprintable():
        return None
    local, domain = found["local"], found["domain"].lower()
    if not (_is_literal(domain[1:-1]) if domain.startswith("[") else _fits(domain)):
        return None
    if local.startswith('"'):
        plain = _QUOTED_PAIR.sub(r"\1", local[1:-1])
        # Section 4.1.2: the quoted form and the plain one are the same address, so routes shall see one of them.
        local = plain if _DOT_STRING.fullmatch(plain) else '"' + re.sub(r'(["\\])', r"\\\1", plain) + '"'
    address = f"{local}@{domain}"
    return Address(address, text[found.end() :]) if len(address.encode()) <= MAX_ADDRESS else None


def give_postmaster(address: str, postmaster: str | None, hostname: str) -> str:
    """Return where mail for an address goes.

    Args:
        address: From `parse_path`.
        postmaster: The address of who is postmaster here, as everywhere there is one (RFC 5321 section 4.5.1); None:
            that mail stays where it was sent.
        hostname: The domain of a postmaster who was named without one.
    """
    local, _, domain = address.partition("@")
    if local.lower() != "postmaster":
        return address
    return postmaster or f"{local}@{domain or hostname.lower()}"


def is_domain(text: str) -> bool:
    """Tell whether `text` is a host name, or an address literal in brackets."""
    if text.startswith("["):
        return text.endswith("]") and _is_literal(text[1:-1])
    return _WHOLE_DOMAIN.fullmatch(text) is not None and _fits(text)


def _fits(domain: str) -> bool:
    return len(domain.encode()) <= _MAX_DOMAIN and all(len(label.encode()) <= _MAX_LABEL for label in domain.split("."))


def _is_literal(text: str) -> bool:
    """Tell an address literal of RFC 5321 section 4.1.3, its brackets taken off."""
    try:
        if text[:5].lower() == "ipv6:":
            return ipaddress.IPv6Address(text[5:]).scope_id is None
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def parse_parameters(text: str) -> dict[str, str | None] | None:
    """Read ESMTP parameters, {upper-cased name: value or None}; None: wrong syntax, or two values for a name."""
    if text and not text.startswith(" "):
        return None
    parameters: dict[str, str | None] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None or parameters.setdefault(found[1].upper(), found[2]) != found[2]:
            return None
    return parameters

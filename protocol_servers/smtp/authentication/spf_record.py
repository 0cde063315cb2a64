"""The records of SPF (RFC 7208 sections 4.6.1, 5, 6 and 12): terms, and the macros in their domains.

Every regular expression is linear on every input.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESULTS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

_MACRO = r"%\{[slodiphv][0-9]{0,20}r?[.+,/_=-]*+\}"
_MACRO_IN_EXP = r"%\{[slodiphvcrt][0-9]{0,20}r?[.+,/_=-]*+\}"
_LITERAL = "[!-$&-~]|%%|%_|%-"
_STRING = re.compile(rf"(?:{_MACRO}|{_LITERAL})*", re.IGNORECASE)
_STRING_IN_EXP = re.compile(rf"(?:{_MACRO_IN_EXP}|{_LITERAL})*", re.IGNORECASE)
_TOP_LABEL = re.compile(r"\.(?=[A-Za-z0-9-]*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?\Z")
_ENDS_IN_MACRO = re.compile(rf"{_MACRO}\Z", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*+)=(.*)", re.DOTALL)
_MECHANISM = re.compile(r"([-+?~]?)([A-Za-z0-9_-]+)([:/].*)?", re.DOTALL)
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_PREFIXES = re.compile(r"(?:/([0-9]++))?(?://([0-9]++))?\Z")

_EXPANSION = re.compile(r"%(?:\{([a-z])([0-9]*)(r?)([^}]*)\}|([%_-]))", re.IGNORECASE)
_PLAIN = {"%": "%", "_": " ", "-": "%20"}
_MAX_DOMAIN = 253


class Broken(Exception):
    """The record of a domain makes no sense: "permerror"."""


class Directive(NamedTuple):
    """One mechanism, and what it says where it matches.

    Attributes:
        result: "pass", "fail", "softfail" or "neutral".
        name: Of the mechanism, in lower case.
        domain: Its domain, with macros; "": the one that the record is of.
        prefix4: Bits of an IPv4 address that count.
        prefix6: Bits of an IPv6 address that count.
        network: Of "ip4" and "ip6".
    """

    result: str
    name: str
    domain: str = ""
    prefix4: int = 32
    prefix6: int = 128
    network: Network | None = None


class Record(NamedTuple):
    """A whole record.

    Attributes:
        directives: In their order.
        redirect: The domain that speaks where none of them matches, with macros; None: nobody.
    """

    directives: list[Directive]
    redirect: str | None


def read_record(text: str) -> Record:
    """Read what follows the version of a record.

    Raises:
        Broken: It makes no sense.
    """
    directives = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text.split(" ")):
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            directives.append(_directive(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise Broken(f"{name} stands twice")
            modifiers[name] = _domain(value)
        elif not _STRING_IN_EXP.fullmatch(value):
            raise Broken("a modifier makes no sense")
    return Record(directives, modifiers.get("redirect"))


def _directive(term: str) -> Directive:
    found = _MECHANISM.fullmatch(term)
    if found is None:
        raise Broken("a term makes no sense")
    result, name, rest = RESULTS[found[1] or "+"], found[2].lower(), found[3] or ""
    if name == "all" and not rest:
        return Directive(result, name)
    if name in ("include", "exists") and rest.startswith(":"):
        return Directive(result, name, _domain(rest[1:]))
    if name == "ptr" and (not rest or rest.startswith(":")):
        return Directive(result, name, _domain(rest[1:]) if rest else "")
    if name in ("a", "mx"):
        return _with_prefixes(result, name, rest)
    if name in ("ip4", "ip6") and rest.startswith(":"):
        return Directive(result, name, network=_network(name, rest[1:]))
    raise Broken(f"{name[:20]} makes no sense")


def _with_prefixes(result: str, name: str, rest: str) -> Directive:
    prefixes = _PREFIXES.search(rest)
    assert prefixes is not None
    domain = rest[: prefixes.start()]
    if domain and not domain.startswith(":"):
        raise Broken(f"{name} makes no sense")
    return Directive(
        result,
        name,
        _domain(domain[1:]) if domain else "",
        _prefix(prefixes[1], 32),
        _prefix(prefixes[2], 128),
    )


def _prefix(digits: str | None, longest: int) -> int:
    if digits is None:
        return longest
    if not _LENGTH.fullmatch(digits) or int(digits) > longest:
        raise Broken("the length of a prefix makes no sense")
    return int(digits)


def _network(name: str, text: str) -> Network:
    text, slash, digits = text.partition("/")
    try:
        if name == "ip4":
            return ipaddress.IPv4Network((text, _prefix(digits if slash else None, 32)), strict=False)
        return ipaddress.IPv6Network((text, _prefix(digits if slash else None, 128)), strict=False)
    except ValueError as error:
        raise Broken("an address makes no sense") from error


def _domain(text: str) -> str:
    """Check a domain with macros (section 7.1)."""
    if not _STRING.fullmatch(text) or not (_TOP_LABEL.search(text) or _ENDS_IN_MACRO.search(text)):
        raise Broken("a domain makes no sense")
    return text


def expand(text: str, value: Callable[[str], str]) -> str:
    """Put in what the macros of a domain stand for (section 7).

    Args:
        text: The domain, checked by `read_record`.
        value: Returns what a letter stands for.

    Returns:
        The domain, so many labels of which are left as a name may have.

    Raises:
        Broken: A macro is to be made of no labels.
    """

    def replacement(found: re.Match[str]) -> str:
        letter, digits, reverse, delimiters, plain = found.groups()
        if plain is not None:
            return _PLAIN[plain]
        what = value(letter.lower())
        pieces = re.split(f"[{re.escape(delimiters or '.')}]", what)
        if reverse:
            pieces.reverse()
        if digits:
            if not int(digits):
                raise Broken("a macro without labels")
            pieces = pieces[-int(digits) :]
        expanded = ".".join(pieces)
        return quote(expanded, safe="") if letter.isupper() else expanded

    domain = _EXPANSION.sub(replacement, text).rstrip(".")
    while len(domain) > _MAX_DOMAIN and "." in domain:
        domain = domain.partition(".")[2]
    return domain

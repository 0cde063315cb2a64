"""Who sent a mail: what SPF, DKIM and DMARC say of it, asked of the DNS once the mail is here.

None of it refuses a mail: what it says stands in the message, and consumers judge. The answers to all questions of a
mail have 5 seconds; what is not known by then is "temperror".
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .judging import Authenticator, InThread

__all__ = ["Authentication", "Sender", "load_authenticator", "vouches_for"]

Authentication = dict[str, Any]

_log = logging.getLogger("trunkline.email")


class Sender(NamedTuple):
    """Who sends a mail, as the session told.

    Attributes:
        client: The address of the client; None: it is not to be judged, for it is ours, or we do not know it.
        helo: What it calls itself.
        address: The envelope sender; None: the null sender.
        spf: What somebody whom we believe says of it, in the place of asking.
    """

    client: ipaddress.IPv4Address | ipaddress.IPv6Address | None
    helo: str
    address: str | None
    spf: Authentication | None = None

    @property
    def is_judged(self) -> bool:
        """Whether anything is known of where it comes from."""
        return self.client is not None or self.spf is not None


def load_authenticator(in_thread: InThread) -> Authenticator | None:
    """Return what judges mails by asking the DNS; None where the extra `email` or the DNS is missing, logged."""
    try:
        from .judging import Authenticator
        from .resolver import DnsResolver, Unconfigured
    except ModuleNotFoundError as error:
        _log.info("senders are not verified, for %s is missing: pip install 'trunkline[email]'", error.name)
        return None
    try:
        return Authenticator(DnsResolver(), in_thread)
    except Unconfigured:
        _log.warning("senders are not verified, for this machine knows no DNS server")
        return None


def vouches_for(authentication: Authentication, sender: str) -> bool:
    """Tell whether a mail verifiably comes from its envelope sender, so that a bounce would reach who wrote it.

    Args:
        authentication: What was found.
        sender: The envelope sender.

    Returns:
        True where SPF passed for the sender, or the sender's domain, or one above it, signed the mail: whoever is
        above a domain hands it out.
    """
    domain = sender.rpartition("@")[2].lower()
    spf = authentication.get("spf", {})
    if spf.get("result") == "pass" and spf.get("identity") == "mailfrom" and spf.get("domain") == domain:
        return True
    return any(
        each["result"] == "pass" and f".{domain}".endswith(f".{each['domain']}")
        for each in authentication.get("dkim", {}).get("signatures", ())
    )

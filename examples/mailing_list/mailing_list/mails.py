"""The mails that the list writes: requests to confirm, and posts."""

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any

from .store import Member, Post, Wish

DOMAIN = "lists.example.com"
ADDRESS = f"garden@{DOMAIN}"
LIST_ID = f"garden.{DOMAIN}"
ARCHIVE = "http://127.0.0.1:8000"
MESSAGE_ID = re.compile(r"<[^<>\s]{1,250}>")

ASKED = {
    "subscribe": "Somebody, you perhaps, wants this address to get the mails of the list",
    "leave": "Somebody, you perhaps, wants this address not to get the mails any more of the list",
}


def address(command: str, argument: str = "") -> str:
    """Return one of the list's addresses: `garden-confirm+1234@lists.example.com`."""
    return f"garden-{command}{argument and '+' + argument}@{DOMAIN}"


def request(to: str, wish: Wish, token: str) -> dict[str, Any]:
    """Return the `email.send` that asks somebody to confirm a wish; the answer to it is all that is needed."""
    return {
        "to": [to],
        "from": address("confirm", token),
        "subject": f"Please confirm: {wish} {ADDRESS}",
        "text": f"{ASKED[wish]}\n{ADDRESS}.\n\nIf so, answer this mail. If not, do nothing.\n",
        "headers": {"Auto-Submitted": "auto-replied", "Precedence": "bulk"},
    }


def name_of(sender: str) -> str:
    """Return the name in a From header, the part before the @ if there is none."""
    name, written = parseaddr(sender)
    return (name or written.partition("@")[0] or "somebody")[:80]


def copy(post: Post, member: Member) -> dict[str, Any]:
    """Return the `email.send` of a post for one member, with an envelope sender of its own for what comes back."""
    mail = EmailMessage(SMTP)
    # The domain in From has to be one that we may send for (DMARC).
    mail["From"] = Address(f"{post.author} via Garden", "garden", DOMAIN)
    mail["To"] = mail["Reply-To"] = ADDRESS
    mail["Subject"] = post.subject if "[garden]" in post.subject else f"[garden] {post.subject}"
    mail["Date"] = format_datetime(datetime.fromtimestamp(int(post.at), UTC))
    mail["Message-ID"] = post.message_id
    if post.refers:
        mail["In-Reply-To"], mail["References"] = post.refers.split()[-1], post.refers
    # RFC 2919, RFC 2369, RFC 8058
    mail["List-Id"] = f"The garden <{LIST_ID}>"
    mail["List-Post"] = f"<mailto:{ADDRESS}>"
    mail["List-Subscribe"] = f"<mailto:{address('subscribe')}>"
    mail["List-Unsubscribe"] = f"<mailto:{address('unsubscribe', member.key)}>, <{ARCHIVE}/leave/{member.key}>"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail["List-Archive"] = f"<{ARCHIVE}/>"
    mail["Archived-At"] = f"<{ARCHIVE}/posts/{post.number}>"  # RFC 5064
    mail["Precedence"] = "list"
    mail.set_content(post.text)
    return {
        "id": f"garden-{post.number}-{member.key}",
        "to": [member.address],
        "from": address("bounces", member.key),
        "raw": mail.as_bytes(),
    }

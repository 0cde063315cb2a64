"""The archive on the web. Whatever members wrote is shown as text and nothing else."""

import time
from html import escape

from trunkline import Message

from . import store

SHOWN = 100  # posts
HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    # Were anything not escaped, it would still do nothing.
    (b"content-security-policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def latest(message: Message) -> None:
    """Show what was written last."""
    posts = "".join(
        f'<li><a href="/posts/{post.number}">{escape(post.subject)}</a> {_about(post)}</li>\n'
        for post in store.latest(SHOWN)
    )
    _page(message, "The garden", f"<ul>\n{posts}</ul>")


def post(message: Message, number: str) -> None:
    """Show one post."""
    found = store.post(int(number))
    if found is None:
        _page(message, "No such post", "", 404)
        return
    text = f"<p>{_about(found)}</p>\n<pre>{escape(found.text)}</pre>"
    _page(message, found.subject, f'{text}\n<p><a href="/">The garden</a></p>')


def ask_to_leave(message: Message, key: str) -> None:
    """Show a button: what only looks at a link, as mail scanners do, unsubscribes nobody."""
    _page(message, "Leave the list?", '<form method="post"><button>Leave</button></form>')


def leave(message: Message, key: str) -> None:
    """Unsubscribe the member with this key, for that button and for mail programs' own (RFC 8058)."""
    store.remove(key)
    _page(message, "You get no more mails of the list", "")


def _about(post: store.Post) -> str:
    return f"{escape(post.author)}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(post.at))}"


def _page(message: Message, title: str, body: str, status: int = 200) -> None:
    title = escape(title)
    page = f'<!doctype html>\n<html lang="en"><title>{title}</title>\n<h1>{title}</h1>\n{body}\n</html>\n'
    message.reply(page, status=status, headers=HEADERS)

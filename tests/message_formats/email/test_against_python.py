"""Python's own library beside ours: mails that it writes, and its own collection of odd mails."""

from __future__ import annotations

import importlib.util
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.message_formats.email import parse_mail

# Python writes no other line ends, and cannot write lone surrogates.
LINES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60), max_size=8)
TEXT = LINES.map(lambda lines: "".join(line + "\n" for line in lines))
NAME = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1, max_size=30)
SUBJECT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=80)
ATTACHMENT = st.tuples(NAME.filter(lambda name: name not in (".", "..")), st.binary(max_size=500))


def node_at(tree: dict[str, Any], path: list[int]) -> dict[str, Any]:
    for step in path:
        tree = tree["parts"][step]
    return tree


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    TEXT, st.none() | TEXT, st.lists(ATTACHMENT, max_size=3), SUBJECT, st.sampled_from(["base64", "quoted-printable"])
)
def test_mails_written_by_python(
    text: str, html: str | None, attachments: list[tuple[str, bytes]], subject: str, encoding: str
) -> None:
    written = EmailMessage(policy.SMTP)
    written["Subject"] = subject
    written.set_content(text, cte=encoding)
    if html is not None:
        written.add_alternative(html, subtype="html", cte=encoding)
    for name, content in attachments:
        written.add_attachment(content, "application", "x-test", filename=name)
    raw = written.as_bytes()
    fields = parse_mail(raw).fields
    assert fields["defects"] == []
    if text.strip() or not (html or "").strip():
        assert fields["text"] == (text if text.strip() else "").removeprefix("\ufeff")
    if (html or "").strip():
        assert fields["html"] == (html or "").removeprefix("\ufeff")
    found = [(one["filename"], node_at(fields["content"], one["path"])["body"]) for one in fields["attachments"]]
    # What Python itself reads of it: long names come out of its writer altered.
    theirs = message_from_bytes(raw, policy=policy.default)
    assert [content for _, content in found] == [content for _, content in attachments]
    assert [name for name, _ in found] == [one.get_filename() for one in theirs.iter_attachments()]
    assert fields["subject"].split() == str(theirs["Subject"]).split()


def collection() -> list[Any]:
    """Return the mails of the tests of Python's library, where this Python came with them."""
    try:
        found = importlib.util.find_spec("test.test_email")
    except ModuleNotFoundError:
        found = None
    folder = Path(found.origin).parent / "data" if found is not None and found.origin else None
    mails = sorted(folder.glob("msg_*.txt")) if folder is not None else []
    return [pytest.param(mail, id=mail.stem) for mail in mails] or [
        pytest.param(None, marks=pytest.mark.skip("this Python came without test.test_email"))
    ]


DIFFERENT = {
    "msg_14": "a Content-Type without a slash: ours is text/plain with nothing else",
    "msg_15": "a multipart without boundary lines: ours is text, as are the next",
    "msg_17": "", "msg_25": "", "msg_31": "", "msg_39": "", "msg_41": "",
    "msg_37": "boundary lines in a row: each begins a part of ours",
}  # fmt: skip


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mail", collection())
def test_python_s_own_mails(mail: Path, end: bytes) -> None:
    """The same headers, the same tree, the same bodies."""
    raw = mail.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end)
    theirs = message_from_bytes(raw, policy=policy.default)
    parsed = parse_mail(raw)
    # Headers that Python does not normalise, such as dates.
    names = ("subject", "message-id", "x-mailer", "received", "list-id")
    assert [" ".join(value.split()) for name, value in parsed.fields["header_list"] if name.lower() in names] == [
        " ".join(str(value).split()) for name, value in theirs.items() if name.lower() in names
    ]
    assert [name for name, _ in parsed.fields["header_list"]] == theirs.keys()
    if mail.stem not in DIFFERENT:
        assert tree(parsed.fields["content"]) == their_tree(theirs)


Tree = list[Any]


def tree(node: dict[str, Any]) -> Tree:
    if "parts" in node:
        return [node["content-type"], *map(tree, node["parts"])]
    body = b"" if node["content-type"].startswith("message/") else node["body"]
    return [node["content-type"], node.get("filename"), node.get("disposition"), body]


def their_tree(part: Any) -> Tree:
    kind = part.get_content_type()
    if part.is_multipart() and kind.startswith("multipart/"):
        return [kind, *map(their_tree, part.get_payload())]
    body = b"" if kind.startswith("message/") else part.get_payload(decode=True)
    return [kind, part.get_filename(), part.get_content_disposition(), body]

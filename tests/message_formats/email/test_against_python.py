"""What Python's own library writes, read by ours: every text and every attachment arrives as it was given."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

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
        assert fields["text"] == (text if text.strip() else "")
    if (html or "").strip():
        assert fields["html"] == html
    found = [(one["filename"], node_at(fields["content"], one["path"])["body"]) for one in fields["attachments"]]
    # What Python itself reads of it: long names come out of its writer altered.
    theirs = message_from_bytes(raw, policy=policy.default)
    assert [content for _, content in found] == [content for _, content in attachments]
    assert [name for name, _ in found] == [one.get_filename() for one in theirs.iter_attachments()]
    assert fields["subject"].split() == str(theirs["Subject"]).split()

"""The page of what `reply_to_text` leaves out, held to the code, case by case."""

import re
from pathlib import Path

import pytest

from trunkline.message_formats.email import parse_mail

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "reply-text.md").read_text("utf-8")
CASE = re.compile(
    r"^## ([^\n]+)\n\n```(text|html)\n(.*?)\n```\n\nbecomes\n\n```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL
)
CASES = CASE.findall(PAGE)


@pytest.mark.parametrize(("kind", "mail", "reply"), [pytest.param(*case, id=name) for name, *case in CASES])
def test_a_case(kind: str, mail: str, reply: str) -> None:
    head = f"Content-Type: text/{'html' if kind == 'html' else 'plain'}; charset=utf-8\n\n"
    for end in ("\n", "\r\n"):
        fields = parse_mail((head + mail + "\n").replace("\n", end).encode()).fields
        assert fields["reply_to_text"] == reply + "\n"


def test_every_case_is_read() -> None:
    assert len(CASES) == PAGE.count("\n## ") >= 50

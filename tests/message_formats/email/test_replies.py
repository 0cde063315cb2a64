"""What a person newly wrote, without quoted history and signature."""

from __future__ import annotations

import pytest

from trunkline.message_formats.email.replies import reply_text


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Yes.\n", "Yes.\n"),
        ("", ""),
        ("Two\n\nparagraphs\n\n\n", "Two\n\nparagraphs\n"),
        ("Yes.\n\nOn Mon, 1 Jan 2024, Ann wrote:\n> No?\n", "Yes.\n"),
        ("Yes.\nOn Mon, 1 Jan 2024 at 10:00, Ann <a@example.org>\nwrote:\n\n> No?\n> Really?\n", "Yes.\n"),
        ("Ja.\n\nAm 01.01.24 um 10:00 schrieb Ann:\n> Nein?\n", "Ja.\n"),
        ("Oui.\n\nLe lun. 1 janv. 2024 à 10:00, Ann a écrit :\n> Non ?\n", "Oui.\n"),
        ("Hm.\n\n2024-01-01 10:00 GMT+01:00 Ann <ann@example.org>:\n\n> No?\n", "Hm.\n"),
        ("> No?\nYes.\n> Sure?\nSure.\n", "Yes.\nSure.\n"),
        ("Yes.\n\n> quoted\n\n\n> and again\n", "Yes.\n"),
        ("Yes.\n\nX wrote:\none\ntwo\nthree\nfour:\n> q\n", "Yes.\n\nX wrote:\none\ntwo\nthree\nfour:\n"),
        ("My list:\n> quoted\n", "My list:\n"),
        ("One.\n\nAnn wrote:\n> a\nTwo.\nAnn wrote:\n> b\n", "One.\n\nTwo.\n"),
        ("On reflection, yes.\nAnn wrote:\n> a\n", "On reflection, yes.\n"),
        ("On reflection, these words of a poem stay:\n> quoted\n", "On reflection, these words of a poem stay:\n"),
        ("Yes.\n-- \nAnn\nexample.org\n", "Yes.\n"),
        ("Yes.\n--\nAnn\n", "Yes.\n"),
        ("-- \nonly a signature\n", ""),
        ("> all\n> quoted\n", ""),
        ("a -- b\n--- c\n", "a -- b\n--- c\n"),
        ("Yes.\n\n-----Original Message-----\nFrom: Ann\n\nNo?\n", "Yes.\n"),
        ("Ja.\n\n-----Ursprüngliche Nachricht-----\nVon: Ann\n", "Ja.\n"),
        (
            "Yes.\n\n________________________________\nFrom: Ann\nSent: Monday\nTo: Bob\nSubject: x\n\nNo?\n",
            "Yes.\n",
        ),
        ("*From:* Ann\n*Sent:* Monday\n*To:* Bob\n\nNo?\n", ""),
        ("From: here to there\nit is far\n", "From: here to there\nit is far\n"),
        ("Yes.\n\nSent from my iPhone\n", "Yes.\n"),
        ("Yes.\n\nOn Monday Ann wrote:\n\nSent from my iPhone\n> x\n", "Yes.\n\nOn Monday Ann wrote:\n"),
        ("---------- Forwarded message ---------\nFrom: Ann\nhello\n", None),
    ],
)
def test_replies(text: str, reply: str | None) -> None:
    assert reply_text(text) == (text if reply is None else reply)

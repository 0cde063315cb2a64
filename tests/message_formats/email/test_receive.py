"""Addresses, identities and the message of one recipient."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.message_formats.email import mail_id, normalise_address, parse_mail, receive_message, split_address

LARGE = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(
    b"--b\r\nContent-Type: application/x\r\n\r\n" + letter * 100_000 + b"\r\n" for letter in (b"x", b"y")
)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("a@b", ("a", None, "b")),
        ("a+t@b", ("a", "t", "b")),
        ("a+t+u@b", ("a", "t+u", "b")),
        ("a+@b", ("a", "", "b")),
        ('"a+t"@b', ('"a+t"', None, "b")),
        ('"a@b"@c', ('"a@b"', None, "c")),
        ("postmaster", ("postmaster", None, "")),
        ("", ("", None, "")),
    ],
)
def test_split_address(address: str, parts: tuple[str, str | None, str]) -> None:
    assert split_address(address) == parts


def test_normalise_address() -> None:
    assert normalise_address("Ann+Tag@EXAMPLE.org") == ("Ann+Tag@example.org", "Tag")
    assert normalise_address("Postmaster") == ("Postmaster", None)


def test_mail_id_tells_repeats() -> None:
    first = mail_id("a@b", "c@d", "<1>", b"raw")
    assert first == mail_id("a@b", "c@d", "<1>", b"raw")
    assert len(first) == 64
    others = {
        mail_id(None, "c@d", "<1>", b"raw"),
        mail_id("a@b", "c@e", "<1>", b"raw"),
        mail_id("a@b", "c@d", "<2>", b"raw"),
        mail_id("a@b", "c@d", "<1>", b"rax"),
        mail_id("a@bc", "@d", "<1>", b"raw"),
        first,
    }
    assert len(others) == 6
    assert mail_id("a@b", "c@d", "", b"raw") != mail_id("a@b", "c@d", "", b"raw")


def message(raw: bytes, **changes: Any) -> dict[str, Any]:
    return receive_message(
        parse_mail(raw),
        **{
            "reply_channel": "smtp.reply.x!y",
            "id": "1",
            "address": "Ann+tag@EXAMPLE.org",
            "sender": "me@example.org",
            "to": ["Ann+tag@EXAMPLE.org", "b@c"],
            "client": ("192.0.2.1", 1234),
            "helo": "client",
            **changes,
        },
    )


def test_the_envelope() -> None:
    made = message(b"Subject: x\r\n\r\nhi", tls=True, auth_user="ann")
    expected = {
        "reply_channel": "smtp.reply.x!y",
        "id": "1",
        "address": "Ann+tag@example.org",
        "tag": "tag",
        "from": "me@example.org",
        "to": ["Ann+tag@EXAMPLE.org", "b@c"],
        "client": ["192.0.2.1", 1234],
        "helo": "client",
        "tls": True,
        "auth_user": "ann",
        "auto_submitted": False,
    }
    assert {key: made[key] for key in expected} == expected


def test_the_null_sender_is_a_bounce_and_never_answered() -> None:
    made = message(b"Subject: x\r\n\r\nhi", sender=None, address="a@b", client=None)
    assert made["auto_submitted"] is True
    assert not {"from", "tag", "client", "auth_user", "html", "bounce"} & made.keys()


def test_recipients_share_nothing_mutable() -> None:
    def mutable(value: Any) -> set[int]:
        if isinstance(value, dict):
            return {id(value)}.union(*map(mutable, value.values()))
        return {id(value)}.union(*map(mutable, value)) if isinstance(value, list) else set()

    parsed = parse_mail(LARGE)
    made = [
        receive_message(
            parsed,
            reply_channel="r",
            id="1",
            address="a@b",
            sender=None,
            to=["a@b"],
            client=["h", 1],
            helo="h",
            body_channels={0: f"email.body?{name}0", 1: f"email.body?{name}1"},
        )
        for name in ("a", "b")
    ]
    assert not mutable(made[0]) & mutable(made[1])
    assert [part["body_channel"] for part in made[0]["content"]["parts"]] == ["email.body?a0", "email.body?a1"]
    assert [part["body_channel"] for part in made[1]["content"]["parts"]] == ["email.body?b0", "email.body?b1"]


def test_headers_may_be_called_like_our_keys() -> None:
    raw = b"Body_channel: x\r\nParts: y\r\nHeaders: z\r\nContent: u\r\n" + LARGE.replace(
        b"b\r\nC", b"b\r\nbody_channel: v\r\nC"
    )
    made = message(raw, body_channels={0: "email.body?0", 1: "email.body?1"})
    assert made["headers"]["body_channel"] == "x"
    assert made["content"]["parts"][0]["headers"]["body_channel"] == "v"


def test_a_large_leaf_needs_its_channel() -> None:
    with pytest.raises(KeyError):
        message(LARGE)

"""Against ngircd and inspircd as Debian has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.irc.events import (
    Closed,
    Disconnected,
    Heard,
    Joined,
    JoinFailed,
    Kicked,
    Receipt,
    Registered,
    Renamed,
    RoomJoined,
)

SECRET = "secret"


def heard(seen: list[Any], target: str = "") -> list[Heard]:
    return [each for each in seen if isinstance(each, Heard) and each.target.startswith(target)]


@pytest.fixture(params=["ngircd", "inspircd"])
def server(request: pytest.FixtureRequest) -> int:
    """Each of the servers."""
    port = request.getfixturevalue(request.param)
    assert isinstance(port, int)
    return port


def test_comes_in_and_talks(server: int, peers: Callable[..., Any]) -> None:
    one = peers(server, "one", password=SECRET, join=("#talk",))
    one.until_event(RoomJoined)
    two = peers(server, "two", password=SECRET, join=("#talk",))
    two.until_event(RoomJoined)
    assert one.until_event(Joined).person.nick == "two"
    two.session.say("#Talk", "hällo\x02 there\x02")
    two.session.say("#talk", "waves", kind="action")
    two.session.say("one", "psst", kind="notice")
    said = one.until(lambda seen: len(heard(seen)) == 3 and heard(seen))
    assert [(each.target.lower(), each.text, each.kind, each.direct) for each in said] == [
        ("#talk", "hällo\x02 there\x02", "message", False),
        ("#talk", "waves", "action", False),
        ("one", "psst", "notice", True),
    ]
    assert {each.person.nick for each in said} == {"two"}
    assert {each.nick for each in one.session.rooms.members("#talk")} == {"one", "two"}


TEXTS = ["x" * 1200, "wörter und ümläute " * 60, "👨‍👩‍👧‍👦" * 60, "\x02\x0304,12" + "é " * 500]


def test_every_byte_of_a_long_text_arrives(server: int, peers: Callable[..., Any]) -> None:
    """The server cuts nothing, and no line could have been longer."""
    one = peers(server, "hearer", password=SECRET, join=("#long",))
    one.until_event(RoomJoined)
    two = peers(server, "sayer", password=SECRET, join=("#long",), burst=20, rate=1000)
    two.until_event(RoomJoined)
    one.until_event(Joined)
    for kind in ("message", "action", "notice"):
        for text in TEXTS:
            one.seen.clear()
            one.received.clear()
            two.session.say("#long", text, kind=kind, receipt=kind)
            two.session.say("#long", "end")
            one.until(lambda seen: heard(seen) and heard(seen)[-1].text == "end")
            got = [each.text for each in heard(one.seen)[:-1]]
            assert bare("".join(got)) == bare(text)
            lines = [line for line in bytes(one.received).split(b"\r\n") if b"sayer!" in line and b" :end" not in line]
            sizes = [len(line.partition(b" ")[2] if line.startswith(b"@") else line) + 2 for line in lines]
            longest_word = max(len(part.encode()) for part in ("👨‍👩‍👧‍👦", "ümläute ", "é "))
            assert 512 - longest_word < max(sizes) <= 512
            assert len(got) == len(lines) > 2
    assert {each.status for each in two.seen if isinstance(each, Receipt)} == {"split"}


def bare(text: str) -> str:
    """Leave out what a split may change."""
    return text.replace(" ", "").replace("\x02\x0304,12", "")


def test_injects_nothing(server: int, peers: Callable[..., Any]) -> None:
    one = peers(server, "target", password=SECRET, join=("#inject",))
    one.until_event(RoomJoined)
    two = peers(server, "evil", password=SECRET, join=("#inject",), burst=20)
    two.until_event(RoomJoined)
    one.until_event(Joined)
    two.session.say("#inject", "one\r\nQUIT :injected\rtwo\nthree\0four\x01VERSION\x01")
    two.session.say("#inject,target", "never")
    two.session.say("#inject :x", "never")
    two.session.say("#inject", "end")
    one.until(lambda seen: any(each.text == "end" for each in heard(seen)))
    assert [each.text for each in heard(one.seen)] == ["one", "QUIT :injected", "two", "threefourVERSION", "end"]


def test_a_taken_nick_is_regained(server: int, peers: Callable[..., Any]) -> None:
    one = peers(server, "wanted", password=SECRET, join=("#nick",))
    one.until_event(RoomJoined)
    two = peers(server, "wanted", password=SECRET, join=("#nick",))
    assert two.until_event(Registered).nick == "wanted_"
    two.until_event(RoomJoined)
    one.session.quit("bye")
    one.until_event(Closed)
    assert two.until_event(Renamed).own
    assert two.session.nick == "wanted"


def test_is_told_why_not(server: int, peers: Callable[..., Any]) -> None:
    one = peers(server, "owner", password=SECRET, join=("#closed",))
    one.until_event(RoomJoined)
    one.session.command("MODE", "#closed", "+in")
    one.until(lambda seen: any(type(each).__name__ == "ModeChanged" for each in seen))
    two = peers(server, "guest", password=SECRET, join=("#closed",))
    failed = two.until_event(JoinFailed)
    assert (failed.room, failed.final) == ("#closed", False)


def test_comes_back_after_a_kick(server: int, peers: Callable[..., Any]) -> None:
    one = peers(server, "kicker", password=SECRET, join=("#kick",))
    one.until_event(RoomJoined)
    two = peers(server, "kicked", password=SECRET, join=("#kick",))
    two.until_event(RoomJoined)
    one.until_event(Joined)
    one.session.command("KICK", "#kick", "kicked", "out with you")
    kicked = two.until_event(Kicked)
    assert (kicked.own, kicked.reason, kicked.person.nick) == (True, "out with you", "kicker")
    two.until(lambda seen: sum(isinstance(each, RoomJoined) for each in seen) == 2)


def test_wrong_password(ngircd: int, peers: Callable[..., Any]) -> None:
    one = peers(ngircd, "wrong", password="guess")
    lost = one.until_event(Disconnected)
    assert lost.retry_after is not None


def test_receipts_have_the_servers_ids(inspircd: int, peers: Callable[..., Any]) -> None:
    """By labels and echoes, a text in several lines too; what nobody can hear failed."""
    one = peers(inspircd, "teller", join=("#receipts",), burst=20)
    one.until_event(RoomJoined)
    two = peers(inspircd, "listener", join=("#receipts",))
    two.until_event(RoomJoined)
    one.session.say("#receipts", "short", receipt="short")
    one.session.say("#receipts", "long " * 200, receipt="long")
    one.session.say("nobody-there", "hello?", receipt="nobody")
    got = one.until(
        lambda seen: (
            (found := {each.receipt: each for each in seen if isinstance(each, Receipt)}).keys()
            == {"short", "long", "nobody"}
            and found
        )
    )
    said = two.until(lambda seen: len(heard(seen)) == 4 and heard(seen))
    assert got["short"] == Receipt("short", "sent", (said[0].id,))
    assert got["long"] == Receipt("long", "split", tuple(each.id for each in said[1:]))
    assert (got["nobody"].status, got["nobody"].error.startswith("401 nosuchnick")) == ("failed", True)
    assert not heard(one.seen), "our own words came back as somebody's"


@pytest.mark.parametrize("name", ["strict_ngircd", "strict_inspircd"])
def test_many_lines_survive_the_flood_rules(
    name: str, request: pytest.FixtureRequest, peers: Callable[..., Any]
) -> None:
    """In several rooms, in order, and nobody's room waits for another's."""
    port = request.getfixturevalue(name)
    rooms = [f"#flood{number}" for number in range(3)]
    one = peers(port, "audience", password=SECRET, join=tuple(rooms))
    one.until(lambda seen: sum(isinstance(each, RoomJoined) for each in seen) == 3)
    # Twice the pace that is set by default: that is what it leaves to spare.
    two = peers(port, "flooder", password=SECRET, join=tuple(rooms), rate=2, burst=1)
    two.until(lambda seen: sum(isinstance(each, RoomJoined) for each in seen) == 3)
    for room in rooms:
        for number in range(4):
            two.session.say(room, f"{room} {number}")
    said = [each.text for each in one.until(lambda seen: len(heard(seen)) == 12 and heard(seen), 60)]
    for room in rooms:
        assert [each for each in said if each.startswith(room)] == [f"{room} {number}" for number in range(4)]
    assert sorted(said[1:4]) == sorted(["#flood0 1", "#flood1 0", "#flood2 0"])
    assert not two.lost

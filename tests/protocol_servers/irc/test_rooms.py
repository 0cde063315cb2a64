"""Who is in which room, as the server tells it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.irc.events import (
    Invited,
    Joined,
    JoinFailed,
    Kicked,
    ModeChanged,
    Parted,
    Person,
    PersonChanged,
    Quit,
    Renamed,
    RoomJoined,
    TopicChanged,
)
from trunkline.protocol_servers.irc.isupport import ISupport
from trunkline.protocol_servers.irc.message import Source
from trunkline.protocol_servers.irc.rooms import MAX_PLACES, MAX_ROOMS, Rooms

JOE = Person("joe", "j", "joes.host")


@pytest.fixture
def there(driver: Any) -> Any:
    """We are in #a and #b, and joe is, too."""
    driver.register()
    driver.enter("#a", "#b")
    driver.receive(":joe!j@joes.host JOIN #a", ":joe!j@joes.host JOIN :#b")
    driver.events()
    return driver


def nicks(driver: Any, room: str) -> set[str]:
    return {person.nick for person in driver.session.rooms.members(room)}


def test_coming_in(driver: Any) -> None:
    driver.register(isupport="PREFIX=(ov)@+")
    driver.receive(":bot!~bot@our.host JOIN #A", ":srv 353 bot = #a :@+op!o@h bot +voiced plain", ":srv 353 bot")
    assert driver.events() == [RoomJoined("#A")]
    assert nicks(driver, "#a") == {"bot", "op", "voiced", "plain"}
    assert driver.session.rooms.get("#a").members == {"bot": "", "op": "@+", "voiced": "+", "plain": ""}
    assert driver.session.rooms.known("op") == Person("op", "o", "h")
    assert driver.session._link.own == Person("bot", "~bot", "our.host")


def test_others_come_and_go(there: Any) -> None:
    there.receive(":ann!a@h JOIN #A", ":ann!a@h PART #a :bye", ":ann!a@h PART #a", ":ann!a@h JOIN #elsewhere")
    ann = Person("ann", "a", "h")
    assert there.events() == [Joined("#A", ann), Parted("#a", ann, "bye", False), Parted("#a", ann, "", False)]
    assert nicks(there, "#a") == {"bot", "joe"}


def test_we_leave(there: Any) -> None:
    there.receive(":bot!~bot@our.host PART #a :done", ":joe!j@joes.host PRIVMSG #elsewhere :x")
    (parted,) = there.only(Parted)
    assert (parted.room, parted.own) == ("#a", True)
    assert "#a" not in there.session.rooms
    assert there.session.rooms.members("#a") == []
    assert there.session.rooms.rooms_of("joe") == ("#b",)


def test_kicks(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",))
    driver.register()
    driver.enter("#a")
    driver.receive(":joe!j@joes.host JOIN #a", ":joe!j@joes.host KICK #a ann :x", ":joe!j@joes.host KICK #other bot")
    driver.receive(":joe!j@joes.host KICK #a bot :out")
    ann, bot = driver.only(Kicked)
    assert ann == Kicked("#a", JOE, Person("ann"), "x", False)
    assert (bot.target.nick, bot.own, bot.reason) == ("bot", True, "out")
    assert driver.advance(6) == ["JOIN #a"]


def test_a_netsplit_of_500(there: Any) -> None:
    for number in range(500):
        there.receive(f":user{number}!u@h JOIN #a", f":user{number}!u@h JOIN #b")
    assert len(there.session.rooms.members("#a")) == 502
    there.events()
    there.receive(":srv BATCH +1 netsplit a.net b.net")
    there.receive(*(f"@batch=1 :user{number}!u@h QUIT :a.net b.net" for number in range(500)), ":srv BATCH -1")
    quits = there.only(Quit)
    assert len(quits) == 500
    assert quits[7] == Quit(Person("user7", "u", "h"), ("#a", "#b"), "a.net b.net")
    assert nicks(there, "#a") == {"bot", "joe"}
    assert len(there.session.rooms._people) == 2
    there.receive(*(f":user{number}!u@h JOIN #a" for number in range(500)))
    assert len(there.only(Joined)) == 500


def test_a_quit_of_somebody_unknown_is_no_event(there: Any) -> None:
    there.receive(":nobody!n@h QUIT :x", ":bot!~bot@our.host QUIT :x")
    assert there.events() == []


def test_nicks(there: Any) -> None:
    there.receive(":joe!j@joes.host NICK JOE", ":JOE!j@joes.host NICK :jim", ":nobody!n@h NICK someone", ":jim NICK :")
    assert there.events() == [Renamed(JOE, "JOE", ("#a", "#b"), False), Renamed(
        Person("JOE", "j", "joes.host"), "jim", ("#a", "#b"), False
    )]  # fmt: skip
    assert nicks(there, "#b") == {"bot", "jim"}
    assert there.session.rooms.known("joe") == Person("joe")


def test_a_nick_that_somebody_has_is_taken_over(there: Any) -> None:
    there.receive(":ann!a@h JOIN #a", ":ann!a@h JOIN #b", ":joe!j@joes.host PART #b", ":joe!j@joes.host NICK ann")
    assert there.session.rooms.rooms_of("ann") == ("#a",)
    assert there.session.rooms.known("ann") == Person("ann", "j", "joes.host")
    assert nicks(there, "#b") == {"bot"}


def test_our_own_nick(there: Any) -> None:
    there.receive(":bot!~bot@our.host NICK Guest1")
    assert there.session.nick == "Guest1"
    (renamed,) = there.only(Renamed)
    assert renamed.own
    assert there.advance(61) == ["NICK bot"]
    there.receive(":srv 433 Guest1 bot :taken", ":Guest1!~bot@our.host NICK bot")
    assert there.session.nick == "bot"
    assert there.advance(80) == []


def test_the_nick_is_free_again(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    driver.begin()
    driver.receive(":srv CAP * LS :", ":srv 433 * bot :taken", ":srv 001 bot_ :x", ":srv 422 bot_ :x")
    driver.receive(":bot_!u@h JOIN #a", ":bot!b@h JOIN #a")
    assert driver.receive(":bot!b@h QUIT :bye") == []
    assert driver.advance(0) == ["NICK bot"]


def test_topic_mode_and_invitation(there: Any) -> None:
    there.receive(
        ":joe!j@joes.host TOPIC #a :new topic", ":joe!j@joes.host TOPIC #other :x",
        ":joe!j@joes.host MODE #a +ov-l joe bot", ":bot MODE bot +i", ":joe!j@joes.host MODE #other +n",
        ":joe!j@joes.host INVITE bot #c", ":joe!j@joes.host INVITE ann #c",
    )  # fmt: skip
    assert there.events() == [
        TopicChanged("#a", JOE, "new topic"),
        ModeChanged("#a", JOE, "+ov-l joe bot"),
        ModeChanged("bot", Person("bot", "~bot", "our.host"), "+i"),
        Invited("#c", JOE),
    ]
    assert there.session.rooms.get("#a").members == {"bot": "+", "joe": "@"}
    there.receive(":joe!j@joes.host MODE #a -o+v+o joe joe nobody")
    assert there.session.rooms.get("#a").members["joe"] == "+"


def test_what_changes_about_people(driver: Any) -> None:
    driver.register("extended-join", "account-notify", "away-notify", "chghost", "setname")
    driver.enter("#a")
    driver.receive(":joe!j@h JOIN #a joes-account :Joe", ":ann!a@h JOIN #a * :Ann", ":eve!e@h JOIN #a a!b@c :Eve")
    assert [each.person.account for each in driver.only(Joined)] == ["joes-account", None, None]
    driver.receive(
        ":joe!j@h ACCOUNT *", ":ann!a@h ACCOUNT anns", ":ann!a@h CHGHOST anna ann.host", ":ann!a@h CHGHOST x",
        ":ann!anna@ann.host AWAY :lunch", ":ann!anna@ann.host AWAY", ":ann!anna@ann.host SETNAME :Ann B.",
    )  # fmt: skip
    ann = Person("ann", "anna", "ann.host", "anns")
    assert driver.events() == [
        PersonChanged(Person("joe", "j", "h"), "account", ""),
        PersonChanged(Person("ann", "a", "h", "anns"), "account", "anns"),
        PersonChanged(ann, "host", "anna@ann.host"),
        PersonChanged(ann, "away", "lunch"),
        PersonChanged(ann, "away", ""),
        PersonChanged(ann, "realname", "Ann B."),
    ]
    assert (ann.id, ann.mask, Person("joe", "j", "h").id) == ("anns", "ann!anna@ann.host", "joe!j@h")


def test_our_host_changes(there: Any) -> None:
    before = there.session.limit("#a")
    there.receive(":bot!~bot@our.host CHGHOST ~bot a.longer.host")
    assert there.session.limit("#a") == before - len("a.longer.host") + len("our.host")
    there.receive(":srv 396 bot short :is now your hidden host")
    assert there.session._link.own == Person("bot", "~bot", "short")
    there.receive(":srv 396 bot me@x :is now your hidden host")
    assert there.session._link.own == Person("bot", "me", "x")


def test_a_refused_room(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a", "#b"))
    assert driver.register() == ["JOIN #a,#b"]
    driver.receive(":srv 473 bot #A :Cannot join (+i)", ":srv 403 bot #b :No such channel", ":srv 473 bot #x :?")
    assert driver.events() == [
        JoinFailed("#A", "473 Cannot join (+i)", False),
        JoinFailed("#b", "403 No such channel", True),
    ]
    assert driver.advance(10) == ["JOIN #a"]


def test_a_refusal_that_nobody_asked_for_changes_nothing(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",))
    driver.register()
    driver.receive(*[":srv 471 bot #a :full"] * 1000)
    assert len(driver.events()) == 1  # which the log has a line for
    assert driver.advance(10) == ["JOIN #a"]
    driver.receive(":srv 471 bot #a :full")
    assert len(driver.events()) == 1


def test_rooms_that_a_server_invents_are_bounded(driver: Any) -> None:
    driver.register()
    for number in range(MAX_ROOMS + 5):
        driver.receive(f":bot!b@h JOIN #{number}")
    driver.receive(":bot!b@h JOIN #" + "x" * 300, ":bot!b@h JOIN", ":bot!b@h JOIN :a b")
    assert len(driver.session.rooms) == MAX_ROOMS
    assert driver.session.stats["rooms_over_limit"] == 5


def test_people_that_a_server_invents_are_bounded() -> None:
    stats: Counter[str] = Counter()
    rooms = Rooms(ISupport(), stats)
    for room in range(10):
        rooms.enter(f"#{room}")
        for start in range(0, 10_000, 500):
            rooms.names(f"#{room}", [f"@nick{number}!u@{'h' * 300}" for number in range(start, start + 500)])
    rooms.names("#0", ["", "@", "x" * 300])
    rooms.names("#0", [f"nick{number}!{'u' * 8000}@h" for number in range(10)])
    rooms.add("#0", rooms.person(Source("nick10", "u" * 8000, "h")))
    assert rooms._places == MAX_PLACES
    assert stats["members_over_limit"] == 10 * 10_000 - MAX_PLACES + 3
    assert all(len(person.user + person.host) <= 512 for person in rooms.members("#0"))
    assert sys.getsizeof(rooms._people) < 2_000_000
    for room in range(10):
        rooms.leave(f"#{room}")
    assert (rooms._places, rooms._people, len(rooms), list(rooms)) == (0, {}, 0, [])


def test_a_new_casemapping_loses_nobody() -> None:
    isupport = ISupport()
    rooms = Rooms(isupport, Counter())
    rooms.enter("#[a]")
    rooms.add("#[a]", Person("[x]"))
    isupport.load(["CASEMAPPING=ascii"])
    assert rooms.remove_everywhere("{x}") == ("#[a]",)
    rooms.leave("#{A}")
    assert len(rooms) == 0
    rooms.enter("#[a]")
    assert "#{a}" not in rooms
    assert rooms.person(Source("x")) == Person("x")
    rooms.remove("#none", "x")
    rooms.set_account("nobody", "x")
    rooms.add("#none", Person("x"))
    assert rooms.members("#none") == []

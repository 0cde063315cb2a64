"""The life of a session: liveness, leaving, coming back, commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.message_formats import validate
from trunkline.protocol_servers.irc import Conversations, Publisher
from trunkline.protocol_servers.irc.events import Closed, Disconnected, Numeric, Receipt, Registered

ALL = (
    "batch", "message-tags", "server-time", "account-tag", "account-notify", "extended-join", "echo-message",
    "labeled-response", "multi-prefix", "away-notify", "chghost", "setname", "draft/chathistory",
    "draft/multiline=max-bytes=4096,max-lines=24",
)  # fmt: skip


def test_pings_are_answered_at_once_whatever_waits(driver: Any) -> None:
    driver.register()
    for number in range(20):
        driver.session.say("#a", str(number))
    driver.sent()
    assert driver.receive("PING :a b", "PING", "PING x y") == ["PONG :a b", "PONG", "PONG x"]


def test_a_server_that_is_silent_is_asked_and_then_given_up(driver: Any) -> None:
    driver.register()
    assert driver.advance(89) == []
    assert driver.advance(2) == ["PING trunkline"]
    driver.receive(":srv PONG srv trunkline")
    assert driver.advance(91) == ["PING trunkline"]
    driver.advance(61)
    assert driver.session.closed
    assert driver.events() == [Closed("the server does not answer any more")]
    assert driver.receive("PING x") == []
    driver.session.connection_lost("aborted")
    (lost,) = driver.events()
    assert lost.reason == "the server does not answer any more"
    assert 0 <= lost.retry_after <= 4
    assert driver.session.deadline is None


def test_connections_are_tried_ever_more_slowly_until_one_is_stable(driver: Any) -> None:
    waits = []
    for _ in range(12):
        driver.begin()
        driver.session.connection_lost("refused")
        waits.append(driver.only(Disconnected)[0].retry_after)
    assert max(waits) > 60
    assert all(0 <= wait <= 300 for wait in waits)
    driver.register()
    driver.advance(60)
    driver.session.connection_lost("reset")
    assert driver.only(Disconnected)[0].retry_after <= 4


def test_leaving(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=1)
    driver.register()
    driver.session.say("#a", "one\ntwo", receipt=1)
    driver.sent()
    driver.session.quit("good\nbye")
    assert driver.sent() == ["QUIT :good bye"]
    driver.session.quit("again")
    assert driver.sent() == []
    driver.receive("ERROR :Closing link")
    driver.session.connection_lost("closed")
    closed, receipt, lost = driver.events()
    assert isinstance(closed, Closed)
    assert receipt == Receipt(1, "dropped", (), "the session ended (after 1 of 2 lines)")
    assert lost.retry_after is None


def test_leaving_a_server_that_does_not_let_go(driver: Any) -> None:
    driver.register()
    driver.session.command("QUIT")
    assert driver.sent() == ["QUIT"]
    driver.advance(5)
    assert driver.session.closed
    driver.session.connection_lost("x")
    driver.session.quit()


def test_leaving_without_a_connection(driver: Any) -> None:
    driver.session.quit()
    assert driver.sent() == []
    driver.session.connection_lost("never was")
    assert driver.only(Disconnected)[0].retry_after is None


def test_rooms_are_joined_again_on_the_next_connection(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a", "#b key"))
    assert driver.register() == ["JOIN #b,#a key"]
    driver.session.join("#c")
    assert driver.sent() == ["JOIN #c"]
    driver.session.part("#a", "enough of it")
    assert driver.sent() == ["PART #a :enough of it"]
    driver.session.connection_lost("x")
    driver.session.join("#d", "k")
    driver.session.part("#c")
    assert driver.register() == ["JOIN #b,#d key,k"]
    assert driver.session.stats["commands_without_connection"] == 1


def test_commands(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=20)
    driver.register()
    driver.enter("#a")
    driver.session.command("TOPIC", "#a", "new\r\nQUIT :x")
    driver.session.command("KICK", "#a", "joe", "out with you")
    driver.session.command("MODE", "#a", "+o", "joe")
    driver.session.command("TOPIC", "#a", "x " * 500)
    driver.session.command("LIST")
    driver.session.change_nick("new")
    lines = driver.sent()
    assert lines[:3] == ["TOPIC #a new", "KICK #a joe :out with you", "MODE #a +o joe"]
    assert lines[3].endswith("x…")
    assert len(lines[3].encode()) <= 510 - len(":bot!~bot@our.host ")
    assert lines[4:] == ["LIST", "NICK new"]
    assert driver.receive(":bot!b@h NICK new") == []
    assert driver.advance(60) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.command("KICK", "#a b", "joe"),
        lambda session: session.command("PRIV MSG", "x"),
        lambda session: session.command("KICK", "", "x"),
        lambda session: session.join("#a,#b"),
        lambda session: session.join("0"),
        lambda session: session.join("#a", "k y"),
        lambda session: session.part("#a b"),
        lambda session: session.change_nick("a b"),
        lambda session: session.change_nick("a\r\nQUIT"),
    ],
)
def test_commands_that_would_be_read_as_something_else(driver: Any, call: Callable[[Any], None]) -> None:
    driver.register()
    with pytest.raises(ValueError):
        call(driver.session)
    assert driver.sent() == []


def test_numerics_only_where_they_are_asked_for(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(numerics=True)
    driver.register()
    driver.receive(":srv 433 bot x :Nickname is already in use", ":srv 999 bot")
    assert driver.events() == [
        Numeric("433", "nicknameinuse", ("bot", "x", "Nickname is already in use")),
        Numeric("999", "", ("bot",)),
    ]
    quiet = make_driver()
    quiet.register()
    quiet.receive(":srv 433 bot x :Nickname is already in use")
    assert quiet.events() == []


def test_a_flood_of_unknown_things_costs_nothing(driver: Any) -> None:
    driver.register()
    for _ in range(500):
        driver.receive(
            *[":srv 322 bot #room 5 :An endless LIST"] * 20, ":srv WALLOPS :x", ":srv 005", ":srv 353 bot = #x :a b"
        )
    assert driver.events() == []
    assert driver.session.stats == {}


def test_lines_that_were_cut_are_counted(driver: Any) -> None:
    driver.register()
    driver.receive("x" * 10_000, "@" + "x" * 9000 + " PING :x")
    assert driver.session.stats["lines_cut"] == 2


def test_what_one_server_said_is_forgotten_on_the_next(driver: Any) -> None:
    driver.register(*ALL, isupport="CASEMAPPING=ascii LINELEN=2048")
    driver.enter("#a")
    driver.session.connection_lost("x")
    driver.register()
    assert driver.session.rooms.get("#a") is None
    assert driver.session.fold("[") == "{"
    assert driver.session.is_room("#a")
    assert driver.session.registered
    assert driver.session.limit("#a") < 512


@pytest.mark.parametrize(
    "options",
    [{"join": ("#a b c",)}, {"join": ("#a\r\nQUIT",)}, {"join": ("",)}, {"join": ("0",)}, {"version": "a\r\nQUIT"}],
)
def test_options_that_cannot_be_said(make_driver: Callable[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        make_driver(**options)


WORDS = """PRIVMSG NOTICE JOIN PART KICK QUIT NICK TOPIC MODE INVITE ACCOUNT CHGHOST AWAY SETNAME BATCH CHATHISTORY ACK
FAIL TAGMSG CAP AUTHENTICATE PING ERROR 001 005 353 366 376 396 401 403 404 433 437 471 473 900 903 904"""
COMMANDS = WORDS.split() + ["PRIVMSG", "JOIN", "BATCH"] * 5
PIECES = st.sampled_from(
    ["bot", "joe", "#a", "#b", "", "*", "LS", "ACK", "NEW", "DEL", "batch sasl", "+1", "-1", "+2", "chathistory",
     "draft/multiline", "netsplit", "AFTER", "TARGETS", "CHATHISTORY", "\x01ACTION x\x01", "\x01VERSION\x01",
     "PREFIX=(ov)@+", "CHANTYPES=", "LINELEN=1", "CASEMAPPING=ascii", "@bot +joe x", "+o-v", "msgid", "[x]", "{x}"]
)  # fmt: skip
MESSAGES = st.builds(
    lambda tags, source, command, params, last: f"{tags}{source}{command} {' '.join(filter(None, params))} :{last}",
    st.sampled_from(
        [
            "",
            "@batch=1 ",
            "@batch=2;msgid=a ",
            "@label=t1 ",
            "@label=t2;account=x ",
            "@msgid=a\\sb\\n;account=c\\nd ",
            "@batch=1;msgid=a\\sb ",
            "@time=2024-01-01T00:00:00Z ",
        ]
    ),
    st.sampled_from(["", ":srv ", ":bot!b@h ", ":joe!j@h ", ":{x}!x@h ", ":[x]!x@h ", ":! "]),
    st.sampled_from(COMMANDS),
    st.lists(PIECES.filter(lambda piece: " " not in piece), max_size=4),
    PIECES | st.text(max_size=20),
)
CALLS = st.sampled_from(
    [
        lambda driver: driver.session.say("#a", "hello\nthere", receipt=1),
        lambda driver: driver.session.say(
            "joe", "x" * 900, overflow="multiline", expires=driver.now + 1_700_000_005, receipt=2
        ),
        lambda driver: driver.session.join("#b"),
        lambda driver: driver.session.part("#a"),
        lambda driver: driver.session.change_nick("bot2"),
        lambda driver: driver.advance(7),
        lambda driver: driver.advance(45),
        lambda driver: (driver.session.connection_lost("x"), driver.begin()),
        lambda driver: driver.register(*ALL),
        lambda driver: driver.enter("#a"),
    ]
)


@settings(max_examples=300)
@given(st.booleans(), st.lists(MESSAGES | CALLS, max_size=40))
def test_no_server_breaks_it(make_driver: Callable[..., Any], modern: bool, steps: list[Any]) -> None:
    """Whatever order things come in: nothing raises, every line that is sent is one line within its bounds."""
    driver = make_driver(join=("#a",))
    driver.register(*(ALL if modern else ()))
    driver.enter("#a")
    driver.session.data_to_send()
    publisher = Publisher("net", driver.session, Conversations("net", driver.session.fold))
    for step in steps:
        if isinstance(step, str):
            driver.session.receive_data(step.encode() + b"\r\n")
        else:
            step(driver)
        if driver.session.closed:
            driver.session.connection_lost("x")
            driver.begin()
        for line in driver.session.data_to_send().split(b"\r\n"):
            assert len(line) <= 4096
            assert b"\n" not in line
            assert b"\r" not in line
            assert b"\0" not in line
        for event in driver.events():
            for channel, published in publisher.messages(event):
                validate(channel if channel.partition(".")[0] in ("chat", "irc-client") else "chat.receipt", published)
        rooms = driver.session.rooms
        assert rooms._places == sum(len(room.members) for room in rooms)
        assert set(rooms._people) == {nick for room in rooms for nick in room.members}
        deadline = driver.session.deadline
        assert deadline is None or deadline >= driver.now - 100


@given(st.lists(st.binary(max_size=300)))
def test_no_bytes_break_it(make_driver: Callable[..., Any], chunks: list[bytes]) -> None:
    for registered in (False, True):
        driver = make_driver()
        driver.register(*ALL) if registered else driver.begin()
        for chunk in chunks:
            driver.session.receive_data(chunk)
        assert isinstance(driver.session.data_to_send(), bytes)


def test_bytes_one_at_a_time(driver: Any) -> None:
    driver.begin()
    script = b":srv CAP * LS :batch\r\n:srv CAP * ACK :batch\r\n:srv 001 bot :Hi\r\n:srv 376 bot :End\r\nPING :x\r\n"
    for each in script:
        driver.session.receive_data(bytes([each]))
    assert driver.sent() == ["CAP REQ batch", "CAP END", "PONG x"]
    assert driver.events() == [Registered("bot")]

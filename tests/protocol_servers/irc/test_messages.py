"""Events as messages of the bus, and what is done with the replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.message_formats import validate
from trunkline.message_formats.conversation import conversation_channel
from trunkline.protocol_servers.irc import Conversations, Performer, Publisher
from trunkline.protocol_servers.irc.events import Receipt
from trunkline.protocol_servers.irc.names import is_target


class Bus:
    """A session between messages and messages."""

    def __init__(self, driver: Any, *, raw: bool = False) -> None:
        self.driver = driver
        self.stats: Counter[str] = Counter()
        conversations = Conversations("net", driver.session.fold)
        self.publisher = Publisher("net", driver.session, conversations)
        self.publisher.server = ("irc.example", 6697)
        self.performer = Performer(driver.session, conversations, self.stats, raw=raw)

    def receive(self, *lines: str, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Let the server say lines; return the messages of the channels that begin with ``prefix``."""
        self.driver.receive(*lines)
        return self.messages(prefix)

    def messages(self, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
        published = [each for event in self.driver.events() for each in self.publisher.messages(event)]
        for channel, message in published:
            validate(channel, message)
        return [each for each in published if each[0].startswith(prefix)]

    def perform(self, name: str, **message: Any) -> list[str]:
        assert self.performer.perform(name, message)
        return self.driver.sent()  # type: ignore[no-any-return]


@pytest.fixture
def bus(make_driver: Callable[..., Any]) -> Bus:
    """We are in #Dev with ada, and may say much at once."""
    driver = make_driver(burst=100, numerics=True)
    driver.register("message-tags", "account-tag")
    driver.enter("#Dev")
    driver.receive(":ada!a@h JOIN #Dev")
    driver.events()
    return Bus(driver)


DEV = {"reply_channel": "irc.reply.net!_23dev", "service": "irc", "network": "net", "channel": "#Dev"}
ADA = {"user": "ada", "user_id": "ada!a@h"}
US = {"reply_channel": "irc.reply.net!", "network": "net", "server": ["irc.example", 6697]}


def test_a_room_has_one_spelling(bus: Bus) -> None:
    for spelling in ("#Dev", "#dEV", "#DEV"):
        ((_, message),) = bus.receive(f":ada!a@h PRIVMSG {spelling} :hi", prefix="chat.")
        assert (message["channel"], message["reply_channel"]) == ("#Dev", "irc.reply.net!_23dev")


def test_what_is_said(bus: Bus) -> None:
    tags = {"msgid": "m", "account": "lovelace"}
    assert bus.receive("@msgid=m;account=lovelace :ada!a@h PRIVMSG #Dev :\x02hi\x02 all") == [
        (
            "chat.message",
            DEV | {"user": "ada", "user_id": "lovelace", "text": "hi all", "id": "m", "time": 1700001000.0},
        ),
        (
            "irc-client.receive",
            US | {"user": "ada!a@h", "type": "message", "channel": "#Dev", "tags": tags, "body": "\x02hi\x02 all"},
        ),
    ]


@pytest.mark.parametrize("target", ["#Dev", "bot"])
def test_a_notice_is_nothing_that_a_bot_would_answer(bus: Bus, target: str) -> None:
    """RFC 2812, 3.3.2: two that answer each other's would never end."""
    ((channel, message),) = bus.receive(f":ada!a@h NOTICE {target} :!help")
    assert (channel, message["type"], message["body"]) == ("irc-client.receive", "notice", "!help")


def test_what_is_said_to_us_alone(bus: Bus) -> None:
    ((_, message),) = bus.receive(":Eve!a@h PRIVMSG bot :psst", prefix="chat.")
    assert (message["reply_channel"], message["channel"], message["direct"]) == ("irc.reply.net!eve", "Eve", True)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("bot: hello", "hello"),
        ("BOT, hello", "hello"),
        ("@bot hello", "hello"),
        ("@bot", ""),
        ("\x02bot:\x02 hello", "hello"),
        ("bot is down", None),
        ("bottle: empty", None),
        ("@bottle", None),
        ("hello bot", None),
    ],
)
def test_being_addressed(bus: Bus, said: str, text: str | None) -> None:
    ((_, message),) = bus.receive(f":ada!a@h PRIVMSG #Dev :{said}", prefix="chat.")
    assert (message.get("mention", False), message["text"]) == (text is not None, said if text is None else text)


def test_coming_and_going(bus: Bus) -> None:
    ready, *others = bus.receive(
        ":bot!~bot@our.host JOIN #new", ":bob!b@h JOIN #Dev", ":bob!b@h PART #Dev :bye", ":bob!b@h JOIN #new",
        ":ada!a@h KICK #new bob :out", ":ada!a@h JOIN #new", ":ada!a@h QUIT :gone", ":x!y@z KICK #new bot :you too",
        ":bot!~bot@our.host PART #Dev", prefix="chat.",
    )  # fmt: skip
    assert ready[1]["capabilities"]["max_bytes"] == bus.driver.session.limit("#new")
    new = DEV | {"reply_channel": "irc.reply.net!_23new", "channel": "#new"}
    bob = {"user": "bob", "user_id": "bob!b@h"}
    assert others == [
        ("chat.join", DEV | bob),
        ("chat.leave", DEV | bob | {"reason": "bye"}),
        ("chat.join", new | bob),
        ("chat.leave", new | bob | {"reason": "out"}),
        ("chat.join", new | ADA),
        ("chat.leave", DEV | ADA | {"reason": "gone"}),
        ("chat.leave", new | ADA | {"reason": "gone"}),
    ]


def test_the_networks_own_words(bus: Bus) -> None:
    told = bus.receive(
        ":bot!~bot@our.host JOIN #n", ":ada!a@h TOPIC #Dev :tea", ":ada!a@h MODE #Dev +o ada", ":ada!a@h INVITE bot #x",
        ":ada!a@h KICK #Dev bob", ":ada!a@h NICK eve", ":eve!a@h PART #Dev", ":srv 401 bot bob :No such nick",
        prefix="irc-client.",
    )  # fmt: skip
    bus.driver.session.connection_lost("reset")
    told += bus.messages()
    ada = {"user": "ada!a@h"}
    assert told == [
        ("irc-client.join", US | {"channel": "#n"}),
        ("irc-client.topic", US | ada | {"channel": "#Dev", "topic": "tea"}),
        ("irc-client.mode", US | ada | {"target": "#Dev", "modes": "+o ada"}),
        ("irc-client.invite", US | ada | {"channel": "#x"}),
        ("irc-client.kick", US | ada | {"channel": "#Dev", "target": "bob", "reason": ""}),
        ("irc-client.nick", US | ada | {"new_nick": "eve"}),
        ("irc-client.part", US | {"user": "eve!a@h", "channel": "#Dev", "reason": ""}),
        ("irc-client.numeric", US | {"command": "401", "params": ["bot", "bob", "No such nick"]}),
        ("irc-client.disconnect", US | {"reason": "reset"}),
    ]


def test_connecting_and_a_quit(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    bus = Bus(driver)
    driver.begin()
    connected = bus.receive(":srv CAP * LS :", ":srv 001 bot :x", ":srv 376 bot :x")
    assert connected == [("irc-client.connect", US | {"nick": "bot"})]
    driver.enter("#a")
    bus.receive(":ada!a@h JOIN #a")
    assert bus.receive(":ada!a@h QUIT :bye", prefix="irc") == [
        ("irc-client.quit", US | {"user": "ada!a@h", "reason": "bye"})
    ]


def test_a_message_of_several_lines_is_one_in_chat_and_several_in_irc(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    driver.register("batch", "message-tags", "draft/multiline=max-bytes=999")
    bus = Bus(driver)
    told = bus.receive(
        ":ada!a@h BATCH +1 draft/multiline bot", "@batch=1 :ada!a@h PRIVMSG bot :one",
        "@batch=1 :ada!a@h PRIVMSG bot :two", ":ada!a@h BATCH -1",
    )  # fmt: skip
    assert [message.get("text") or message["body"] for _, message in told] == ["one\ntwo", "one", "two"]


def test_what_was_missed_is_marked(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    driver.register("batch", "message-tags", "server-time", "draft/chathistory")
    bus = Bus(driver)
    told = bus.receive(":s BATCH +1 chathistory #a", "@batch=1;msgid=x :ada!a@h PRIVMSG #a :old", prefix="chat.")
    assert told[0][1]["replayed"] is True


def test_receipts(bus: Bus) -> None:
    receipts = [
        Receipt("answers", "split", ("a", "b"), "cut", 2.0),
        Receipt("answers", "sent"),
        Receipt(object(), "sent"),
    ]
    published = [each for receipt in receipts for each in bus.publisher.messages(receipt)]
    assert published == [
        ("answers", {"status": "split", "ids": ["a", "b"], "error": "cut", "retry_after": 2.0}),
        ("answers", {"status": "sent"}),
    ]
    for _, message in published:
        validate("chat.receipt", message)


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ({"text": "hi"}, ["PRIVMSG #dev hi"]),
        ({"text": "a\nb"}, ["PRIVMSG #dev a", "PRIVMSG #dev b"]),
        ({"text": "waves", "action": True, "overflow": "truncate"}, ["PRIVMSG #dev :\x01ACTION waves\x01"]),
        ({"text": "hi", "notice": True, "overflow": "file"}, ["NOTICE #dev hi"]),
        ({"text": "", "reaction": "👍", "id": "1"}, ["PRIVMSG #dev :\x01ACTION reacts with 👍\x01"]),
        ({"text": "hi", "user": "ada"}, ["PRIVMSG ada hi"]),
        ({"text": "see", "files": [{"name": "a.png"}, {}, 7]}, ["PRIVMSG #dev see", "PRIVMSG #dev [a.png]"]),
        ({"text": "old", "expires": 5}, []),
        ({"text": "new", "expires": float("nan")}, ["PRIVMSG #dev new"]),
        ({"text": "hi", "bytes": None, "overflow": ["x"]}, ["PRIVMSG #dev hi"]),
    ],
)
def test_saying(bus: Bus, message: dict[str, Any], lines: list[str]) -> None:
    bus.driver.advance(1)
    assert bus.perform("_23dev", **message) == lines


def test_receipts_are_asked_for_by_channel(bus: Bus) -> None:
    bus.perform("_23dev", text="hi", receipt_channel="answers")
    assert bus.messages() == [("answers", {"status": "sent"})]


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ({"type": "message", "channel": "#dev", "body": "hi"}, ["PRIVMSG #dev hi"]),
        ({"type": "action", "channel": "ada", "body": "waves"}, ["PRIVMSG ada :\x01ACTION waves\x01"]),
        ({"type": "notice", "channel": "#dev", "body": "hi"}, ["NOTICE #dev hi"]),
        ({"type": "join", "channel": "#x", "key": "k"}, ["JOIN #x k"]),
        ({"type": "join", "channel": "#x"}, ["JOIN #x"]),
        ({"type": "part", "channel": "#dev"}, ["PART #dev :"]),
        ({"type": "nick", "body": "new"}, ["NICK new"]),
        ({"type": "topic", "channel": "#dev", "body": "tea time"}, ["TOPIC #dev :tea time"]),
        ({"type": "topic", "channel": "#dev"}, ["TOPIC #dev :"]),
        ({"type": "mode", "channel": "#dev", "body": "+o ada"}, ["MODE #dev +o ada"]),
        ({"type": "kick", "channel": "#dev", "user": "eve", "body": "out"}, ["KICK #dev eve out"]),
        ({"type": "invite", "channel": "#dev", "user": "eve"}, ["INVITE eve #dev"]),
        ({"type": "quit", "body": "bye"}, ["QUIT bye"]),
    ],
)
def test_doing(bus: Bus, message: dict[str, Any], lines: list[str]) -> None:
    assert bus.perform("", **message) == lines


def test_any_line_only_where_it_is_allowed(bus: Bus) -> None:
    assert not bus.performer.perform("", {"type": "raw", "body": "WHOIS ada"})
    allowed = Bus(bus.driver, raw=True)
    assert allowed.perform("", type="raw", body="WHOIS ada") == ["WHOIS ada"]
    for body in ("", "A\r\nB", ":x"):
        assert not allowed.performer.perform("", {"type": "raw", "body": body})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", {}),
        ("", {"text": "hi"}),
        ("", {"type": "dance"}),
        ("", {"type": "message", "channel": "#a"}),
        ("", {"type": "kick", "channel": "#a b", "user": "x"}),
        ("", {"type": "join", "channel": "#a,#b"}),
        ("", {"type": ["join"], "channel": "#a"}),
        ("_23dev", {"bytes": b"x"}),
        ("_23dev", {"text": b"x"}),
        ("-unknown", {"text": "hi"}),
        ("_zz", {"text": "hi"}),
        ("_20", {"text": "hi"}),
    ],
)
def test_what_does_not_fit_is_ignored_and_counted(bus: Bus, name: str, message: dict[str, Any]) -> None:
    assert not bus.performer.perform(name, message)
    assert bus.driver.sent() == []
    assert bus.stats["replies_ignored"] == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(is_target))
def test_conversations_there_and_back(target: str) -> None:
    conversations = Conversations("net", str)
    channel = conversations.channel(target)
    assert channel == conversation_channel("irc", "net", target)
    assert conversations.target(channel.partition("!")[2]) == target


def test_long_conversations_are_known_while_they_are_new() -> None:
    conversations = Conversations("net", str.lower)
    name = conversations.channel("#" + "X" * 80).partition("!")[2]
    assert conversations.target(name) == "#" + "X" * 80
    for number in range(1000):
        conversations.channel(f"#{number}" + "x" * 80)
    assert conversations.target(name) is None
    assert conversations.target("_23dev.thread") == "#dev"

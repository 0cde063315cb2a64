"""What a bot says by itself, in time that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline import Bot, Conversation, FormatError, Message, Who
from trunkline.workers.bot import sayings
from trunkline.workers.testing import Client

from .conftest import Drive

PERIOD = 60.0


def at_the_next(client: Client, seconds: float) -> None:
    """Let time pass until the next full minute or the like, and half a second more."""
    client.advance(seconds - client.clock() % seconds + 0.5)


def chiming(**options: Any) -> Bot:
    bot = Bot()

    @bot.every(PERIOD, **options)
    def chime(message: Message) -> None:
        message.reply(f"ding in {message['channel']}")

    bot.command("hello")(lambda message: message.reply("hello"))
    return bot


def test_in_every_room_that_it_is_in(drive: Drive) -> None:
    client = drive(chiming())
    rooms = [client.room(name) for name in ("#a", "#b")]
    assert [room.ready() for room in rooms] == [[], []]
    client.advance(1)
    rooms[0].ready(threads=True)  # once more, as when a server restarts
    for _ in range(3):
        at_the_next(client, PERIOD)
        assert [room.said() for room in rooms] == [["ding in #a"], ["ding in #b"]]
    client.advance(PERIOD - 1)
    assert rooms[0].said() == []


def test_where_it_is_talked_to(drive: Drive) -> None:
    """A worker that starts after the server was never told that the bot is in a room."""
    client = drive(chiming())
    room = client.room("general", "slack", "acme")
    assert room.say("!hello", thread="7") == room.say("!hello") == ["hello"]
    client.room("bob", direct=True).say("hello")
    at_the_next(client, PERIOD)
    assert room.said() == ["ding in general"]
    assert client.room("bob", direct=True).said() == []


def test_in_some_rooms(drive: Drive) -> None:
    client = drive(chiming(allow=Who("irc", "test", room="#a")))
    rooms = [client.room(name) for name in ("#a", "#b")]
    for room in rooms:
        room.ready()
    at_the_next(client, PERIOD)
    assert [room.said() for room in rooms] == [["ding in #a"], []]


def test_by_a_crontab_line_and_async(drive: Drive) -> None:
    bot = Bot()

    @bot.every(cron="*/2 * * * *")
    async def chime(message: Message) -> None:
        await asyncio.sleep(0)
        message.reply("ding")

    client = drive(bot)
    client.room().ready()
    for _ in range(2):
        at_the_next(client, 120)
        assert client.room().said() == ["ding"]


def test_a_schedule_that_was_changed(drive: Drive) -> None:
    """Other workers are asked whether they know what waits of the old one, for half a minute; then it ends."""
    client = drive(chiming())
    room = client.room()
    old = Bot()
    old.every(45)(lambda message: message.reply("dong"))
    place = {"reply_channel": room.reply_channel, "service": "irc", "network": "test", "channel": "#test"}
    before = old.match(Message(place, "chat.ready", client.layer))
    assert before is not None
    before[0](Message(place, "chat.ready", client.layer))
    room.ready()
    at_the_next(client, 45)
    for _ in range(3):
        client.advance(40)
        assert client.worker.stats["retried"] == 5
    assert set(room.said()) == {"ding in #test"}
    assert client.worker.stats["failures"] == 0


def test_room_names_that_are_too_long_and_threads(drive: Drive) -> None:
    """A thread's digest does not tell its room; the room itself does."""
    client = drive(chiming())
    room = client.room("x" * 70, "slack", "acme")
    assert room.say("!hello", thread="7") == ["hello"]
    at_the_next(client, PERIOD)
    assert room.said() == []
    room.say("!hello")
    at_the_next(client, PERIOD)
    assert room.said() == ["ding in " + "x" * 70]


def test_a_full_channel_hinders_no_command(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    client = drive(chiming(), channel_capacity={"asgi.delay": 1})
    client.layer.send("asgi.delay", {"channel": "x", "delay": 0, "content": {}}, delay=PERIOD)
    assert client.chat("!hello") == ["hello"]
    assert "what bot.bot says by itself could not begin in irc.reply.test!_23test" in caplog.text


def test_what_it_knows_of_rooms_is_bounded(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that was forgotten begins again, which changes nothing."""
    monkeypatch.setattr(sayings, "_MOST_ROOMS", 1)
    client = drive(chiming())
    rooms = [client.room(name) for name in ("#a", "#b")]
    for room in (*rooms, *rooms):
        assert room.say("!hello") == ["hello"]
    at_the_next(client, PERIOD)
    assert [room.said() for room in rooms] == [["ding in #a"], ["ding in #b"]]


def test_ready(drive: Drive) -> None:
    bot = Bot()

    @bot.ready
    def ready(message: Message) -> None:
        message.reply("Hello all")

    assert "chat.ready" in bot.channel_names()
    client = drive(bot)
    assert client.room().ready() == ["Hello all"]
    assert "chat.ready" not in Bot().channel_names()


# later


def reminding() -> Bot:
    bot = Bot()

    @bot.command("remind", usage="<seconds> <what...>")
    def remind(message: Message, seconds: str, what: str) -> None:
        bot.later(message, f"{message['user']}: {what}", delay=float(seconds), id="reminder")

    @bot.command("nag")
    def nag(message: Message) -> None:
        bot.later(message, {"text": "nag", "notice": True}, seconds=60, id="reminder")

    @bot.command("never")
    def never(message: Message) -> None:
        bot.cancel(message, "reminder")

    return bot


def test_later(drive: Drive) -> None:
    client = drive(reminding())
    room = client.room()
    room.say("!remind 60 tea")
    client.advance(59)
    assert room.said() == []
    client.advance(2)
    assert room.said() == ["ann: tea"]


def test_a_later_one_replaces_it_and_it_can_be_taken_back(drive: Drive) -> None:
    client = drive(reminding())
    room, other = client.room(), client.room("#other")
    room.say("!remind 60 tea")
    other.say("!remind 60 coffee")
    room.say("!nag")
    client.advance(125)
    assert (room.said(), other.said()) == (["nag", "nag"], ["ann: coffee"])
    room.say("!never")
    client.advance(125)
    assert room.said() == []


def test_later_from_outside(drive: Drive) -> None:
    bot = Bot()
    client = drive(bot)
    place = Conversation("irc", "test", "#test", layer=client.layer)
    room = client.room()
    bot.later(place, "every two minutes", cron="*/2 * * * *", id="two")
    at_the_next(client, 120)
    assert room.said() == ["every two minutes"]
    for wrong in (
        {"delay": 5, "seconds": 5, "id": "x"},
        {"seconds": 5, "cron": "* * * * *", "id": "x"},
        {"cron": "x", "id": "x"},
        {"seconds": 5},
    ):
        with pytest.raises(ValueError):
            bot.later(place, "never", **wrong)
    with pytest.raises(FormatError):
        bot.later(place, {"text": 7})

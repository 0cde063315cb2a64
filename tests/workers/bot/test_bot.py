"""What a bot does with what is said: commands, what it hears, help, failures, rates and rooms."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline.workers.bot
from trunkline import (
    Bot,
    Channel,
    CommandError,
    ConsumeLater,
    Conversation,
    LayerUnavailable,
    Message,
    RoutingError,
    StopConsumer,
    include,
    retry,
    route,
)
from trunkline.workers import Routing
from trunkline.workers.testing import Client

from .conftest import Drive


def echoing(**options: Any) -> Bot:
    """A bot with one command of every sort, and something that it hears."""
    bot = Bot(**options)

    @bot.command("deploy", usage="<service> [region] [--now]", aliases=("ship",))
    def deploy(message: Message, service: str, now: bool, region: str = "eu") -> None:
        """Bring a service to production.

        It takes a minute.
        """
        message.reply(f"{service} to {region}{' now' if now else ''}")

    @bot.command("say", usage="[what...]")
    async def say(message: Message, what: str | None) -> None:
        await asyncio.sleep(0)
        message.reply(f"{message['user']} said {what}")

    @bot.hears(r"ticket (?P<number>\d+)(?P<open> is open)?")
    def ticket(message: Message, number: str, open: str | None = "?") -> None:
        message.reply(f"ticket {number}{open}")

    return bot


# commands


@pytest.mark.parametrize(
    ("keys", "text", "answers"),
    [
        ({}, "!deploy web", ["web to eu"]),
        ({}, "  !DEPLOY  web us --now ", ["web to us now"]),
        ({}, "!ship web", ["web to eu"]),
        ({}, "!say\nit's two\nlines", ["ann said it's two\nlines"]),
        ({}, "!say", ["ann said None"]),
        ({"mention": True}, "deploy web", ["web to eu"]),
        ({"mention": True}, "!deploy web", ["web to eu"]),
        ({"direct": True}, "say hello", ["ann said hello"]),
        ({}, "deploy web", []),
        ({}, "!", []),
        ({}, "!!", []),
        ({}, "!nonesuch", []),
        ({}, "", []),
        ({"edited": True}, "!deploy web", []),
        ({"replayed": True}, "!deploy web", ["web to eu"]),
        ({}, "!deploy", ["deploy: <service> is missing. Usage: !deploy <service> [region] [--now]"]),
        ({}, "see ticket 7", ["ticket 7?"]),
        ({}, "see ticket 7 is open", ["ticket 7 is open"]),
        ({"mention": True}, "see ticket 7", ["ticket 7?"]),
        ({"mention": True}, "deplyo", ["I know no command 'deplyo'. Did you mean deploy? !help lists those I know."]),
        ({"direct": True}, "!xyzzy", ["I know no command 'xyzzy'. !help lists those I know."]),
    ],
)
def test_what_is_answered(drive: Drive, keys: dict[str, Any], text: str, answers: list[str]) -> None:
    assert drive(echoing()).chat(text, **keys) == answers


@pytest.mark.parametrize("service", ["irc", "slack", "something-else"])
def test_every_service_is_the_same(drive: Drive, service: str) -> None:
    client = drive(echoing())
    assert client.chat("!deploy web", service=service) == ["web to eu"]
    assert client.room("lobby", service).say("!say hi", user="bob") == ["bob said hi"]


def test_without_a_prefix_it_has_to_be_addressed(drive: Drive) -> None:
    client = drive(echoing(prefix=None))
    assert client.chat("!deploy web") == client.chat("deploy web") == []
    assert client.chat("deploy web", mention=True) == ["web to eu"]
    assert client.chat("deploy", mention=True) == [
        "deploy: <service> is missing. Usage: deploy <service> [region] [--now]"
    ]


def test_a_prefix_of_ones_own(drive: Drive) -> None:
    assert drive(echoing(prefix="ok bot,")).chat("ok bot, deploy web") == ["web to eu"]


def test_what_the_bot_does_not_take_goes_to_the_next_route(drive: Drive) -> None:
    def other(message: Message) -> None:
        message.reply(f"other: {message['text']}")

    client = drive(echoing(unknown=False, replayed=False), route("chat.message", other))
    assert client.chat("hello") == ["other: hello"]
    assert client.chat("hello", mention=True) == ["other: hello"]
    assert client.chat("!nonesuch") == ["other: !nonesuch"]
    assert client.chat("!say x", replayed=True) == ["other: !say x"]
    assert client.chat("!say x") == ["ann said x"]


def test_within_an_include(drive: Drive) -> None:
    assert drive(Bot(), include(echoing().routes(), channel="^#test$")).chat("!deploy web") == ["web to eu"]


def test_odd_messages_are_nothing_for_it() -> None:
    routing = Routing(echoing().routes())
    for content in ({}, {"text": None}, {"text": 7}, {"text": ["!say"]}):
        assert routing.take("chat.message", content, Message(content, "chat.message")) is None


@given(text=st.text(), begin=st.sampled_from(["", "!", "!help ", "!deploy ", "!say ", "ticket "]), direct=st.booleans())
def test_nothing_that_is_said_fails(text: str, begin: str, direct: bool) -> None:
    """Whatever somebody writes is answered or passed on."""
    client = Client(echoing(user_rate=None).routes())
    client.chat(begin + text, direct=direct)
    assert (client.worker.stats["failures"], client.worker.stats["dead_letters"]) == (0, 0)
    client.close()


def test_routes_can_be_asked_for() -> None:
    found = Routing(echoing().routes()).find("chat.message", {"text": "!deploy web"})
    assert found is not None
    assert str(found) == "Bot('!')(message, command='deploy', line='web'): takes it"


def test_answers_stay_in_the_thread(drive: Drive) -> None:
    client = drive(echoing())
    room = client.room("general", "slack", "acme")
    assert room.say("!say here", thread="170.5") == ["ann said here"]
    assert client.layer.receive(["slack.reply.acme!"]) == (None, None)
    other = client.room("x" * 60, "slack", "acme")
    assert other.say("!say here", thread="170.5") == ["ann said here"]


# help


def test_help(drive: Drive) -> None:
    client = drive(echoing(about="I deploy."))
    listed = [
        "I deploy.\n!deploy <service> [region] [--now] – Bring a service to production.\n!say [what...]\n"
        "!help [command] says more about one."
    ]
    assert client.chat("!help") == client.chat("", mention=True) == client.chat("!", direct=True) == listed
    told = ["!deploy <service> [region] [--now]\nBring a service to production.\n\nIt takes a minute.\nAlso: !ship"]
    assert client.room().say("!help ship") == told
    assert client.room().say("!help !deploy") == told
    assert client.chat("!help depoly") == ["I know no command 'depoly'. Did you mean deploy? !help lists those I know."]
    assert client.chat("!help", user="bob") == listed


def test_long_help_is_for_who_asked_alone(drive: Drive) -> None:
    bot = Bot()
    for name in ("one", "two", "three", "four"):
        bot.command(name, help=f"Do {name}.")(lambda message: None)
    client = drive(bot)
    assert client.room().say("!help", user="bob") == []
    (text,) = client.room().told("bob")
    assert text.startswith("These are my commands:\n!one – Do one.\n")
    assert client.room("bob", direct=True).say("help") == [text]


def test_help_shows_only_what_one_may(drive: Drive) -> None:
    bot = Bot()

    @bot.command("secret", allow=lambda message: message["user"] == "root")
    def secret(message: Message) -> None:
        message.reply("42")

    client = drive(bot)
    assert client.chat("!help") == ["I have no commands for you."]
    assert client.chat("!help secret") == ["I know no command 'secret'. !help lists those I know."]
    assert client.chat("secre", mention=True) == ["I know no command 'secre'. !help lists those I know."]
    assert "!secret" in client.chat("!help", user="root")[0]
    assert (client.chat("!secret"), client.chat("!secret", user="root")) == (
        ["secret: you may not do that here."],
        ["42"],
    )


def test_a_help_of_ones_own(drive: Drive) -> None:
    bot = Bot()

    @bot.command("help")
    def help(message: Message) -> None:
        message.reply("Help yourself.")

    assert drive(bot).chat("!help") == ["Help yourself."]


# failures


def failing(error: BaseException) -> Bot:
    bot = Bot()

    @bot.command("fail")
    def fail(message: Message) -> None:
        message.reply("never said" if not isinstance(error, CommandError | StopConsumer) else "said before")
        raise error

    @bot.command("afail")
    async def afail(message: Message) -> None:
        await asyncio.sleep(0)
        fail(message)

    @bot.hears("fail")
    def heard(message: Message) -> None:
        fail(message)

    return bot


@pytest.mark.parametrize(("text", "what"), [("!fail", "fail"), ("!afail", "afail"), ("it will fail", "that")])
def test_a_failure_is_said_and_logged(drive: Drive, caplog: pytest.LogCaptureFixture, text: str, what: str) -> None:
    """The room hears that it failed and nothing else, not even what was held; the log has the traceback."""
    client = drive(failing(ValueError("the secret")))
    assert client.chat(text) == [f"{what} failed, which is logged."]
    assert "the secret" in caplog.text
    assert client.worker.stats["failures"] == 1
    assert [letter["reason"] for letter in client.layer.dead_letters()] == ["ValueError: the secret"]


def test_a_command_error_is_an_answer(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    client = drive(failing(CommandError("there is no such ship")))
    assert client.chat("!fail") == client.chat("!afail") == ["said before", "there is no such ship"]
    assert (client.worker.stats["failures"], caplog.records) == (0, [])


def test_other_ends_are_the_workers(drive: Drive) -> None:
    client = drive(failing(StopConsumer()))
    assert client.chat("!fail") == ["said before"]


def test_what_is_tried_again_fails_once(drive: Drive) -> None:
    client = drive(failing(ConsumeLater(tries=3)))
    assert client.chat("!fail") == []
    client.advance(0.1)
    assert client.room().said() == []
    client.advance(0.3)
    assert client.room().said() == ["fail failed, which is logged."]


def test_retry_helps(drive: Drive) -> None:
    bot, tries = Bot(), []

    @bot.command("go")
    @retry(on=ConnectionError)
    def go(message: Message) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        message.reply("gone")

    client = drive(bot)
    client.chat("!go")
    client.advance(1)
    assert client.room().said() == ["gone"]


def test_nobody_can_be_told(drive: Drive, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that is away takes no answer either; the failure is logged all the same."""
    bot = Bot(user_rate=None, room_rate=None)

    @bot.command("fail")
    def fail(message: Message) -> None:
        raise ValueError("the secret")

    client = drive(bot)

    def away(*args: Any, **kwargs: Any) -> None:
        raise LayerUnavailable("gone")

    monkeypatch.setattr(client.layer, "send", away)
    message = Message(
        {"reply_channel": "irc.reply.test!x", "text": "!fail", "user": "ann", "id": "1"}, "chat.message", client.layer
    )
    taken = client.worker.routing.match(message)
    assert taken is not None
    with pytest.raises(ValueError, match="the secret"):
        taken[0](message, **taken[1])
    assert "nobody could be told in irc.reply.test!x that a command failed: gone" in caplog.text


# rates


def test_one_person_is_answered_so_often(drive: Drive) -> None:
    client = drive(echoing(user_rate=(2, 60)))
    room = client.room()
    assert [room.say("!say x") for _ in range(4)] == [["ann said x"], ["ann said x"], [], []]
    assert room.told("ann") == ["ann: not so fast: 2 times in 60 s is the most."]
    assert room.say("!say x", user="bob") == ["bob said x"]
    assert client.room("#other").say("!say x") == ["ann said x"]
    client.advance(60)
    assert room.say("!say x") == ["ann said x"]


def test_all_together_are_answered_so_often(drive: Drive) -> None:
    client = drive(echoing(room_rate=(2, 60)))
    room = client.room()
    assert [room.say("ticket 1", user=user) for user in "abcd"] == [["ticket 1?"], ["ticket 1?"], [], []]
    assert room.told("c") == ["c: not so fast, all of you: 2 times in 60 s is the most here."]
    assert room.told("d") == []
    assert room.say("nonesuch", user="e", mention=True) == []


def test_one_command_is_obeyed_so_often(drive: Drive) -> None:
    bot = Bot(user_rate=None, room_rate=None)

    @bot.command("slow", rate=(1, 10))
    def slow(message: Message) -> None:
        message.reply("done")

    @bot.command("fast")
    def fast(message: Message) -> None:
        message.reply("done")

    client = drive(bot)
    assert [client.chat(text) for text in ("!slow", "!fast", "!fast")] == [["done"]] * 3
    assert client.chat("!slow") == ["ann: not so fast: 1 times in 10 s is the most."]


# rooms


def test_rooms_remember(drive: Drive) -> None:
    bot = Bot(keep=100)

    @bot.command("note", usage="<what...>")
    def note(message: Message, what: str) -> None:
        def add(kept: dict[str, Any]) -> int:
            kept.setdefault("notes", []).append(what)
            return len(kept["notes"])

        message.reply(f"{bot.room(message).update(add)} notes")

    @bot.command("notes")
    def notes(message: Message) -> None:
        message.reply(", ".join(bot.room(message).read().get("notes", ["none"])))

    @bot.command("forget")
    def forget(message: Message) -> None:
        bot.room(message).clear()

    client = drive(bot)
    room = client.room("general", "slack", "acme")
    assert (room.say("!note a"), room.say("!note b", thread="7")) == (["1 notes"], ["2 notes"])
    assert room.say("!notes") == ["a, b"]
    place = Conversation("slack", "acme", "general", layer=client.layer)
    assert bot.room(place).read() == bot.room(place.channel).read() == {"notes": ["a", "b"]}
    assert client.chat("!notes") == ["none"]
    room.say("!forget")
    assert room.say("!notes") == ["none"]
    room.say("!note c")
    client.advance(101)
    assert room.say("!notes") == ["none"]


def test_nobodys_change_is_lost(drive: Drive) -> None:
    client = drive(Bot())
    room = Bot().room(Channel("irc.reply.test!x", client.layer))

    def slowly(kept: dict[str, Any]) -> None:
        if not kept:
            room.update(lambda kept: kept.update(quick=True))
        kept["slow"] = True

    room.update(slowly)
    assert room.read() == {"quick": True, "slow": True}


def test_without_a_layer_of_its_own_the_chosen_one_is_asked(drive: Drive) -> None:
    from trunkline import set_layer

    client = drive(Bot())
    set_layer(client.layer)
    try:
        Bot().room("irc.reply.test!x").update(lambda kept: kept.update(a=1))
        assert Bot().room("irc.reply.test!x").read() == {"a": 1}
    finally:
        set_layer(None)


def test_bots_on_one_layer_have_rooms_of_their_own(drive: Drive) -> None:
    client = drive(Bot())
    place = Channel("irc.reply.test!x", client.layer)
    Bot(name="one").room(place).update(lambda kept: kept.update(a=1))
    assert Bot(name="two").room(place).read() == {}


def test_whisper(drive: Drive) -> None:
    bot = Bot()

    @bot.command("hint")
    def hint(message: Message) -> None:
        bot.whisper(message, "psst", notice=True)

    client = drive(bot)
    assert client.chat("!hint") == ["psst"]
    assert client.room().replies == [{"text": "psst", "user": "ann", "notice": True}]
    assert client.room("bob", direct=True).say("hint") == ["psst"]


# what cannot be


def nothing(message: Message) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("define", "wrong"),
    [
        (lambda: Bot(prefix=""), "prefix ''"),
        (lambda: Bot(prefix="! "), "prefix '! '"),
        (lambda: Bot(name="a b"), "name 'a b'"),
        (lambda: Bot(user_rate=(0, 1)), "a rate is (times, seconds), such as (10, 60), not (0, 1)"),
        (lambda: Bot(allow=[7]), "7 is no rule"),  # type: ignore[list-item]
        (lambda: Bot().command("a b")(nothing), "'a b' is no name of a command"),
        (lambda: Bot().command("a", usage="x")(nothing), "usage 'x'"),
        (lambda: Bot().command("a", usage="<b>")(nothing), "nothing(message, b=…)"),
        (lambda: Bot().hears("(")(nothing), "'(' is no regular expression"),
        (lambda: Bot().hears("(a+)+$")(nothing), "'(a+)+$' may take for ever"),
        (lambda: Bot().hears("(?P<b>.)")(nothing), "nothing(message, b=…)"),
        (lambda: Bot().every(60, cron="* * * * *")(nothing), "give seconds, or cron"),
        (lambda: Bot().every(cron="* * *")(nothing), "five fields"),
        (lambda: Bot().every(0.5)(nothing), "allowed are 1 and more"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(define: Any, wrong: str) -> None:
    with pytest.raises(RoutingError) as told:
        define()
    assert wrong in str(told.value)
    assert re.match(r".*test_bot\.py:\d+: ", str(told.value))


def test_there_is_one_of_each() -> None:
    bot = Bot()
    bot.command("a")(nothing)
    bot.hears("a")(nothing)
    bot.every(60)(nothing)
    bot.ready(nothing)
    for decorate, wrong in (
        (bot.command("b", aliases=["A"]), "there are two commands 'A'"),
        (bot.hears(re.compile("a")), "'a' is heard twice"),
        (bot.every(61), "there are two nothing"),
        (bot.ready, "two functions for ready"),
    ):
        with pytest.raises(RoutingError, match=re.escape(wrong)):
            decorate(nothing)


def test_nothing_in_it_knows_a_service() -> None:
    """No name and no text of the code says one, and importing it loads no server."""
    folder = Path(trunkline.workers.bot.__file__).parent
    said = []
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    if ast.get_docstring(node):
                        node.body = node.body[1:] or [ast.Pass()]
        said.append(ast.unparse(tree))
    assert len(said) > 5
    assert re.findall(r"(?i)irc|slack|discord|matrix|\bnick", "".join(said)) == []
    program = "import sys, trunkline.workers.bot; print([n for n in sys.modules if n.startswith('trunkline.protocol')])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == "[]\n"

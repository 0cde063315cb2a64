"""Who may do what, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trunkline import Bot, Message, Who, route
from trunkline.workers.bot.permissions import Permission

from .conftest import Drive

ADA = {"service": "irc", "network": "libera", "channel": "#Dev", "user": "ada", "user_id": "ada-account"}


@pytest.mark.parametrize(
    ("who", "keys", "allowed"),
    [
        (Who(), {}, True),
        (Who("irc"), {}, True),
        (Who("slack"), {}, False),
        (Who(["irc", "slack"]), {}, True),
        (Who("irc", "oftc"), {}, False),
        (Who("irc", "libera", room="#dev"), {}, True),
        (Who("irc", "libera", "#ops"), {}, False),
        (Who("irc", "libera", room=["#ops", "#DEV"]), {}, True),
        (Who("irc", "libera", room="#ops"), {"channel": "#opſ"}, False),
        (Who("irc", "libera", room="#desk"), {"channel": "#des\N{KELVIN SIGN}"}, False),
        (Who("irc", "libera", room="#dev"), {"direct": True}, False),
        (Who("irc", "libera", room="#dev"), {"channel": None}, False),
        (Who("irc", "libera", user_id="ada-account"), {}, True),
        (Who("irc", "libera", user_id="ada-account"), {"direct": True}, True),
        (Who("irc", "libera", user_id="ada"), {}, False),
        (Who("irc", "libera", user_id="Ada-Account"), {}, False),
        (Who("irc", "libera", user_id="ada-account"), {"user_id": None}, False),
        (Who("irc", "libera", user_id={"x", "ada-account"}, room="#dev"), {}, True),
    ],
)
def test_who(who: Who, keys: dict[str, Any], allowed: bool) -> None:
    assert who({**ADA, **keys}) is allowed


@pytest.mark.parametrize("keys", [{"network": "libera"}, {"user_id": "ada"}, {"service": "irc", "room": "#dev"}])
def test_a_name_that_others_may_take_elsewhere(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs its service"):
        Who(**keys)


def test_lists_and_functions() -> None:
    ada, message = Who("irc", "libera", user_id="ada-account"), Message(ADA, "chat.message")
    assert Permission(None, ()).allows(message)
    assert not Permission([], ()).allows(message)
    assert Permission(ada, ()).allows(message)
    assert not Permission([ada, Who("slack")], lambda message: message["user"] == "ada").allows(message)
    assert Permission([lambda message: False, ada], [Who("slack")]).allows(message)


def test_what_is_no_rule() -> None:
    async def rule(message: Message) -> bool:
        return False

    for wrong in ([7], [rule], rule, "irc"):
        with pytest.raises(TypeError, match="is no rule"):
            Permission(wrong, ())  # type: ignore[arg-type]


class Later:
    """Something that can be awaited, and is true."""

    def __await__(self) -> Iterator[None]:
        yield


def test_a_rule_that_cannot_answer_lets_nobody_through(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    bot = Bot(allow=lambda message: Later())
    bot.command("go")(lambda message: message.reply("gone"))
    client = drive(bot)
    assert client.chat("!go") == []
    assert client.worker.stats["failures"] == 1
    assert "something to await" in caplog.text


def test_a_bot_is_silent_to_those_it_does_not_know(drive: Drive) -> None:
    bot = Bot(allow=Who("irc"), deny=[Who("irc", "test", user_id="eve")])
    bot.command("go")(lambda message: message.reply("gone"))
    bot.hears("hello", deny=Who("irc", "test", user_id="bob"))(lambda message: message.reply("hello"))
    client = drive(bot, route("chat.message", lambda message: message.reply("somebody else")))
    assert client.chat("!go") == ["gone"]
    assert client.chat("!go", user="eve") == client.chat("!go", service="slack") == ["somebody else"]
    assert (client.chat("hello"), client.chat("hello", user="bob")) == (["hello"], ["somebody else"])

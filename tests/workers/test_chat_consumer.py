"""What happens in rooms, for a class; and the rooms of the testing kit."""

from __future__ import annotations

from typing import Any, ClassVar

from trunkline import ChatConsumer, Conversation, Group, Message, route, route_class
from trunkline.workers.testing import Client


class Butler(ChatConsumer):
    """Says what happened."""

    def ready(self, message: Message, **captures: Any) -> None:
        self.reply(f"ready, {message['capabilities']['max_bytes']}")

    def said(self, message: Message, **captures: Any) -> None:
        self.reply(f"said {captures['word']}", action=True)

    def joined(self, message: Message, **captures: Any) -> None:
        self.reply(f"{message['user']} joined")

    def left(self, message: Message, **captures: Any) -> None:
        self.reply(f"{message['user']} left: {message['reason']}")

    def reacted(self, message: Message, **captures: Any) -> None:
        self.reply(f"{message['reaction']} to {message['id']}")


def test_all_that_happens() -> None:
    butler = route_class(Butler, channel="#dev")
    client = Client([route("chat.message", Butler.as_consumer(), text=r"(?P<word>\w+)"), butler])
    room = client.room("#dev")
    assert room.ready(max_bytes=70) == ["ready, 70"]
    assert room.say("hello") == ["said hello"]
    assert room.join("bob") == ["bob joined"]
    assert room.leave("bob", reason="tea") == ["bob left: tea"]
    assert room.react("ann", "+1", "7") == ["+1 to 7"]
    assert client.room("#other").join("bob") == []
    assert room.replies[1] == {"text": "said hello", "action": True}


def test_only_what_there_are_methods_for() -> None:
    class Greeter(ChatConsumer):
        def joined(self, message: Message) -> None:
            self.reply(f"Hello {message['user']}")

    class Louder(Greeter):
        def left(self, message: Message) -> None:
            self.reply(f"Bye {message['user']}")

    class Own(Greeter):
        method_mapping: ClassVar[dict[str, str]] = {"chat.join": "joined", "chat.greet": "joined"}

    assert ChatConsumer.channel_names() == set()
    assert Greeter.channel_names() == {"chat.join"}
    assert Louder.channel_names() == {"chat.join", "chat.leave"}
    assert Own.channel_names() == {"chat.join", "chat.greet"}
    assert Client([route_class(Louder)]).room().leave("bob") == ["Bye bob"]


# rooms of the kit


def test_what_was_said_before_the_room_was_asked_for() -> None:
    client = Client([route("say", lambda message: Group("all").send({"text": "all"}))])
    client.chat("hello")
    Conversation("irc", "test", "#dev", layer=client.layer).send({"text": "one"})
    client.settle()
    assert client.room("#dev").said() == ["one"]
    for name in ("#dev", "#ops"):
        Group("all", client.layer).add(client.room(name).reply_channel)
    client.layer.send("say", {})
    client.settle()
    assert (client.room("#dev").said(), client.room("#ops").said()) == (["all"], ["all"])


def test_what_is_no_text_is_not_said() -> None:
    client = Client([route("chat.message", lambda message: Group("all").send({"bytes": b"x"}))])
    Group("all", client.layer).add(client.room().reply_channel)
    assert client.chat("hello") == []
    assert client.room().replies == []


def test_rooms_of_several_services_and_private_chats() -> None:
    def answer(message: Message) -> None:
        message.reply(f"{message['service']} {message['user']} {message['direct']}")

    client = Client([route("chat.message", answer)])
    assert client.room("general", "slack", "acme").say("x", "bob", user_id="U1") == ["slack bob False"]
    assert client.room("bob", "slack", "acme", direct=True).say("x") == ["slack bob True"]
    assert client.room("general", "slack", "acme").said() == []

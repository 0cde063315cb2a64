"""What consumers and other programs send with: Channel, Group, Conversation, set_layer (workers.md)."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

import trunkline
from trunkline import Channel, ChannelFull, Conversation, FormatError, Group, HeldTooMuch, Message, MessageTooLarge
from trunkline.layer import MemoryLayer
from trunkline.message_formats.conversation import conversation_channel, room_of
from trunkline.workers import Worker, current_layer, route, set_layer

from .conftest import Bench

MakeBench = Callable[..., Bench]


def received(layer: MemoryLayer, channel: str) -> list[dict[str, Any]]:
    found = []
    while (message := layer.receive([channel])[1]) is not None:
        found.append(message)
    return found


# Outside a consumer


def test_outside_a_consumer_sends_are_immediate(layer: MemoryLayer) -> None:
    set_layer(layer)
    assert Channel("jobs").send({"n": 1}) is True
    assert received(layer, "jobs") == [{"n": 1}]
    with pytest.raises(ChannelFull):
        for _ in range(1001):
            Channel("jobs").send({})


def test_layer_argument_wins(layer: MemoryLayer) -> None:
    with MemoryLayer() as other:
        set_layer(other)
        Channel("jobs", layer=layer).send({"n": 1})
        Group("g", layer=layer).add("jobs")
        Group("g", layer=layer).send({"n": 2})
        assert received(layer, "jobs") == [{"n": 1}, {"n": 2}]
        assert received(other, "jobs") == []


def test_without_a_layer_it_is_an_error(no_layer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for send in (Channel("x").send, Group("x").send, Conversation("irc", "libera", "#x").send):
        with pytest.raises(RuntimeError, match=r"set_layer.*TRUNKLINE_LAYER"):
            send({"text": "hi"})
    monkeypatch.setenv("TRUNKLINE_LAYER", "memory://from-environment")
    Channel("x").send({"n": 1})
    assert current_layer() is current_layer()
    assert received(trunkline.open_layer("memory://from-environment"), "x") == [{"n": 1}]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 5, b"jobs", ["jobs"]])
def test_what_is_no_name_is_not_made_one(layer: MemoryLayer, wrong: Any) -> None:
    """Such as the reply channel of a message that nobody waits for an answer to."""
    group = Group("g", layer=layer)
    for send in (Channel, group.add, group.discard, lambda name: group.send({}, exclude=[name])):
        with pytest.raises(TypeError, match="name"):
            send(wrong)
    assert group.members() == {}


def test_any_mapping_is_a_message(layer: MemoryLayer) -> None:
    message = MappingProxyType({"n": 1})
    Channel("jobs", layer=layer).send(message)
    Group("g", layer=layer).add("jobs")
    Group("g", layer=layer).send(message)
    assert received(layer, "jobs") == [{"n": 1}, {"n": 1}]


@pytest.mark.parametrize("wrong", [None, "text", [("n", 1)], 5])
def test_what_is_no_dict_is_no_message(layer: MemoryLayer, wrong: Any) -> None:
    for send in (Channel("jobs", layer=layer).send, Group("g", layer=layer).send):
        with pytest.raises(TypeError, match="a message must be a dict"):
            send(wrong)


def test_options_of_a_send(layer: MemoryLayer, clock: Any) -> None:
    channel = Channel("jobs", layer=layer)
    assert channel.send({"n": 1}, once="a") is True
    assert channel.send({"n": 2}, once="a") is False
    channel.send({"n": 3}, delay=5, key="k")
    channel.send({"n": 4}, delay=6, key="k")
    channel.send({"n": 5}, expiry=1)
    assert received(layer, "jobs") == [{"n": 1}, {"n": 5}]
    clock.advance(7)
    assert received(layer, "jobs") == [{"n": 4}]


def test_a_known_format_is_checked(layer: MemoryLayer) -> None:
    set_layer(layer)
    with pytest.raises(FormatError, match=r"asgi\.delay: delay"):
        Channel("asgi.delay").send({"channel": "x", "delay": "1", "content": {}})
    with pytest.raises(FormatError, match="unknown"):
        Channel("udp.receive").send({"reply_channel": "x", "data": b"", "client": ["h", 1], "extra": 1})
    with pytest.raises(TypeError):
        Channel("jobs").send({"n": object()})
    with pytest.raises(TypeError):
        Channel("no good").send({})
    with pytest.raises(MessageTooLarge):
        Channel("jobs").send({"n": b"x" * 3_000_000})


def test_a_channel_is_a_name(layer: MemoryLayer) -> None:
    channel = Channel("http.reply.a!b", layer=layer)
    assert channel == "http.reply.a!b"
    assert type(channel.name) is str
    assert "http.reply.a!b" in {channel}
    layer.send(channel, {"n": 1})
    layer.send("jobs", {"to": channel})
    assert received(layer, "http.reply.a!") == [{"n": 1}]
    assert received(layer, "jobs") == [{"to": "http.reply.a!b"}]
    for again in (copy.copy(channel), copy.deepcopy(channel), pickle.loads(pickle.dumps(channel))):  # noqa: S301
        assert isinstance(again, Channel)
        assert again == channel
        assert again.name == channel.name
    assert Channel(channel).name == channel.name


def test_what_is_excluded_in_a_thread_is_excluded_in_its_room(layer: MemoryLayer) -> None:
    """A line from a thread would otherwise come back to the room that the thread is in."""
    room, other = Conversation("slack", "acme", "C1", layer=layer), Conversation("slack", "acme", "C2", layer=layer)
    thread = Conversation("slack", "acme", "C1", "1700000000.000100", layer=layer)
    group = Group("ops", layer=layer)
    for member in (room, other, thread):
        group.add(member.channel)
    group.send({"text": "from the thread"}, exclude=thread.channel)
    group.send({"text": "from both"}, exclude=[thread.channel.name, other.channel])
    group.send({"text": "from the room"}, exclude=room.channel)
    got = []
    while (found := layer.receive(["slack.reply.acme!"]))[0]:
        got.append(found)
    assert sorted(got, key=str) == [
        (thread.channel.name, {"text": "from the room"}),
        (other.channel.name, {"text": "from the room"}),
        (other.channel.name, {"text": "from the thread"}),
    ]


@pytest.mark.parametrize(
    "channel",
    ["slack.reply.acme!C1", "irc.reply.home!_23dev", "websocket.reply.0a1b!Zm9v_Zm9v-Zm9", "jobs.a", "a.reply.b!-0a1b"],
)
def test_only_threads_are_in_a_room(channel: str) -> None:
    assert room_of(channel) is None
    assert room_of(conversation_channel("slack", "a-1_b", "#ünï.x", "1.5")) == conversation_channel(
        "slack", "a-1_b", "#ünï.x"
    )


def test_groups(layer: MemoryLayer) -> None:
    group = Group("ops", layer=layer)
    group.add(Channel("a!1"), info={"user": "ann"})
    group.add("a!2")
    group.add("jobs")
    assert group.members() == {"a!1": {"user": "ann"}, "a!2": None, "jobs": None}
    group.send({"text": "all"})
    group.send({"text": "some"}, exclude=Channel("a!1"))
    group.send({"text": "few"}, exclude=["a!1", Channel("a!2")])
    group.discard("jobs")
    group.send({"text": "less"}, exclude=iter(["a!2"]))
    assert received(layer, "jobs") == [{"text": "all"}, {"text": "some"}, {"text": "few"}]
    got = []
    while (found := layer.receive(["a!"]))[0]:
        got.append(found)
    assert sorted(got, key=str) == [
        ("a!1", {"text": "all"}),
        ("a!1", {"text": "less"}),
        ("a!2", {"text": "all"}),
        ("a!2", {"text": "some"}),
    ]
    assert repr(group) == "Group('ops')"


@pytest.mark.parametrize(
    ("service", "network", "room", "thread", "name"),
    [
        ("irc", "libera", "#dev", None, "irc.reply.libera!_23dev"),
        ("slack", "acme", "C024", "1700.5", "slack.reply.acme!C024.1700_2e5"),
        ("irc", "libera", "ä_-.", None, "irc.reply.libera!_c3_a4_5f_2d_2e"),
    ],
)
def test_conversations(
    layer: MemoryLayer, service: str, network: str, room: str, thread: str | None, name: str
) -> None:
    conversation = Conversation(service, network, room, thread, layer=layer)
    assert conversation.send({"text": "Hello"}) is True
    assert layer.receive([name.partition("!")[0] + "!"]) == (name, {"text": "Hello"})
    assert repr(conversation) == f"Conversation({name!r})"
    with pytest.raises(FormatError):
        conversation.send({"txt": "Hello"})


def test_long_conversation_names_are_digests(layer: MemoryLayer) -> None:
    names = {Conversation("slack", "n" * 24, room, layer=layer).channel.name for room in ("x" * 60, "x" * 61, "x" * 62)}
    assert len(names) == 3
    assert all(len(name) < 100 for name in names)
    assert f"slack.reply.{'n' * 24}!{'x' * 60}" in names


# Inside a consumer


def test_sends_are_held_until_the_consumer_returns(bench: MakeBench, layer: MemoryLayer) -> None:
    seen = []

    def consumer(message: Message) -> None:
        assert Channel("jobs").send({"n": 1}) is None
        Group("g").add("jobs")
        Group("g").send({"n": 2})
        Conversation("irc", "libera", "#x").send({"text": "hi"})
        Channel("jobs").send({"n": 3})
        seen.append((layer.peek("jobs"), layer.group_channels("g")))
        assert current_layer() is layer

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert seen == [([], ["jobs"])]
    assert received(layer, "jobs") == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert received(layer, "irc.reply.libera!") == [{"text": "hi"}]


def test_immediately_sends_now_and_after_what_earlier_consumers_sent(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        if message["n"] == 1:
            Channel("jobs").send({"n": 1})
            return
        Channel("jobs").send({"n": 3})
        assert Channel("jobs").send({"n": 2}, immediately=True) is True
        Group("g").add("jobs")
        Group("g").send({"n": 2.5}, immediately=True)
        assert layer.peek("jobs") == [{"n": 1}, {"n": 2}, {"n": 2.5}]

    worker = bench(route("x", consumer), prefetch=10)
    worker.send("x", n=1)
    worker.send("x", n=2)
    worker.run()
    assert worker.stats == {"messages": 2}
    assert received(layer, "jobs") == [{"n": 1}, {"n": 2}, {"n": 2.5}, {"n": 3}]


def test_what_is_altered_after_send_is_sent_as_it_was(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        content: dict[str, Any] = {"n": [1]}
        Channel("jobs").send(content)
        Group("g").add("jobs")
        Group("g").send(content)
        content["n"].append(2)

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert received(layer, "jobs") == [{"n": [1]}, {"n": [1]}]


def test_wrong_messages_are_refused_where_they_are_sent(bench: MakeBench, layer: MemoryLayer) -> None:
    refused: list[str] = []

    def consumer(message: Message) -> None:
        answer = message.reply_channel
        assert answer is not None
        for send in (answer.send, Channel(answer.name).send, Channel("jobs").send, Channel("a b").send):
            try:
                send({"status": 200, "x": object()})
            except (FormatError, TypeError) as error:
                refused.append(type(error).__name__)
        with pytest.raises(MessageTooLarge):
            Channel("jobs").send({"n": b"x" * 3_000_000})
        answer.send({"status": 204})

    worker = bench(route("http.request", consumer))
    worker.request()
    worker.run()
    assert refused == ["FormatError", "FormatError", "TypeError", "TypeError"]
    assert worker.replies() == [{"status": 204}]


def test_at_most_1000_sends_are_held(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        for n in range(1000):
            Channel(f"jobs{n % 2}").send({"n": n})
        with pytest.raises(HeldTooMuch, match="1000 sends"):
            Channel("jobs0").send({})
        with pytest.raises(HeldTooMuch, match="1000 sends"):
            Group("g").send({})
        Channel("jobs0").send({"n": -1}, immediately=True)

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert worker.stats == {"messages": 1}
    assert len(received(layer, "jobs0")) == 501
    assert len(received(layer, "jobs1")) == 500


def test_at_most_8_mib_are_held(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        for _ in range(8):
            Channel("jobs").send({"n": b"x" * (1024 * 1024 - 10)})
        with pytest.raises(HeldTooMuch, match="8388608 bytes"):
            Channel("jobs").send({"n": b"x" * 100})
        with pytest.raises(HeldTooMuch, match="8388608 bytes"):
            Group("g").send({"n": b"x" * 100})
        Channel("jobs").send({})

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert worker.stats == {"messages": 1}
    assert len(received(layer, "jobs")) == 9


def test_a_single_send_may_be_as_large_as_the_layer_takes(bench: MakeBench) -> None:
    large = {"n": b"x" * 9_000_000}

    def consumer(message: Message) -> None:
        Channel("jobs").send(large)
        with pytest.raises(HeldTooMuch):
            Channel("jobs").send({})

    with MemoryLayer(max_size=16_000_000) as layer:
        worker = Worker(layer, [route("x", consumer)])
        layer.send("x", {})
        assert worker.step() == 1
        assert worker.stats == {"messages": 1}
        assert layer.receive(["jobs"]) == ("jobs", large)


def test_another_layer_is_sent_to_at_once(bench: MakeBench) -> None:
    with MemoryLayer() as other:

        def consumer(message: Message) -> None:
            Channel("jobs", layer=other).send({"n": 1})
            Group("g", layer=other).add("jobs")
            Group("g", layer=other).send({"n": 2})
            raise ValueError("nothing of this is held")

        worker = bench(route("x", consumer))
        worker.send("x")
        worker.run()
        assert received(other, "jobs") == [{"n": 1}, {"n": 2}]


def test_other_threads_are_outside(bench: MakeBench, layer: MemoryLayer, no_layer: None) -> None:
    errors: list[str] = []

    def elsewhere() -> None:
        try:
            Channel("jobs").send({})
        except RuntimeError as error:
            errors.append(str(error))

    def consumer(message: Message) -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert len(errors) == 1


def test_async_consumers_and_what_they_start(bench: MakeBench, layer: MemoryLayer) -> None:
    left: list[asyncio.Task[None]] = []
    peeked = []

    async def say(n: int) -> None:
        await asyncio.sleep(0)
        Channel("jobs").send({"n": n})

    async def afterwards() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        Channel("late", layer=layer).send({"n": 9})

    async def consumer(message: Message, **captures: Any) -> None:
        await asyncio.gather(say(1), say(2))
        await asyncio.to_thread(Channel("jobs").send, {"n": 3})
        peeked.append(layer.peek("jobs"))
        left.append(asyncio.create_task(afterwards()))

    async def failing(message: Message) -> None:
        await say(4)
        raise ValueError("dropped")

    worker = bench(route("x", consumer), route("y", failing))
    worker.send("x")
    worker.run()
    assert peeked == [[]]
    assert received(layer, "jobs") == [{"n": 1}, {"n": 2}, {"n": 3}]
    worker.send("y")
    worker.run()
    assert received(layer, "jobs") == []
    assert worker.stats["failures"] == 1
    worker.send("x")
    worker.run()
    assert received(layer, "late") == [{"n": 9}], "what outlives its consumer sends immediately"


# Channels that need a listener


def mail() -> dict[str, Any]:
    return {"to": ["a@example.org"], "from": "b@example.org", "text": "x"}


def test_nobody_listens_to_a_channel_that_needs_it(
    bench: MakeBench, layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        content = mail()
        Channel("email.send").send(content)
        content["text"] = "altered"

    worker = bench(route("x", consumer))
    worker.send("x")
    worker.run()
    assert received(layer, "email.send") == []
    (letter,) = layer.dead_letters()
    assert (letter["channel"], letter["message"], letter["reason"]) == (
        "email.send",
        mail(),
        "nobody listens to email.send",
    )
    assert [record.getMessage() for record in caplog.records] == [
        "nobody listens to email.send: what was sent to it is a dead letter"
    ]
    assert worker.stats == {"messages": 1, "dead_letters": 1}


def test_outside_a_consumer_likewise(layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel("email.send", layer=layer)
    assert channel.send(mail()) is False
    assert [letter["reason"] for letter in layer.dead_letters()] == ["nobody listens to email.send"]
    assert len(caplog.records) == 1
    layer.announce("smtp.1", {"channels": {"email.send": False}})
    assert channel.send(mail()) is True
    assert received(layer, "email.send") == [mail()]


def test_who_takes_it_need_not_be_there_where_it_is_durable(bench: MakeBench, layer: MemoryLayer) -> None:
    """A server that restarts finds what was sent meanwhile."""
    assert layer.is_durable("email.send") is False
    layer._call(("agree", ({"email.send": 30.0},)))  # as a server does in its own process
    worker = bench(route("x", lambda message: Channel("email.send").send(mail())))
    worker.send("x")
    worker.run()
    assert Channel("email.send", layer=layer).send(mail()) is True
    assert [delivery.id is not None for delivery in layer.receive_batch(["email.send"], 10)] == [True, True]
    assert layer.dead_letters() == []


def test_somebody_listens(bench: MakeBench, layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    layer.announce("smtp.1", {"channels": {"email.send": False}})
    worker = bench(route("x", lambda message: Channel("email.send").send(mail())))
    worker.send("x")
    with caplog.at_level(logging.INFO):
        worker.run()
    assert received(layer, "email.send") == [mail()]
    assert layer.dead_letters() == []

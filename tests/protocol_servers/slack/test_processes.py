"""Replies on a bus, said by whichever process of the workspace has the seat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.message_formats.conversation import conversation_channel
from trunkline.protocol_servers.slack import seat
from trunkline.protocol_servers.testing.slack import SlackWorkspace
from trunkline.workers import Conversation, Group

Start = Callable[..., Any]
Eventually = Callable[..., Any]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes look often whether the seat is free."""
    monkeypatch.setattr(seat, "LOOK", 0.1)


def test_rooms_and_people_are_spoken_to_by_id_and_name(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace, eventually: Eventually
) -> None:
    general = workspace.room("general")
    ann = workspace.person("ann")
    start_slack(memory_layer)
    for number, room in enumerate((general.id, "#general", "general")):
        Conversation("slack", "acme", room, layer=memory_layer).send({"text": str(number)})
        eventually(lambda count=number: len(workspace.texts("general")) == count + 1)
    for number, person in enumerate((ann.id, "@ann", "ann")):
        Conversation("slack", "acme", person, layer=memory_layer).send({"text": str(number)})
        eventually(lambda count=number: len(workspace.texts("@ann")) == count + 1)
    assert workspace.texts("general") == workspace.texts("@ann") == ["0", "1", "2"]


def test_a_group_with_members_of_every_kind(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace, eventually: Eventually
) -> None:
    room = workspace.room("general")
    start_slack(memory_layer)
    Group("ops", layer=memory_layer).add(conversation_channel("slack", "acme", room.id))
    for message in ({"accept": True}, {"text": "to all", "close": False}, {"bytes": b"x"}, {"text": "again"}):
        memory_layer.send_group("ops", message)
    eventually(lambda: workspace.texts("general") == ["to all", "again"])


def test_a_receipt_and_an_answer_come_by_the_bus(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace, take: Callable[..., Any]
) -> None:
    room = workspace.room("general")
    start_slack(memory_layer)
    Conversation("slack", "acme", room.id, layer=memory_layer).send({"text": "hello", "receipt_channel": "receipts"})
    (receipt,) = take(memory_layer, "receipts")
    assert receipt == {"status": "sent", "ids": [f"{room.id}:{workspace.messages('general')[0].ts}"]}
    question = {"method": "auth.test", "result_channel": "answers"}
    memory_layer.send("slack.reply.acme!", question)
    (answer,) = take(memory_layer, "answers")
    assert answer["ok"]
    assert answer["user_id"] == workspace.bot.id


def test_one_process_speaks_and_the_next_goes_on_where_it_ended(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace, eventually: Eventually
) -> None:
    room = workspace.room("general")
    first = start_slack(memory_layer)
    second = start_slack(memory_layer)
    assert (first.server.speaks, second.server.speaks) == (True, False)
    conversation = Conversation("slack", "acme", room.id, layer=memory_layer)
    for number in range(5):
        conversation.send({"text": str(number)})
    eventually(lambda: len(workspace.texts("general")) == 5)
    workspace.limit("chat.postMessage", 5, channel=room.id)
    for number in range(5, 30):
        conversation.send({"text": str(number)})
    eventually(lambda: first.stats["rate_limited"])
    assert first.stop(1.0)
    assert first.stats["given_back"] == 25
    eventually(lambda: second.server.speaks)
    conversation.send({"text": "30"})
    eventually(lambda: len(workspace.texts("general")) == 31)
    assert workspace.texts("general") == [str(number) for number in range(31)]
    eventually(lambda: second.stats["said_sent"] == 26)
    assert not any(each.stats["cut_off"] or each.stats["said_failed"] for each in (first, second))


def test_what_there_is_no_time_to_stop_for_is_given_back(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace, eventually: Eventually
) -> None:
    """A machine that is too busy for the grace: nothing is lost for that."""
    room = workspace.room("general")
    first = start_slack(memory_layer)
    workspace.limit("chat.postMessage", 600, channel=room.id)
    conversation = Conversation("slack", "acme", room.id, layer=memory_layer)
    for number in range(20):
        conversation.send({"text": str(number)})
    eventually(lambda: first.stats["rate_limited"])
    assert not first.stop(0.0)
    assert first.stats["given_back"] == 20
    left = [delivery.message["text"] for delivery in memory_layer.receive_batch(["slack.reply.acme!"], limit=100)]
    assert left == [str(number) for number in range(20)]

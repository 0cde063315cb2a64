"""One workspace on the bus, by both transports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.testing.slack import SlackWorkspace

Take = Callable[..., list[dict[str, Any]]]


@pytest.fixture(params=["sockets", "requests"])
def transport(request: pytest.FixtureRequest) -> dict[str, bool]:
    """By which of the two Slack tells."""
    return {"sockets": request.param == "sockets", "http": request.param == "requests"}


def test_what_somebody_says_is_a_chat_message(
    transport: dict[str, bool],
    start_slack: Callable[..., Any],
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Callable[..., None],
    take: Take,
    eventually: Callable[..., Any],
) -> None:
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer, **transport)
    ann = workspace.person("ann", display_name="Ann")
    said = workspace.say("ann", "#general", workspace.typed("hello @bot, look at #general & <this>"))
    [message] = take(memory_layer, "chat.message")
    room = workspace.room("#general")
    assert message == {
        "reply_channel": f"slack.reply.acme!{room.id}",
        "service": "slack",
        "network": "acme",
        "channel": "general",
        "user": "Ann",
        "user_id": ann.id,
        "text": message["text"],
        "mention": True,
        "id": f"{room.id}:{said.ts}",
        "time": float(said.ts),
    }
    assert "look at #general & <this>" in message["text"]
    eventually(lambda: all(workspace.delivery(each).acknowledged for each in said.event_ids))
    assert memory_layer.receive(["chat.message"]) == (None, None)
    assert running.stats["acknowledged"] >= 1

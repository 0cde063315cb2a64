"""The documentation's table of what happens in Slack, row by row: from people in the Slack in memory to messages."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline import message_formats
from trunkline.protocol_servers.slack.mapping import Delivery, Identity, Mapper
from trunkline.protocol_servers.slack.names import Names
from trunkline.protocol_servers.testing import SlackWorkspace
from trunkline.protocol_servers.testing.slack import Said

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "slack-text.md"


def rows() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the channel and the keys of each row."""
    table = PAGE.read_text(encoding="utf-8").split("## What happens, as chat messages\n")[1]
    found = {}
    for line in table.split("| --- | --- | --- |\n")[1].splitlines():
        what, channel, keys = (cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        found[what] = (channel, json.loads(keys or "{}"))
    return found


def edited(workspace: SlackWorkspace) -> None:
    workspace.edit(workspace.say("ann", "general", "tee?"), "tea?")


def reacted(workspace: SlackWorkspace, *, back: bool = False) -> None:
    said = workspace.say("ann", "general", "tea?")
    workspace.react("bob", said, "+1")
    if back:
        workspace.react("bob", said, "+1", added=False)


def other_app(workspace: SlackWorkspace) -> None:
    workspace.state.add_person("weatherman", bot=True)
    workspace.say("weatherman", "general", "rain", subtype="bot_message")


def own(workspace: SlackWorkspace) -> None:
    room = workspace.room("general")
    said = Said(workspace.state.new_ts(), room.id, workspace.bot.id, "hi", bot_id=workspace.bot.bot_id)
    workspace.tell_of(workspace.state.keep(said))


def moved(workspace: SlackWorkspace, *, out: bool = False) -> None:
    workspace.room("general", "ann")
    workspace.join("bob", "general")
    if out:
        workspace.leave("bob", "general")


def blocks(workspace: SlackWorkspace) -> None:
    text = {"type": "mrkdwn", "text": f"*Deployed* {workspace.mention('ann')}"}
    workspace.say("ann", "general", "", blocks=[{"type": "section", "text": text}])


HAPPENINGS: dict[str, Callable[[SlackWorkspace], object]] = {
    "somebody speaks in a room": lambda it: it.say("ann", "general", "hi"),
    "the bot is mentioned": lambda it: it.say("ann", "general", f"{it.mention('bot')}: deploy web"),
    "in a thread": lambda it: it.say("bob", "general", "me too", thread=it.say("ann", "general", "tea, please")),
    "in a private chat": lambda it: it.say("ann", "@ann", "psst"),
    "what was said is edited": edited,
    "a file is shared": lambda it: it.upload("ann", "general", "a.csv", b"1,2", text="numbers"),
    "somebody uses /me": lambda it: it.say("ann", "general", "waves", subtype="me_message"),
    "a message has blocks alone": blocks,
    "another app speaks": other_app,
    "somebody reacts": reacted,
    "somebody takes that back": lambda it: reacted(it, back=True),
    "somebody joins": moved,
    "somebody leaves": lambda it: moved(it, out=True),
    "a message is deleted": lambda it: it.delete(it.say("ann", "general", "oops")),
    "the bot speaks": own,
}


def messages_of(workspace: SlackWorkspace) -> list[list[tuple[str, dict[str, Any]]]]:
    """Return the messages of each thing that Slack told, by a mapper that knows all names."""
    names = Names(lambda *_: pytest.fail("asked"), spawn=print, clock=time.monotonic, stats=Counter())
    for person in workspace.state.people.values():
        names.learn_user(person.shape())
    for room in workspace.state.rooms.values():
        names.learn_room(room.shape(workspace.bot.id))
    mapper = Mapper("acme", names)
    mapper.identity = Identity(workspace.team_id, workspace.bot.id, workspace.bot.bot_id or "", workspace.bot.name)
    found = []
    seen = set()
    for delivery in workspace.deliveries:
        drafts = mapper.drafts(Delivery("events_api", delivery.payload, delivery.id))
        # Of two by one name, as for a mention, the layer takes the first.
        found.append([(each.channel, each.make()) for each in drafts if (each.channel, each.once) not in seen])
        seen |= {(each.channel, each.once) for each in drafts}
    return found


def fits(expected: Any, value: Any) -> bool:
    if expected == "…":
        return bool(value)
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(fits(each, value.get(key)) for key, each in expected.items())
    if isinstance(expected, list):
        return isinstance(value, list) and all(map(fits, expected, value)) and len(expected) == len(value)
    return bool(expected == value)


def test_every_row_has_its_happening() -> None:
    assert list(rows()) == list(HAPPENINGS)


@pytest.mark.parametrize("what", HAPPENINGS)
def test_the_table_of_what_happens(workspace: SlackWorkspace, what: str) -> None:
    HAPPENINGS[what](workspace)
    channel, keys = rows()[what]
    messages = messages_of(workspace)
    for name, message in (each for group in messages for each in group):
        message_formats.validate(name, message)
    last = [each for each in messages[-1] if each[0].startswith("chat.")]
    if channel == "none":
        assert last == []
        return
    ((name, message),) = last or [each for each in messages[-2] if each[0].startswith("chat.")]
    assert name == channel
    assert fits(keys, message), message


def test_a_mention_is_one_message(workspace: SlackWorkspace) -> None:
    HAPPENINGS["the bot is mentioned"](workspace)
    said, mentioned = messages_of(workspace)
    assert [name for name, _ in said] == ["chat.message", "slack.event"]
    assert [name for name, _ in mentioned] == ["slack.event"]

"""What people do in the Slack in memory, and the events that the app is told it by."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.protocol_servers.testing import SlackService, SlackWorkspace


def events(workspace: SlackWorkspace) -> list[dict[str, Any]]:
    return [each.payload["event"] for each in workspace.deliveries]


def only(workspace: SlackWorkspace) -> dict[str, Any]:
    (event,) = events(workspace)
    return event


def test_something_is_said(workspace: SlackWorkspace) -> None:
    first = workspace.say("ann", "#general", "one")
    second = workspace.say("ann", "general", "two", thread=first)
    third = workspace.say("ann", "general", "three", thread=first.ts, broadcast=True)
    assert [event.get("thread_ts") for event in events(workspace)] == [None, first.ts, first.ts]
    assert [event.get("subtype") for event in events(workspace)] == [None, None, "thread_broadcast"]
    assert [said.text for said in workspace.log("general")] == ["one", "two", "three"]
    assert first.ts < second.ts < third.ts


def test_a_mention_is_told_twice(workspace: SlackWorkspace) -> None:
    said = workspace.say("ann", "general", f"{workspace.mention('bot')} hi")
    assert [event["type"] for event in events(workspace)] == ["message", "app_mention"]
    assert len(set(said.event_ids)) == 2
    assert said.pings == [f"<@{workspace.bot.id}>"]


def test_a_private_chat(workspace: SlackWorkspace) -> None:
    workspace.say("ann", "@ann", f"{workspace.mention('bot')} hi")
    event = only(workspace)
    assert (event["channel_type"], event["channel"][0]) == ("im", "D")
    assert workspace.room("@ann").members == [workspace.person("ann").id, workspace.bot.id]


def test_what_the_bot_does_not_see(workspace: SlackWorkspace) -> None:
    workspace.room("elsewhere", "ann", bot=False)
    said = workspace.say("ann", "elsewhere", "psst")
    workspace.subscribed = {"reaction_added"}
    workspace.say("ann", "general", "hi")
    assert (said.event_ids, events(workspace)) == ([], [])


def test_edits_and_deletions(workspace: SlackWorkspace) -> None:
    said = workspace.say("ann", "general", "tee?")
    workspace.edit(said, "tea?")
    workspace.delete(said)
    _, changed, deleted = events(workspace)
    assert (changed["subtype"], changed["message"]["text"]) == ("message_changed", "tea?")
    assert changed["message"]["edited"]["user"] == said.user
    assert changed["previous_message"]["text"] == "tee?"
    assert (deleted["subtype"], deleted["deleted_ts"]) == ("message_deleted", said.ts)
    assert workspace.log("general") == []


def test_reactions(workspace: SlackWorkspace) -> None:
    said = workspace.say("ann", "general", "tea?")
    assert workspace.react("bob", said, "+1") is True
    assert workspace.react("bob", said, "+1") is False
    assert workspace.react("bob", said, "+1", added=False) is True
    assert said.reactions == {}
    _, added, removed = events(workspace)
    assert (added["type"], removed["type"]) == ("reaction_added", "reaction_removed")
    assert added["item"] == {"type": "message", "channel": said.room, "ts": said.ts}
    assert (added["user"], added["item_user"]) == (workspace.person("bob").id, said.user)


def test_coming_and_going(workspace: SlackWorkspace) -> None:
    workspace.room("general", "ann")
    workspace.join("bob", "general", inviter="ann")
    workspace.join("bob", "general")
    workspace.leave("bob", "general")
    workspace.leave("bob", "general")
    kinds = [(event["type"], event.get("subtype")) for event in events(workspace)]
    assert kinds == [
        ("member_joined_channel", None),
        ("message", "channel_join"),
        ("member_left_channel", None),
        ("message", "channel_leave"),
    ]
    assert events(workspace)[0]["inviter"] == workspace.person("ann").id


def test_the_bot_comes_and_goes(workspace: SlackWorkspace) -> None:
    workspace.room("general", "ann", bot=False)
    workspace.join("bot", "general", inviter="ann")
    workspace.leave("bot", "general")
    assert [event["type"] for event in events(workspace)] == [
        "member_joined_channel",
        "message",
        "member_left_channel",
        "message",
        "channel_left",
    ]


def test_other_names(workspace: SlackWorkspace) -> None:
    room, person = workspace.room("general"), workspace.person("ann")
    workspace.rename("#general", "lounge")
    workspace.rename("ann", "anna")
    renamed, changed = events(workspace)
    assert (renamed["type"], renamed["channel"]["name"]) == ("channel_rename", "lounge")
    assert (changed["type"], changed["user"]["profile"]["display_name"]) == ("user_change", "anna")
    assert (workspace.room("lounge"), workspace.person("anna")) == (room, person)


def test_files(workspace: SlackWorkspace) -> None:
    workspace.upload("ann", "general", "a.csv", b"1,2", text="numbers")
    event = only(workspace)
    (file,) = event["files"]
    assert (event["subtype"], event["text"]) == ("file_share", "numbers")
    assert (file["name"], file["mimetype"], file["size"]) == ("a.csv", "text/csv", 3)


def test_an_event_of_any_kind(workspace: SlackWorkspace) -> None:
    (event_id,) = workspace.event({"type": "app_home_opened", "user": "U1", "tab": "home"})
    assert workspace.delivery(event_id).payload["event"]["tab"] == "home"


@pytest.mark.parametrize(
    ("typed", "carried"),
    [
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ("@ann see #general", "<@{ann}> see <#{general}|general>"),
        ("@here @nobody #nowhere", "<!here> @nobody #nowhere"),
        ("https://x.test/?a=1&b=2 x@ann", "<https://x.test/?a=1&amp;b=2> x@ann"),
    ],
)
def test_what_somebody_types(workspace: SlackWorkspace, typed: str, carried: str) -> None:
    ann, general = workspace.person("ann").id, workspace.room("general").id
    assert workspace.typed(typed) == carried.format(ann=ann, general=general)


def test_waiting_ends(workspace: SlackWorkspace) -> None:
    workspace.say("ann", "general", "hi")
    with pytest.raises(TimeoutError, match=r"^not within 0.01 s$"):
        workspace.wait_delivered(0.01)
    with pytest.raises(TimeoutError):
        workspace.wait_connected(timeout=0.01)


def test_stopping_twice() -> None:
    service = SlackService("mine", bot="helper")
    assert (service.workspace.state.name, service.workspace.bot.name) == ("mine", "helper")
    service.stop()
    service.stop()

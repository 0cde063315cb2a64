"""What Slack tells, as messages: cases, and whatever may come."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.layer import MemoryLayer
from trunkline.message_formats import validate
from trunkline.protocol_servers.slack.mapping import Delivery, Draft, Identity, Mapper, Unfit
from trunkline.protocol_servers.slack.names import Names
from trunkline.protocol_servers.slack.web_api import NotSent

NOW = 1_700_000_000.0
SAID = {
    "type": "message",
    "channel": "C0DEV",
    "user": "U0ANN",
    "text": "hi",
    "ts": "1700000000.000100",
    "channel_type": "channel",
}


async def _away(method: str, arguments: Any) -> Any:
    raise NotSent("away")


def make_mapper(**options: Any) -> Mapper:
    names = Names(_away, spawn=asyncio.ensure_future, clock=time.monotonic, stats=Counter())
    for id, name in (("U0ANN", "ann"), ("U0BEN", "Ben Doe"), ("U0ME", "bot")):
        names.learn_user({"id": id, "name": name})
    for id, name in (("C0DEV", "dev"), ("C0OPS", "ops")):
        names.learn_room({"id": id, "name": name})
    mapper = Mapper("acme", names, wall=lambda: NOW, **options)
    mapper.identity = Identity("T1", "U0ME", "B0ME", "bot")
    return mapper


def drafts(event: dict[str, Any], mapper: Mapper | None = None, retry: int = 0, **payload: Any) -> dict[str, Draft]:
    payload = {"team_id": "T1", "event_id": "Ev1", "event": event} | payload
    made = (mapper or make_mapper()).drafts(Delivery("events_api", payload, "key", retry))
    return {draft.channel: draft for draft in made}


def said(mapper: Mapper | None = None, **changes: Any) -> dict[str, Any] | None:
    """Return the `chat.message` of something that was said; None: there is none."""
    draft = drafts(SAID | changes, mapper).get("chat.message")
    if draft is None:
        return None
    message = draft.make()
    validate("chat.message", message)
    return message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            {
                "text": "hi",
                "channel": "dev",
                "user": "ann",
                "user_id": "U0ANN",
                "reply_channel": "slack.reply.acme!C0DEV",
            },
        ),
        ({"text": "<@U0ME> hi"}, {"text": "hi", "mention": True}),
        ({"text": "<@U0ME|bot>: hi"}, {"text": "hi", "mention": True}),
        ({"text": "<@U0BEN> hi"}, {"text": "@Ben Doe hi"}),
        ({"text": "<@U0NOBODY> hi"}, {"text": "@U0NOBODY hi"}),
        ({"text": "in <#C0OPS> or <#C0OPS|was>"}, {"text": "in #ops or #ops"}),
        ({"text": "1 &lt; 2 &amp;&amp; 3"}, {"text": "1 < 2 && 3"}),
        ({"text": ":tada:"}, {"text": "🎉"}),
        ({"user": "U0NEW"}, {"user": "U0NEW", "user_id": "U0NEW"}),
        ({"channel": "C0NEW"}, {"channel": "C0NEW"}),
        ({"subtype": "me_message", "text": "waves"}, {"text": "waves"}),
        ({"type": "app_mention", "text": "<@U0ME> hi"}, {"text": "hi", "mention": True}),
        (
            {"channel": "D0ANN", "channel_type": "im"},
            {"direct": True, "channel": "ann", "reply_channel": "slack.reply.acme!D0ANN"},
        ),
        (
            {"thread_ts": "1699999999.000100"},
            {"thread": "1699999999.000100", "reply_channel": "slack.reply.acme!C0DEV.1699999999_2e000100"},
        ),
        (
            {"thread_ts": "1699999999.000100", "subtype": "thread_broadcast"},
            {"thread": "1699999999.000100", "reply_channel": "slack.reply.acme!C0DEV.1699999999_2e000100"},
        ),
        (
            {"subtype": "bot_message", "user": None, "bot_id": "B0CI", "username": "CI"},
            {"user": "CI", "user_id": "B0CI"},
        ),
        (
            {"user": "U0CI", "bot_id": "B0CI", "bot_profile": {"name": "Builder"}},
            {"user": "Builder", "user_id": "U0CI"},
        ),
        (
            {
                "subtype": "bot_message",
                "bot_id": "B0CI",
                "user": None,
                "text": "",
                "attachments": [{"fallback": "it failed"}],
            },
            {"text": "it failed", "user": "B0CI"},
        ),
        (
            {"files": [{"name": "a\n.txt", "size": -1}, {"mode": "tombstone"}, 7], "subtype": "file_share"},
            {"files": [{"name": "a.txt", "mimetype": "application/octet-stream", "size": 0, "url": ""}]},
        ),
        (
            {
                "subtype": "message_changed",
                "user": None,
                "message": SAID | {"text": "ho", "edited": {"ts": "1700000009.0"}},
                "previous_message": SAID,
            },
            {"text": "ho", "edited": True, "id": "C0DEV:1700000000.000100", "user": "ann"},
        ),
    ],
)
def test_what_was_said(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    message = said(**changes)
    assert message is not None
    for key, value in expected.items():
        assert message[key] == value, key
    for key in ("direct", "mention", "edited", "thread", "files", "raw", "replayed"):
        assert (key in message) is (key in expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "U0ME"},
        {"bot_id": "B0ME"},
        {"subtype": "channel_join"},
        {"subtype": "channel_topic"},
        {"subtype": "message_deleted", "deleted_ts": "1.1"},
        {"subtype": "unheard_of"},
        {"subtype": "message_changed", "message": SAID, "previous_message": SAID},
        {"subtype": "message_changed", "message": SAID | {"user": "U0ME", "text": "ours"}, "previous_message": SAID},
        {"user": None},
    ],
)
def test_what_nobody_said(changes: dict[str, Any]) -> None:
    assert said(**changes) is None


@pytest.mark.parametrize("changes", [{"channel": None}, {"channel": "dev"}, {"ts": "now"}, {"ts": None}])
def test_what_was_said_nowhere(changes: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        said(**changes)


def test_one_message_has_one_name_and_each_of_its_edits_another() -> None:
    plain = drafts(SAID)["chat.message"]
    mentioned = drafts(SAID | {"type": "app_mention"}, event_id="Ev2")["chat.message"]
    assert plain.once == mentioned.once == "T1 C0DEV:1700000000.000100"
    edits = [
        drafts(
            SAID
            | {"subtype": "message_changed", "message": SAID | {"text": text, "edited": {"ts": ts}}, "event_ts": "9.9"}
        )["chat.message"].once
        for text, ts in (("one", "1.1"), ("two", "1.2"))
    ]
    assert len({plain.once, *edits}) == 3


def test_what_comes_again_long_after_it_was_said_is_replayed() -> None:
    for retry, age, expected in ((0, 3600, False), (1, 30, False), (2, 90, True), (1, "soon", False)):
        moment = NOW - age if isinstance(age, int) else age
        message = drafts(SAID, None, retry, event_time=moment)["chat.message"].make()
        assert ("replayed" in message) is expected


def test_what_slack_has_may_come_along_without_tokens() -> None:
    message = said(make_mapper(include_raw=True), bot_access_token="xoxb-secret")
    assert message is not None
    assert message["raw"] == SAID


def test_names_are_needed_of_whom_a_text_mentions() -> None:
    draft = drafts(SAID | {"text": "<@U0BEN> and <#C0OPS>", "channel": "D0ANN"})["chat.message"]
    assert draft.ids == {"U0ANN", "U0BEN", "C0OPS"}  # a private chat is called after whoever speaks there


def test_our_own_coming_and_going_is_no_chat() -> None:
    for kind in ("member_joined_channel", "member_left_channel"):
        assert set(drafts({"type": kind, "user": "U0ME", "channel": "C0DEV"})) == {"slack.event"}
        assert len(drafts({"type": kind, "user": "U0ANN", "channel": "C0DEV"})) == 2


@pytest.mark.parametrize(
    "event",
    [
        {"type": "reaction_added", "user": "U0ANN", "reaction": "x", "item": {"type": "file", "file": "F1"}},
        {"type": "reaction_added", "user": "U0ANN", "reaction": "x", "item": None},
        {"type": "reaction_added", "user": "U0ANN", "item": {"type": "message", "channel": "C0DEV", "ts": "1.1"}},
        {"type": "reaction_added", "user": "U0ANN", "reaction": "x", "item": {"type": "message", "channel": 7}},
    ],
)
def test_a_reaction_to_nothing_is_no_chat(event: dict[str, Any]) -> None:
    assert set(drafts(event)) == {"slack.event"}


def test_the_conversation_of_an_event() -> None:
    for event, channel, user in (
        ({"type": "x", "channel": "C0DEV", "user": "U0ANN"}, "C0DEV", "U0ANN"),
        ({"type": "x", "channel": {"id": "C0DEV"}, "user": {"id": "U0ANN"}}, "C0DEV", "U0ANN"),
        ({"type": "x", "channel_id": "C0DEV", "user_id": "U0ANN", "thread_ts": "1.1"}, "C0DEV.1_2e1", "U0ANN"),
        ({"type": "x", "item": {"channel": "C0DEV"}}, "C0DEV", ""),
        ({"type": "x", "user": "U0ANN", "thread_ts": "1.1"}, "U0ANN", "U0ANN"),
        ({"type": "x"}, "", ""),
    ):
        message = drafts(event)["slack.event"].make()
        validate("slack.event", message)
        assert message["reply_channel"] == f"slack.reply.acme!{channel}"
        assert message["user"] == user


def test_who_we_are_is_learned_from_events_where_slack_does_not_say() -> None:
    mapper = make_mapper()
    mapper.identity = Identity()
    others = [{"is_bot": False, "user_id": "U0ADMIN"}, 7, {"is_bot": True, "user_id": "nobody"}]
    drafts(SAID, mapper, authorizations=others)
    assert mapper.identity.user == ""
    drafts(SAID, mapper, authorizations=[*others, {"is_bot": True, "user_id": "U0ME"}])
    assert mapper.identity.user == "U0ME"
    assert "chat.message" not in drafts(SAID | {"user": "U0ME"}, mapper)


def interaction(**payload: Any) -> list[Draft]:
    return make_mapper().drafts(Delivery("interactive", payload, "key"))


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ({"type": "button", "value": "v"}, "v"),
        ({"type": "button"}, None),
        ({"type": "static_select", "selected_option": {"value": "o"}}, "o"),
        ({"type": "checkboxes", "selected_options": [{"value": "a"}, {"value": "b"}]}, ["a", "b"]),
        ({"type": "datepicker", "selected_date": "2026-11-20"}, "2026-11-20"),
        ({"type": "users_select", "selected_user": "U0BEN"}, "U0BEN"),
        ({"type": "multi_users_select", "selected_users": ["U0BEN", "U0ANN"]}, ["U0BEN", "U0ANN"]),
        ({"type": "plain_text_input", "value": "typed"}, "typed"),
    ],
)
def test_what_was_chosen(action: dict[str, Any], value: Any) -> None:
    action |= {"action_id": "a", "block_id": "b"}
    [draft] = interaction(type="block_actions", user={"id": "U0ANN"}, channel={"id": "C0DEV"}, actions=[action])
    message = draft.make()
    validate("slack.action", message)
    assert message.get("value") == value
    assert ("value" in message) is (value is not None)
    assert not draft.notification


def test_several_actions_are_several_messages_with_names_of_their_own() -> None:
    made = interaction(
        type="block_actions", trigger_id="t", user={"id": "U0ANN"}, actions=[{"action_id": "a"}, {"action_id": "b"}, 7]
    )
    assert [draft.make()["action_id"] for draft in made] == ["a", "b"]
    assert len({draft.once for draft in made}) == 2


def test_an_action_in_a_thread_is_answered_there() -> None:
    [draft] = interaction(
        type="block_actions",
        user={"id": "U0ANN"},
        container={"channel_id": "C0DEV", "thread_ts": "1.1"},
        actions=[{"action_id": "a"}],
    )
    assert draft.make()["reply_channel"] == "slack.reply.acme!C0DEV.1_2e1"


def test_a_question_that_wants_an_answer_at_once_reaches_nobody() -> None:
    assert interaction(type="block_suggestion", user={"id": "U0ANN"}) == []
    with pytest.raises(Unfit):
        interaction(type=None)


def test_a_command_without_a_name_is_none() -> None:
    with pytest.raises(Unfit):
        make_mapper().drafts(Delivery("slash_commands", {"text": "x"}, "key"))


def test_tokens_never_travel() -> None:
    secret = {"token": "xyz", "bot_access_token": "xoxb-secret", "callback_id": "c", "user": {"id": "U0ANN"}}
    [shortcut] = interaction(type="shortcut", **secret)
    event = drafts({"type": "x", "bot_access_token": "xoxb-secret"})["slack.event"]
    for draft in (shortcut, event):
        assert "xoxb-secret" not in repr(draft.make())
        assert "xyz" not in repr(draft.make())


KEYS = (
    "type", "channel", "user", "ts", "text", "message", "previous_message", "item", "files", "subtype", "id",
    "thread_ts", "edited", "name", "bot_profile", "username", "attachments", "blocks", "reaction", "bot_id", "size",
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["C0DEV", "D0ANN", "U0ANN", "U0ME", "1700000000.000100", "message", "message_changed", "<@U0ANN>", "me_message"]
    )
    | st.text(max_size=8)
)
SHAPES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=30,
)
EVENTS = st.sampled_from(
    ["message", "app_mention", "reaction_added", "reaction_removed", "member_joined_channel", "user_change", "x"]
)
INTERACTIONS = st.sampled_from(["block_actions", "view_submission", "view_closed", "shortcut", "message_action"])


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(KEYS), SHAPES, max_size=10), EVENTS, INTERACTIONS, SHAPES)
def test_whatever_comes_makes_messages_that_fit_and_travel_or_none(
    event: dict[str, Any], kind: str, interaction: str, other: Any
) -> None:
    mapper = make_mapper(include_raw=True)
    deliveries = [
        Delivery("events_api", {"team_id": other, "event_id": other, "event": event | {"type": kind}}, "key", 1),
        Delivery("interactive", event | {"type": interaction, "actions": [event], "team": other}, "key"),
        Delivery("slash_commands", event | {"command": "/x", "channel_id": other, "user_id": other}, "key"),
    ]
    with MemoryLayer() as layer:
        for delivery in deliveries:
            try:
                made = mapper.drafts(delivery)
            except Unfit:
                continue
            for draft in made:
                message = draft.make()
                validate(draft.channel, message)
                layer.send(draft.channel, message, once=draft.once)
                hash((draft.room, draft.ids))

"""One workspace on the bus, by both transports."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.message_formats import validate
from trunkline.operations.errors import StartError
from trunkline.operations.secret import Secret
from trunkline.protocol_servers.slack import server as server_module
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.protocol_servers.testing.slack import Delivery, SlackService, SlackWorkspace

Start = Callable[..., Any]
Listen = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Eventually = Callable[..., Any]

CHAT = ("chat.message", "chat.join", "chat.leave", "chat.reaction", "chat.ready")
TRANSPORTS = {"sockets": {"sockets": True}, "requests": {"sockets": False, "http": True}}


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> dict[str, bool]:
    """By which of the two Slack tells."""
    return TRANSPORTS[request.param]


def test_what_somebody_says_is_a_chat_message(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    running = start_slack(memory_layer, **transport)
    ann = workspace.person("ann", display_name="Ann")
    said = workspace.say("ann", "#general", workspace.typed("@bot look at #general, @ann & <this>"))
    [message] = take(memory_layer, "chat.message")
    room = workspace.room("#general")
    assert message == {
        "reply_channel": f"slack.reply.acme!{room.id}",
        "service": "slack",
        "network": "acme",
        "channel": "general",
        "user": "Ann",
        "user_id": ann.id,
        "text": "look at #general, @Ann & <this>",
        "mention": True,
        "id": f"{room.id}:{said.ts}",
        "time": float(said.ts),
    }
    validate("chat.message", message)
    # That we were mentioned is told by an event of its own, and is the same message.
    assert len(said.event_ids) == 2
    eventually(lambda: all(workspace.delivery(each).acknowledged for each in said.event_ids))
    assert memory_layer.receive(["chat.message"]) == (None, None)
    assert running.stats["repeats"] == 1


def test_edits_threads_files_and_private_chats(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    start_slack(memory_layer, **transport)
    first = workspace.say("ann", "#dev", "a thread begins")
    answer = workspace.say("ben", "#dev", "here", thread=first)
    workspace.edit(answer, "*here*, I said")
    workspace.upload("ann", "#dev", "plan.txt", b"12345", text="see")
    private = workspace.say("ann", "@ann", "psst")
    messages = take(memory_layer, "chat.message", 5)
    for message in messages:
        validate("chat.message", message)
    room = workspace.room("#dev").id
    thread = f"slack.reply.acme!{room}.{first.ts.replace('.', '_2e')}"
    in_dev = [each for each in messages if each["channel"] == "dev"]
    assert [(each["text"], each.get("thread"), each["reply_channel"]) for each in in_dev] == [
        ("a thread begins", None, f"slack.reply.acme!{room}"),
        ("here", first.ts, thread),
        ("here, I said", first.ts, thread),
        ("see", None, f"slack.reply.acme!{room}"),
    ]
    assert [each.get("edited") for each in in_dev] == [None, None, True, None]
    assert in_dev[1]["id"] == in_dev[2]["id"] == f"{room}:{answer.ts}"
    [file] = in_dev[3]["files"]
    assert (file["name"], file["mimetype"], file["size"]) == ("plan.txt", "text/plain", 5)
    [direct] = [each for each in messages if each.get("direct")]
    assert (direct["channel"], direct["user"], direct["text"]) == ("ann", "ann", "psst")
    assert direct["reply_channel"] == f"slack.reply.acme!{private.room}"
    eventually(lambda: not workspace.undelivered())


def test_who_comes_and_goes_and_reacts(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
) -> None:
    listen(memory_layer, *CHAT)
    start_slack(memory_layer, **transport)
    workspace.room("#dev", "ann")
    workspace.join("ben", "#dev")
    said = workspace.say("ann", "#dev", "hello")
    workspace.react("ben", said, "tada")
    workspace.react("ben", said, "tada", added=False)
    workspace.leave("ben", "#dev")
    ben = {"user": "ben", "user_id": workspace.person("ben").id, "channel": "dev", "network": "acme"}
    [joined] = take(memory_layer, "chat.join")
    reactions = take(memory_layer, "chat.reaction", 2)
    [left] = take(memory_layer, "chat.leave")
    for channel, message in (("chat.join", joined), ("chat.leave", left), ("chat.reaction", reactions[0])):
        validate(channel, message)
        assert ben.items() <= message.items()
    assert [(each["reaction"], each["added"]) for each in reactions] == [("🎉", True), ("🎉", False)]
    assert reactions[0]["id"] == take(memory_layer, "chat.message")[0]["id"]


def test_commands_actions_shortcuts_and_views(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    take: Take,
    eventually: Eventually,
) -> None:
    start_slack(memory_layer, **transport)
    said = workspace.say("ann", "#dev", "press it")
    said.blocks = [{"type": "actions", "elements": [{"type": "button", "action_id": "go", "value": "v1"}]}]
    room, ann = workspace.room("#dev").id, workspace.person("ann").id
    workspace.command("ann", "#dev", "/deploy", "web --now")
    workspace.click("ann", said, "go", "v1")
    workspace.shortcut("ann", "help_me")
    workspace.shortcut("ann", "about_it", said)
    common = {"network": "acme", "team": workspace.team_id, "user": ann}

    [command] = take(memory_layer, "slack.command")
    validate("slack.command", command)
    assert (common | {"channel": room, "command": "/deploy", "text": "web --now"}).items() <= command.items()
    assert command["reply_channel"] == f"slack.reply.acme!{room}"
    assert command["response_url"].startswith("http://127.0.0.1")

    [action] = take(memory_layer, "slack.action")
    validate("slack.action", action)
    assert (common | {"channel": room, "action_id": "go", "value": "v1"}).items() <= action.items()

    shortcuts = take(memory_layer, "slack.shortcut", 2)
    for shortcut in shortcuts:
        validate("slack.shortcut", shortcut)
        assert common.items() <= shortcut.items()
    places = {each["callback_id"]: (each["type"], each["channel"], each["reply_channel"]) for each in shortcuts}
    assert places["help_me"] == ("shortcut", "", f"slack.reply.acme!{ann}")
    assert places["about_it"] == ("message_action", room, f"slack.reply.acme!{room}")

    view = {"id": "V1", "type": "modal", "callback_id": "form", "blocks": []}
    workspace.submit("ann", view, {"b": {"a": {"value": "x"}}})
    workspace.close_view("ann", view)
    views = take(memory_layer, "slack.view", 2)
    for each in views:
        validate("slack.view", each)
    assert {(each["type"], each["callback_id"]) for each in views} == {
        ("view_submission", "form"),
        ("view_closed", "form"),
    }
    eventually(lambda: not workspace.undelivered())
    for message in (command, action, *shortcuts, *views):
        assert workspace.verification_token not in json.dumps(message)


def test_any_event_is_a_slack_event_where_somebody_listens(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, listen: Listen, take: Take
) -> None:
    listen(memory_layer, "slack.event")
    start_slack(memory_layer)
    ann = workspace.person("ann").id
    workspace.event({"type": "app_home_opened", "user": ann, "channel": "D0000", "tab": "home", "event_ts": "1.1"})
    workspace.event({"type": "team_join", "user": workspace.person("ann").shape(), "event_ts": "1.2"})
    said = workspace.say("ann", "#dev", "hello")
    events = {each["event_type"]: each for each in take(memory_layer, "slack.event", 3)}
    for each in events.values():
        validate("slack.event", each)
    home = events["app_home_opened"]
    assert (home["channel"], home["user"], home["event"]["tab"]) == ("D0000", ann, "home")
    assert events["team_join"]["reply_channel"] == f"slack.reply.acme!{ann}"
    assert events["message"]["id"] == said.event_ids[0]
    assert events["message"]["event"]["text"] == "hello"


def test_what_nobody_listens_to_is_dropped_counted_and_acknowledged(
    transport: dict[str, bool],
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    eventually: Eventually,
) -> None:
    running = start_slack(memory_layer, **transport)
    said = workspace.say("ann", "#dev", "hello")
    eventually(lambda: workspace.delivery(said.event_ids[0]).acknowledged)
    assert running.stats["notifications_dropped"] == 2  # chat.message and slack.event
    assert memory_layer.receive(["chat.message", "slack.event"]) == (None, None)


def test_a_durable_channel_gets_it_whoever_listens(start_slack: Start, workspace: SlackWorkspace, take: Take) -> None:
    with MemoryLayer(durable=["chat.*"]) as layer:
        running = start_slack(layer)
        workspace.say("ann", "#dev", "hello")
        assert [each["text"] for each in take(layer, "chat.message")] == ["hello"]
        running.stop()


def test_our_own_words_are_not_heard_and_those_of_other_bots_are(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, listen: Listen, take: Take
) -> None:
    listen(memory_layer, "chat.message", "slack.event")
    running = start_slack(memory_layer)
    memory_layer.send(f"slack.reply.acme!{workspace.room('#dev').id}", {"text": "said by us"})
    workspace.wait(lambda: workspace.texts("#dev") == ["said by us"])
    room = workspace.room("#dev")
    other = {"type": "message", "subtype": "bot_message", "bot_id": "B0BOT", "username": "CI", "text": "built"}
    workspace.event({**other, "channel": room.id, "ts": "1700000000.000100", "event_ts": "1700000000.000100"}, room)
    [message] = take(memory_layer, "chat.message")
    assert (message["user"], message["user_id"], message["text"]) == ("CI", "B0BOT", "built")
    [event] = take(memory_layer, "slack.event")
    assert event["event"]["bot_id"] == "B0BOT"
    assert running.stats["said_sent"] == 1


def test_raw_events_come_where_they_are_asked_for(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, listen: Listen, take: Take
) -> None:
    listen(memory_layer, "chat.message")
    start_slack(memory_layer, include_raw=True)
    workspace.say("ann", "#dev", "<https://example.com|here>")
    [message] = take(memory_layer, "chat.message")
    assert message["raw"]["text"] == "<https://example.com|here>"
    validate("chat.message", message)


def test_every_room_is_ready_at_the_start_and_when_we_come(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """More rooms than fit on a page of Slack's answers; and nobody listens before the server starts."""
    names = {f"room-{number}" for number in range(230)}
    for name in names:
        workspace.room(name)
    workspace.room("elsewhere", bot=False)
    running = start_slack(memory_layer)
    eventually(lambda: len(workspace.called("users.conversations")) >= 2)
    assert running.stats["rooms_told"] == 0
    listen(memory_layer, "chat.ready")
    ready = take(memory_layer, "chat.ready", len(names))
    assert {each["channel"] for each in ready} >= names
    assert "elsewhere" not in {each["channel"] for each in ready}
    assert len({each["reply_channel"] for each in ready}) == len(ready)
    validate("chat.ready", ready[0])
    assert ready[0]["capabilities"]["threads"] is True
    workspace.wait_connected()
    workspace.join("bot", "elsewhere")
    [later] = take(memory_layer, "chat.ready")
    assert later["channel"] == "elsewhere"


def test_a_room_that_we_left_is_in_no_group(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, eventually: Eventually
) -> None:
    start_slack(memory_layer)
    room = workspace.room("#dev")
    channel = f"slack.reply.acme!{room.id}"
    memory_layer.group_add("ops", channel)
    memory_layer.send_group("ops", {"text": "to the group"})
    workspace.wait(lambda: workspace.texts("#dev") == ["to the group"])
    workspace.leave("bot", "#dev")
    eventually(lambda: memory_layer.group_channels("ops") == [])


def test_a_bot_answers_where_it_was_asked(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    work: Callable[..., Any],
) -> None:
    def answer(message: Any) -> None:
        message.reply(f"{message['user']} said {message['text']}")

    work(memory_layer, {"chat.message": answer})
    start_slack(memory_layer)
    first = workspace.say("ann", "#dev", "one")
    workspace.wait(lambda: workspace.texts("#dev") == ["ann said one"])
    workspace.say("ann", "#dev", "two", thread=first)
    workspace.wait(lambda: len(workspace.texts("#dev")) == 2)
    workspace.say("ben", "@ben", "three")
    workspace.wait(lambda: workspace.texts("@ben") == ["ben said three"])
    plain, threaded = workspace.messages("#dev")
    assert (plain.thread, threaded.thread, threaded.text) == (None, first.ts, "ann said two")


# Tokens


@pytest.mark.parametrize("which", ["bot_token", "app_token"])
def test_a_wrong_token_at_the_start_is_one_clear_line(
    start_slack: Start, memory_layer: MemoryLayer, which: str
) -> None:
    with pytest.raises(StartError, match=rf"^slack\.acme: Slack does not take {which}: invalid_auth$") as caught:
        start_slack(memory_layer, **{which: Secret("xoxb-of-nobody")})
    assert caught.value.code == 3


def test_a_token_of_the_other_kind_is_one_clear_line(
    start_slack: Start, memory_layer: MemoryLayer, workspace: SlackWorkspace
) -> None:
    workspace.fail("auth.test", "not_allowed_token_type")
    with pytest.raises(StartError, match=r"^slack\.acme: Slack does not take bot_token: not_allowed_token_type$"):
        start_slack(memory_layer)


def test_a_revoked_token_is_reported_and_hurts_no_other_workspace(
    start_slack: Start,
    slack: SlackService,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    listen(memory_layer, "chat.message")
    other = slack.add_workspace("beta")
    token = tmp_path / "token"
    token.write_text(slack.workspace.bot_token)
    one = start_slack(memory_layer, bot_token=Secret(slack.workspace.bot_token, token), check_interval=0.2)
    two = start_slack(memory_layer, other, network="beta")
    assert one.problems() == two.problems() == []
    slack.workspace.wait_connected()
    slack.workspace.revoke()
    assert eventually(one.problems) == ["slack.acme: Slack does not take bot_token: token_revoked"]
    eventually(lambda: not one.server.serves)
    assert (two.server.title, two.server.serves, two.problems()) == ("slack.beta", True, [])
    other.wait_connected()
    other.say("cai", "#general", "we go on")
    [message] = take(memory_layer, "chat.message")
    assert (message["network"], message["text"], message["user"]) == ("beta", "we go on", "cai")
    # Somebody puts another token in its place: no restart is needed.
    slack.workspace.tokens["xoxb-rotated"] = "bot"
    token.write_text("xoxb-rotated")
    eventually(lambda: not one.problems())
    slack.workspace.say("ann", "#general", "so do we")
    assert take(memory_layer, "chat.message")[0]["text"] == "so do we"


def test_a_revoked_app_token_is_reported_until_there_is_another(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, eventually: Eventually, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(workspace.app_token)
    running = start_slack(memory_layer, app_token=Secret(workspace.app_token, path))
    workspace.revoke(workspace.app_token)
    workspace.cut_connections()
    assert eventually(running.problems) == ["slack.acme: Slack does not take app_token: token_revoked"]
    workspace.tokens["xapp-rotated"] = "app"
    path.write_text("xapp-rotated")
    eventually(lambda: not running.problems())
    workspace.wait_connected()


def test_slack_being_away_at_the_start_is_no_reason_not_to_start(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    listen(memory_layer, "chat.message")
    workspace.fail("auth.test", status=503, times=2)
    running = start_slack(memory_layer, check_interval=0.1)
    eventually(lambda: not running.problems())
    workspace.wait_connected()
    workspace.say("ann", "#dev", "hello")
    assert take(memory_layer, "chat.message")[0]["text"] == "hello"


@pytest.mark.parametrize("patience", [0.5])
def test_until_slack_said_who_we_are_nothing_is_acknowledged(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """We could not tell our own words from others'; what comes by then comes again."""
    listen(memory_layer, "chat.message")
    fault = workspace.fail("auth.test", status=503, times=1000)
    running = start_slack(memory_layer, check_interval=0.1)
    assert running.problems() == ["slack.acme: Slack did not answer yet"]
    workspace.wait_connected()
    said = workspace.say("ann", "#dev", "hello")
    delivery = workspace.delivery(said.event_ids[0])
    eventually(lambda: len(delivery.attempts) > 1)
    assert not delivery.acknowledged
    fault.times = 0
    assert take(memory_layer, "chat.message")[0]["text"] == "hello"
    eventually(lambda: delivery.acknowledged)


def test_a_slack_that_does_not_know_who_we_are_tells_it_by_its_events(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer, listen: Listen, take: Take
) -> None:
    listen(memory_layer, "chat.message")
    workspace.fail("auth.test", "unknown_method", times=1000)
    start_slack(memory_layer)
    workspace.say("bot", "#dev", "an echo")
    workspace.say("ann", "#dev", "<@" + workspace.bot.id + "> hello")
    [message] = take(memory_layer, "chat.message")
    assert (message["text"], message["mention"]) == ("hello", True)


def test_what_no_app_should_be_told_is_acknowledged_and_dropped(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
) -> None:
    """Another workspace's events, and envelopes of a kind that nobody knows: they would come again for ever."""
    listen(memory_layer, "slack.event")
    running = start_slack(memory_layer)
    others = [{"team_id": "T0OTHER", "user_id": "U0", "is_bot": True}]
    payload = {"team_id": "T0OTHER", "event_id": "Ev1", "event": {"type": "x"}, "authorizations": others}
    foreign = workspace.post(Delivery("events_api", "Ev1", payload))
    unknown = workspace.post(Delivery("unheard_of", "x", {"type": "x"}))  # type: ignore[arg-type]
    eventually(lambda: foreign.acknowledged and unknown.acknowledged)
    assert (running.stats["foreign_events"], running.stats["unfit_frames"]) == (1, 1)
    workspace.event({"type": "ours", "event_ts": "1.1"})
    assert [each["event_type"] for each in take(memory_layer, "slack.event")] == ["ours"]


def test_while_the_layer_is_away_slack_keeps_what_it_tells(
    start_slack: Start,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    reactor_thread: ReactorThread,
    take: Take,
    eventually: Eventually,
) -> None:
    """Nobody can know who listens; and what is said then is not dropped for that."""
    running = start_slack(memory_layer)
    assert not reactor_thread.run(running.server.wanted, "chat.message")
    reactor_thread.run(running.server._layer_down, "out of reach")
    assert reactor_thread.run(running.server.wanted, "chat.message")
    workspace.say("ann", "#dev", "hello")
    assert [each["text"] for each in take(memory_layer, "chat.message")] == ["hello"]
    reactor_thread.run(running.server._layer_up)
    assert not reactor_thread.run(running.server.wanted, "chat.message")


def test_a_port_that_is_taken_is_one_clear_line(
    start_slack: Start, workspace: SlackWorkspace, memory_layer: MemoryLayer
) -> None:
    first = start_slack(memory_layer, http=True)
    port = first.address.rpartition(":")[2]
    with pytest.raises(StartError, match=f"port {port} on 127.0.0.1 is already in use"):
        start_slack(MemoryLayer(), http=True, endpoints=[f"tcp:{port}"])


# Nothing of it in logs


def test_neither_words_nor_tokens_are_logged(
    start_slack: Start,
    slack: SlackService,
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    listen: Listen,
    take: Take,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the most talkative logs of all libraries, through good and bad: faults, refusals and an error of ours."""
    caplog.set_level(logging.DEBUG)
    for name in ("trunkline", "slack_sdk", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    listen(memory_layer, "chat.message", "slack.event")
    words = "these-words-are-private"
    running = start_slack(memory_layer, http=True)
    workspace.say("ann", "#dev", words)
    take(memory_layer, "chat.message")
    memory_layer.send(f"slack.reply.acme!{workspace.room('#dev').id}", {"text": words})
    workspace.wait(lambda: workspace.texts("#dev") == [words])
    workspace.fail("chat.postMessage", "fatal_error", times=1)
    memory_layer.send(f"slack.reply.acme!{workspace.room('#dev').id}", {"text": words + "-again"})
    url = running.address + "/slack/events"
    for body in (words.encode(), json.dumps({"type": words}).encode(), b'{"type": "event_callback", "event": {}}'):
        assert workspace.request(url, body)[0] == 400
        assert workspace.request(url, body, {"X-Slack-Signature": "v0=" + "0" * 64})[0] == 401
    workspace.event({"type": "message", "text": words, "user": 7, "channel": {}, "event_ts": "1.0"})
    workspace.disconnect()
    workspace.cut_connections()
    eventually(lambda: running.stats["connections"] >= 2)

    def broken(*_: Any) -> Any:
        raise ValueError(words)

    monkeypatch.setattr(running.server.mapper, "drafts", broken)
    assert workspace.request(url, b'{"type": "event_callback", "event": {"type": "x"}}')[0] == 400
    said = workspace.say("ann", "#dev", words)
    eventually(lambda: running.stats["failures"] >= 2)
    assert said.text == words
    running.stop()
    secrets = (
        words,
        workspace.bot_token,
        workspace.app_token,
        workspace.signing_secret,
        workspace.verification_token,
        "ticket=",
    )
    ours = [record for record in caplog.records if not record.name.startswith("aiohttp.server")]
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.exc_info or ''}" for record in ours)
    assert "acme" in logged
    for secret in secrets:
        assert secret not in logged
        assert secret not in caplog.text


def test_the_time_that_repetitions_are_recognised_covers_slacks_last() -> None:
    assert server_module.WINDOW > 60 + 300 + 3 * 3

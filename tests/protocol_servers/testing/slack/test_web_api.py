"""slack_sdk's clients work with the Web API of the Slack in memory, and see what its documentation says."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trunkline.protocol_servers.testing import SlackService, SlackWorkspace


def refused(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        call(*args, **arguments)
    assert caught.value.response["ok"] is False
    return str(caught.value.response["error"])


def request(
    service: SlackService, method: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    with urllib.request.urlopen(urllib.request.Request(service.api_url + method, body, headers)) as answer:
        return answer.status, json.loads(answer.read())


def test_who_we_are(client: WebClient, workspace: SlackWorkspace) -> None:
    answer = client.auth_test()
    assert (answer["user_id"], answer["team_id"]) == (workspace.bot.id, workspace.team_id)
    assert answer["bot_id"] == workspace.bot.bot_id
    assert client.team_info()["team"]["domain"] == "acme"
    assert client.bots_info(bot=answer["bot_id"])["bot"]["user_id"] == workspace.bot.id
    assert refused(client.bots_info, bot="B0") == "bot_not_found"


def test_messages(client: WebClient, workspace: SlackWorkspace) -> None:
    room = workspace.room("general", "ann")
    posted = client.chat_postMessage(channel="#general", text="hello")
    assert posted["channel"] == room.id
    assert posted["message"]["bot_id"] == workspace.bot.bot_id
    reply = client.chat_postMessage(channel=room.id, text="there", thread_ts=posted["ts"], reply_broadcast=True)
    assert reply["message"]["subtype"] == "thread_broadcast"
    assert client.chat_update(channel=room.id, ts=posted["ts"], text="hallo")["message"]["edited"]["ts"]
    assert workspace.texts("general") == ["hallo", "there"]
    assert "archives" in client.chat_getPermalink(channel=room.id, message_ts=posted["ts"])["permalink"]
    client.chat_delete(channel=room.id, ts=reply["ts"])
    assert workspace.texts("general") == ["hallo"]
    client.chat_meMessage(channel=room.id, text="waves")
    assert workspace.messages("general")[-1].subtype == "me_message"


def test_messages_that_one_person_sees(client: WebClient, workspace: SlackWorkspace) -> None:
    room, ann = workspace.room("general", "ann"), workspace.person("ann")
    client.chat_postEphemeral(channel=room.id, user=ann.id, text="psst")
    assert [(said.text, said.seen_by) for said in workspace.messages("general")] == [("psst", ann.id)]
    assert client.conversations_history(channel=room.id)["messages"] == []
    stranger = workspace.person("bob")
    assert refused(client.chat_postEphemeral, channel=room.id, user=stranger.id, text="x") == "user_not_in_channel"
    ts = workspace.messages("general")[0].ts
    assert refused(client.chat_update, channel=room.id, ts=ts, text="x") == "cant_update_message"
    assert refused(client.chat_delete, channel=room.id, ts=ts) == "cant_delete_message"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "C0", "text": "x"}, "channel_not_found"),
        ({"channel": "#elsewhere", "text": "x"}, "not_in_channel"),
        ({"channel": "#attic", "text": "x"}, "is_archived"),
        ({"channel": "#general", "text": ""}, "no_text"),
        ({"channel": "#general", "text": "x", "thread_ts": "1.2"}, "thread_not_found"),
        ({"channel": "#general", "text": "x", "blocks": "{"}, "invalid_blocks"),
        ({"channel": "#general", "text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
    ],
)
def test_what_cannot_be_said(
    client: WebClient, workspace: SlackWorkspace, arguments: dict[str, Any], error: str
) -> None:
    workspace.room("general")
    workspace.room("elsewhere", bot=False)
    workspace.room("attic").archived = True
    assert refused(client.chat_postMessage, **arguments) == error
    assert workspace.called("chat.postMessage")[-1].error == error


def test_long_texts(client: WebClient, workspace: SlackWorkspace) -> None:
    room = workspace.room("general")
    answer = client.chat_postMessage(channel=room.id, text="x" * 40_001)
    assert len(answer["message"]["text"]) == 40_000
    assert answer["response_metadata"]["warnings"] == ["message_truncated"]
    assert refused(client.chat_update, channel=room.id, ts=answer["ts"], text="x" * 4001) == "msg_too_long"


def test_reactions(client: WebClient, workspace: SlackWorkspace) -> None:
    said = workspace.say("ann", "general", "tea?")
    where: dict[str, Any] = {"channel": said.room, "timestamp": said.ts}
    client.reactions_add(name="+1", **where)
    assert said.reactions == {"+1": [workspace.bot.id]}
    assert client.reactions_get(**where)["message"]["reactions"][0]["count"] == 1
    assert refused(client.reactions_add, name="+1", **where) == "already_reacted"
    client.reactions_remove(name="+1", **where)
    assert refused(client.reactions_remove, name="+1", **where) == "no_reaction"
    assert refused(client.reactions_add, name="no emoji!", **where) == "invalid_name"
    assert refused(client.reactions_add, name="+1", channel=said.room, timestamp="1.2") == "message_not_found"


def test_rooms(client: WebClient, workspace: SlackWorkspace) -> None:
    general = workspace.room("general", "ann", "bob")
    workspace.room("secret", "ann", private=True, bot=False)
    workspace.room("attic").archived = True
    names = [each["name"] for each in client.conversations_list(types="public_channel,private_channel")["channels"]]
    assert names == ["general", "attic"]
    assert [each["name"] for each in client.conversations_list(exclude_archived=True)["channels"]] == ["general"]
    assert client.conversations_info(channel=general.id)["channel"]["num_members"] == 3
    secret = workspace.room("secret")
    assert refused(client.conversations_info, channel=secret.id) == "channel_not_found"
    assert refused(client.conversations_list, types="caves") == "invalid_types"
    members = client.conversations_members(channel=general.id)["members"]
    assert members == [workspace.person("ann").id, workspace.person("bob").id, workspace.bot.id]
    made = client.conversations_create(name="new")["channel"]["id"]
    assert refused(client.conversations_create, name="new") == "name_taken"
    client.conversations_invite(channel=made, users=workspace.person("ann").id)
    client.conversations_leave(channel=made)
    assert client.conversations_leave(channel=made)["not_in_channel"] is True
    assert client.conversations_join(channel=made)["channel"]["is_member"] is True
    assert [each["name"] for each in client.users_conversations()["channels"]] == ["general", "attic", "new"]


def test_private_chats(client: WebClient, workspace: SlackWorkspace) -> None:
    ann, bob = workspace.person("ann"), workspace.person("bob")
    room = client.conversations_open(users=ann.id, return_im=True)["channel"]
    assert (room["is_im"], room["user"]) == (True, ann.id)
    assert client.conversations_open(users=[ann.id])["channel"]["id"] == room["id"] == workspace.room("@ann").id
    client.chat_postMessage(channel=ann.id, text="between us")
    assert workspace.texts("@ann") == ["between us"]
    several = client.conversations_open(users=[ann.id, bob.id], return_im=True)["channel"]
    assert several["is_mpim"] is True
    assert refused(client.conversations_open, users="U0") == "user_not_found"


def test_history_and_threads(client: WebClient, workspace: SlackWorkspace) -> None:
    first = workspace.say("ann", "general", "one")
    for word in ("two", "three"):
        workspace.say("bob", "general", word, thread=first)
    workspace.say("ann", "general", "four")
    client.chat_postMessage(channel=first.room, text="five", metadata={"event_type": "a", "event_payload": {"id": 1}})
    history = client.conversations_history(channel=first.room)["messages"]
    assert [each["text"] for each in history] == ["five", "four", "one"]
    assert (history[2]["reply_count"], history[2]["latest_reply"][:10]) == (2, first.ts[:10])
    assert "metadata" not in history[0]
    marked = client.conversations_history(channel=first.room, include_all_metadata=True, limit=1)["messages"]
    assert marked[0]["metadata"]["event_payload"] == {"id": 1}
    replies = client.conversations_replies(channel=first.room, ts=first.ts)["messages"]
    assert [each["text"] for each in replies] == ["one", "two", "three"]
    assert replies[1]["parent_user_id"] == first.user
    since = client.conversations_history(channel=first.room, oldest=first.ts)["messages"]
    assert [each["text"] for each in since] == ["five", "four"]
    inclusive = client.conversations_history(channel=first.room, oldest=first.ts, latest=first.ts, inclusive=True)
    assert [each["text"] for each in inclusive["messages"]] == ["one"]
    assert refused(client.conversations_history, channel=first.room, oldest="x") == "invalid_ts_oldest"


def test_people(client: WebClient, workspace: SlackWorkspace) -> None:
    ann = workspace.person("ann", real_name="Ann Smith", display_name="annie")
    assert client.users_info(user=ann.id)["user"]["profile"]["display_name"] == "annie"
    assert client.users_lookupByEmail(email="ann@example.com")["user"]["id"] == ann.id
    assert refused(client.users_info, user="U0") == "user_not_found"
    assert refused(client.users_lookupByEmail, email="x@example.com") == "users_not_found"
    workspace.state.emoji["parrot"] = "https://emoji.example/parrot.gif"
    assert client.emoji_list()["emoji"] == {"parrot": "https://emoji.example/parrot.gif"}


def test_pages(client: WebClient, workspace: SlackWorkspace) -> None:
    for number in range(5):
        workspace.person(f"p{number}")
    names = [member["name"] for page in client.users_list(limit=2) for member in page["members"]]
    assert names == ["bot", "p0", "p1", "p2", "p3", "p4"]
    assert [call.arguments["limit"] for call in workspace.called("users.list")] == ["2"] * 3
    assert refused(client.users_list, cursor="nonsense") == "invalid_cursor"
    assert refused(client.users_list, limit=1001) == "invalid_limit"
    assert refused(client.users_list, limit="many") == "invalid_arguments"


def test_files(client: WebClient, workspace: SlackWorkspace) -> None:
    room = workspace.room("general")
    answer = client.files_upload_v2(
        channel=room.id, file_uploads=[{"filename": "a.txt", "content": "one"}, {"filename": "b.bin", "content": b"\0"}]
    )
    said = workspace.messages("general")[0]
    assert [(each.name, each.content, each.mimetype) for each in said.files] == [
        ("a.txt", b"one", "text/plain"),
        ("b.bin", b"\0", "application/octet-stream"),
    ]
    shape = client.files_info(file=answer["files"][0]["id"])["file"]
    assert (shape["size"], shape["channels"]) == (3, [room.id])
    private = urllib.request.Request(shape["url_private"], headers={"Authorization": f"Bearer {workspace.bot_token}"})
    assert urllib.request.urlopen(private).read() == b"one"
    assert b"Sign in" in urllib.request.urlopen(shape["url_private"]).read()
    assert refused(client.files_info, file="F0") == "file_not_found"
    assert refused(client.files_completeUploadExternal, files=[{"id": "F0"}]) == "file_not_found"
    assert refused(client.files_getUploadURLExternal, filename="a", length=0) == "invalid_arguments"


def test_an_upload_by_form_and_one_that_is_too_short(client: WebClient, workspace: SlackWorkspace) -> None:
    place = client.files_getUploadURLExternal(filename="a.txt", length=3)
    form = b'--x\r\nContent-Disposition: form-data; name="filename"; filename="a.txt"\r\n\r\none\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    urllib.request.urlopen(urllib.request.Request(place["upload_url"], form, headers))
    assert workspace.state.files[place["file_id"]].content == b"one"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(place["upload_url"], b"no"))
    unsent = client.files_getUploadURLExternal(filename="b.txt", length=3)["file_id"]
    assert refused(client.files_completeUploadExternal, files=[{"id": unsent}]) == "file_not_found"


def test_views(client: WebClient, workspace: SlackWorkspace) -> None:
    content = {"type": "modal", "callback_id": "form", "title": {"type": "plain_text", "text": "Form"}, "blocks": []}
    trigger = workspace.new_trigger()
    view = client.views_open(trigger_id=trigger, view=content)["view"]
    assert workspace.views[view["id"]]["callback_id"] == "form"
    assert refused(client.views_open, trigger_id=trigger, view=content) == "exchanged_trigger_id"
    assert refused(client.views_open, trigger_id="1.2", view=content) == "invalid_trigger_id"
    workspace.trigger_lifetime = -1
    assert refused(client.views_open, trigger_id=workspace.new_trigger(), view=content) == "expired_trigger_id"
    changed = client.views_update(view_id=view["id"], hash=view["hash"], view={**content, "callback_id": "two"})["view"]
    assert (changed["id"], changed["callback_id"]) == (view["id"], "two")
    assert refused(client.views_update, view_id=view["id"], hash=view["hash"], view=content) == "hash_conflict"
    assert refused(client.views_update, view_id="V0", view=content) == "not_found"
    ann = workspace.person("ann")
    home = client.views_publish(user_id=ann.id, view={"type": "home", "blocks": []})["view"]
    assert workspace.published[ann.id]["id"] == home["id"]
    assert refused(client.views_publish, user_id="U0", view={"type": "home"}) == "user_not_found"


def test_any_other_method_is_recorded(client: WebClient, workspace: SlackWorkspace) -> None:
    assert client.pins_add(channel="C1", timestamp="1.2").data == {"ok": True}
    assert workspace.called("pins.add")[0].arguments == {"channel": "C1", "timestamp": "1.2"}
    workspace.answer("dnd.info", {"ok": True, "dnd_enabled": False})
    assert client.dnd_info()["dnd_enabled"] is False


def test_tokens(service: SlackService, workspace: SlackWorkspace, client: WebClient) -> None:
    assert refused(WebClient(base_url=service.api_url).auth_test) == "not_authed"
    assert refused(WebClient("xoxb-wrong", base_url=service.api_url).auth_test) == "invalid_auth"
    assert refused(client.apps_connections_open, app_token=workspace.bot_token) == "not_allowed_token_type"
    assert client.apps_connections_open(app_token=workspace.app_token)["url"].startswith("ws://127.0.0.1:")
    workspace.scopes = {"chat:write"}
    answer = client.chat_postMessage(channel=workspace.room("general").id, text="x")
    assert answer.headers["X-OAuth-Scopes"] == "chat:write"
    with pytest.raises(SlackApiError) as caught:
        client.users_list()
    assert caught.value.response["error"] == "missing_scope"
    assert (caught.value.response["needed"], caught.value.response["provided"]) == ("users:read", "chat:write")
    workspace.revoke()
    assert refused(client.auth_test) == "token_revoked"


def test_several_workspaces(service: SlackService, workspace: SlackWorkspace, client: WebClient) -> None:
    other = service.add_workspace("other")
    theirs = WebClient(other.bot_token, base_url=service.api_url)
    client.chat_postMessage(channel=workspace.room("general").id, text="ours")
    theirs.chat_postMessage(channel=other.room("general").id, text="theirs")
    assert (workspace.texts("general"), other.texts("general")) == (["ours"], ["theirs"])
    assert refused(theirs.conversations_info, channel=workspace.room("general").id) == "channel_not_found"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_forms_and_json(service: SlackService, workspace: SlackWorkspace, content_type: str) -> None:
    arguments = {"channel": "#general", "text": "ä"}
    as_form = urlencode({"token": workspace.bot_token, **arguments})
    body = json.dumps(arguments) if "json" in content_type else as_form
    workspace.room("general")
    headers = {"Content-Type": content_type}
    if "json" in content_type:
        headers["Authorization"] = f"Bearer {workspace.bot_token}"
    status, answer = request(service, "chat.postMessage", body.encode(), headers)
    assert (status, answer["ok"]) == (200, True)
    assert workspace.texts("general") == ["ä"]
    assert "token" not in workspace.calls[-1].arguments


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_bad_json(service: SlackService, workspace: SlackWorkspace, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {workspace.bot_token}"}
    assert request(service, "chat.postMessage", body, headers)[1] == {"ok": False, "error": "invalid_json"}


def test_the_async_client(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("general")

    async def calling() -> None:
        client = AsyncWebClient(workspace.bot_token, base_url=service.api_url)
        posted = await client.chat_postMessage(channel=room.id, text="hello")
        await client.chat_update(channel=room.id, ts=posted["ts"], text="hallo", blocks=[{"type": "divider"}])
        await client.files_upload_v2(channel=room.id, filename="a.txt", content="one", initial_comment="see")
        async for page in await client.conversations_history(channel=room.id, limit=1):
            assert len(page["messages"]) == 1

    asyncio.run(calling())
    assert [(said.text, [each.content for each in said.files]) for said in workspace.messages("general")] == [
        ("hallo", []),
        ("see", [b"one"]),
    ]


@pytest.mark.parametrize(
    ("arguments", "pings"),
    [
        ({"text": "@here &lt;!channel&gt; ann"}, []),
        ({"text": "<!date^1^{date}|then> <https://x.test/>"}, []),
        ({"text": "<!here> and <@U0123>"}, ["<!here>", "<@U0123>"]),
        ({"text": "<!subteam^S1|@ops>"}, ["<!subteam^S1|@ops>"]),
        ({"text": "@ann ann@x.test", "link_names": True}, ["@ann"]),
        ({"text": "@ann", "parse": "full"}, ["@ann"]),
        ({"text": "", "attachments": [{"text": "<!everyone>"}]}, ["<!everyone>"]),
        (
            {"text": "", "blocks": [{"type": "rich_text", "elements": [{"type": "user", "user_id": "U1"}]}]},
            ["<@U1>"],
        ),
    ],
)
def test_whom_a_message_calls(
    client: WebClient, workspace: SlackWorkspace, arguments: dict[str, Any], pings: list[str]
) -> None:
    workspace.room("general")
    client.chat_postMessage(channel="#general", **arguments)
    assert workspace.messages("general")[0].pings == pings

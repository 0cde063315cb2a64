"""The formats are what the design's page of messages says, key by key, answer by answer."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.message_formats import Format, formats, get, names

# key, or key=default; the types are checked by the examples of test_validation.py.
KEYS = {
    "http.request": "reply_channel http_version method scheme='http' path query_string root_path='' headers body=b'' "
    "body_channel=None client=None server=None",
    "http.request.body?": "content closed=False more_content=False",
    "http.disconnect": "reply_channel path",
    "websocket.connect": "reply_channel scheme='ws' path query_string=b'' root_path='' headers client=None server=None "
    "order=0",
    "websocket.receive": "reply_channel path text=None bytes=None order",
    "websocket.disconnect": "reply_channel path code order",
    "chat.ready": "reply_channel service network channel capabilities",
    "chat.message": "reply_channel service network channel user user_id text direct=False mention=False thread=None id "
    "time edited=False replayed=False files=[] raw=None",
    "chat.join": "reply_channel service network channel user user_id",
    "chat.leave": "reply_channel service network channel user user_id reason=None",
    "chat.reaction": "reply_channel service network channel user user_id reaction id added",
    "chat.receipt": "status ids=[] error=None retry_after=None",
    "irc-client.connect": "reply_channel network server nick",
    "irc-client.disconnect": "reply_channel network server reason",
    "irc-client.join": "reply_channel network server channel",
    "irc-client.part": "reply_channel network server user channel reason",
    "irc-client.quit": "reply_channel network server user reason",
    "irc-client.nick": "reply_channel network server user new_nick",
    "irc-client.kick": "reply_channel network server user channel target reason",
    "irc-client.topic": "reply_channel network server user channel topic",
    "irc-client.mode": "reply_channel network server user target modes",
    "irc-client.invite": "reply_channel network server user channel",
    "irc-client.receive": "reply_channel network server user type channel body tags={}",
    "irc-client.numeric": "reply_channel network server command params",
    "slack.event": "reply_channel network team channel user id event_type event",
    "slack.command": "reply_channel network team channel user id command text trigger_id response_url",
    "slack.action": "reply_channel network team channel user id action_id block_id value=None payload",
    "slack.shortcut": "reply_channel network team channel user id callback_id trigger_id payload type",
    "slack.view": "reply_channel network team channel user id callback_id trigger_id payload type",
    "email.recipient": "reply_channel address from=None client helo",
    "email.receive": "reply_channel id address tag=None from=None to headers header_list subject='' message_id='' "
    "text='' reply_to_text html=None content attachments=[] size client helo tls=False auth_user=None "
    "authentication={} auto_submitted=False bounce=None defects=[]",
    "email.body?": "content closed=False more_content=False",
    "email.send": "id=None to from subject='' text=None html=None headers={} cc=[] bcc=[] reply_to=[] attachments=[] "
    "in_reply_to=None raw=None",
    "email.delivered": "id address code text permanent",
    "email.failed": "id address code text permanent",
    "udp.receive": "reply_channel data client server=None",
    "asgi.delay": "channel delay content id=None repeat=None cron=None",
}

REPLY_KEYS = {
    "http reply": "status=None headers=[] content=b'' more_content=False",
    "websocket reply": "accept=None text=None bytes=None close=False subprotocol=None",
    "chat reply": "text thread='same' action=False notice=False reaction=None id=None edit=None files=[] blocks=None "
    "user=None notify=False overflow='split' expires=None receipt_channel=None",
    "slack reply": "text=None thread='same' action=False notice=False reaction=None id=None edit=None files=[] "
    "blocks=None user=None notify=False overflow='split' expires=None receipt_channel=None method=None arguments={} "
    "result_channel=None",
    "irc-client reply": "type channel=None body=None key=None user=None",
    "email reply": "accept=True code=None text=None",
    "udp reply": "data",
}

REPLIES = {
    "http.request": "http reply",
    "websocket.connect": "websocket reply",
    "websocket.receive": "websocket reply",
    "chat.ready": "chat reply",
    "chat.message": "chat reply",
    "chat.join": "chat reply",
    "chat.leave": "chat reply",
    "chat.reaction": "chat reply",
    "email.recipient": "email reply",
    "email.receive": "email reply",
    "udp.receive": "udp reply",
    **{name: "irc-client reply" for name in KEYS if name.startswith("irc-client.")},
    **{name: "slack reply" for name in KEYS if name.startswith("slack.")},
}


def written(format: Format) -> str:
    return " ".join(field.name if field.required else f"{field.name}={field.default!r}" for field in format.fields)


def known(name: str) -> Format:
    format = get(name)
    assert format is not None
    return format


def test_every_format_of_the_contract_is_there() -> None:
    assert sorted(names()) == sorted(KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_keys_and_defaults(name: str) -> None:
    assert written(known(name)) == KEYS[name]


@pytest.mark.parametrize("name", KEYS)
def test_replies(name: str) -> None:
    reply = known(name).reply
    assert (reply.name if reply else None) == REPLIES.get(name)
    if reply is not None:
        assert written(reply) == REPLY_KEYS[reply.name]


def answers(attribute: str) -> dict[str, Any]:
    return {format.name: getattr(format, attribute) for format in formats() if getattr(format, attribute) is not None}


def test_default_answers_accept_sockets_and_mail_and_say_nothing_else() -> None:
    accept = {"accept": True}
    assert answers("default") == {
        "websocket.connect": accept,
        "email.recipient": accept,
        "email.receive": accept,
    }


def test_failure_answers() -> None:
    failures = answers("failure")
    assert failures.pop("http.request")["status"] == 500
    for name in ("email.recipient", "email.receive"):
        answer = failures.pop(name)
        assert (answer["accept"], answer["code"]) == (False, 451)
        assert answer["text"].startswith("4.3.0 ")
    assert failures == {"websocket.connect": {"close": 1011}, "websocket.receive": {"close": 1011}}


def test_unrouted_answers() -> None:
    unrouted = answers("unrouted")
    assert unrouted.pop("http.request")["status"] == 404
    for name in ("email.recipient", "email.receive"):
        answer = unrouted.pop(name)
        assert (answer["accept"], answer["code"]) == (False, 550)
        assert answer["text"].startswith("5.1.1 ")
    assert unrouted == {"websocket.connect": {"close": True}}


def test_a_mail_that_another_worker_holds_is_put_off() -> None:
    assert {name: answer["code"] for name, answer in answers("busy").items()} == {"email.receive": 451}
    assert answers("claim") == {"email.receive": "id"}


def test_what_a_worker_listens_to_together() -> None:
    sockets = ("websocket.connect", "websocket.receive", "websocket.disconnect")
    assert {format.name: format.together for format in formats() if format.together} == {
        **dict.fromkeys(sockets, sockets),
        "email.receive": ("email.recipient",),
    }


def test_whose_routes_judge_what_no_route_takes() -> None:
    assert answers("judged_by") == {"email.recipient": "email.receive", "websocket.connect": "websocket.receive"}


def flagged(attribute: str) -> set[str]:
    return {format.name for format in formats() if getattr(format, attribute)}


def test_flags() -> None:
    hidden = {"email.recipient", "email.send", "asgi.delay", "http.request.body?", "email.body?"}
    assert flagged("published") == set(KEYS) - hidden
    assert flagged("notification") == {
        "http.disconnect",
        "websocket.disconnect",
        "chat.ready",
        "chat.message",
        "chat.join",
        "chat.leave",
        "chat.reaction",
        "chat.receipt",
        *(name for name in KEYS if name.startswith("irc-client.")),
        "slack.event",
        "email.delivered",
        "email.failed",
    }
    assert flagged("sender_repeats") == {"email.recipient", "email.receive"}
    assert flagged("needs_listener") == {"email.send"}
    assert flagged("compose") == set(REPLIES) - {"email.recipient"}

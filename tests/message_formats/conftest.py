"""Messages that every test of the formats starts from."""

from __future__ import annotations

import copy
from http import HTTPStatus
from typing import Any

import pytest

HEADERS = [[b"host", b"example.org"], [b"cookie", b"a=1"], [b"cookie", b"b=2"]]

# One full message of each format; of those keys that exclude one another, one.
SLACK = {
    "reply_channel": "slack.reply.acme!C024BE91L",
    "network": "acme",
    "team": "T0ABCDEFG",
    "channel": "C024BE91L",
    "user": "U024BE7LH",
    "id": "Ev0PV52K21",
}
IRC = {"reply_channel": "irc.reply.libera!", "network": "libera", "server": ["irc.libera.chat", 6697]}

EXAMPLES: dict[str, dict[str, Any]] = {
    "http.request": {
        "reply_channel": "http.reply.1!2",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/ä\n",
        "query_string": b"a=%20",
        "root_path": "/app",
        "headers": HEADERS,
        "body": b"\xff",
        "body_channel": "http.request.body?x",
        "client": ["127.0.0.1", 1234],
        "server": ["127.0.0.1", 80],
    },
    "http.request.body?": {"content": b"x" * 65536, "closed": False, "more_content": True},
    "http.disconnect": {"reply_channel": "http.reply.1!2", "path": "/"},
    "websocket.connect": {
        "reply_channel": "http.reply.1!2",
        "scheme": "wss",
        "path": "/chat",
        "query_string": b"",
        "root_path": "",
        "headers": HEADERS,
        "client": ["127.0.0.1", 1234],
        "server": ["127.0.0.1", 80],
        "order": 0,
    },
    "websocket.receive": {"reply_channel": "http.reply.1!2", "path": "/chat", "text": "", "order": 1},
    "websocket.disconnect": {"reply_channel": "http.reply.1!2", "path": "/chat", "code": 1006, "order": 2},
    "chat.ready": {
        "reply_channel": "irc.reply.libera!x",
        "service": "irc",
        "network": "libera",
        "channel": "#dev",
        "capabilities": {
            "threads": False,
            "reactions": False,
            "edits": False,
            "files": False,
            "markup": True,
            "max_bytes": 400,
        },
    },
    "chat.message": {
        "reply_channel": "slack.reply.acme!x",
        "service": "slack",
        "network": "acme",
        "channel": "general",
        "user": "Ada",
        "user_id": "U1",
        "text": "hello\n@bob",
        "direct": True,
        "mention": True,
        "thread": "171.2",
        "id": "171.3",
        "time": 171.25,
        "edited": True,
        "replayed": True,
        "files": [{"name": "a.txt", "mimetype": "text/plain", "size": 0, "url": "https://x/"}],
        "raw": {"type": "message", "n": [1, None, 2.5, b"x", True]},
    },
    "chat.join": {
        "reply_channel": "irc.reply.libera!x",
        "service": "irc",
        "network": "libera",
        "channel": "#dev",
        "user": "ada",
        "user_id": "ada!a@b",
    },
    "chat.leave": {
        "reply_channel": "irc.reply.libera!x",
        "service": "irc",
        "network": "libera",
        "channel": "#dev",
        "user": "ada",
        "user_id": "ada!a@b",
        "reason": "bye",
    },
    "chat.reaction": {
        "reply_channel": "slack.reply.acme!x",
        "service": "slack",
        "network": "acme",
        "channel": "general",
        "user": "Ada",
        "user_id": "U1",
        "reaction": "eyes",
        "id": "171.3",
        "added": False,
    },
    "chat.receipt": {"status": "split", "ids": ["1", "2"], "error": "none", "retry_after": 1},
    "irc-client.connect": {**IRC, "nick": "bot"},
    "irc-client.disconnect": {**IRC, "reason": "bye"},
    "irc-client.join": {**IRC, "channel": "#dev"},
    "irc-client.part": {**IRC, "user": "ada!a@example.com", "channel": "#dev", "reason": "bye"},
    "irc-client.quit": {**IRC, "user": "ada!a@example.com", "reason": "bye"},
    "irc-client.nick": {**IRC, "user": "ada!a@example.com", "new_nick": "eve"},
    "irc-client.kick": {**IRC, "user": "ada!a@example.com", "channel": "#dev", "target": "bob", "reason": "bye"},
    "irc-client.topic": {**IRC, "user": "ada!a@example.com", "channel": "#dev", "topic": "Tea"},
    "irc-client.mode": {**IRC, "user": "ada!a@example.com", "target": "bob", "modes": "+o ada"},
    "irc-client.invite": {**IRC, "user": "ada!a@example.com", "channel": "#dev"},
    "irc-client.receive": {
        **IRC,
        "user": "ada!a@example.com",
        "type": "action",
        "channel": "#dev",
        "body": "waves",
        "tags": {"msgid": "1"},
    },
    "irc-client.numeric": {**IRC, "command": "433", "params": ["bot", "x", "Nickname is already in use"]},
    "slack.event": {**SLACK, "event_type": "app_home_opened", "event": {"type": "app_home_opened", "tab": "home"}},
    "slack.command": {
        **SLACK,
        "command": "/deploy",
        "text": "now",
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "response_url": "https://hooks.slack.com/commands/1234/5678",
    },
    "slack.action": {
        **SLACK,
        "action_id": "approve",
        "block_id": "b1",
        "value": ["a", "b"],
        "payload": {"type": "block_actions", "actions": [{"action_id": "approve"}]},
    },
    "slack.shortcut": {
        **SLACK,
        "callback_id": "deploy",
        "trigger_id": "1.2.3",
        "payload": {"type": "shortcut"},
        "type": "shortcut",
    },
    "slack.view": {
        **SLACK,
        "channel": "",
        "callback_id": "deploy",
        "trigger_id": "",
        "payload": {"type": "view_closed"},
        "type": "view_closed",
    },
    "email.recipient": {
        "reply_channel": "smtp.reply.1!2",
        "address": "support+7@example.org",
        "from": "ada@example.com",
        "client": ["127.0.0.1", 1234],
        "helo": "mx.example.com",
    },
    "email.receive": {
        "reply_channel": "smtp.reply.1!2",
        "id": "0f",
        "address": "support+7@example.org",
        "tag": "7",
        "from": "ada@example.com",
        "to": ["support+7@example.org"],
        "headers": {"subject": "Hello", "$x": "y"},
        "header_list": [["Subject", "Hello"], ["$x", "y"]],
        "subject": "Hello",
        "message_id": "<1@example.com>",
        "text": "Hi\r\n",
        "reply_to_text": "Hi",
        "html": "<p>Hi</p>",
        "content": {
            "content-type": "multipart/mixed",
            "headers": {"content-type": "multipart/mixed; boundary=x"},
            "parts": [
                {"content-type": "text/plain", "body": b"Hi\r\n", "charset": "utf-8", "size": 4},
                {
                    "content-type": "multipart/related",
                    "parts": [
                        {
                            "content-type": "image/png",
                            "body_channel": "email.body?1",
                            "filename": "a.png",
                            "disposition": "attachment",
                            "content_id": "<1>",
                            "size": 100000,
                        },
                        {"content-type": "image/png", "body_key": "k", "size": 100000},
                    ],
                },
            ],
        },
        "attachments": [{"filename": "a.png", "content-type": "image/png", "size": 100000, "path": [1, 0]}],
        "size": 100400,
        "client": ["127.0.0.1", 1234],
        "helo": "mx.example.com",
        "tls": True,
        "auth_user": "ada",
        "authentication": {
            "spf": {"result": "pass", "domain": "example.com", "identity": "mailfrom"},
            "dkim": {"result": "fail", "signatures": [{"result": "fail", "reason": "the body was altered"}]},
            "dmarc": {"result": "pass", "domain": "example.com", "policy": "reject"},
        },
        "auto_submitted": False,
        "bounce": {"recipients": []},
        "defects": ["no date"],
    },
    "email.body?": {"content": b"", "closed": True},
    "email.send": {
        "id": "m1",
        "to": ["ada@example.com"],
        "from": "support@example.org",
        "subject": "Re: Hello",
        "text": "Hi\n",
        "html": "<p>Hi</p>",
        "headers": {"Auto-Submitted": "auto-replied"},
        "cc": ["bob@example.com"],
        "bcc": ["carl@example.com"],
        "reply_to": ["support+7@example.org"],
        "attachments": [
            {"filename": "a", "content-type": "text/plain", "content": b"x"},
            {"filename": "b", "content-type": "text/plain", "body_key": "k"},
        ],
        "in_reply_to": "<1@example.com>",
    },
    "email.delivered": {"id": "m1", "address": "a@b", "code": 250, "text": "2.0.0 Ok", "permanent": True},
    "email.failed": {"id": "m1", "address": "a@b", "code": 450, "text": "4.2.1 Later", "permanent": False},
    "udp.receive": {"reply_channel": "udp.reply.1!2", "data": b"", "client": ["::1", 1], "server": ["::1", 2]},
    "asgi.delay": {
        "channel": "jobs",
        "delay": 0,
        "content": {"a": [1, {"$b": b"c"}]},
        "id": "j",
        "repeat": 1,
        "cron": "0 4 * * *",
    },
}

REPLY_EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "http.request": [
        {"status": 200, "headers": [[b"Content-Type", b"text/plain"]], "content": b"x", "more_content": True},
        {"status": 204},
        {"status": HTTPStatus.NOT_FOUND, "headers": ((b"a", b""),)},
        {"content": b""},
        {"content": b"x", "status": None, "headers": None, "more_content": None},
    ],
    "websocket.connect": [
        {},
        {"accept": True, "subprotocol": "chat.v1"},
        {"accept": False},
        {"text": ""},
        {"text": None, "bytes": b"", "close": 1000},
        {"close": True},
        {"close": False},
        {"close": 4999},
        {"close": 1014},
    ],
    "chat.message": [
        {"text": "hi"},
        {
            "text": "hi\nthere",
            "thread": "new",
            "action": True,
            "notice": True,
            "reaction": "eyes",
            "id": "1",
            "edit": "2",
            "files": [
                {"name": "a", "mimetype": "text/plain", "content": b""},
                {"name": "b", "mimetype": "text/plain", "body_key": "k"},
            ],
            "blocks": [{"type": "divider"}],
            "user": "ada",
            "notify": True,
            "overflow": "file",
            "expires": 1.5,
            "receipt_channel": "receipts",
        },
    ],
    "slack.command": [
        {"text": "deploying"},
        {"text": "", "reaction": "eyes", "id": "C024BE91L:1700000000.000100"},
        {"text": "only you see this", "user": "U024BE7LH", "blocks": [{"type": "divider"}]},
        {"method": "pins.list"},
        {
            "method": "views.open",
            "arguments": {"trigger_id": "1", "view": {"type": "modal"}},
            "result_channel": "views",
            "expires": 1.5,
            "receipt_channel": "receipts",
        },
    ],
    "irc-client.receive": [
        {"type": "quit"},
        {"type": "join", "channel": "#dev", "key": "secret"},
        {"type": "kick", "channel": "#dev", "user": "eve", "body": "out"},
        {"type": "raw", "body": "WHOIS ada"},
    ],
    "email.receive": [{}, {"accept": True, "code": 250, "text": "2.0.0 Ok"}, {"accept": False, "code": 599}],
    "udp.receive": [{"data": b"\x00"}],
}


@pytest.fixture
def examples() -> dict[str, dict[str, Any]]:
    """One full message of each format, by its name."""
    return copy.deepcopy(EXAMPLES)


@pytest.fixture
def reply_examples() -> dict[str, list[dict[str, Any]]]:
    """Messages that may be sent in reply, by the name of the format that they reply to."""
    return copy.deepcopy(REPLY_EXAMPLES)

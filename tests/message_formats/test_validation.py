"""What each format takes and refuses, and what the refusal says."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from trunkline.message_formats import Format, FormatError, get, names, validate

Examples = dict[str, dict[str, Any]]


def known(name: str, reply: bool = False) -> Format:
    format = get(name)
    assert format is not None
    if not reply:
        return format
    assert format.reply is not None
    return format.reply


def refusal(format: Format, message: Any, **options: Any) -> FormatError:
    with pytest.raises(FormatError) as caught:
        format.validate(message, **options)
    return caught.value


@pytest.mark.parametrize("name", names())
def test_full_messages_are_taken(name: str, examples: Examples) -> None:
    known(name).validate(examples[name])
    validate(name, examples[name])


@pytest.mark.parametrize("name", names())
def test_the_example_shows_every_key_that_does_not_exclude_another(name: str, examples: Examples) -> None:
    shown = set(examples[name])
    left_out = {field.name for field in known(name).fields} - shown
    assert left_out <= {"bytes", "raw", "more_content"}


@pytest.mark.parametrize("name", names())
def test_required_keys_are_enough_and_each_is_needed(name: str, examples: Examples) -> None:
    format = known(name)
    excluding = {"text"} if name == "websocket.receive" else set()
    required = {field.name for field in format.fields if field.required}
    least = {key: value for key, value in examples[name].items() if key in required | excluding}
    format.validate(least)
    for key in required:
        assert refusal(format, {k: v for k, v in least.items() if k != key}).field == key
        error = refusal(format, {**least, key: None})
        assert (error.field, error.got) == (key, "nothing")


@pytest.mark.parametrize("name", names())
def test_none_is_the_same_as_absent(name: str, examples: Examples) -> None:
    format = known(name)
    keep = {"text"} if name == "websocket.receive" else set()
    optional = {field.name for field in format.fields if not field.required} - keep
    format.validate({**examples[name], **dict.fromkeys(optional)})


@pytest.mark.parametrize("name", names())
def test_values_of_no_key_may_be_objects(name: str, examples: Examples) -> None:
    for key in examples[name]:
        error = refusal(known(name), {**examples[name], key: object()})
        assert error.field == key
        assert error.got == "an object of type object"


@pytest.mark.parametrize("name", names())
def test_unknown_keys_are_refused_to_senders_and_ignored_by_receivers(name: str, examples: Examples) -> None:
    message = {**examples[name], "unknown": 1}
    error = refusal(known(name), message)
    assert (error.channel, error.field, error.got) == (name, "unknown", "an unknown key")
    known(name).validate(message, unknown="ignore")
    validate(name, message, unknown="ignore")


def test_replies_are_taken(reply_examples: dict[str, list[dict[str, Any]]]) -> None:
    for name, messages in reply_examples.items():
        for message in messages:
            known(name, reply=True).validate(message)
            known(name, reply=True).validate(message, unknown="ignore")


BAD_REPLIES = [
    ("http.request", {}, ""),
    ("http.request", {"more_content": True}, ""),
    ("http.request", {"status": "200"}, "status"),
    ("http.request", {"status": True}, "status"),
    ("http.request", {"status": 200.0}, "status"),
    ("http.request", {"status": 199}, "status"),
    ("http.request", {"status": 600}, "status"),
    ("http.request", {"status": 2**70}, "status"),
    ("http.request", {"status": 200, "content": "text"}, "content"),
    ("http.request", {"status": 200, "content": bytearray(b"x")}, "content"),
    ("http.request", {"status": 200, "more_content": 1}, "more_content"),
    ("http.request", {"status": 200, "headers": {"a": "b"}}, "headers"),
    ("http.request", {"status": 200, "headers": [b"ab"]}, "headers[0]"),
    ("http.request", {"status": 200, "headers": [[b"a", b"b", b"c"]]}, "headers[0]"),
    ("http.request", {"status": 200, "headers": [[b"a", b"b"], [b"c"]]}, "headers[1]"),
    ("http.request", {"status": 200, "headers": [["a", b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [[b"a", "b"]]}, "headers[0][1]"),
    ("http.request", {"status": 200, "headers": [[b"", b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [[b"a b", b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [[b"a:", b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [[b"a\n", b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [["ä".encode(), b"b"]]}, "headers[0][0]"),
    ("http.request", {"status": 200, "headers": [[b"a", b"b\r\nc: d"]]}, "headers[0][1]"),
    ("http.request", {"status": 200, "headers": [[b"a", b"b\n"]]}, "headers[0][1]"),
    ("http.request", {"status": 200, "headers": [[b"a", b"\0"]]}, "headers[0][1]"),
    ("http.request", {"content": b"", "headers": []}, "headers"),
    ("websocket.connect", {"text": "a", "bytes": b"a"}, ""),
    ("websocket.connect", {"text": b"a"}, "text"),
    ("websocket.connect", {"bytes": "a"}, "bytes"),
    ("websocket.connect", {"accept": 1}, "accept"),
    ("websocket.connect", {"close": "1000"}, "close"),
    ("websocket.connect", {"close": 0}, "close"),
    ("websocket.connect", {"close": 999}, "close"),
    ("websocket.connect", {"close": 1005}, "close"),
    ("websocket.connect", {"close": 1015}, "close"),
    ("websocket.connect", {"close": 2999}, "close"),
    ("websocket.connect", {"close": 5000}, "close"),
    ("websocket.connect", {"subprotocol": "a\r\nb"}, "subprotocol"),
    ("websocket.connect", {"subprotocol": ""}, "subprotocol"),
    ("chat.message", {}, "text"),
    ("chat.message", {"text": "a\ud800"}, "text"),
    ("chat.message", {"text": "a", "blocks": ["\udfff"]}, "blocks[0]"),
    ("chat.message", {"text": "a", "thread": "other"}, "thread"),
    ("chat.message", {"text": "a", "thread": ["same"]}, "thread"),
    ("chat.message", {"text": "a", "reaction": "eyes"}, "reaction"),
    ("chat.message", {"text": "a", "user": "b\nc"}, "user"),
    ("chat.message", {"text": "a", "expires": float("nan")}, "expires"),
    ("chat.message", {"text": "a", "expires": float("inf")}, "expires"),
    ("chat.message", {"text": "a", "expires": True}, "expires"),
    ("chat.message", {"text": "a", "expires": 2**64}, "expires"),
    ("chat.message", {"text": "a", "files": [{"name": "a", "mimetype": "b"}]}, "files[0]"),
    ("chat.message", {"text": "a", "files": [{"name": "a", "mimetype": "b", "url": "c"}]}, "files[0].url"),
    ("chat.message", {"text": "a", "blocks": [{"a": {1: 2}}]}, "blocks[0].a"),
    ("chat.message", {"text": "a", "blocks": [1, [2**63]]}, "blocks[1][0]"),
    ("chat.message", {"text": "a", "blocks": [-(2**63) - 1]}, "blocks[0]"),
    ("chat.message", {"text": "a", "blocks": [{"a": {"b": {1}}}]}, "blocks[0].a.b"),
    ("slack.command", {}, ""),
    ("slack.command", {"text": "a", "method": "chat.postMessage"}, ""),
    ("slack.command", {"method": "a\nb"}, "method"),
    ("slack.command", {"method": "chat.delete", "arguments": []}, "arguments"),
    ("slack.command", {"method": "chat.delete", "blocks": []}, "blocks"),
    ("slack.command", {"text": "a", "arguments": {}}, "arguments"),
    ("slack.command", {"text": "a", "result_channel": "x"}, "result_channel"),
    ("slack.command", {"text": "a", "reaction": "eyes"}, "reaction"),
    ("slack.command", {"text": "a", "overflow": "drop"}, "overflow"),
    ("irc-client.receive", {}, "type"),
    ("irc-client.receive", {"type": "dance"}, "type"),
    ("irc-client.receive", {"type": "message", "channel": "#a", "body": "b\nQUIT"}, "body"),
    ("irc-client.receive", {"type": "join", "channel": "#a\rQUIT"}, "channel"),
    ("email.receive", {"accept": False, "code": 199}, "code"),
    ("email.receive", {"accept": False, "code": 354}, "code"),
    ("email.receive", {"accept": False, "code": 600}, "code"),
    ("email.receive", {"accept": False, "text": "a\r\n250 b"}, "text"),
    ("email.receive", {"accept": "yes"}, "accept"),
    ("udp.receive", {}, "data"),
    ("udp.receive", {"data": "text"}, "data"),
]


@pytest.mark.parametrize(("name", "message", "field"), BAD_REPLIES)
def test_bad_replies_are_refused_where_they_are_bad(name: str, message: dict[str, Any], field: str) -> None:
    format = known(name, reply=True)
    error = refusal(format, message)
    assert (error.channel, error.field) == (format.name, field)
    assert str(error).count("\n") == 0


BAD_MESSAGES = [
    ("http.request", {"http_version": "3"}, "http_version"),
    ("http.request", {"http_version": 1.1}, "http_version"),
    ("http.request", {"method": "get"}, "method"),
    ("http.request", {"method": "GET /"}, "method"),
    ("http.request", {"headers": [[b"Host", b"x"]]}, "headers[0][0]"),
    ("http.request", {"query_string": "a=1"}, "query_string"),
    ("http.request", {"client": ["127.0.0.1"]}, "client"),
    ("http.request", {"client": ["127.0.0.1", "80"]}, "client[1]"),
    ("http.request", {"client": ["127.0.0.1", False]}, "client[1]"),
    ("http.request.body?", {"content": b"x" * 65537}, "content"),
    ("websocket.connect", {"order": -1}, "order"),
    ("websocket.receive", {"bytes": b"a"}, ""),
    ("websocket.receive", {"text": None}, ""),
    ("websocket.receive", {"order": 0}, "order"),
    ("websocket.disconnect", {"code": 999}, "code"),
    ("chat.ready", {"capabilities": {"threads": True}}, "capabilities.reactions"),
    ("chat.message", {"channel": "#dev\r\n"}, "channel"),
    ("chat.message", {"raw": []}, "raw"),
    ("chat.message", {"files": [{"name": "a", "mimetype": "b", "size": -1, "url": "c"}]}, "files[0].size"),
    ("chat.receipt", {"status": "lost"}, "status"),
    ("slack.event", {"event": []}, "event"),
    ("slack.command", {"command": "/a\n"}, "command"),
    ("slack.shortcut", {"type": "view_closed"}, "type"),
    ("slack.view", {"payload": {"view": {1: 2}}}, "payload.view"),
    ("email.recipient", {"address": "a@b\n"}, "address"),
    ("email.receive", {"address": "a@b\0"}, "address"),
    ("email.receive", {"headers": {"a b": "c"}}, "headers"),
    ("email.receive", {"headers": {"a": "b\nc"}}, "headers.a"),
    ("email.receive", {"headers": {1: "b"}}, "headers"),
    ("email.receive", {"authentication": {"spf": {"result": "maybe"}}}, "authentication.spf.result"),
    ("email.receive", {"headers": ["a"]}, "headers"),
    ("email.receive", {"header_list": [["a", "b"], ["", "c"]]}, "header_list[1][0]"),
    ("email.receive", {"content": {"content-type": "text/plain", "body": b""}}, "content"),
    ("email.receive", {"content": {"content-type": "text/plain", "size": 0}}, "content"),
    ("email.receive", {"content": {"content-type": "a/b", "size": 0, "body": b"", "body_key": "k"}}, "content"),
    (
        "email.receive",
        {"content": {"content-type": "a/b", "parts": [{"content-type": "a/b", "parts": [{}]}]}},
        "content.parts[0].parts[0].content-type",
    ),
    ("email.send", {"subject": "a\r\nBcc: b"}, "subject"),
    ("email.send", {"to": "ada@example.com"}, "to"),
    ("email.send", {"to": ["a@b", "c@d\n"]}, "to[1]"),
    ("email.send", {"headers": {"a": "b\r\nc"}}, "headers.a"),
    ("email.send", {"headers": {"a:": "b"}}, "headers"),
    ("email.send", {"raw": b"From: x"}, "subject"),
    (
        "email.send",
        {"attachments": [{"filename": "a\n", "content-type": "b", "content": b""}]},
        "attachments[0].filename",
    ),
    ("email.delivered", {"code": "250"}, "code"),
    ("email.delivered", {"text": "a\nb"}, "text"),
    ("asgi.delay", {"delay": -2}, "delay"),
    ("asgi.delay", {"delay": 1.5}, "delay"),
    ("asgi.delay", {"delay": 2**63}, "delay"),
    ("asgi.delay", {"content": [1]}, "content"),
    ("asgi.delay", {"content": {"a": [float("inf")]}}, "content.a[0]"),
    ("asgi.delay", {"repeat": 0}, "repeat"),
]


@pytest.mark.parametrize(("name", "change", "field"), BAD_MESSAGES)
def test_bad_messages_are_refused_where_they_are_bad(
    name: str, change: dict[str, Any], field: str, examples: Examples
) -> None:
    error = refusal(known(name), {**examples[name], **change})
    assert (error.channel, error.field) == (name, field)


def test_raw_mail_needs_only_its_envelope() -> None:
    validate("email.send", {"to": ["a@b"], "from": "c@d", "raw": b"Subject: x\r\n\r\n", "id": "1"})


def test_the_null_sender_has_no_from(examples: Examples) -> None:
    message = {**examples["email.receive"], "from": None}
    validate("email.receive", message)
    del message["from"]
    validate("email.receive", message)


def test_a_receiver_ignores_a_key_that_means_nothing_there() -> None:
    known("http.request", reply=True).validate({"content": b"x", "headers": []}, unknown="ignore")
    known("chat.message", reply=True).validate({"text": "x", "reaction": "eyes"}, unknown="ignore")
    validate("email.send", {"to": [], "from": "a", "raw": b"", "subject": "x"}, unknown="ignore")


@pytest.mark.parametrize("value", [None, [], "text", b"", 7])
def test_a_message_is_a_dict(value: Any) -> None:
    error = refusal(known("udp.receive"), value)
    assert (error.field, error.expected) == ("", "dict with the keys reply_channel, data, client, server")


def test_keys_must_be_str() -> None:
    message: dict[Any, Any] = {"data": b"x", 7: 1}
    error = refusal(known("udp.receive", reply=True), message)
    assert (error.field, error.got) == ("[7]", "an unknown key")


def test_a_misspelt_key_is_told_the_right_one() -> None:
    error = refusal(known("http.request", reply=True), {"status": 200, "header": []})
    assert str(error) == (
        "http reply: header: expected one of the keys status, headers, content, more_content; "
        "did you mean headers?; got an unknown key"
    )


def test_the_error_is_one_readable_line() -> None:
    error = refusal(known("http.request", reply=True), {"status": 99})
    assert (error.channel, error.field, error.expected, error.got) == ("http reply", "status", "int 200–599", "99")
    assert str(error) == "http reply: status: expected int 200–599; got 99"
    assert isinstance(error, ValueError)


def test_the_error_of_a_whole_message_names_the_format() -> None:
    error = refusal(known("websocket.connect", reply=True), {"text": "a", "bytes": b"a"})
    assert str(error) == "websocket reply: expected at most one of text, bytes; got text and bytes"


def test_the_error_survives_pickling() -> None:
    error = refusal(known("udp.receive", reply=True), {"data": 1})
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  (our own bytes)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x" * 1000, f"'{'x' * 50}'… (str, 1000 long)"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "a dict of 1"),
        (2**600, "an int of 601 bits"),
        (1.5, "1.5"),
        (True, "True"),
    ],
)
def test_the_error_describes_any_value_in_a_few_words(value: Any, told: str) -> None:
    assert refusal(known("udp.receive", reply=True), {"data": value}).got == told


def test_values_without_end_are_refused(examples: Examples) -> None:
    endless: list[Any] = []
    endless.append(endless)
    error = refusal(known("asgi.delay"), {**examples["asgi.delay"], "content": {"a": endless}})
    assert error.got == "one nested too deeply"


def test_a_mail_nested_without_end_is_refused(examples: Examples) -> None:
    node: dict[str, Any] = {"content-type": "text/plain", "body": b"", "size": 0}
    for _ in range(5000):
        node = {"content-type": "multipart/mixed", "parts": [node]}
    assert (
        refusal(known("email.receive"), {**examples["email.receive"], "content": node}).got == "one nested too deeply"
    )


def test_channels_without_a_format_take_anything() -> None:
    validate("jobs.resize", {"whatever": object()})


def test_defaults_of_keys() -> None:
    request = known("http.request")
    assert request.default_of("scheme") == "http"
    assert request.default_of("client") is None
    for name in ("reply_channel", "unknown"):
        with pytest.raises(KeyError):
            request.default_of(name)


def test_a_default_can_be_altered_without_harm() -> None:
    chat = known("chat.message")
    chat.default_of("files").append("x")
    assert chat.default_of("files") == []

"""What `message.reply(...)` sends, protocol by protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from trunkline.message_formats import Composed, FormatError, get

CHUNK = 64 * 1024


def composer(name: str) -> Callable[..., Composed]:
    format = get(name)
    assert format is not None
    assert format.compose is not None
    return format.compose


def sent(name: str, composed: Composed) -> list[dict[str, Any]]:
    """Return the messages, each of which the format of the reply takes."""
    format = get(name)
    assert format is not None
    reply = format.reply if composed.channel != "email.send" else get("email.send")
    assert reply is not None
    messages = list(composed.messages)
    for message in messages:
        reply.validate(message)
    return messages


def http(*args: Any, **options: Any) -> Composed:
    composed = composer("http.request")({"reply_channel": "http.reply.1!2"}, *args, **options)
    assert composed.channel == "http.reply.1!2"
    return composed


def response(*args: Any, **options: Any) -> dict[str, Any]:
    """Return the only message of a response."""
    composed = http(*args, **options)
    (message,) = sent("http.request", composed)
    assert not composed.stream
    return message


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        ("grüß", b"text/plain; charset=utf-8", "grüß".encode()),
        ("", b"text/plain; charset=utf-8", b""),
        (b"\x00\xff", b"application/octet-stream", b"\x00\xff"),
        ({"a": [1, "ä"]}, b"application/json", b'{"a": [1, "\\u00e4"]}'),
    ],
)
def test_http_content(content: Any, content_type: bytes, body: bytes) -> None:
    assert response(content) == {"status": 200, "headers": [[b"content-type", content_type]], "content": body}


def test_http_status_and_headers() -> None:
    message = response("x", HTTPStatus.CREATED, headers=[("X-A", "ä"), (b"x-a", b"2"), ["x-b", b"3"]])
    assert message["status"] == 201
    assert message["headers"] == [
        [b"X-A", b"\xe4"],
        [b"x-a", b"2"],
        [b"x-b", b"3"],
        [b"content-type", b"text/plain; charset=utf-8"],
    ]


@pytest.mark.parametrize(
    ("options", "fits"),
    [({}, True), ({"status": 204}, True), ({"status": 599}, True), ({"status": 600}, False), ({"status": 99}, False),
     ({"headers": [(b"a", b"b")]}, False), ({"headers": [(b"a", b"\n")]}, False)],
)  # fmt: skip
def test_http_says_of_what_it_made_alone_that_it_fits(options: dict[str, Any], fits: bool) -> None:
    """Then nobody looks at it again; what a consumer gave may be anything."""
    assert http("text", **options).fits is fits
    assert not http([b"a"], **options).fits
    if fits:
        response("text", **options)


def test_http_keeps_the_callers_content_type() -> None:
    assert response("<p>", headers=[("Content-TYPE", "text/html")])["headers"] == [[b"Content-TYPE", b"text/html"]]


@pytest.mark.parametrize("status", [204, 205, 304])
def test_http_without_content_names_no_type_of_it(status: int) -> None:
    assert response(b"", status) == {"status": status, "headers": [], "content": b""}


def test_http_gives_no_content_length() -> None:
    assert not any(name.lower() == b"content-length" for name, _ in response("x")["headers"])


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5])
def test_http_cuts_large_content(size: int) -> None:
    composed = http(b"x" * size)
    head, *rest = sent("http.request", composed)
    assert (head["status"], composed.stream) == (200, False)
    messages = [head, *rest]
    assert b"".join(message["content"] for message in messages) == b"x" * size
    assert all(len(message["content"]) <= CHUNK for message in messages)
    assert [message.get("more_content", False) for message in messages] == [True] * len(rest) + [False]
    assert len(messages) == max(1, -(-size // CHUNK))


def test_http_sends_content_at_once_that_is_too_large_to_be_held() -> None:
    composed = http(b"x" * (5 * 1024 * 1024))
    assert composed.stream
    assert sum(len(message["content"]) for message in sent("http.request", composed)) == 5 * 1024 * 1024


def test_http_streams_an_iterable_lazily() -> None:
    taken: list[str] = []

    def pieces() -> Iterator[bytes]:
        taken.append("one")
        yield b"one"
        taken.append("two")
        yield b"y" * (CHUNK + 1)
        yield b""

    composed = http(pieces(), headers=[("content-type", "text/event-stream")])
    assert composed.stream
    messages = iter(composed.messages)
    head = next(messages)
    assert head == {
        "status": 200,
        "headers": [[b"content-type", b"text/event-stream"]],
        "content": b"",
        "more_content": True,
    }
    assert taken == []
    assert next(messages) == {"content": b"one", "more_content": True}
    assert taken == ["one"]
    assert [(len(message["content"]), message.get("more_content")) for message in messages] == [
        (CHUNK, True),
        (1, True),
        (0, None),
    ]


def test_http_streams_lists_and_files(tmp_path: Any) -> None:
    assert [message["content"] for message in sent("http.request", http([b"a", b"b"]))] == [b"", b"a", b"b", b""]
    path = tmp_path / "file"
    path.write_bytes(b"line\nline\n")
    with path.open("rb") as file:
        assert b"".join(message["content"] for message in http(file).messages) == b"line\nline\n"


@pytest.mark.parametrize(
    "content", [None, 7, 1.5, bytearray(b"x"), memoryview(b"x"), object(), [b"a", "b"], [{}], (1,)]
)
def test_http_refuses_other_content_before_anything_is_sent(content: Any) -> None:
    with pytest.raises(TypeError, match=r"^content: .*bytes"):
        http(content)


def test_http_refuses_pieces_that_are_not_bytes() -> None:
    messages = iter(http(iter(["text"])).messages)
    next(messages)
    with pytest.raises(TypeError, match=r"^content: an iterable must yield bytes, not str$"):
        next(messages)


@pytest.mark.parametrize("status", ["200", None, True, 200.0])
def test_http_refuses_another_status(status: Any) -> None:
    with pytest.raises(TypeError, match=r"^status: allowed is an int, not"):
        http("x", status=status)


@pytest.mark.parametrize(
    "headers", [7, "a: b", b"a: b", {"a": "b"}, ["ab"], [("a",)], [("a", "b", "c")], [("a", 1)], [None]]
)
def test_http_refuses_other_headers(headers: Any) -> None:
    with pytest.raises(TypeError, match=r"^headers: allowed is a list of"):
        http("x", headers=headers)


@pytest.mark.parametrize("content", [{"a": float("nan")}, "\ud800"])
def test_http_refuses_what_cannot_be_written(content: Any) -> None:
    with pytest.raises(ValueError):
        http(content)


@pytest.mark.parametrize("name", ["websocket.connect", "websocket.receive"])
def test_websocket_frames(name: str) -> None:
    message = {"reply_channel": "http.reply.1!2"}
    composed = composer(name)(message, "hi")
    assert (composed.channel, sent(name, composed), composed.stream) == ("http.reply.1!2", [{"text": "hi"}], False)
    assert sent(name, composer(name)(message, b"hi")) == [{"bytes": b"hi"}]
    with pytest.raises(TypeError, match=r"^data: allowed is str or bytes, not dict$"):
        composer(name)(message, {"a": 1})


@pytest.mark.parametrize("name", ["chat.ready", "chat.message", "chat.join", "chat.leave", "chat.reaction"])
def test_chat_text(name: str) -> None:
    composed = composer(name)({"reply_channel": "irc.reply.n!x"}, "hi")
    assert (composed.channel, sent(name, composed), composed.stream) == ("irc.reply.n!x", [{"text": "hi"}], False)


def test_chat_reply_keys() -> None:
    compose = composer("chat.message")
    message = {"reply_channel": "irc.reply.n!x", "id": "7"}
    assert sent("chat.message", compose(message, "hi", thread="channel", notice=True)) == [
        {"text": "hi", "thread": "channel", "notice": True}
    ]


def test_chat_reacts_to_the_message_unless_told_otherwise() -> None:
    compose = composer("chat.message")
    message = {"reply_channel": "irc.reply.n!x", "id": "7"}
    assert sent("chat.message", compose(message, "", reaction="eyes")) == [{"text": "", "reaction": "eyes", "id": "7"}]
    assert sent("chat.message", compose(message, "", reaction="eyes", id="8"))[0]["id"] == "8"


def test_a_new_thread_begins_under_the_message_unless_told_otherwise() -> None:
    compose = composer("chat.message")
    message = {"reply_channel": "slack.reply.n!C1", "id": "7"}
    assert sent("chat.message", compose(message, "hi", thread="new")) == [{"text": "hi", "thread": "new", "id": "7"}]
    assert sent("chat.message", compose(message, "hi", thread="new", id="8"))[0]["id"] == "8"
    assert "id" not in sent("chat.message", compose(message, "hi", thread="same"))[0]


def test_chat_refuses_other_arguments() -> None:
    message = {"reply_channel": "irc.reply.n!x"}
    with pytest.raises(TypeError, match=r"^text: allowed is str, not bytes$"):
        composer("chat.message")(message, b"hi")
    with pytest.raises(TypeError, match=r"^colour: no such key of a reply; allowed are thread, action, notice"):
        composer("chat.message")(message, "hi", colour="red")


def test_slack_speaks_or_calls_a_method() -> None:
    compose = composer("slack.command")
    message = {"reply_channel": "slack.reply.acme!C1", "id": "Ev1"}
    composed = compose(message, "done", user="U1")
    assert (composed.channel, sent("slack.command", composed)) == (
        "slack.reply.acme!C1",
        [{"text": "done", "user": "U1"}],
    )
    view = {"trigger_id": "1.2", "view": {"type": "modal"}}
    assert sent("slack.command", compose(message, method="views.open", arguments=view, result_channel="opened")) == [
        {"method": "views.open", "arguments": view, "result_channel": "opened"}
    ]


def test_slack_refuses_other_arguments() -> None:
    compose = composer("slack.event")
    with pytest.raises(TypeError, match=r"^text: allowed is str, not NoneType$"):
        compose({"reply_channel": "x"})
    with pytest.raises(TypeError, match=r"^text: allowed is str, not bytes$"):
        compose({"reply_channel": "x"}, b"hi")
    with pytest.raises(TypeError, match=r"^token: no such key of a reply; allowed are thread, action"):
        compose({"reply_channel": "x"}, "hi", token="xoxb-1")


def test_irc_lines() -> None:
    compose = composer("irc-client.receive")
    message = {"reply_channel": "irc.reply.n!", "channel": "#dev", "user": "ada!a@h"}
    composed = compose(message, "hi")
    assert (composed.channel, sent("irc-client.receive", composed)) == (
        "irc.reply.n!",
        [{"type": "message", "channel": "#dev", "body": "hi"}],
    )
    assert sent("irc-client.receive", compose({**message, "channel": "bot"}, "hi", type="notice")) == [
        {"type": "notice", "channel": "ada", "body": "hi"}
    ]
    assert sent("irc-client.receive", compose(message, "out", type="kick", user="eve"))[0]["user"] == "eve"
    assert sent("irc-client.connect", composer("irc-client.connect")({"reply_channel": "x"}, "new", type="nick")) == [
        {"type": "nick", "body": "new"}
    ]
    with pytest.raises(TypeError, match=r"^body: allowed is str, not bytes$"):
        compose(message, b"hi")
    with pytest.raises(TypeError, match=r"^text: no such key of a reply"):
        compose(message, "hi", text="x")


def test_udp_datagrams() -> None:
    composed = composer("udp.receive")({"reply_channel": "udp.reply.1!2"}, b"hi")
    assert (composed.channel, sent("udp.receive", composed)) == ("udp.reply.1!2", [{"data": b"hi"}])
    with pytest.raises(TypeError, match=r"^data: allowed is bytes, not str$"):
        composer("udp.receive")({"reply_channel": "udp.reply.1!2"}, "hi")


MAIL = {
    "reply_channel": "smtp.reply.1!2",
    "address": "support+7@example.org",
    "from": "ada@example.com",
    "subject": "Broken",
    "message_id": "<2@example.com>",
    "headers": {"references": "<0@example.com>\t<1@example.com>", "from": "Ada <ada@other.example>"},
}


def answered(change: dict[str, Any] | None = None, *args: Any, **options: Any) -> list[dict[str, Any]]:
    composed = composer("email.receive")({**MAIL, **(change or {})}, *(args or ("Thanks",)), **options)
    assert (composed.channel, composed.stream) == ("email.send", False)
    return sent("email.receive", composed)


def test_email_answers_in_the_thread_and_as_a_machine() -> None:
    assert answered() == [
        {
            "to": ["ada@example.com"],
            "from": "support+7@example.org",
            "subject": "Re: Broken",
            "text": "Thanks",
            "in_reply_to": "<2@example.com>",
            "headers": {
                "Auto-Submitted": "auto-replied",
                "References": "<0@example.com> <1@example.com> <2@example.com>",
            },
        }
    ]


@pytest.mark.parametrize(
    ("subject", "answer"),
    [("", "Re:"), ("Re: Broken", "Re: Broken"), ("RE:Broken", "RE:Broken"), ("Report", "Re: Report"), (None, "Re:")],
)
def test_email_subjects(subject: str | None, answer: str) -> None:
    assert answered({"subject": subject})[0]["subject"] == answer


@pytest.mark.parametrize("change", [{"from": None}, {"from": ""}, {"auto_submitted": True}, {"bounce": {"a": 1}}])
def test_email_does_not_answer_machines(change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "trunkline.email"):
        assert answered(change) == []
    assert ["no reply to mail" in record.message for record in caplog.records] == [True]


def test_email_with_html_and_attachments() -> None:
    file = {"filename": "a.txt", "content-type": "text/plain", "content": b"x"}
    (mail,) = answered(None, "Thanks", html="<p>Thanks</p>", attachments=(file,))
    assert mail["html"] == "<p>Thanks</p>"
    assert mail["attachments"] == [file]


@pytest.mark.parametrize(
    ("change", "references"),
    [
        ({"message_id": ""}, None),
        ({"message_id": "no brackets"}, None),
        ({"headers": {}}, "<2@example.com>"),
        ({"headers": None}, "<2@example.com>"),
        ({"headers": {"in-reply-to": "<1@example.com>"}}, "<1@example.com> <2@example.com>"),
        ({"headers": {"in-reply-to": "<1@a> <3@a>"}}, "<2@example.com>"),
        ({"headers": {"references": "garbage <1@a> <b c> <2@a"}}, "<1@a> <2@example.com>"),
    ],
)
def test_email_references(change: dict[str, Any], references: str | None) -> None:
    (mail,) = answered(change)
    assert mail["headers"].get("References") == references
    assert ("in_reply_to" in mail) == (references is not None)


def test_email_keeps_the_first_and_the_latest_of_a_long_thread() -> None:
    (mail,) = answered({"headers": {"references": " ".join(f"<{n}@a>" for n in range(500))}})
    references = mail["headers"]["References"].split()
    assert references == ["<0@a>", *(f"<{n}@a>" for n in range(481, 500)), "<2@example.com>"]


def test_email_refuses_other_arguments() -> None:
    for args, told in (
        ((b"x",), "text: allowed is str, not bytes"),
        (("x", b"x"), "html: allowed is str or None, not bytes"),
        (("x", None, 7), "attachments: allowed is a list of dicts, not int"),
        (("x", None, {"filename": "a"}), "attachments: allowed is a list of dicts, not dict"),
        (("x", None, ["a"]), "attachments: each must be a dict, not str"),
    ):
        with pytest.raises(TypeError, match=rf"^{told}$"):
            answered(None, *args)


def test_json_of_a_dict_reads_back() -> None:
    assert json.loads(response({"a": {"b": [None, True]}})["content"]) == {"a": {"b": [None, True]}}


def test_a_websocket_reply_is_looked_at_where_something_can_be_wrong_with_it() -> None:
    compose = composer("websocket.receive")
    message = {"reply_channel": "http.reply.1!2"}
    assert compose(message, "hi").fits
    assert compose(message, b"\xff").fits
    with pytest.raises(FormatError, match="text: expected str without lone surrogates"):
        composed = compose(message, "\ud800")
        assert not composed.fits
        sent("websocket.receive", composed)

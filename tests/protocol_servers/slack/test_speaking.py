"""What replies become in Slack, and what becomes of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.message_formats import validate
from trunkline.protocol_servers.slack import asking, speaking
from trunkline.protocol_servers.slack.web_api import InDoubt, NotSent, RateLimited

from .speaking_rig import EPOCH, Kept, Rig, Slack, playing, refusing, saying

STAMP = "1700000000.000100"
WORDS = "word " * 1700  # 8 500 characters


def reply(text: str = "hello", **keys: Any) -> dict[str, Any]:
    return {"text": text, "receipt_channel": "receipts", **keys}


# Every key of a reply


@pytest.mark.parametrize(
    ("keys", "conversation", "method", "arguments"),
    [
        ({}, "C1AA", "chat.postMessage", {"channel": "C1AA", "text": "hello", "link_names": False, "parse": None}),
        ({}, "C1AA", "chat.postMessage", {"unfurl_links": False, "unfurl_media": True}),
        ({"text": "a & b"}, "C1AA", "chat.postMessage", {"text": "a &amp; b"}),
        ({"notify": True}, "C1AA", "chat.postMessage", {"text": "<!hello>", "link_names": False}),
        ({"notice": True}, "C1AA", "chat.postMessage", {"text": "hello"}),
        ({"action": True}, "C1AA", "chat.postMessage", {"text": "_hello_"}),
        ({"action": True, "text": "a\n\nb"}, "C1AA", "chat.postMessage", {"text": "_a_\n\n_b_"}),
        ({"blocks": [{"type": "divider"}]}, "C1AA", "chat.postMessage", {"blocks": [{"type": "divider"}]}),
        ({"blocks": [{"type": "divider"}]}, "C1AA", "chat.postMessage", {"text": "hello"}),
        ({"blocks": [{"type": "divider"}], "text": ""}, "C1AA", "chat.postMessage", {"text": ""}),
        ({"thread": "same"}, "C1AA.1700_2e5", "chat.postMessage", {"thread_ts": "1700.5", "channel": "C1AA"}),
        ({"thread": "new"}, "C1AA.1700_2e5", "chat.postMessage", {"thread_ts": "1700.5"}),
        ({"thread": "new", "id": f"C1AA:{STAMP}"}, "C1AA", "chat.postMessage", {"thread_ts": STAMP}),
        ({"thread": "new", "id": STAMP}, "C1AA", "chat.postMessage", {"thread_ts": STAMP}),
        ({"thread": "new"}, "C1AA", "chat.postMessage", {"thread_ts": None}),
        ({"thread": "channel"}, "C1AA.1700_2e5", "chat.postMessage", {"thread_ts": None, "channel": "C1AA"}),
        ({"user": "U2AA"}, "C1AA.1700_2e5", "chat.postEphemeral", {"user": "U2AA", "thread_ts": "1700.5"}),
        ({"user": "@ada"}, "C1AA", "chat.postEphemeral", {"user": "U1AA", "channel": "C1AA", "text": "hello"}),
        ({"edit": f"C1AA:{STAMP}"}, "C1AA", "chat.update", {"channel": "C1AA", "ts": STAMP, "text": "hello"}),
        ({"edit": f"C9AA:{STAMP}"}, "C1AA", "chat.update", {"channel": "C9AA", "ts": STAMP, "link_names": False}),
        ({"edit": STAMP, "blocks": [{}]}, "C1AA", "chat.update", {"blocks": [{}], "text": "hello"}),
        (
            {"reaction": ":+1:", "id": f"C1AA:{STAMP}"},
            "C1AA",
            "reactions.add",
            {"channel": "C1AA", "timestamp": STAMP, "name": "+1"},
        ),
        ({"overflow": "truncate", "text": WORDS}, "C1AA", "chat.postMessage", {"text": "word " * 798 + "word…"}),
    ],
)
def test_every_key(keys: dict[str, Any], conversation: str, method: str, arguments: dict[str, Any]) -> None:
    rig = saying(reply(**keys), conversation=conversation)
    assert rig.slack.methods() == [method]
    given = rig.slack.arguments(method)[0]
    assert {name: given.get(name) for name in arguments} == arguments
    (receipt,) = rig.receipts()
    assert receipt["status"] == "sent"
    assert "token" not in given


def test_what_the_receipt_calls_a_message_can_be_edited_and_reacted_to() -> None:
    async def play(rig: Rig) -> None:
        rig.say(reply())
        await rig.all_said()
        id = rig.receipts()[0]["ids"][0]
        rig.say(reply("better", edit=id))
        rig.say(reply("", reaction="tada", id=id))
        await rig.all_said()
        assert id == f"C1AA:{rig.slack.said['C1AA'][0]['ts']}"
        assert [each["ids"] for each in rig.receipts()] == [[id]] * 3

    rig = playing(play)
    assert rig.slack.arguments("chat.update")[0]["ts"] == rig.slack.arguments("reactions.add")[0]["timestamp"]


def test_receipts_are_as_their_format_says() -> None:
    rig = saying(reply(), reply(WORDS), reply(expires=0.0), reply(edit="nonsense"), "no receipt wanted")
    for receipt in rig.receipts():
        validate("chat.receipt", receipt)
    assert [receipt["status"] for receipt in rig.receipts()] == ["sent", "split", "dropped", "failed"]
    assert [len(receipt["ids"]) for receipt in rig.receipts()] == [1, 3, 0, 0]
    assert rig.stats["said_sent"] == 2


def test_names_that_cannot_be_looked_up_hold_nothing_up() -> None:
    async def play(rig: Rig) -> None:
        rig.people.script = [NotSent("away")]
        rig.say({"text": "in #dev and #general", "notify": True})
        await rig.all_said()

    assert len(playing(play).slack.texts()) == 1


def test_names_that_a_text_may_mention_are_looked_up_before() -> None:
    asked: list[str] = []

    async def play(rig: Rig) -> None:
        async def find(name: str) -> None:
            asked.append(name)

        rig.people.find_user = rig.people.find_room = find  # type: ignore[method-assign]
        rig.say({"text": "@ada in #dev", "notify": True})
        rig.say({"text": "@bob in #general"})
        await rig.all_said()

    assert len(playing(play).slack.texts()) == 2
    assert {"ada", "dev"} <= set(asked)
    assert not {"bob", "general"} & set(asked)


# Long texts, files


def test_a_long_text_is_split_on_words() -> None:
    rig = saying(reply(WORDS), conversation="C1AA.1700_2e5")
    texts = rig.slack.texts()
    assert len(texts) == 3
    assert all(len(text) <= 4000 and text.startswith("word ") and text.endswith(" word") for text in texts)
    assert " ".join(texts) == WORDS.strip()
    assert {each["thread_ts"] for each in rig.slack.arguments("chat.postMessage")} == {"1700.5"}


def test_a_long_text_in_a_new_thread_begins_it() -> None:
    rig = saying(reply(WORDS, thread="new"))
    first, *others = rig.slack.arguments("chat.postMessage")
    assert "thread_ts" not in first
    assert [each["thread_ts"] for each in others] == [rig.slack.said["C1AA"][0]["ts"]] * 2


@pytest.mark.parametrize("text", [WORDS, "x" * 200_000])
@pytest.mark.parametrize("overflow", ["split", "file"])
def test_a_text_that_is_too_long_to_split_or_not_to_be_split_is_a_file(text: str, overflow: str) -> None:
    rig = saying(reply(text, overflow=overflow))
    if text is WORDS and overflow == "split":
        assert "files.completeUploadExternal" not in rig.slack.methods()
        return
    assert list(rig.slack.uploads.values()) == [text.encode()]
    (shared,) = rig.slack.said["C1AA"]
    assert len(shared["text"]) <= 300
    assert rig.receipts() == [{"status": "sent", "ids": [f"C1AA:{shared['ts']}"]}]


def test_a_long_edit_goes_on_behind() -> None:
    rig = saying(reply(WORDS, edit=f"C1AA:{STAMP}"), conversation="C1AA.1700_2e5")
    assert rig.slack.methods() == ["chat.update", "chat.postMessage", "chat.postMessage"]
    assert rig.receipts()[0]["status"] == "split"


def test_files() -> None:
    files = [
        {"name": "a.txt", "mimetype": "text/plain", "content": b"aaa"},
        {"name": "b.bin", "mimetype": "application/x", "body_key": "key1"},
    ]
    rig = saying(reply(files=files), conversation="C1AA.1700_2e5")
    assert list(rig.slack.uploads.values()) == [b"aaa", b"a" * 10 + b"b" * 5]
    (share,) = rig.slack.arguments("files.completeUploadExternal")
    assert [each["title"] for each in share["files"]] == ["a.txt", "b.bin"]
    assert (share["channel_id"], share["thread_ts"], share["initial_comment"]) == ("C1AA", "1700.5", "hello")
    assert [(each["filename"], each["length"]) for each in rig.slack.arguments("files.getUploadURLExternal")] == [
        ("a.txt", 3),
        ("b.bin", 15),
    ]
    assert rig.receipts()[0]["ids"] == [f"C1AA:{rig.slack.said['C1AA'][0]['ts']}"], "looked for in the history"


def test_a_long_text_with_files_goes_before_them() -> None:
    rig = saying(reply(WORDS, files=[{"name": "a", "mimetype": "text/plain", "content": b"a"}]))
    assert rig.slack.methods()[:4] == ["chat.postMessage"] * 3 + ["files.getUploadURLExternal"]
    assert "initial_comment" not in rig.slack.arguments("files.completeUploadExternal")[0]


def test_a_file_for_one_person_goes_to_the_private_chat() -> None:
    files = [{"name": "a", "mimetype": "text/plain", "content": b"secret"}]
    rig = saying(reply(files=files, user="bob"))
    assert rig.slack.arguments("files.completeUploadExternal")[0]["channel_id"] == "D2AA"
    assert "C1AA" not in rig.slack.said


def test_a_file_that_the_layer_does_not_keep_any_more() -> None:
    rig = saying(reply(files=[{"name": "gone", "mimetype": "x/y", "body_key": "key9"}]))
    (receipt,) = rig.receipts()
    assert receipt["status"] == "failed"
    assert receipt["error"].startswith("file_not_found: "), "and not whose name it had"
    assert rig.slack.texts() == ["hello\n[gone]"], "what can be said is said"
    assert len(receipt["ids"]) == 1


def test_without_the_scope_for_files_a_text_is_split_all_the_same() -> None:
    refusals = [refusing("missing_scope", "files:write")]
    rig = saying(reply(WORDS, overflow="file"), plans={"files.getUploadURLExternal": list(refusals)})
    assert " ".join(rig.slack.texts()) == WORDS.strip()
    assert rig.receipts()[0]["status"] == "split"
    files = [{"name": "a", "mimetype": "x/y", "content": b"a"}]
    rig = saying(reply(WORDS, overflow="file", files=files), plans={"files.completeUploadExternal": refusals})
    assert " ".join(rig.slack.texts()) == WORDS.strip() + "\n[a]"
    assert rig.receipts()[0]["error"].startswith("missing_scope")


def test_files_that_a_refused_token_cannot_send() -> None:
    files = [{"name": "a", "mimetype": "x/y", "content": b"a"}]
    rig = saying(reply(files=files), plans={"files.getUploadURLExternal": [refusing("token_revoked")]})
    assert rig.receipts()[0]["error"] == "token_revoked"
    assert not rig.slack.said


def test_files_whose_answer_names_the_message() -> None:
    answer = {"ok": True, "files": [{"id": "F1", "shares": {"public": {"C1AA": [{"ts": "1700.7"}]}}}]}
    rig = saying(
        reply(files=[{"name": "a", "mimetype": "x/y", "content": b"a"}]),
        plans={"files.completeUploadExternal": [lambda *_: answer]},
    )
    assert rig.receipts()[0] == {"status": "sent", "ids": ["C1AA:1700.7"]}


def test_files_whose_message_cannot_be_looked_for_are_sent_all_the_same() -> None:
    rig = saying(
        reply(files=[{"name": "a", "mimetype": "x/y", "content": b"a"}]),
        plans={"conversations.history": [refusing("missing_scope")]},
    )
    assert rig.receipts()[0] == {"status": "sent", "ids": []}


def test_the_layer_is_away_for_a_moment_while_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: Iterator[Exception | int] = iter([LayerUnavailable(), 15])

    async def size(self: Kept, key: str) -> int | None:
        found = next(sizes)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(Kept, "size", size)
    rig = saying(reply(files=[{"name": "a", "mimetype": "x/y", "body_key": "key1"}]))
    assert list(rig.slack.uploads.values()) == [b"a" * 10 + b"b" * 5]


def test_an_upload_is_tried_again() -> None:
    async def play(rig: Rig) -> None:
        rig.slack.upload_script = [InDoubt("cut"), NotSent("away"), RateLimited(3)]
        rig.say(reply(files=[{"name": "a", "mimetype": "x/y", "content": b"abc"}]))
        await rig.all_said()

    rig = playing(play)
    assert len(rig.slack.arguments("files.getUploadURLExternal")) == 4, "each has a place of its own"
    assert list(rig.slack.uploads.values()) == [b"abc"]
    assert len(rig.slack.said["C1AA"]) == 1


@pytest.mark.parametrize("url", ["http://files.example/x", "ftp://x", "file:///etc/passwd", None])
def test_files_go_nowhere_but_by_tls(url: str | None) -> None:
    answer = {"ok": True, "upload_url": url, "file_id": "F1"}
    files = [{"name": "a", "mimetype": "x/y", "content": b"abc"}]
    rig = saying(reply(files=files), plans={"files.getUploadURLExternal": [lambda *_: answer]})
    assert rig.receipts()[0]["status"] == "failed"
    assert not rig.slack.uploads


# What cannot be done


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"text": 5}, "text"),
        ({"reaction": 5, "text": ""}, "reaction"),
        ({"text": "a", "edit": "nonsense"}, "message_not_found"),
        ({"text": "a", "edit": "../x:1.2"}, "message_not_found"),
        ({"text": "a", "reaction": "x", "id": "nonsense"}, "message_not_found"),
        ({"text": ""}, "nothing to say"),
        ({"text": " \n "}, "nothing to say"),
        ({"text": "a", "user": "@nobody"}, "user_not_found"),
        ({"text": "a", "files": [{"name": "x", "mimetype": "y"}]}, "files[0]"),
        ({"text": "a", "overflow": "multiline"}, "overflow"),
        ({"bytes": b"for a WebSocket"}, "text"),
    ],
)
def test_nonsense_fails(message: dict[str, Any], error: str) -> None:
    rig = saying({**message, "receipt_channel": "receipts"})
    (receipt,) = rig.receipts()
    assert receipt["status"] == "failed"
    assert error in receipt["error"]
    assert not rig.slack.said


@pytest.mark.parametrize("conversation", ["", "-abcdef", "_", "C1AA.x.y", "C1AA.nostamp", "_23", "_0a", "é"])
def test_nonsense_conversations_fail(conversation: str) -> None:
    rig = saying(reply(), conversation=conversation)
    assert rig.receipts()[0]["status"] == "failed"
    assert not rig.slack.said


def test_a_receipt_channel_that_is_none_hurts_nobody() -> None:
    def emit(channel: str, message: dict[str, Any]) -> None:
        raise TypeError("no name of a channel")

    async def play(rig: Rig) -> None:
        rig.say({"text": "a", "receipt_channel": "no such name!!"})
        rig.say("b")
        await rig.all_said()

    assert playing(play, emit=emit).slack.texts() == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        "channel_not_found", "not_in_channel", "is_archived", "restricted_action", "thread_not_found",
        "message_not_found", "cant_update_message", "edit_window_closed", "something_new",
    ],
)  # fmt: skip
def test_refusals_fail_and_others_are_said(error: str) -> None:
    rig = saying(reply(), "next", script=[refusing(error)])
    assert rig.receipts() == [{"status": "failed", "ids": [], "error": error}]
    assert rig.slack.texts() == ["next"]


@pytest.mark.parametrize("error", ["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"])
def test_blocks_that_slack_does_not_take_degrade_to_text(error: str) -> None:
    rig = saying(reply(WORDS, blocks=[{"type": "?"}]), script=[refusing(error)])
    first, *others = rig.slack.arguments("chat.postMessage")
    assert first["blocks"] == [{"type": "?"}]
    assert not any("blocks" in each for each in others)
    assert " ".join(rig.slack.texts()) == WORDS.strip()
    assert rig.receipts()[0]["status"] == "split"


def test_blocks_alone_have_no_text_to_degrade_to() -> None:
    rig = saying(reply("", blocks=[{"type": "?"}]), script=[refusing("invalid_blocks")])
    assert rig.receipts()[0] == {"status": "failed", "ids": [], "error": "invalid_blocks"}


def test_blocks_of_an_edit_degrade_too() -> None:
    rig = saying(reply(edit=f"C1AA:{STAMP}", blocks=[{}]), script=[refusing("invalid_blocks")])
    assert [each.get("blocks") for each in rig.slack.arguments("chat.update")] == [[{}], None]
    assert rig.receipts()[0]["status"] == "sent"


def test_a_text_that_is_too_long_for_a_server_is_split_smaller() -> None:
    rig = saying(reply("word " * 700), script=[refusing("msg_too_long"), refusing("msg_too_long")])
    assert " ".join(rig.slack.texts()) == ("word " * 700).strip()
    assert all(len(text) < 1000 for text in rig.slack.texts()[:2])


def test_a_reaction_that_slack_does_not_know_is_said_below() -> None:
    rig = saying(reply("", reaction="frobnicate", id=f"C1AA:{STAMP}"), script=[refusing("invalid_name")])
    (said,) = rig.slack.said["C1AA"]
    assert (said["text"], said["thread_ts"]) == ("_reacts with frobnicate_", STAMP)


def test_a_reaction_to_nothing_is_said() -> None:
    assert saying(reply("", reaction="tada")).slack.texts() == ["_reacts with tada_"]


def test_a_reaction_twice_is_there_once() -> None:
    rig = saying(reply("", reaction="tada", id=STAMP), script=[refusing("already_reacted")])
    assert rig.receipts()[0]["status"] == "sent"


def test_a_bot_that_may_have_no_metadata_speaks_without() -> None:
    rig = saying("a", "b", script=[refusing("metadata_must_be_sent_from_app")])
    assert rig.slack.texts() == ["a", "b"]
    assert "metadata" not in rig.slack.arguments("chat.postMessage")[2]


def test_a_missing_scope_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trunkline"):
        rig = saying(reply(), reply(), script=[refusing("missing_scope", "chat:write")] * 2)
    assert [each["error"] for each in rig.receipts()] == ["missing_scope"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "acme: the scope chat:write is missing, which chat.postMessage needs: add it to the app and install it again"
    ]


@pytest.mark.parametrize("error", ["token_revoked", "invalid_auth", "account_inactive", "token_expired"])
def test_a_token_that_slack_refuses_stops_all_until_there_is_another(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(rig: Rig) -> None:
        rig.slack.script = [refusing(error)]
        for room in ("C1AA", "C1AA", "C2AA"):
            rig.say(reply(), room)
        await rig.all_said()
        calls = len(rig.slack.calls)
        rig.say(reply())
        await rig.all_said()
        assert len(rig.slack.calls) == calls, "nobody asks any more"
        assert rig.speaker.problem == f"Slack refuses the bot token: {error}"
        rig.token = "xoxb-2"
        rig.say(reply("again"))
        await rig.all_said()
        assert rig.speaker.problem is None

    with caplog.at_level(logging.ERROR, "trunkline"):
        rig = playing(play)
    assert rig.receipts()[-1]["status"] == "sent"
    assert rig.receipts()[0]["error"] == error
    assert rig.slack.texts("C1AA") == ["again"]
    assert len(caplog.records) == 1
    assert "xoxb" not in caplog.text


def test_each_kind_of_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trunkline"):
        saying(*["a"] * 4, script=[refusing("is_archived"), refusing("not_in_channel"), refusing("is_archived")])
    assert [record.getMessage() for record in caplog.records] == [
        "acme: something cannot be said: is_archived; said once",
        "acme: something cannot be said: not_in_channel; said once",
    ]


# Order, limits, repetition


def test_a_room_is_spoken_to_once_a_second_and_in_order() -> None:
    rig = saying(*map(str, range(10)))
    assert rig.slack.texts() == list(map(str, range(10)))
    moments = [moment for moment, _, _ in rig.slack.calls]
    assert all(after - before >= 1 for before, after in itertools.pairwise(moments))
    assert moments[-1] == EPOCH + 9


def test_no_room_waits_for_another() -> None:
    async def play(rig: Rig) -> None:
        rig.slack.plans = {"chat.postMessage": [RateLimited(60)]}
        for number in range(3):
            rig.say(str(number), "C1AA")
        await rig.time.settle()
        for number in range(3):
            rig.say(str(number), "C2AA")
        await rig.time.advance(10)
        assert rig.slack.texts("C2AA") == ["0", "1", "2"]
        assert rig.slack.texts("C1AA") == []
        await rig.all_said()

    rig = playing(play)
    assert rig.slack.texts("C1AA") == ["0", "1", "2"]
    first = [moment for moment, _, given in rig.slack.calls if given["channel"] == "C1AA"]
    assert first[1] - first[0] >= 60, "Retry-After is obeyed"


def test_a_slow_answer_holds_its_room_alone() -> None:
    async def play(rig: Rig) -> None:
        rig.slack.latency = 5
        for room in ("C1AA", "C2AA"):
            for number in range(3):
                rig.say(str(number), room)
        await rig.all_said()

    rig = playing(play)
    assert rig.slack.texts("C1AA") == rig.slack.texts("C2AA") == ["0", "1", "2"]
    assert rig.time.now - EPOCH < 20


@pytest.mark.parametrize(
    "trouble",
    [NotSent("away"), Slack.After(), InDoubt("HTTP 503"), RateLimited(2), refusing("internal")],
    ids=["not sent", "done but unanswered", "in doubt", "limited", "refused"],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_each_arrives_once_and_in_order(trouble: Exception, at: int) -> None:
    rig = saying(*(reply(str(number)) for number in range(4)), plans={"chat.postMessage": [*[None] * at, trouble]})
    expected = ["0", "1", "2", "3"]
    if str(trouble) == "internal":
        del expected[at]
    assert rig.slack.texts() == expected
    assert [receipt["status"] == "sent" for receipt in rig.receipts()].count(True) == len(expected)
    assert [id.partition(":")[2] for receipt in rig.receipts() for id in receipt["ids"]] == [
        each["ts"] for each in rig.slack.said["C1AA"]
    ]


def test_the_same_text_twice_is_said_twice_whatever_happens() -> None:
    rig = saying("ok", "ok", "ok", plans={"chat.postMessage": [None, InDoubt("cut"), None, Slack.After()]})
    assert rig.slack.texts() == ["ok"] * 3


def test_in_doubt_and_the_history_cannot_be_read() -> None:
    rig = saying(
        reply(),
        "next",
        plans={
            "chat.postMessage": [Slack.After()],
            "conversations.history": [refusing("missing_scope", "channels:history")],
        },
    )
    assert rig.receipts()[0]["status"] == "failed"
    assert rig.receipts()[0]["error"].startswith("in doubt")
    assert rig.slack.texts() == ["hello", "next"], "once"


def test_in_doubt_while_the_history_is_away() -> None:
    troubles = [InDoubt("503"), NotSent("away"), RateLimited(5)]
    rig = saying(reply(), plans={"chat.postMessage": [Slack.After()], "conversations.history": list(troubles)})
    assert rig.slack.texts() == ["hello"]
    assert rig.receipts()[0]["status"] == "sent"


def test_in_a_thread_the_thread_is_looked_through() -> None:
    rig = saying(reply(), conversation="C1AA.1700_2e5", plans={"chat.postMessage": [Slack.After()]})
    (looked,) = rig.slack.arguments("conversations.replies")
    assert (looked["channel"], looked["ts"]) == ("C1AA", "1700.5")
    assert rig.slack.texts() == ["hello"]


def test_the_history_is_looked_through_page_by_page() -> None:
    pages = [
        lambda *_: {"ok": True, "messages": [{"ts": "1.1", "text": "x"}], "response_metadata": {"next_cursor": "n"}},
        None,
    ]
    rig = saying(reply(), plans={"chat.postMessage": [Slack.After()], "conversations.history": pages})
    assert [each.get("cursor") for each in rig.slack.arguments("conversations.history")] == [None, "n"]
    assert rig.slack.texts() == ["hello"]


def test_a_server_that_keeps_no_marks_is_believed_by_its_texts() -> None:
    def without_marks(rig: Rig) -> Any:
        def history(method: str, given: dict[str, Any]) -> dict[str, Any]:
            plain = [{key: each[key] for key in ("ts", "text", "bot_id")} for each in rig.slack.said["C1AA"]]
            return {"ok": True, "messages": plain[::-1]}

        return history

    async def play(rig: Rig) -> None:
        rig.slack.plans = {
            "chat.postMessage": [None, Slack.After(), InDoubt("cut")],
            "conversations.history": [without_marks(rig)] * 2,
        }
        for _ in range(3):
            rig.say("ok")
        await rig.all_said()

    assert playing(play).slack.texts() == ["ok"] * 3


def test_files_in_doubt_are_shared_once() -> None:
    files = [{"name": "a", "mimetype": "x/y", "content": b"abc"}]
    for trouble in (Slack.After(), InDoubt("cut")):
        rig = saying(reply(files=files), plans={"files.completeUploadExternal": [trouble]})
        assert len(rig.slack.said["C1AA"]) == 1
        assert rig.receipts()[0]["ids"] == [f"C1AA:{rig.slack.said['C1AA'][0]['ts']}"]


def test_an_edit_in_doubt_is_repeated_and_a_whisper_is_not() -> None:
    rig = saying(reply(edit=STAMP), plans={"chat.update": [InDoubt("cut")]})
    assert rig.slack.methods() == ["chat.update"] * 2
    rig = saying(reply(user="U1AA"), plans={"chat.postEphemeral": [InDoubt("cut")]})
    assert rig.slack.methods() == ["chat.postEphemeral"]
    assert rig.receipts()[0]["error"].startswith("in doubt")


def test_slack_out_of_reach_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(rig: Rig) -> None:
        rig.slack.plans = {"chat.postMessage": [NotSent("Slack cannot be reached")] * 1000}
        rig.say(reply())
        await rig.all_said()
        assert asking.PATIENCE <= rig.time.now - EPOCH <= 2 * asking.PATIENCE
        assert len(rig.slack.calls) < 30, "with growing pauses"

    rig = playing(play)
    assert rig.receipts() == [{"status": "failed", "ids": [], "error": "Slack cannot be reached"}]


def test_what_is_stale_is_dropped_without_a_call() -> None:
    async def play(rig: Rig) -> None:
        rig.say(reply("first"))
        for number in range(5):
            rig.say(reply(str(number), expires=EPOCH + 2.5))
        rig.say(reply("last"))
        await rig.all_said()

    rig = playing(play)
    assert rig.slack.texts() == ["first", "0", "1", "last"]
    assert [receipt["status"] for receipt in rig.receipts()] == ["sent"] * 3 + ["dropped"] * 3 + ["sent"]
    assert rig.stats["said_dropped"] == 3


def test_a_full_queue_drops_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "MOST_IN_ROOM", 3)
    monkeypatch.setattr(speaking, "MOST", 5)
    monkeypatch.setattr(speaking, "MOST_BYTES_IN_ROOM", 20_000)

    async def play(rig: Rig) -> None:
        for room in ("C1AA", "C2AA"):
            for number in range(4):
                rig.say(reply(str(number)), room)
        assert len(rig.speaker) == 5
        assert [each["status"] for each in rig.receipts()] == ["dropped"] * 3
        assert all(each["retry_after"] > 0 for each in rig.receipts())
        await rig.all_said()
        rig.say(reply(files=[{"name": "a", "mimetype": "x/y", "content": b"x" * 30_000}]))
        assert rig.receipts()[-1]["status"] == "dropped"

    rig = playing(play)
    assert (rig.slack.texts("C1AA"), rig.slack.texts("C2AA")) == (["0", "1", "2"], ["0", "1"])
    assert rig.stats["queue_full"] == 4


# Where


@pytest.mark.parametrize(
    ("conversation", "room"),
    [
        ("C1AA", "C1AA"),
        ("D1AA", "D1AA"),
        ("_23general", "C1AA"),
        ("general", "C1AA"),
        ("U2AA", "D2AA"),
        ("ada", "D1AA"),
        ("_40ada", "D1AA"),
    ],
)
def test_rooms_and_people_by_id_and_name(conversation: str, room: str) -> None:
    rig = saying(reply("a"), reply("b"), conversation=conversation)
    assert rig.slack.texts(room) == ["a", "b"]
    assert rig.slack.methods().count("conversations.open") == (room[0] == "D" and conversation[0] != "D")


@pytest.mark.parametrize("answer", [refusing("user_disabled"), lambda *_: {"ok": True}])
def test_a_private_chat_that_slack_does_not_open(answer: Any) -> None:
    rig = saying(reply(), conversation="U2AA", plans={"conversations.open": [answer]})
    assert rig.receipts()[0]["status"] == "failed"


def test_a_name_that_a_refused_token_cannot_look_for() -> None:
    async def play(rig: Rig) -> None:
        rig.people.script = [refusing("invalid_auth")]
        rig.say(method("auth.test"), "_23general")
        await rig.all_said()
        assert rig.speaker.problem is not None

    assert playing(play).sent == [("results", {"ok": False, "error": "invalid_auth"})]


@pytest.mark.parametrize("conversation", ["_23nowhere", "nobody", "_40nobody"])
def test_who_is_not_there_cannot_be_spoken_to(conversation: str) -> None:
    rig = saying(reply(), conversation=conversation)
    assert rig.receipts()[0]["status"] == "failed"
    assert "channel_not_found" in rig.receipts()[0]["error"]


def test_a_room_has_one_order_by_whatever_name() -> None:
    async def play(rig: Rig) -> None:
        rig.people.script = [NotSent("away")]
        rig.say("0", "_23general")
        rig.say("1", "_23general")
        await rig.time.advance(5)
        rig.say("2", "C1AA")
        rig.say("3", "_23general")
        await rig.all_said()

    rig = playing(play)
    assert rig.slack.texts() == ["0", "1", "2", "3"]
    assert rig.time.now - EPOCH >= 3, "the limit is the room's too"


# Methods


def method(name: str = "pins.add", **keys: Any) -> dict[str, Any]:
    return {"method": name, "arguments": {"channel": "C1AA", "timestamp": STAMP}, "result_channel": "results", **keys}


def test_any_method() -> None:
    rig = saying(method(), plans={"pins.add": [lambda *_: {"ok": True, "pin": {"id": 5}}]})
    assert rig.slack.arguments("pins.add") == [{"channel": "C1AA", "timestamp": STAMP}]
    assert rig.sent == [("results", {"ok": True, "pin": {"id": 5}})]


def test_a_method_in_no_room_and_without_a_result_channel() -> None:
    async def play(rig: Rig) -> None:
        rig.say({"method": "auth.test", "arguments": {}}, "")
        rig.say({"method": "auth.test"}, "_23nowhere")
        await rig.all_said()

    rig = playing(play)
    assert rig.slack.methods() == ["auth.test"] * 2
    assert not rig.sent


def test_methods_keep_their_place_among_messages() -> None:
    rig = saying("a", method("chat.postMessage", arguments={"channel": "C1AA", "text": "raw"}), "b")
    assert rig.slack.texts() == ["a", "raw", "b"]
    assert rig.time.now - EPOCH >= 2


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (method(arguments={"token": "xoxb-9"}), "not_allowed"),
        (method(arguments=[1]), "slack reply: arguments"),
        (method(text="and said"), "slack reply"),
        (method("oauth.v2.access"), "not_allowed"),
        (method("apps.connections.open"), "not_allowed"),
        (method("tooling.tokens.rotate"), "not_allowed"),
        (method("auth.revoke"), "not_allowed"),
        (method("../../evil"), "unknown_method"),
        (method("chat.postMessage?x=1"), "unknown_method"),
        (method(5), "slack reply: method"),  # type: ignore[arg-type]
    ],
)
def test_methods_that_are_not_called(message: dict[str, Any], error: str) -> None:
    rig = saying(message)
    assert not rig.slack.calls
    ((channel, result),) = rig.sent
    assert (channel, result["ok"]) == ("results", False)
    assert result["error"].startswith(error)
    assert "xoxb-9" not in str(result)


def test_a_method_that_fails() -> None:
    rig = saying(method(), method(), method(), plans={"pins.add": [refusing("no_pin"), InDoubt("cut"), RateLimited(3)]})
    assert [(each["ok"], each.get("error", "")[:8]) for _, each in rig.sent] == [
        (False, "no_pin"),
        (False, "in doubt"),
        (True, ""),
    ]
    assert rig.stats["methods_failed"] == 2


def test_what_would_open_the_workspace_does_not_travel() -> None:
    answer = {
        "ok": True,
        "authed_user": {"access_token": "whatever", "note": "use xoxp-12-ab_c and xapp-1-A1"},
        "client_secret": "s",
        "list": ["xoxe.xoxb-1-abc", 5, None, {"refresh_token": None}],
    }
    rig = saying(method("team.info"), plans={"team.info": [lambda *_: answer]})
    assert rig.sent[0][1] == {
        "ok": True,
        "authed_user": {"access_token": "[removed]", "note": "use [removed]_c and [removed]"},
        "client_secret": "[removed]",
        "list": ["[removed]", 5, None, {"refresh_token": None}],
    }


def test_an_answer_that_is_too_large_or_too_deep() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    answers = [lambda *_: {"ok": True, "x": "y" * 2_000_000}, lambda *_: {"ok": True, "x": deep}]
    rig = saying(method(), method(), plans={"pins.add": answers})
    assert [each["ok"] for _, each in rig.sent] == [False, False]


# Stopping


def test_what_is_not_said_when_it_stops_is_given_back_in_order() -> None:
    async def play(rig: Rig) -> None:
        messages = [reply(str(number)) for number in range(5)]
        for message in messages:
            rig.say(message)
        rig.say("elsewhere", "_23nowhere.1700_2e5")
        rig.people.script = [NotSent("away")] * 9
        await rig.time.advance(1.5)
        assert await rig.speaker.stop(0)
        assert rig.slack.texts() == ["0", "1"]
        assert rig.back[:3] == [("C1AA", message) for message in messages[2:]]
        assert rig.back[3] == ("_23nowhere.1700_2e5", {"text": "elsewhere"})
        rig.say(reply("late"))
        assert rig.back[4] == ("C1AA", reply("late")), "what comes after it goes back at once"
        assert len(rig.receipts()) == 2

    assert playing(play).stats["given_back"] == 5


def test_it_says_what_it_can_within_the_grace() -> None:
    async def play(rig: Rig) -> None:
        rig.say("a")
        rig.say("b")
        await rig.time.settle()
        stopping = asyncio.ensure_future(rig.speaker.stop(30))
        await rig.time.advance(2)
        assert await stopping
        assert not rig.back

    assert playing(play).slack.texts() == ["a", "b"]


def test_the_rest_of_a_long_text_is_given_back() -> None:
    async def play(rig: Rig) -> None:
        rig.say(reply(WORDS))
        await rig.time.advance(0.5)
        assert await rig.speaker.stop(0)

    rig = playing(play)
    ((_, rest),) = rig.back
    assert " ".join([*rig.slack.texts(), *rest["text"].split("\n")]) == WORDS.strip()
    assert rest["receipt_channel"] == "receipts"
    assert not rig.receipts(), "the one who says the rest gives it"


def test_the_files_behind_a_long_text_are_given_back() -> None:
    files = [{"name": "a", "mimetype": "x/y", "content": b"a"}]

    async def play(rig: Rig) -> None:
        rig.say(reply(WORDS, files=files))
        await rig.time.until(lambda: len(rig.slack.texts()) == 3)
        assert await rig.speaker.stop(0)

    rig = playing(play)
    ((_, rest),) = rig.back
    assert (rest["text"], rest["files"]) == ("", files)


def test_a_call_that_is_cut_off_is_no_loss_that_nobody_knows_of() -> None:
    async def play(rig: Rig) -> None:
        rig.slack.latency = 100
        rig.say(reply("a"))
        rig.say(reply("b"))
        await rig.time.advance(0.5)
        assert not await rig.speaker.stop(0)

    rig = playing(play)
    assert [message["text"] for _, message in rig.back] == ["b"]
    assert rig.receipts()[0]["status"] == "failed"
    assert rig.stats["cut_off"] == 1


def test_a_call_under_way_may_end_and_nothing_else_begins() -> None:
    async def play(rig: Rig) -> None:
        rig.slack.latency = 6
        rig.say(reply("a"))
        rig.say(reply("b"))
        await rig.time.advance(0.5)
        stopping = asyncio.ensure_future(rig.speaker.stop(8))
        await rig.time.advance(20)
        assert await stopping
        assert rig.slack.texts() == ["a"]

    rig = playing(play)
    assert [message["text"] for _, message in rig.back] == ["b"]


def test_it_can_start_again() -> None:
    async def play(rig: Rig) -> None:
        rig.say("a")
        await rig.all_said()
        assert await rig.speaker.stop(1)
        await rig.speaker.start()
        rig.say("b")
        await rig.all_said()

    assert playing(play).slack.texts() == ["a", "b"]


def test_an_error_of_ours_hurts_one_reply(caplog: pytest.LogCaptureFixture) -> None:
    def encode(text: str, notify: bool) -> str:
        if text == "bad":
            raise RuntimeError("a defect")
        return text

    async def play(rig: Rig) -> None:
        rig.say(reply("bad"))
        rig.say(reply("good"))
        await rig.all_said()

    rig = playing(play, encode=encode)
    assert [each["status"] for each in rig.receipts()] == ["failed", "sent"]
    assert rig.stats["failures"] == 1

"""The SMTP server between a client and the bus, in memory: what it asks, what it sends, what it tells the client."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline import message_formats
from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.operations.errors import SettingsError, UsageError
from trunkline.operations.tables import table
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.smtp import server as server_module
from trunkline.protocol_servers.smtp.copies import AHEAD, CHUNK, FIRST_CHUNK
from trunkline.protocol_servers.smtp.session import MAX_REPLIES


def fits(channel: str, message: dict[str, Any]) -> bool:
    found = message_formats.get(channel)
    assert found is not None
    found.validate(message)
    return True


# RCPT


def test_a_recipient_is_asked_about(stage: Any) -> None:
    play = stage()
    client = play.connect()
    assert client.say("MAIL FROM:<Ann@EXAMPLE.org>", "RCPT TO:<Bob+tag@EXAMPLE.com>") == ["250 2.1.0 Sender OK"]
    (question,) = play.sent("email.recipient")
    assert fits("email.recipient", question.message)
    assert question.message == {
        "reply_channel": question.message["reply_channel"],
        "address": "Bob+tag@example.com",
        "from": "Ann@example.org",
        "client": ["192.168.1.1", 54321],
        "helo": "client.example.org",
    }
    assert question.options == {"expiry": 10.0}
    play.answer(question)
    assert client.hear() == ["250 2.1.5 Recipient OK"]
    play.answer(question)
    assert client.hear() == []
    assert play.server.stats["late_answers"] == 1


def test_the_null_sender_is_no_sender(stage: Any) -> None:
    play = stage()
    play.connect().say("MAIL FROM:<>", "RCPT TO:<a@b>")
    assert "from" not in play.sent("email.recipient")[0].message


def test_postmaster_is_rewritten_before_anybody_is_asked(stage: Any) -> None:
    play = stage(postmaster="Boss@EXAMPLE.org")
    play.connect().say("MAIL FROM:<>", "RCPT TO:<PostMaster>", "RCPT TO:<postmaster@anywhere.example>")
    assert [sent.message["address"] for sent in play.sent("email.recipient")] == ["Boss@example.org"]


def test_pipelined_recipients_are_asked_together_and_answered_in_order(stage: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", *[f"RCPT TO:<{name}@b>" for name in "abc"])
    first, second, third = play.sent("email.recipient")
    play.answer(third)
    play.answer(first, accept=False, code=550, text="5.1.1 No a here")
    assert client.hear() == ["550 5.1.1 No a here"]
    play.answer(second)
    assert client.hear() == ["250 2.1.5 Recipient OK", "250 2.1.5 Recipient OK"]


ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({}, "250 2.1.5 Recipient OK"),
    ({"accept": True, "code": None, "text": None}, "250 2.1.5 Recipient OK"),
    ({"accept": True, "code": 251, "text": "2.1.5 Will forward"}, "251 2.1.5 Will forward"),
    ({"accept": True, "text": "Welcome"}, "250 2.0.0 Welcome"),
    ({"accept": True, "code": 252}, "252 2.0.0 OK"),
    ({"accept": False}, "550 5.0.0 Refused"),
    ({"accept": False, "code": 553, "text": "Not him"}, "553 5.0.0 Not him"),
    ({"accept": False, "code": 450, "text": "4.2.1 Greylisted"}, "450 4.2.1 Greylisted"),
    ({"accept": False, "code": 421, "text": "4.3.0 Later"}, "451 4.3.0 Later"),
    ({"accept": False, "text": "ünknown"}, "550 5.0.0 ?nknown"),
    ({"accept": True, "other": "keys are ignored"}, "250 2.1.5 Recipient OK"),
]
WRONG_ANSWERS: list[dict[str, Any]] = [
    {"accept": 1},
    {"accept": "yes"},
    {"code": "250"},
    {"accept": False, "code": 99},
    {"accept": False, "code": 250},
    {"accept": False, "code": 354},
    {"accept": True, "code": 550},
    {"accept": True, "code": 354},
    {"accept": False, "text": "two\r\nlines"},
    {"accept": False, "text": b"bytes"},
]


@pytest.mark.parametrize(("answer", "reply"), ANSWERS)
def test_answers_of_the_bus(stage: Any, answer: dict[str, Any], reply: str) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>")
    play.inbox.answer(play.sent("email.recipient")[0].message["reply_channel"], answer)
    assert client.hear() == [reply]


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_an_answer_that_breaks_its_format_is_a_temporary_failure(stage: Any, answer: dict[str, Any]) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>")
    play.inbox.answer(play.sent("email.recipient")[0].message["reply_channel"], answer)
    assert client.hear() == ["451 4.3.0 Temporary failure, try again later"]
    assert play.server.stats["unfit_messages"] == 1


def test_nobody_answers_about_a_recipient(stage: Any, manual: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>")
    manual.advance(9.9)
    assert client.hear() == []
    manual.advance(0.2)
    assert client.hear() == ["451 4.3.0 Try again later: no answer within 10 s"]
    play.inbox.announced.clear()
    client.say("RCPT TO:<c@d>")
    manual.advance(10.1)
    assert client.hear() == ["451 4.3.0 Try again later: no worker listens to email.recipient"]
    assert client.say("DATA") == ["451 4.5.1 No recipient was accepted, try again later"]


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (ChannelFull("x"), "451 4.3.1 The channel is full, try again later"),
        (LayerUnavailable("x"), "451 4.3.0 The channel layer is unavailable, try again later"),
        (LayerUnavailable("x", uncertain=True), "451 4.3.0 The channel layer is unavailable, try again later"),
    ],
)
def test_the_layer_does_not_take_the_question(stage: Any, refusal: Exception, reply: str) -> None:
    play = stage()
    play.inbox.refusals["email.recipient"] = refusal
    assert play.connect().say("MAIL FROM:<>", "RCPT TO:<a@b>")[-1] == reply


def test_any_recipient_will_do(stage: Any) -> None:
    play = stage(rcpt="any")
    said = play.connect().say("MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert [line[:9] for line in said] == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354 End d"]
    assert play.inbox.take() == []


# Mails


def test_every_recipient_has_a_message_of_its_own(stage: Any) -> None:
    play = stage()
    client = play.mail("Ann+x@EXAMPLE.org", "bob@c", "bob@C", content="Message-ID: <1>\r\nSubject: s\r\n\r\n..dot")
    first, second = play.sent("email.receive")
    for sent in (first, second):
        assert fits("email.receive", sent.message)
        assert sent.options == {"expiry": 300.0}
        assert sent.message["to"] == ["Ann+x@example.org", "bob@c"]
        assert sent.message["from"] == "a@b"
        assert sent.message["content"]["body"] == b".dot\r\n"
        assert sent.message["tls"] is False
        assert sent.message["helo"] == "client.example.org"
        assert sent.message["client"] == ["192.168.1.1", 54321]
    assert (first.message["address"], first.message["tag"]) == ("Ann+x@example.org", "x")
    assert second.message["address"] == "bob@c"
    assert first.message["id"] != second.message["id"]
    play.answer(first)
    assert client.hear() == []
    play.answer(second)
    assert client.hear() == ["250 2.6.0 Mail taken"]
    assert play.server.stats["mails_taken"] == 1
    again = play.mail("Ann+x@EXAMPLE.org", content="Message-ID: <1>\r\nSubject: s\r\n\r\n..dot")
    (repeated,) = play.sent("email.receive")
    assert repeated.message["id"] == first.message["id"]
    assert again.hear() == []


def test_a_bounce(stage: Any) -> None:
    play = stage()
    play.mail("ann@b", sender="")
    message = play.sent("email.receive")[0].message
    assert "from" not in message
    assert message["auto_submitted"] is True


@pytest.mark.parametrize(
    ("answers", "reply"),
    [
        ([{}], "250 2.6.0 Mail taken"),
        ([{"code": 250, "text": "2.0.0 Ticket 7"}], "250 2.0.0 Ticket 7"),
        ([{"accept": False, "code": 554, "text": "5.7.1 No"}], "554 5.7.1 No"),
        ([{}, {}], "250 2.6.0 Mail taken"),
        ([{}, {"accept": False, "code": 554, "text": "5.7.1 No"}], "554 5.7.1 No"),
        ([{"accept": False}, {"accept": False, "code": 554}], "550 5.0.0 Refused"),
        ([{"accept": False}, {"accept": False, "code": 451, "text": "4.3.0 Later"}, {}], "451 4.3.0 Later"),
        ([{"accept": False, "code": 452}, {}], "452 4.0.0 Refused"),
        ([{"nonsense": 1, "accept": 7}, {"accept": False}], "451 4.3.0 Temporary failure, try again later"),
    ],
)
def test_what_the_recipients_say_together(stage: Any, answers: list[dict[str, Any]], reply: str) -> None:
    for order in (answers, answers[::-1]):
        play = stage()
        client = play.mail(*[f"r{number}@b" for number in range(len(order))])
        for sent, answer in zip(play.sent("email.receive"), order, strict=True):
            assert client.hear() == []
            play.inbox.answer(sent.message["reply_channel"], answer)
        if order is answers or reply[0] != "5":
            assert client.hear() == [reply]
        assert sum(play.server.stats[f"mails_{name}"] for name in ("taken", "delayed", "refused")) == 1


def test_nobody_answers_to_a_mail(stage: Any, manual: Any) -> None:
    play = stage(answer_timeout=20.0)
    client = play.mail("a@b", "c@d")
    first, second = play.sent("email.receive")
    play.answer(first)
    manual.advance(20.1)
    assert client.hear() == ["451 4.3.0 Try again later: no answer within 20 s"]
    assert play.server.stats["mails_delayed"] == 1
    play.answer(second)
    assert play.server.stats["late_answers"] == 1
    assert client.say("NOOP") == ["250 2.0.0 OK"]


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (ChannelFull("x"), "451 4.3.1 The channel is full, try again later"),
        (LayerUnavailable("x"), "451 4.3.0 The channel layer is unavailable, try again later"),
        (LayerUnavailable("x", uncertain=True), "451 4.3.0 The channel layer is unavailable, try again later"),
        (MessageTooLarge("x"), "552 5.3.4 The mail is more than the channel layer carries"),
    ],
)
def test_the_layer_does_not_take_the_mail(stage: Any, refusal: Exception, reply: str) -> None:
    play = stage(rcpt="any")
    play.inbox.refusals["email.receive"] = refusal
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert client.say("hi", ".") == [reply]


def test_a_mail_in_doubt_is_for_its_sender_to_repeat(stage: Any) -> None:
    """Sent once to each recipient; what the consumer answers after all comes too late, and the repeat hears it."""
    play = stage(rcpt="any")
    play.inbox.refusals["email.receive"] = LayerUnavailable("x", uncertain=True)
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert client.say("hi", ".") == ["451 4.3.0 The channel layer is unavailable, try again later"]
    first, second = play.sent("email.receive")
    play.answer(first)
    play.answer(second)
    assert client.hear() == []
    stats = play.server.stats
    assert (stats["in_doubt"], stats["late_answers"], stats["refused_unavailable"]) == (2, 2, 0)


def test_a_piece_of_a_body_in_doubt_ends_the_mail(stage: Any) -> None:
    play = stage(rcpt="any")
    client = play.mail("a@b", content=attached(3_000_000) + "--b--")
    play.loop.finish_thread()
    message, _ = play.inbox.take()
    name = message.message["content"]["parts"][1]["body_channel"]
    play.inbox.refusals[name] = LayerUnavailable("x", uncertain=True)
    play.inbox.credit(name, message.message["reply_channel"].partition("!")[2], 1)
    assert client.hear() == ["451 4.3.0 The channel layer is unavailable, try again later"]
    chunk, closed = play.inbox.take()
    assert (chunk.channel, closed.channel, closed.message["closed"]) == (name, name, True)


def test_a_group_s_message_is_ignored(stage: Any) -> None:
    play = stage()
    client = play.mail("a@b")
    (sent,) = play.sent("email.receive")
    play.inbox.answer_group([sent.message["reply_channel"]], {"accept": False})
    assert client.hear() == []
    assert play.server.stats["group_messages_ignored"] == 1
    play.answer(sent)
    assert client.hear() == ["250 2.6.0 Mail taken"]


# Large parts


def attached(size: int) -> str:
    head = "Message-ID: <1>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n"
    return f"{head}Content-Type: application/x\r\n\r\n{'x' * 900}\r\n" + ("y" * 998 + "\r\n") * (size // 1000)


def test_large_parts_go_through_channels_at_their_readers_pace(stage: Any) -> None:
    play = stage()
    client = play.mail("a@b", "c@d", content=attached(3_000_000) + "--b--")
    play.loop.finish_thread()
    sent = play.inbox.take()
    messages = [one for one in sent if one.channel == "email.receive"]
    names = [one.message["content"]["parts"][1]["body_channel"] for one in messages]
    assert len(set(names)) == 2
    assert [one.channel for one in sent if one not in messages] == names  # one chunk each until somebody reads
    size = messages[0].message["content"]["parts"][1]["size"]
    received = {name: [one.message for one in sent if one.channel == name] for name in names}
    ids = {name: one.message["reply_channel"].partition("!")[2] for name, one in zip(names, messages, strict=True)}
    slow, fast = names
    outstanding = 1
    while outstanding:
        play.inbox.credit(fast, ids[fast], 1)
        chunks = play.sent(fast)
        outstanding += len(chunks) - 1
        assert outstanding <= AHEAD
        received[fast] += [one.message for one in chunks]
        for one in chunks:
            assert fits("email.body?", one.message)
            assert one.options.get("credit") == ids[fast]
            assert one.options["expiry"] == 300.0
            assert one.options.get("last", False) is not one.message["more_content"]
    assert sum(len(chunk["content"]) for chunk in received[fast]) == size
    lengths = [len(chunk["content"]) for chunk in received[fast]]
    assert lengths[:-1] == [FIRST_CHUNK] + [CHUNK] * (size // CHUNK)
    assert [chunk["more_content"] for chunk in received[fast]] == [True] * (len(lengths) - 1) + [False]
    assert len(received[slow]) == 1
    play.answer(messages[1])
    assert play.inbox.take() == []  # it had everything
    play.inbox.credit(slow, ids[slow], 1)
    assert len(play.sent(slow)) == 4  # it may be somebody who only looks at the beginning
    play.inbox.credit(slow, ids[slow], 4)
    assert len(play.sent(slow)) == AHEAD
    play.answer(messages[0])
    (closed,) = play.sent(slow)
    assert closed.message == {"content": b"", "closed": True}
    assert closed.options == {"expiry": 5.0, "last": True}
    assert client.hear() == ["250 2.6.0 Mail taken"]
    play.inbox.credit(slow, ids[slow], 1)
    assert play.inbox.take() == []


def test_no_more_of_a_part_is_sent_than_its_channel_holds(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    play = stage()
    monkeypatch.setattr(play.inbox, "capacity", lambda channel: 3)
    play.mail("a@b", content=attached(3_000_000) + "--b--")
    play.loop.finish_thread()
    sent = play.inbox.take()
    [message] = [one for one in sent if one.channel == "email.receive"]
    channel = message.message["content"]["parts"][1]["body_channel"]
    local = message.message["reply_channel"].partition("!")[2]
    counts = [len(sent) - 1]
    for _ in range(4):
        play.inbox.credit(channel, local, 1)
        counts.append(len(play.sent(channel)))
    assert counts == [1, 3, 1, 1, 1]


def many_parts(count: int, size: int) -> str:
    part = "--b\r\nContent-Type: application/x\r\n\r\n" + ("y" * 98 + "\r\n") * (size // 100)
    return "Message-ID: <1>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count + "--b--"


def test_what_nobody_read_does_not_stay_when_its_consumer_is_done(stage: Any) -> None:
    """Bodies that were sent as a whole, and bodies of which only the beginning was taken."""
    play = stage()
    play.mail("a@b", content=many_parts(30, 60_000))
    play.loop.finish_thread()
    message, *chunks = play.inbox.take()
    name = message.message["reply_channel"].partition("!")[2]
    unread, begun, whole, *_ = (one.channel for one in chunks)
    assert [len(one.message["content"]) for one in chunks] == [FIRST_CHUNK] * 22
    for channel in (begun, whole):
        play.inbox.credit(channel, name, 1)
        (rest,) = play.sent(channel)
        assert rest.message["more_content"] is False
    play.inbox.credit(whole, name, 1)
    play.answer(message)
    ended = play.inbox.take()
    assert {unread, begun} < {one.channel for one in ended} == {one.channel for one in chunks} - {whole}
    assert all(one.message["closed"] and one.options == {"expiry": 5.0, "last": True} for one in ended)


def test_a_mail_of_many_parts_to_many_recipients_is_sent_bit_by_bit(stage: Any) -> None:
    play = stage()
    client = play.mail(*[f"r{number}@b" for number in range(30)], content=many_parts(300, 5_000))
    play.loop.finish_thread()
    turns = [play.inbox.take()]
    while play.loop.turn():
        turns.append(play.inbox.take())
    assert sum(len(sent) > 0 for sent in turns) > 5
    assert max(sum(len(one.message.get("content", b"")) for one in sent) for sent in turns) < 4 * 1024 * 1024
    assert play.server.room.memory > 30 * 600_000
    messages = [one for sent in turns for one in sent if one.channel == "email.receive"]
    for message in messages:
        assert client.hear() == []
        play.answer(message)
    assert client.hear() == ["250 2.6.0 Mail taken"]
    assert len(messages) == 30
    assert (play.server.room.memory, play.server.room.disk) == (0, 0)


def test_a_mail_that_was_half_sent_when_the_server_ended_stays_so(stage: Any) -> None:
    play = stage()
    play.mail(*[f"r{number}@b" for number in range(30)], content=many_parts(300, 5_000))
    play.loop.finish_thread()
    play.inbox.take()
    play.server.ended = True
    while play.loop.turn():
        pass
    assert play.inbox.take() == []


def test_a_mail_of_too_many_parts_for_its_recipients_is_refused(stage: Any) -> None:
    """Each part needs a channel for each recipient; 1 000 for 100 would take gigabytes."""
    play = stage()
    client = play.mail(*[f"r{number}@b" for number in range(100)], content=many_parts(900, 2_000))
    play.loop.finish_thread()
    assert client.hear() == ["552 5.3.4 The mail has too many large parts for so many recipients"]
    assert play.inbox.take() == []
    assert (play.server.room.memory, play.server.room.disk) == (0, 0)
    assert play.server.stats["mails_refused"] == 1


def test_a_body_ends_when_nobody_answers(stage: Any, manual: Any) -> None:
    play = stage(answer_timeout=20.0)
    client = play.mail("a@b", content=attached(300_000))
    play.loop.finish_thread()
    name = play.inbox.take()[1].channel
    manual.advance(20.1)
    assert [(sent.message, sent.options["expiry"]) for sent in play.sent(name)] == [
        ({"content": b"", "closed": True}, 60.0)
    ]
    assert client.hear()[0].startswith("451 ")


def test_a_chunk_that_is_not_taken_delays_the_mail(stage: Any) -> None:
    play = stage()
    client = play.mail("a@b", content=attached(300_000))
    play.inbox.refusals["email.body?1"] = ChannelFull("x")
    play.loop.finish_thread()
    assert client.hear() == ["451 4.3.1 The channel is full, try again later"]


def test_a_credit_for_a_channel_of_somebody_else_is_ignored(stage: Any) -> None:
    play = stage()
    play.mail("a@b", content=attached(300_000))
    play.loop.finish_thread()
    sent = play.inbox.take()[0]
    play.inbox.credit("email.body?other", sent.message["reply_channel"].partition("!")[2], 5)
    assert play.inbox.take() == []


# Clients that leave, stall, or flood


def test_a_client_that_leaves_is_asked_about_no_more(stage: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>")
    (question,) = play.sent("email.recipient")
    client.transport.finish()
    play.answer(question)
    assert play.server.stats["late_answers"] == 1


def test_a_mail_whose_client_left_is_still_fed_and_its_answer_ignored(stage: Any) -> None:
    """The consumer may finish: the sender asks again, and the stored outcome answers him."""
    play = stage()
    client = play.mail("a@b", content=attached(300_000))
    client.transport.finish()
    play.loop.finish_thread()
    message, chunk = play.inbox.take()
    play.inbox.credit(chunk.channel, message.message["reply_channel"].partition("!")[2], 1)
    assert len(play.sent(chunk.channel)) == 4
    play.inbox.credit(chunk.channel, message.message["reply_channel"].partition("!")[2], 4)
    assert len(play.sent(chunk.channel)) == 1
    play.answer(message)
    assert play.server.stats["failures"] == 0
    assert play.server.stats["mails_taken"] == 1
    assert client.hear() == []


def test_an_idle_client_is_sent_away(stage: Any, manual: Any) -> None:
    play = stage(idle_timeout=60.0)
    client = play.connect()
    manual.advance(59)
    assert client.say("NOOP") == ["250 2.0.0 OK"]
    manual.advance(59)
    assert client.hear() == []
    manual.advance(2)
    assert client.hear() == ["421 4.4.2 Nothing was heard for too long, closing"]
    assert client.transport.disconnecting


def test_a_client_in_the_middle_of_its_mail_is_sent_away_too(stage: Any, manual: Any) -> None:
    play = stage(rcpt="any", idle_timeout=60.0)
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
    manual.advance(61)
    assert client.hear()[-1].startswith("421 4.4.2")


def test_a_client_that_waits_for_us_is_not_idle(stage: Any, manual: Any) -> None:
    play = stage(idle_timeout=60.0)
    client = play.mail("a@b")
    manual.advance(299)
    assert client.hear() == []
    play.answer(play.sent("email.receive")[0])
    assert client.hear() == ["250 2.6.0 Mail taken"]
    manual.advance(59)
    assert client.hear() == []
    manual.advance(2)
    assert client.hear()[0].startswith("421 4.4.2")


def test_reading_pauses_while_too_much_is_waiting(stage: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", *["NOOP"] * 20_000)
    assert client.transport.producerState == "paused"
    play.answer(play.sent("email.recipient")[0])
    assert len(client.hear()) == 20_001
    assert client.transport.producerState == "producing"


def test_a_client_that_takes_no_replies_gets_no_more_of_them(stage: Any) -> None:
    client = stage().connect()
    client.transport.producer.pauseProducing()
    assert len(client.say(*["EHLO x"] * 10_000)) < 9 * MAX_REPLIES
    assert client.hear() == []
    client.transport.producer.resumeProducing()
    assert len(client.hear()) > 50_000


def test_a_flood_of_commands_leaves_others_their_turn(stage: Any) -> None:
    play = stage()
    flood, other = play.connect(), play.connect()
    flood.protocol.dataReceived(b"NOOP\r\n" * 10_000)
    assert flood.transport.take().count(b"250") == MAX_REPLIES
    other.protocol.dataReceived(b"NOOP\r\n")
    assert other.transport.take() == b"250 2.0.0 OK\r\n"
    play.loop.turn()
    assert flood.transport.take().count(b"250") == MAX_REPLIES
    assert len(flood.hear()) == 10_000 - 2 * MAX_REPLIES
    flood.protocol.dataReceived(b"NOOP\r\n" * 1000)
    flood.transport.finish()
    while play.loop.turn():
        pass
    assert play.server.stats["failures"] == 0


def test_reading_pauses_while_the_client_takes_no_replies(stage: Any) -> None:
    client = stage().connect()
    client.transport.producer.pauseProducing()
    assert client.transport.producerState == "paused"
    client.transport.producer.resumeProducing()
    assert client.transport.producerState == "producing"
    client.transport.producer.stopProducing()


def test_there_is_room_for_so_much_mail_only(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_MEMORY", 45_000)
    play = stage(rcpt="any", trusted=["0.0.0.0/0"])
    first, second = play.connect(), play.connect()
    for client in (first, second):
        client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
    assert first.say(*["x" * 900] * 40) == []
    assert second.say(*["x" * 900] * 20) == []
    assert second.say(".") == ["451 4.3.1 Too much mail at once, try again later"]
    first.transport.finish()
    second.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
    assert second.say(*["x" * 900] * 10, ".") == []
    play.answer(play.sent("email.receive")[0])
    assert second.hear() == ["250 2.6.0 Mail taken"]
    for client in (second, play.connect()):  # what a mail's messages will take counts, too
        client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
        assert client.say(*["x" * 900] * 10) == []
    assert client.say(".") == ["451 4.3.1 Too much mail at once, try again later"]
    second.transport.finish()
    assert (play.server.room.memory, play.server.room.disk) == (0, 0)


def test_too_many_errors_end_the_session(stage: Any) -> None:
    client = stage(max_errors=2).connect()
    assert [line[:3] for line in client.say("x", "y", "z", "NOOP")] == ["500", "500", "421"]
    assert client.transport.disconnecting


def test_a_connection_while_stopping_is_sent_away(stage: Any) -> None:
    play = stage()
    play.server.stopping = True
    client = play.connect()
    assert client.hear() == []
    assert client.transport.disconnecting


# Settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"accept": "never"}, 'expected "consumed" or "queued", got \'never\''),
        ({"auth_file": "a", "auth_callable": "b:c"}, "only one of them"),
        ({"trusted": ["10.0.0.0/8", "10.0.0.1/8"]}, "trusted: 10.0.0.1/8 has host bits set"),
        ({"trusted": ["example.org"]}, "trusted: 'example.org' does not appear to be an IPv4 or IPv6 network"),
        ({"rate": 0}, "rate"),
        ({"rcpt": "some"}, 'expected "route" or "any"'),
        ({"hostname": "not a name"}, "hostname"),
        ({"hostname": "bücher.example"}, "hostname"),
        ({"key": "x.pem"}, "there is no certificate"),
        ({"postmaster": "nobody"}, "postmaster"),
        ({"postmaster": "a@b>"}, "postmaster"),
        ({"max_size": 0}, "max_size"),
        ({"max_size": 2**30}, "max_size"),
        ({"max_recipients": 10_000}, "max_recipients"),
        ({"spool": "/tmp"}, "unknown key"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=r"trunkline.toml: \[smtp\]") as caught:
        table(SmtpSettings, settings, "trunkline.toml: [smtp]", {})
    assert problem in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_defaults() -> None:
    settings = table(SmtpSettings, {"postmaster": "Boss@EXAMPLE.org"}, "[smtp]", {})
    assert settings.endpoints == ["tcp:2525"]
    assert settings.postmaster == "Boss@example.org"
    assert (settings.max_size, settings.max_recipients, settings.answer_timeout) == (26_214_400, 100, 300)


def test_the_class_is_what_the_command_line_loads() -> None:
    from trunkline.protocol_servers import load_server

    assert load_server("smtp") is SmtpServer
    assert SmtpServer.Settings is SmtpSettings

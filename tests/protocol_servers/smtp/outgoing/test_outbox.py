"""Mail out, against a relay of the test's own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.message_formats.email import parse_mail
from trunkline.operations.errors import UsageError
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.testing import ReactorThread

from .conftest import PATIENCE, FakeRelay, House, wait_for

Make = Callable[..., House]


def test_a_mail_goes_out_and_its_result_is_told(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send(id="m1", subject="Hi")
    assert own.hear(1) == [
        (
            "email.delivered",
            {"id": "m1", "address": "bob@example.net", "code": 250, "text": "taken", "permanent": True},
        )
    ]
    own.settled()
    [mail] = relay.mails
    assert (mail.sender, mail.recipients) == ("ann@example.com", ["bob@example.net"])
    parsed = message_from_bytes(mail.content, policy=default)
    assert (parsed["Subject"], parsed["To"], parsed.get_content()) == ("Hi", "bob@example.net", "hello\r\n")
    assert own.layer.listeners().keys() >= {own.server.inbox.name}
    assert own.layer.get_state("email.send:1") == (None, 0)


def test_bcc_is_in_the_envelope_only(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send(to=["Bob <bob@example.net>"], cc=["c@example.net"], bcc=["secret@example.net", "bob@example.net"])
    own.hear(3)
    [mail] = relay.mails
    assert mail.recipients == ["bob@example.net", "c@example.net", "secret@example.net"]
    assert b"secret" not in mail.content


def test_a_relay_that_refuses_one_of_three(relay: FakeRelay, house: Make) -> None:
    relay.rule = lambda verb, rest: "550 5.1.1 no such user" if verb == "RCPT" and "eve" in rest else None
    own = house(relay.port)
    own.send(id="m1", to=["bob@example.net", "eve@example.net", "dan@example.net"])
    own.hear(3)
    own.settled()
    told = {message["address"]: (channel, message["code"], message["permanent"]) for channel, message in own.results}
    assert told == {
        "bob@example.net": ("email.delivered", 250, True),
        "eve@example.net": ("email.failed", 550, True),
        "dan@example.net": ("email.delivered", 250, True),
    }
    wait_for(lambda: len(relay.mails) == 2, "the sender is told")
    first, bounce = relay.mails
    assert first.recipients == ["bob@example.net", "dan@example.net"]
    assert (bounce.sender, bounce.recipients) == ("", ["ann@example.com"])
    read = parse_mail(bounce.content).fields["bounce"]
    assert [(each["address"], each["status"], each["code"]) for each in read["recipients"]] == [
        ("eve@example.net", "5.1.1", 550)
    ]
    assert read["message_id"] == parse_mail(first.content).fields["message_id"]


def test_who_accepted_is_never_sent_to_again(relay: FakeRelay, house: Make) -> None:
    refused: list[str] = []

    def rule(verb: str, rest: str) -> str | None:
        if verb == "RCPT" and "eve" in rest and len(refused) < 3:
            refused.append(rest)
            return "450 4.2.1 later"
        return None

    relay.rule = rule
    own = house(relay.port)
    own.send(to=["bob@example.net", "eve@example.net"])
    own.hear(3)
    own.settled()
    assert [mail.recipients for mail in relay.mails] == [["bob@example.net"], ["eve@example.net"]]
    assert sorted((channel, message["address"], message["permanent"]) for channel, message in own.results) == [
        ("email.delivered", "bob@example.net", True),
        ("email.delivered", "eve@example.net", True),
        ("email.failed", "eve@example.net", False),
    ], "that it is late is told once"
    first, second = relay.mails
    assert first.content == second.content, "so that whoever gets both can tell"


def test_what_was_done_before_a_crash_is_not_repeated(relay: FakeRelay, house: Make, quick: Any) -> None:
    """Progress stands beside the mail in the layer: another process goes on with it."""
    quick(first=0.3, longest=0.3)
    relay.rule = lambda verb, rest: "450 4.2.1 later" if verb == "RCPT" and "eve" in rest else None
    layer = MemoryLayer(durable={"email.send": 0.5})
    first = house(relay.port, layer=layer)
    first.send(to=["bob@example.net", "eve@example.net"])
    first.hear(2)
    first.stop()
    relay.rule = lambda verb, rest: None
    second = house(relay.port, layer=layer)
    second.settled()
    assert [mail.recipients for mail in relay.mails] == [["bob@example.net"], ["eve@example.net"]]


def test_after_days_it_is_a_dead_letter_and_the_sender_is_told(relay: FakeRelay, house: Make, quick: Any) -> None:
    quick(first=0.02, longest=0.05, give_up=0.5)
    relay.rule = lambda verb, rest: "450 4.2.1 full" if verb == "RCPT" and "eve" in rest else None
    own = house(relay.port)
    own.send(id="m1", to=["Bob <bob@example.net>", "Eve <eve@example.net>"], subject="x")
    own.hear(3)
    own.settled()
    channel, last = own.results[-1]
    assert (channel, last["address"], last["code"], last["permanent"]) == ("email.failed", "eve@example.net", 450, True)
    [letter] = own.layer.dead_letters()
    assert letter["message"]["to"] == ["Eve <eve@example.net>"], "sent again, it goes to nobody who has it"
    assert "450 4.2.1 full" in letter["reason"]
    assert letter["tries"] > 1
    wait_for(lambda: len(relay.mails) == 2, "the sender is told")
    assert relay.mails[1].sender == ""


@pytest.mark.parametrize(
    "message",
    [
        {"from": "", "raw": b"Subject: x\r\n\r\nbody\r\n"},
        {"raw": b"Subject: x\r\n\r\nbody\r\n"},
        {"headers": {"Auto-Submitted": "auto-replied"}},
        {"headers": {"Precedence": "list"}},
        {"headers": {"List-Id": "<x.example.com>"}},
    ],
)
def test_no_bounce_for_a_bounce_a_machine_a_list_or_a_finished_mail(
    relay: FakeRelay, house: Make, message: dict[str, Any]
) -> None:
    relay.rule = lambda verb, rest: "550 no" if verb == "RCPT" and "bob" in rest else None
    own = house(relay.port)
    if "raw" in message:
        own.layer.send("email.send", {"to": ["bob@example.net"], "from": "ann@example.com", **message})
    else:
        own.send(**message)
    own.hear(1)
    own.send(to=["dan@example.net"])
    own.hear(2)
    own.settled()
    assert [mail.recipients for mail in relay.mails] == [["dan@example.net"]]


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("MAIL", "550 5.7.1 not you"),
        ("DATA", "554 5.6.0 no"),
        (".", "554 5.7.1 spam"),
    ],
)
def test_refused_for_good_wherever_it_is_said(relay: FakeRelay, house: Make, verb: str, answer: str) -> None:
    relay.rule = lambda said, rest: answer if said == verb and not relay.mails else None
    own = house(relay.port)
    own.send(to=["bob@example.net", "eve@example.net"], headers={"Auto-Submitted": "auto-generated"})
    own.hear(2)
    own.settled()
    assert {(channel, message["code"]) for channel, message in own.results} == {("email.failed", int(answer[:3]))}
    assert relay.mails == []


@pytest.mark.parametrize("verb", ["", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("what", ["451 4.3.0 later", "421 4.3.2 closing", "cut"])
def test_tried_again_wherever_it_goes_wrong_for_now(relay: FakeRelay, house: Make, verb: str, what: str) -> None:
    happened: list[str] = []

    def rule(said: str, rest: str) -> str | None:
        if said == verb and len(happened) < 3:
            happened.append(said)
            return what
        return None

    relay.rule = rule
    own = house(relay.port)
    own.send()
    own.settled()
    assert len(happened) == 3
    assert [mail.recipients for mail in relay.mails] == [["bob@example.net"]]
    in_doubt = own.server.stats["mails_in_doubt"]
    assert in_doubt == (3 if (verb, what) == (".", "cut") else 0)


def test_a_relay_that_hangs_holds_nobody_up_for_good(relay: FakeRelay, house: Make) -> None:
    hung: list[str] = []

    def rule(verb: str, rest: str) -> str | None:
        if verb == "RCPT" and "slow" in rest and not hung:
            hung.append(rest)
            return "hang"
        return None

    relay.rule = rule
    own = house(relay.port)
    assert own.server.outbox is not None
    own.server.outbox._patience = 1.0
    own.send(to=["slow@example.net"])
    for number in range(20):
        own.send(to=[f"u{number}@example.net"])
    own.settled()
    people = ["slow", *(f"u{number}" for number in range(20))]
    assert {mail.recipients[0] for mail in relay.mails} == {f"{person}@example.net" for person in people}
    assert len(hung) == 1


def test_connections_are_few_and_reused(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    for number in range(100):
        own.send(to=[f"u{number}@example.net"])
    own.settled()
    assert len(relay.mails) == 100
    assert relay.connections <= 4


def test_a_kept_connection_that_was_closed_costs_no_try(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send()
    own.settled()
    for sock in list(relay._sockets):
        sock.shutdown(socket.SHUT_RDWR)
    relay._sockets.clear()
    own.send()
    own.settled()
    assert len(relay.mails) == 2
    assert own.server.stats["mails_delayed"] == 0


def test_commands_go_together_where_the_relay_can(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send(to=[f"u{number}@example.net" for number in range(250)])
    own.settled()
    assert [len(mail.recipients) for mail in relay.mails] == [100, 100, 50]
    relay.extensions = []
    own.send(to=["ann@example.net", "bob@example.net"])
    own.settled()


def test_a_relay_that_knows_nothing_but_helo(relay: FakeRelay, house: Make) -> None:
    relay.rule = lambda verb, rest: "502 what" if verb == "EHLO" else None
    own = house(relay.port)
    own.send(to=["ann@example.net", "bob@example.net"], text="Grüße")
    own.layer.send(
        "email.send", {"to": ["eve@example.net"], "from": "a@b.example", "raw": "Subject: x\n\nGrüße".encode()}
    )
    own.settled()
    assert "HELO mx.example.org" in relay.said
    assert len(relay.mails) == 2
    assert all(mail.content.isascii() for mail in relay.mails)


def test_too_many_recipients_for_one_transaction(relay: FakeRelay, house: Make) -> None:
    def rule(verb: str, rest: str) -> str | None:
        if verb == "MAIL":
            counted.clear()
        if verb == "RCPT":
            counted.append(rest)
            return "452 4.5.3 too many" if len(counted) > 2 else None
        return None

    counted: list[str] = []
    relay.rule = rule
    own = house(relay.port)
    own.send(to=[f"u{number}@example.net" for number in range(5)])
    own.settled()
    assert [len(mail.recipients) for mail in relay.mails] == [2, 2, 1]
    assert own.server.stats["mails_delayed"] == 0


def test_what_the_relay_says_of_itself_is_believed(relay: FakeRelay, house: Make) -> None:
    relay.extensions = ["SIZE 2000"]
    own = house(relay.port)
    own.send(text="x" * 5000, headers={"Auto-Submitted": "auto-generated"})
    own.send(to=["jürgen@example.net"], headers={"Auto-Submitted": "auto-generated"})
    own.hear(2)
    assert {message["code"] for _, message in own.results} == {552, 553}
    own.settled()
    assert not [line for line in relay.said if line.startswith("MAIL")]


def test_addresses_that_are_not_ascii(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send(to=["jürgen@bücher.example"])
    own.send(to=["bob@bücher.example"])
    own.settled()
    said = [line for line in relay.said if line.startswith("MAIL")]
    assert sorted("SMTPUTF8" in line for line in said) == [False, True]
    assert {address for mail in relay.mails for address in mail.recipients} == {
        "jürgen@bücher.example",
        "bob@xn--bcher-kva.example",
    }


@pytest.mark.parametrize(
    "message",
    [
        {"subject": "x\r\nBcc: eve@example.net"},
        {"headers": {"X-A": "x\nBcc: eve@example.net"}},
        {"headers": {"Content-Type": "text/html"}},
        {"from": "nobody"},
        {"to": []},
        {"to": "bob@example.net"},
        {"raw": b"Received: x\r\n" * 60 + b"\r\n"},
        {"attachments": [{"filename": "x", "content-type": "text/plain", "body_key": "gone"}]},
        {"nothing": "of it"},
    ],
)
def test_what_cannot_be_sent_is_a_dead_letter(relay: FakeRelay, house: Make, message: dict[str, Any]) -> None:
    own = house(relay.port)
    whole = {"to": ["bob@example.net"], "from": "ann@example.com", **message}
    own.layer.send("email.send", {"text": "no sender", "to": ["x@y.z"]} if "nothing" in message else whole)
    own.settled()
    [letter] = own.layer.dead_letters()
    assert "no mail can be made of it" in letter["reason"]
    assert relay.mails == []
    own.send()
    own.settled()
    assert len(relay.mails) == 1


def test_what_is_no_address_fails_alone(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    own.send(to=["bob@example.net", "not an address"], headers={"Auto-Submitted": "auto-generated"})
    own.hear(2)
    own.settled()
    assert {(channel, message["address"], message["code"]) for channel, message in own.results} == {
        ("email.delivered", "bob@example.net", 250),
        ("email.failed", "not an address", 501),
    }


def test_large_attachments_come_out_of_blobs(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    key = own.layer.new_blob()
    data = bytes(range(256)) * 1024
    for begin in range(0, len(data), 65536):
        own.layer.append_blob(key, data[begin : begin + 65536])
    attachment = {"filename": "a.bin", "content-type": "application/x-test", "body_key": key}
    own.send(attachments=[attachment])
    own.settled()
    [mail] = relay.mails
    [file] = message_from_bytes(mail.content, policy=default).iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("a.bin", data)


def test_an_absent_relay_is_said_once_and_waited_for(
    make_relay: Callable[..., FakeRelay], house: Make, caplog: pytest.LogCaptureFixture
) -> None:
    relay = make_relay()
    relay.rule = lambda verb, rest: "554 go away" if verb == "" else None
    own = house(relay.port)
    with caplog.at_level(logging.INFO, "trunkline.smtp"):
        for number in range(20):
            own.send(to=[f"u{number}@example.net"])
        wait_for(lambda: relay.connections >= 3, "it is tried again")
        assert own.pending == 20
        relay.rule = lambda verb, rest: None
        own.settled()
    assert len(relay.mails) == 20
    said = [record.message for record in caplog.records if record.name == "trunkline.smtp"]
    assert sum("mail stays here" in line for line in said) == 1
    assert sum("can be used again" in line for line in said) == 1


def test_stopping_ends_what_is_under_way_and_keeps_the_rest(relay: FakeRelay, house: Make) -> None:
    own = house(relay.port)
    for number in range(200):
        own.send(to=[f"u{number}@example.net"])
    wait_for(lambda: len(relay.mails) > 20, "it sends")
    assert own.stop() is True
    sent = len(relay.mails)
    assert sent + own.pending == 200, "what was taken is settled, and nothing else"
    again = house(relay.port, layer=own.layer)
    again.settled()
    recipients = [mail.recipients[0] for mail in relay.mails]
    assert sorted(recipients) == sorted({f"u{number}@example.net" for number in range(200)})


def test_a_durable_channel_is_needed(relay: FakeRelay, reactor_thread: ReactorThread) -> None:
    layer = MemoryLayer(durable={"email.send": False})
    table = SmtpSettings(endpoints=[], relay=f"smtp://127.0.0.1:{relay.port}", relay_tls="none")
    server = reactor_thread.run(lambda: SmtpServer(layer, table, reactor=reactor_thread.reactor))
    with pytest.raises(UsageError, match="has to be durable"):
        reactor_thread.call(server.start())


def test_a_mail_that_takes_long_stays_ours(relay: FakeRelay, house: Make) -> None:
    """A relay that takes several times as long as a mail is left to who took it."""
    clock, waiting, go_on = ManualClock(), threading.Event(), threading.Event()
    layer = MemoryLayer(durable={"email.send": 0.6}, clock=clock)

    def rule(verb: str, rest: str) -> str | None:
        if verb == ".":
            waiting.set()
            go_on.wait(PATIENCE)
        return None

    relay.rule = rule
    own = house(relay.port, layer=layer)
    own.send()
    assert waiting.wait(PATIENCE)
    for _ in range(5):
        wait_for(lambda: next(layer.kept("email.send"))["wait"] > 0.5, "more time is asked for")
        clock.advance(0.4)
    [kept] = layer.kept("email.send")
    assert (kept["state"], kept["tries"]) == ("taken", 1)
    go_on.set()
    own.settled()
    assert len(relay.mails) == 1

"""Clients that ask too much, guess, or come too slowly: each is slowed or sent away, and others do not notice."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.protocol_servers.smtp.neighbours import COMMANDS_A_MAIL, Neighbours

NOBODY = {"accept": False, "code": 550, "text": "5.1.1 No such recipient here"}


def guess(play: Any, client: Any, count: int) -> list[str]:
    said: list[str] = client.say(*[f"RCPT TO:<guess{number}@b>" for number in range(count)])
    for question in play.sent("email.recipient"):
        play.answer(question, **NOBODY)
    return [*said, *client.hear()]


def refused(said: list[str]) -> int:
    return sum(line.startswith("550 5.1.1") for line in said)


def test_who_guesses_recipients_is_answered_later_and_later_and_then_sent_away(stage: Any, manual: Any) -> None:
    play = stage(max_errors=6)
    client, other = play.connect(), play.connect()
    client.say("MAIL FROM:<>")
    assert refused(guess(play, client, 20)) == 2  # whoever mistypes is answered at once
    heard = []
    for _ in range(10):
        manual.advance(1.1)
        heard.append(refused(client.hear()))
    assert heard == [1, 0, 1, 0, 0, 1, 0, 0, 0, 1]
    assert other.say("NOOP") == ["250 2.0.0 OK"]
    manual.advance(5.1)
    assert client.hear()[-1] == "421 4.7.0 Too many errors, closing"
    assert client.transport.disconnecting


def test_a_guess_that_is_right_is_answered_in_its_turn(stage: Any, manual: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>", *[f"RCPT TO:<r{number}@b>" for number in range(4)])
    for number, question in enumerate(play.sent("email.recipient")):
        play.answer(question, **(NOBODY if number < 3 else {}))
    assert [line[:9] for line in client.hear()] == ["550 5.1.1"] * 2
    manual.advance(1.1)
    assert [line[:9] for line in client.hear()] == ["550 5.1.1", "250 2.1.5"]


def test_temporary_refusals_are_no_guesses(stage: Any) -> None:
    play = stage(max_errors=1)
    client = play.connect()
    client.say("MAIL FROM:<>", *[f"RCPT TO:<r{number}@b>" for number in range(20)])
    for question in play.sent("email.recipient"):
        play.answer(question, accept=False, code=450)
    assert len(client.hear()) == 20


def test_a_client_that_leaves_while_it_is_slowed_leaves_nothing(stage: Any, manual: Any) -> None:
    play = stage()
    client = play.connect()
    client.say("MAIL FROM:<>")
    guess(play, client, 5)
    client.transport.finish()
    manual.advance(60)
    assert play.server.stats["failures"] == 0
    assert client.hear() == []


def test_who_is_trusted_is_not_slowed(stage: Any) -> None:
    play = stage(trusted=["192.168.0.0/16"], rate=1, max_errors=3)
    client = play.connect()
    for _ in range(5):
        client.say("MAIL FROM:<>")
        assert refused(guess(play, client, 20)) == 20
        client.say("RSET")
    assert not client.transport.disconnecting


def test_too_many_mails_from_one_address(stage: Any, manual: Any) -> None:
    play = stage(rate=3)
    client = play.connect()
    mails = ["MAIL FROM:<a@b>", "RSET"]
    said = client.say(*mails * 5)
    assert [line[:3] for line in said[::2]] == ["250", "250", "250", "451", "451"]
    assert play.connect().say("MAIL FROM:<a@b>") == ["451 4.7.1 Too many mails from your address, try again later"]
    manual.advance(20.1)
    assert [line[:3] for line in client.say(*mails * 2)[::2]] == ["250", "451"]
    assert play.server.stats["rate_limited"] == 4


def test_too_many_commands_from_one_address(stage: Any) -> None:
    play = stage(rate=2)
    client = play.connect()
    said = client.say(*["NOOP"] * (2 * COMMANDS_A_MAIL + 50))
    assert said[-1] == "421 4.7.0 Too many commands from your address, closing"
    assert len(said) < 2 * COMMANDS_A_MAIL + 60
    assert client.transport.disconnecting


def test_a_command_that_trickles_keeps_nobody_waiting(stage: Any, manual: Any) -> None:
    """Slowloris: a byte now and then is no command."""
    play = stage(idle_timeout=60.0)
    client = play.connect()
    for _ in range(6):
        manual.advance(9)
        client.protocol.dataReceived(b"N")
        assert client.hear() == []
    manual.advance(9)
    assert client.hear() == ["421 4.4.2 Nothing was heard for too long, closing"]


def test_a_mail_that_trickles_is_given_up(stage: Any, manual: Any) -> None:
    play = stage(rcpt="any", idle_timeout=60.0, min_data_rate=100)
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
    for _ in range(6):
        manual.advance(10)
        client.protocol.dataReceived(b"x")
    manual.advance(1)
    assert client.hear()[-1] == "421 4.4.2 The mail comes too slowly, closing"
    assert play.server.room.memory == 0


def test_a_mail_that_comes_slowly_but_fairly_is_taken(stage: Any, manual: Any) -> None:
    play = stage(rcpt="any", idle_timeout=60.0, min_data_rate=100)
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA")
    for _ in range(30):
        manual.advance(10)
        client.protocol.dataReceived(b"x" * 998 + b"\r\n")
    assert client.say(".") == []
    play.answer(play.sent("email.receive")[0])
    assert client.hear() == ["250 2.6.0 Mail taken"]


def test_a_mail_that_stops_coming_is_given_up(stage: Any, manual: Any) -> None:
    play = stage(rcpt="any", idle_timeout=60.0, min_data_rate=100)
    client = play.connect()
    client.say("MAIL FROM:<>", "RCPT TO:<a@b>", "BDAT 2000000")
    client.protocol.dataReceived(b"x" * 1_000_000)
    manual.advance(59)
    assert not client.transport.disconnecting
    manual.advance(2)
    assert client.hear()[-1].startswith("421 4.4.2")
    assert play.server.room.disk == 0


@pytest.mark.parametrize(
    ("trusted", "host", "expected"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.7"], "::ffff:192.0.2.7", True),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["unix"], "", True),
        (["0.0.0.0/0", "::/0"], "", False),
        ([], "127.0.0.1", False),
        (["0.0.0.0/0"], "no address", False),
    ],
)
def test_who_is_trusted(trusted: list[str], host: str, expected: bool) -> None:
    assert Neighbours(trusted, None, lambda: 0.0).trusts(host) is expected


def test_an_ipv6_network_is_one_client_and_no_more_is_remembered_than_fits(manual: Any) -> None:
    known = Neighbours([], 2, manual.clock)
    assert known.admit_mail("2001:db8::1")
    assert known.admit_mail("2001:db8::2")
    assert not known.admit_mail("2001:db8::3")
    assert known.admit_mail("2001:db8:0:1::1")
    for number in range(30_000):
        known.admit_mail(f"10.0.{number // 256}.{number % 256}")
    assert len(known._mails) == 10_000

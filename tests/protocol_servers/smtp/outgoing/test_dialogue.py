"""What is said to a relay and understood of it, byte by byte, without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp.outgoing import parse_relay
from trunkline.protocol_servers.smtp.outgoing.dialogue import (
    Answer,
    AnswerReader,
    Dialogue,
    Envelope,
    Extensions,
    RelayError,
    Transfer,
    greeting,
    hello,
    log_in,
    start_tls,
    stuffed,
    transfer,
)
from trunkline.protocol_servers.smtp.outgoing.mail import HOUR, MINUTE, Schedule

ALL = Extensions(PIPELINING="", SIZE="1000", SMTPUTF8="", **{"8BITMIME": ""})
OK = "250 ok"


def answer(line: str) -> Answer:
    code, _, text = line.partition(" ")
    return Answer(int(code), (text,))


def talk(dialogue: Dialogue[Any], *answers: str) -> tuple[list[bytes], Any]:
    """Have a dialogue; return what was said, and what it came to or the error it raised."""
    said, left = [], list(answers)
    try:
        ask = next(dialogue)
        while True:
            said.append(ask.data)
            now, left = left[: ask.answers], left[ask.answers :]
            assert len(now) == ask.answers, f"nobody answers {ask.data!r}"
            ask = dialogue.send([answer(line) for line in now])
    except StopIteration as end:
        assert not left, "not asked for"
        return said, end.value
    except RelayError as error:
        return said, error


def mail(*recipients: str, **options: Any) -> Envelope:
    return Envelope(**{"sender": "a@b", "recipients": recipients or ("c@d",), "content": b"x\r\n", **options})


def codes(result: Any) -> dict[str, int]:
    assert isinstance(result, Transfer), result
    return {address: said.code for address, said in result.answers.items()}


class TestAnswers:
    def test_byte_by_byte(self) -> None:
        reader = AnswerReader()
        data = b"220 hi\r\n250-one\r\n250-two three\r\n250\r\n550 5.1.1 no\n"
        found = [each for byte in data for each in reader.feed(bytes([byte]))]
        assert found == [Answer(220, ("hi",)), Answer(250, ("one", "two three", "")), Answer(550, ("5.1.1 no",))]
        assert reader.is_between
        assert found[1].text == "one two three"
        assert str(found[2]) == "550 5.1.1 no"

    @pytest.mark.parametrize("data", [b"hello\r\n", b"099 x\r\n", b"600 x\r\n", b"25 x\r\n", b"250_x\r\n", b"x" * 5000])
    def test_what_is_no_answer(self, data: bytes) -> None:
        with pytest.raises(RelayError, match="no SMTP"):
            AnswerReader().feed(data)

    def test_an_answer_without_end(self) -> None:
        reader = AnswerReader()
        with pytest.raises(RelayError):
            for _ in range(1000):
                reader.feed(b"250-more\r\n")

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            found = AnswerReader().feed(data)
        except RelayError:
            return
        assert all(200 <= each.code < 600 and each.text.isprintable() for each in found)


class TestBeginning:
    def test_the_greeting(self) -> None:
        assert talk(greeting(), "220 hi") == ([b""], None)
        assert isinstance(talk(greeting(), "554 no")[1], RelayError)

    def test_extensions(self) -> None:
        dialogue = hello("me.example")
        assert next(dialogue).data == b"EHLO me.example\r\n"
        lines = ("relay", "PIPELINING", "size 1000", "AUTH PLAIN login", "AUTH=OLD", "", "8BITMIME")
        with pytest.raises(StopIteration) as end:
            dialogue.send([Answer(250, lines)])
        found = end.value.value
        assert {"PIPELINING", "SIZE", "8BITMIME"} <= found.keys()
        assert found.max_size == 1000
        assert Extensions(SIZE="0").max_size is None
        assert Extensions(SIZE="x").max_size is None
        assert Extensions(AUTH="PLAIN login").mechanisms == {"PLAIN", "LOGIN"}

    def test_helo_where_ehlo_is_unknown(self) -> None:
        said, found = talk(hello("me"), "502 what", OK)
        assert said == [b"EHLO me\r\n", b"HELO me\r\n"]
        assert found == {}
        assert isinstance(talk(hello("me"), "502 what", "550 no")[1], RelayError)
        assert isinstance(talk(hello("me"), "450 later")[1], RelayError)

    def test_starttls(self) -> None:
        offered = Extensions(STARTTLS="")
        assert talk(start_tls(offered), "220 go") == ([b"STARTTLS\r\n"], None)
        assert isinstance(talk(start_tls(offered), "454 no")[1], RelayError)
        assert "does not offer" in str(talk(start_tls(Extensions()))[1])

    def test_a_login(self) -> None:
        both = Extensions(AUTH="LOGIN PLAIN")
        assert talk(log_in(both, "u", "ü"), "235 in") == ([b"AUTH PLAIN AHUAw7w=\r\n"], None)
        login = Extensions(AUTH="LOGIN")
        said, end = talk(log_in(login, "u", "ü"), "334 VXNlcg==", "334 UGFzcw==", "235 in")
        assert (said, end) == ([b"AUTH LOGIN\r\n", b"dQ==\r\n", b"w7w=\r\n"], None)
        for failed in (
            talk(log_in(both, "u", "p"), "535 no")[1],
            talk(log_in(login, "u", "p"), "334 x", "535 no")[1],
            talk(log_in(Extensions(AUTH="CRAM-MD5"), "u", "p"))[1],
        ):
            assert isinstance(failed, RelayError)
            assert "p" not in str(failed).split()


class TestTransfer:
    def test_in_one_go(self) -> None:
        said, result = talk(transfer(ALL, mail("c@d", "e@f")), OK, OK, "551 no", "354 go", OK)
        assert said == [
            b"MAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n",
            b"DATA\r\n",
            b"x\r\n.\r\n",
        ]
        assert codes(result) == {"c@d": 250, "e@f": 551}

    def test_one_by_one(self) -> None:
        said, result = talk(transfer(Extensions(), mail("c@d", "e@f")), OK, OK, OK, "354 go", "451 later")
        assert said[:3] == [b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"RCPT TO:<e@f>\r\n"]
        assert codes(result) == {"c@d": 451, "e@f": 451}
        said, result = talk(transfer(Extensions(), mail("c@d", "e@f")), "550 no", OK)
        assert said == [b"MAIL FROM:<a@b>\r\n", b"RSET\r\n"]
        assert codes(result) == {"c@d": 550, "e@f": 550}

    @pytest.mark.parametrize(
        ("options", "command"),
        [
            ({"sender": None}, b"MAIL FROM:<> SIZE=3\r\n"),
            ({"content": b"\xff\r\n"}, b"MAIL FROM:<a@b> SIZE=3 BODY=8BITMIME\r\n"),
            ({"smtputf8": True, "sender": "ä@b"}, "MAIL FROM:<ä@b> SIZE=3 SMTPUTF8\r\n".encode()),
        ],
    )
    def test_the_sender(self, options: dict[str, Any], command: bytes) -> None:
        assert next(transfer(ALL, mail(**options))).data.startswith(command)

    def test_nobody_is_left(self) -> None:
        said, result = talk(transfer(ALL, mail("c@d", "e@f")), OK, "550 no", "450 later", OK)
        assert said[-1] == b"RSET\r\n"
        assert codes(result) == {"c@d": 550, "e@f": 450}

    def test_too_many_recipients(self) -> None:
        many = [f"u{number}@d" for number in range(150)]
        answers = [OK] * 81 + ["452 too many"] * 20
        _, result = talk(transfer(ALL, mail(*many)), *answers, "354 go", OK)
        assert set(result.answers) == set(many[:80])
        assert set(result.left) == set(many[80:])
        _, result = talk(transfer(ALL, mail("c@d")), OK, "452 full", OK)
        assert codes(result) == {"c@d": 452}, "whom it refuses at once it does not find too many"

    def test_what_it_says_of_itself_saves_asking(self) -> None:
        assert codes(talk(transfer(ALL, mail(content=b"x" * 2000)))[1]) == {"c@d": 552}
        assert codes(talk(transfer(Extensions(), mail(smtputf8=True)))[1]) == {"c@d": 553}

    @pytest.mark.parametrize(
        "answers",
        [
            ("530 login first", OK, OK),
            (OK, "538 TLS first", OK),
            (OK, OK, "250 what"),
            (OK, OK, "354 go", "354 again"),
            (OK, OK, "354 go", "530 login first"),
            (OK, "550 no", "500 what is RSET"),
        ],
    )
    def test_what_is_wrong_with_us_says_nothing_of_the_mail(self, answers: Sequence[str]) -> None:
        dialogue = transfer(ALL, mail())
        ask = next(dialogue)
        assert ask.answers == 2
        with pytest.raises(RelayError):
            left = [answer(line) for line in answers if line]
            while True:
                now, left = left[: ask.answers], left[ask.answers :]
                ask = dialogue.send(now)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"", b".\r\n"),
            (b".\r\n..\r\na.b\r\n", b"..\r\n...\r\na.b\r\n.\r\n"),
        ],
    )
    def test_dots(self, content: bytes, expected: bytes) -> None:
        assert stuffed(content) == expected


class TestRelay:
    @pytest.mark.parametrize(
        ("url", "password", "tls", "expected"),
        [
            ("smtp://mail.example.com", None, "starttls", ("mail.example.com", 587, None)),
            ("smtp://mail.example.com", None, "tls", ("mail.example.com", 465, None)),
            ("smtp://mail.example.com/", None, "none", ("mail.example.com", 25, None)),
            ("smtp://ann@mail.example.com:2525", "p", "starttls", ("mail.example.com", 2525, "ann")),
            ("smtp://ann%40example.com@mail:25", "p", "tls", ("mail", 25, "ann@example.com")),
            ("smtp://ann@example.com@mail:25", "p", "tls", ("mail", 25, "ann@example.com")),
            ("smtp://ann@127.0.0.1:25", "p", "none", ("127.0.0.1", 25, "ann")),
            ("smtp://[::1]:25", None, "none", ("::1", 25, None)),
            ("smtp://[::1]", None, "none", ("::1", 25, None)),
        ],
    )
    def test_where_it_is(self, url: str, password: str | None, tls: Any, expected: tuple[Any, ...]) -> None:
        relay = parse_relay(url, password, tls)
        assert (relay.host, relay.port, relay.user) == expected
        assert "ann" not in f"{relay!r}{relay}"

    @pytest.mark.parametrize(
        ("url", "password", "tls", "why"),
        [
            ("mail.example.com", None, "tls", "does not look like"),
            ("smtps://mail.example.com", None, "tls", "does not look like"),
            ("smtp://", None, "tls", "names no host"),
            ("smtp://a b", None, "tls", "names no host"),
            ("smtp://mail:0", None, "tls", "not a port"),
            ("smtp://mail:99999", None, "tls", "not a port"),
            ("smtp://mail:x", None, "tls", "not a port"),
            ("smtp://ann:secret@mail", None, "tls", "relay_password"),
            ("smtp://ann@mail", None, "tls", "relay_password is missing"),
            ("smtp://mail", "secret", "tls", "a user in relay is missing"),
            ("smtp://ann@mail", "secret", "none", "to everybody"),
        ],
    )
    def test_what_makes_no_sense(self, url: str, password: str | None, tls: Any, why: str) -> None:
        with pytest.raises(ValueError, match=why) as refused:
            parse_relay(url, password, tls)
        assert "secret" not in str(refused.value)


def test_the_schedule() -> None:
    usual = Schedule()
    waits = [usual.wait(tries, lambda: 0.5) for tries in range(1, 60)]
    assert waits[:4] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert waits == sorted(waits)
    assert waits[-1] == 4 * HOUR
    assert 0.9 * MINUTE <= usual.wait(1, lambda: 0.0) < usual.wait(1, lambda: 0.99) <= 1.1 * MINUTE
    assert usual.wait(10**6) <= 4.4 * HOUR

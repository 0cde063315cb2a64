"""Registration, byte by byte: capabilities, SASL, nicks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.capabilities import Capabilities
from trunkline.protocol_servers.irc.events import Closed, Disconnected, Registered
from trunkline.protocol_servers.irc.registration import Identity
from trunkline.protocol_servers.irc.sasl import Credentials, Exchange, SaslError, ScramSha256, make_mechanism, prepare

PLAIN = Credentials("PLAIN", "user", "pass")
EXTERNAL = Credentials("EXTERNAL")
SCRAM = Credentials("SCRAM-SHA-256", "user", "pencil")


def test_the_first_lines(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(password="pass word", realname="A bot")
    assert driver.begin() == ["CAP LS 302", "PASS :pass word", "NICK bot", "USER bot 0 * :A bot"]


def test_capabilities_over_several_lines(driver: Any) -> None:
    driver.begin()
    assert driver.receive(":srv CAP * LS * :batch=x message-tags unknown") == []
    assert driver.receive(":srv CAP * LS * :away-notify draft/chathistory") == []
    assert driver.receive(":srv CAP * LS :echo-message server-time") == [
        "CAP REQ :message-tags server-time echo-message batch away-notify draft/chathistory"
    ]
    # What was not asked for is not believed, and the answer may come in parts.
    assert driver.receive(":srv CAP * ACK :message-tags server-time sasl echo-message ") == []
    assert driver.receive(":srv CAP * ACK :batch away-notify draft/chathistory") == ["CAP END"]
    assert driver.session._link.capabilities.active == {
        "message-tags", "server-time", "echo-message", "batch", "away-notify", "draft/chathistory",
    }  # fmt: skip


def test_what_is_refused_together_is_asked_for_one_by_one(driver: Any) -> None:
    driver.begin()
    driver.receive(":srv CAP * LS :batch setname chghost")
    assert driver.receive(":srv CAP * NAK :batch chghost setname") == [
        "CAP REQ batch",
        "CAP REQ chghost",
        "CAP REQ setname",
    ]
    assert driver.receive(":srv CAP * ACK batch", ":srv CAP * NAK chghost") == []
    assert driver.receive(":srv CAP * ACK setname") == ["CAP END"]
    assert driver.session._link.capabilities.active == {"batch", "setname"}


def test_nothing_to_ask_for(driver: Any) -> None:
    driver.begin()
    assert driver.receive(":srv CAP * LS :") == ["CAP END"]
    assert driver.receive(":srv CAP * LS :batch") == []


def test_what_needs_something_else_is_not_asked_for_without_it(driver: Any) -> None:
    driver.begin()
    assert driver.receive(":srv CAP * LS :labeled-response draft/multiline=max-bytes=1 batch") == ["CAP REQ batch"]


def test_capabilities_come_and_go_later(driver: Any) -> None:
    driver.register("batch")
    capabilities = driver.session._link.capabilities
    assert driver.receive(":srv CAP bot NEW :setname unknown batch") == ["CAP REQ setname"]
    driver.receive(":srv CAP bot ACK setname", ":srv CAP bot ACK -batch")
    assert capabilities.active == {"setname"}
    driver.receive(":srv CAP bot DEL setname", ":srv CAP bot LIST :x", ":srv CAP bot", ":srv CAP")
    assert capabilities.active == set()
    assert "setname" not in capabilities.offered


def test_capabilities_without_end_are_bounded() -> None:
    capabilities = Capabilities()
    for number in range(1000):
        assert capabilities.handle(("*", "LS", "*", f"cap{number} {'x' * 600}")) == []
    assert len(capabilities.offered) <= 256
    assert not capabilities.settled


@given(
    st.lists(
        st.lists(st.text(max_size=20) | st.sampled_from(["*", "LS", "ACK", "NAK", "NEW", "DEL", "batch"]), max_size=5)
    )
)
def test_no_capability_message_raises(messages: list[list[str]]) -> None:
    capabilities = Capabilities(sasl=True)
    for params in messages:
        assert all(line.endswith(b"\r\n") for line in capabilities.handle(params))


def test_a_server_without_capabilities(driver: Any) -> None:
    driver.begin()
    assert driver.receive(":srv 421 * CAP :Unknown command", ":srv 001 bot :Hello", ":srv 422 bot :No MOTD") == []
    assert driver.events() == [Registered("bot")]


# SASL


def begun(driver: Any, mechanisms: str = "", *, secure: bool = True) -> Any:
    driver.begin(secure=secure)
    driver.receive(f":srv CAP * LS :sasl{mechanisms}")
    return driver.receive(":srv CAP * ACK :sasl")


def test_plain(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=PLAIN)
    assert begun(driver, "=EXTERNAL,PLAIN") == ["AUTHENTICATE PLAIN"]
    assert driver.receive("AUTHENTICATE +") == ["AUTHENTICATE " + base64.b64encode(b"\0user\0pass").decode()]
    assert driver.receive(":srv 900 * *!*@* user :You are now logged in", ":srv 903 * :ok") == ["CAP END"]
    assert driver.receive(":srv 001 bot :Hello", ":srv 376 bot :x") == []
    assert driver.events() == [Registered("bot")]
    assert driver.session._link.own.account == "user"


def test_external(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=EXTERNAL)
    assert begun(driver) == ["AUTHENTICATE EXTERNAL"]
    assert driver.receive("AUTHENTICATE +") == ["AUTHENTICATE +"]
    assert driver.receive(":srv 903 * :ok") == ["CAP END"]


def test_a_long_answer_is_sent_in_pieces() -> None:
    exchange = Exchange(make_mechanism(Credentials("PLAIN", "u", "p" * 297), str))
    assert [len(piece) for piece in exchange.receive("+")] == [400, 1]
    exchange = Exchange(make_mechanism(Credentials("PLAIN", "u", "p" * 300), str))
    assert [len(piece) for piece in exchange.receive("+")] == [400, 4]


def test_scram_with_the_values_of_rfc_7677() -> None:
    mechanism = ScramSha256("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert mechanism.respond(b"") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert mechanism.respond(challenge) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not mechanism.done
    assert mechanism.respond(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert mechanism.done


def test_scram_over_the_wire(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=SCRAM)
    assert begun(driver, "=SCRAM-SHA-256", secure=False) == ["AUTHENTICATE SCRAM-SHA-256"]
    (line,) = driver.receive("AUTHENTICATE +")
    first = base64.b64decode(line.split()[1]).decode().removeprefix("n,,")
    server_first = f"{first.partition(',')[2]}more,s={base64.b64encode(b'salt').decode()},i=4096"
    (line,) = driver.receive("AUTHENTICATE " + base64.b64encode(server_first.encode()).decode())
    final = base64.b64decode(line.split()[1]).decode().rpartition(",p=")[0]
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", 4096)
    key = hmac.digest(salted, b"Server Key", "sha256")
    proof = hmac.digest(key, f"{first},{server_first},{final}".encode(), "sha256")
    server_final = base64.b64encode(b"v=" + base64.b64encode(proof)).decode()
    assert driver.receive(f"AUTHENTICATE {server_final}") == ["AUTHENTICATE +"]
    assert driver.receive(":srv 903 * :ok") == ["CAP END"]


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"nonsense",
        b"r=other,s=c2FsdA==,i=4096",
        b"r=nonce,s=c2FsdA==,i=4096",
        b"r=nonce1,s=c2FsdA==,i=1",
        b"r=nonce1,s=c2FsdA==,i=1000000000",
        b"r=nonce1,s=====,i=4096",
        b"r=nonce1,s=c2FsdA==,i=04096",
        b"\xff",
    ],
)
def test_scram_does_not_believe(challenge: bytes) -> None:
    mechanism = ScramSha256("user", "pencil", "nonce")
    mechanism.respond(b"")
    with pytest.raises(SaslError):
        mechanism.respond(challenge)


def test_scram_needs_the_servers_proof() -> None:
    mechanism = ScramSha256("user", "pencil", "nonce")
    mechanism.respond(b"")
    mechanism.respond(b"r=nonce1,s=c2FsdA==,i=4096")
    with pytest.raises(SaslError, match="does not know the password"):
        mechanism.respond(b"v=AAAA")
    with pytest.raises(SaslError, match="spoke first"):
        ScramSha256("user", "pencil", "nonce").respond(b"x")


@given(st.binary(max_size=100))
def test_no_challenge_raises_anything_else(challenge: bytes) -> None:
    mechanism = ScramSha256("user", "pencil", "nonce")
    mechanism.respond(b"")
    with pytest.raises(SaslError):
        mechanism.respond(challenge)


@given(st.lists(st.text(max_size=500)))
def test_no_pieces_raise_anything_else(pieces: list[str]) -> None:
    exchange = Exchange(make_mechanism(PLAIN, str))
    try:
        for piece in pieces:
            exchange.receive(piece)
    except SaslError:
        pass
    assert len(exchange._pieces) <= 8192 + 500


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("pass word", "pass word"), ("I\u00adX", "IX"), ("ª", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b"), ("é", "é")],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@pytest.mark.parametrize("text", ["\x07", "ä\x07", "\ue000"])
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(SaslError):
        prepare(text)


@pytest.mark.parametrize("credentials", [Credentials("PLAIN"), Credentials("PLAIN", "a\0", "b"), Credentials("X", "a")])
def test_credentials_that_cannot_be_said(credentials: Credentials, make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=credentials)
    begun(driver)
    assert driver.session.closed
    assert len(driver.only(Closed)) == 1


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([":srv CAP * LS :batch", ":srv CAP * ACK batch"], "the server has no SASL"),
        ([":srv CAP * LS :sasl=EXTERNAL", ":srv CAP * ACK sasl"], "no SASL PLAIN, only EXTERNAL"),
        ([":srv CAP * LS :sasl", ":srv CAP * NAK sasl"], "the server has no SASL"),
        ([":srv 001 bot :Hello"], "did not wait for SASL"),
        ([":srv CAP * LS :sasl", ":srv 001 bot :Hello"], "did not wait for SASL"),
        ([":srv CAP * LS :sasl", ":srv CAP * ACK sasl", ":srv 903 * :ok"], "over before it is"),
        ([":srv CAP * LS :sasl", ":srv CAP * ACK sasl", "AUTHENTICATE " + "A" * 401], "too long"),
        ([":srv CAP * LS :sasl", ":srv CAP * ACK sasl", *["AUTHENTICATE " + "A" * 400] * 21], "too long"),
        ([":srv CAP * LS :sasl", ":srv CAP * ACK sasl", "AUTHENTICATE !"], "no base64"),
        ([":srv CAP * LS :sasl", ":srv CAP * ACK sasl", "AUTHENTICATE QUFB"], "asked for more"),
        *([[":srv CAP * LS :sasl", ":srv CAP * ACK sasl", f":srv {numeric} * :sorry"], "PLAIN failed: sorry"]
          for numeric in (902, 904, 905, 906, 908)),
    ],
)  # fmt: skip
def test_sasl_fails_closed(lines: list[str], reason: str, make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=PLAIN)
    driver.begin()
    for line in lines:
        driver.receive(line)
    (closed,) = driver.only(Closed)
    assert reason in closed.reason
    assert driver.receive(":srv 001 bot :Hello") == []
    driver.session.connection_lost("x")
    (lost,) = driver.only(Disconnected)
    assert lost.retry_after >= 300
    assert "pass" not in repr(driver.session._options)


def test_plain_is_not_said_where_others_listen(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(sasl=PLAIN)
    assert driver.begin(secure=False) == []
    assert driver.session.closed


# Nicks and refusals


def test_nicks_that_are_taken(driver: Any) -> None:
    driver.begin()
    assert driver.receive(":srv 433 * bot :taken") == ["NICK bot_"]
    assert driver.receive(":srv 437 * bot_ :unavailable") == ["NICK bot__"]
    for _ in range(7):
        (line,) = driver.receive(":srv 433 * x :taken")
        assert line.startswith("NICK bot")
        assert len(line) == len("NICK bot123")
    driver.receive(":srv 433 * x :taken")
    assert "are taken" in driver.only(Closed)[0].reason


def test_the_server_decides_which_nick_we_have(driver: Any) -> None:
    driver.begin()
    driver.receive(":srv 001 bo :Hello", ":srv 376 bo :x")
    assert driver.session.nick == "bo"
    assert driver.events() == [Registered("bo")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (":srv 432 * bot :Erroneous", "takes no nick like bot"),
        (":srv 464 * :Password incorrect", "refuses the password"),
        (":srv 465 * :You are banned", "has banned us"),
        ("ERROR :Trying to reconnect too fast.", "too fast"),
        ("ERROR", "the server closed the connection: "),
    ],
)
def test_refusals(line: str, reason: str, driver: Any) -> None:
    driver.begin()
    driver.receive(line)
    assert reason in driver.only(Closed)[0].reason
    driver.session.connection_lost("closed")
    (lost,) = driver.only(Disconnected)
    assert reason in lost.reason
    assert lost.retry_after >= (60 if reason != "the server closed the connection: " else 0)


def test_001_never_comes(driver: Any) -> None:
    driver.begin()
    driver.receive(":srv NOTICE * :*** Looking up", ":srv 002 bot :x", ":srv 376 bot :x")
    driver.advance(59.9)
    assert not driver.session.closed
    driver.advance(0.2)
    assert "did not register us in time" in driver.only(Closed)[0].reason


def test_an_endless_motd_is_not_waited_for(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",))
    driver.begin()
    driver.receive(":srv CAP * LS :", ":srv 001 bot :Hello")
    for _ in range(1000):
        assert driver.receive(*[":srv 372 bot :- more"] * 10) == []
    assert driver.advance(5.1) == ["JOIN #a"]
    assert driver.only(Registered) == [Registered("bot")]
    assert driver.receive(":srv 376 bot :End") == []
    assert driver.events() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"nick": "a b"}, {"nick": ""}, {"nick": "#a"}, {"nick": "a\r"}, {"nick": "a", "username": "x y"},
        {"nick": "a", "realname": "x\ny"}, {"nick": "a", "password": "x\0"},
    ],
)  # fmt: skip
def test_identities_that_cannot_be_said(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Identity(**fields)

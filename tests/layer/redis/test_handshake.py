"""The first words on a connection: what is asked, and what the answers mean. No sockets."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hiredis import ReplyError

from trunkline.layer import LayerUnavailable
from trunkline.layer.redis.address import Address
from trunkline.layer.redis.handshake import Hello, describe, handshake, loading

SCRIPTS = {b"aa": b"return 1", b"bb": b"return 2"}
INFO = b"# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n"
HERE = Address("h")
TIME = [b"1000", b"500000"]


def hello(**other: Any) -> list[Any]:
    facts = {"server": b"redis", "version": b"7.0.15", "proto": 2, "id": 9, "mode": b"standalone", "role": b"master"}
    return [part for key, value in (facts | other).items() for part in (key.encode(), value)]


def talk(*answers: list[Any], address: Address = HERE, scripts: dict[bytes, bytes] | None = None) -> Any:
    """Return what is sent, and at last who it is."""
    ticks: Iterator[float] = (float(10 + 2 * tick) for tick in count())
    dialogue = handshake(address, SCRIPTS if scripts is None else scripts, "me", lambda: next(ticks))
    sent = [next(dialogue)]
    try:
        for answer in answers:
            sent.append(dialogue.send(answer))
    except StopIteration as end:
        return sent, end.value
    return sent, None


def test_one_round_trip_where_redis_has_the_scripts() -> None:
    sent, who = talk([hello(), INFO, [1, 1], TIME])
    assert sent == [
        [("HELLO", 2, "SETNAME", "me"), ("INFO", "server"), ("SCRIPT", "EXISTS", b"aa", b"bb"), ("TIME",)],
    ]
    assert who == Hello(9, (7, 0, 15), "redis", "abc", 1000.5 - 11)


def test_loads_what_is_missing() -> None:
    sent, who = talk([hello(), INFO, [1, 0], TIME], [b"bb"])
    assert sent[1] == [("SCRIPT", "LOAD", b"return 2")] == loading({b"bb": b"return 2"})
    assert who.client_id == 9


def test_user_database_and_no_scripts() -> None:
    address = Address("h", database=2, username="u", password="p")
    sent, who = talk([hello(), b"OK", INFO, b"PONG", TIME], address=address, scripts={})
    assert sent == [
        [("HELLO", 2, "AUTH", "u", "p", "SETNAME", "me"), ("SELECT", 2), ("INFO", "server"), ("PING",), ("TIME",)],
    ]
    assert who.run_id == "abc"
    sent, _ = talk(address=Address("h", password="p"))
    assert sent[0][0] == ("HELLO", 2, "AUTH", "default", "p", "SETNAME", "me")


def test_a_user_who_may_not_ask_for_info() -> None:
    _, who = talk([hello(), ReplyError("NOPERM no"), [1, 1], TIME])
    assert who.run_id == ""


@pytest.mark.parametrize("version", [b"0.9", b"7.2.4", b"9.0.0-rc1"])
def test_any_valkey(version: bytes) -> None:
    _, who = talk([hello(server=b"valkey", version=version), INFO, [1, 1], TIME])
    assert who.server == "valkey"
    _, who = talk([hello(), b"valkey_version:" + version, [1, 1], TIME])
    assert (who.server, who.version[0]) == ("valkey", int(version[:1]))


NOPE = ReplyError("NOAUTH Authentication required.")
UNKNOWN = ReplyError("ERR unknown command `HELLO`, with args beginning with: `2`, ")


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([NOPE, NOPE, NOPE, NOPE], "redis://h:6379/0 wants a user name and password"),
        ([ReplyError("WRONGPASS no"), NOPE, NOPE, NOPE], "wants a user name and password"),
        ([hello(version=b"6.2.7"), INFO, [1, 1], TIME], "is Redis 6.2.7; Trunkline needs 7.0 or newer, or Valkey"),
        ([UNKNOWN, INFO, [1, 1], TIME], "is Redis older than 6.0; Trunkline needs 7.0"),
        ([hello(role=b"replica"), INFO, [1, 1], TIME], "is a read-only replica; name its primary"),
        ([hello(mode=b"sentinel"), INFO, [1, 1], TIME], "is a Sentinel"),
        ([hello(), INFO, ReplyError("LOADING Redis is loading"), TIME], "is still loading its data"),
        ([hello(), INFO, ReplyError("NOPERM this\r\nuser"), TIME], "refuses the connection: NOPERM this user"),
        ([hello(), INFO, [1, 1], ReplyError("Y" * 900)], "refuses the connection: YYY"),
        ([b"OK", INFO, [1, 1], TIME], "answers, but not as Redis does"),
        ([None, INFO, [1, 1], TIME], "answers, but not as Redis does"),
        ([hello(id=b"x"), INFO, [1, 1], TIME], "answers, but not as Redis does"),
        ([[b"server"], INFO, [1, 1], TIME], "answers, but not as Redis does"),
        ([hello(), 5, [1, 1], TIME], "answers, but not as Redis does"),
        ([hello(), INFO, [1], TIME], "answers, but not as Redis does"),
        ([hello(), INFO, [1, 1], [b"1"]], "answers, but not as Redis does"),
        ([hello(), INFO, [1, 1], None], "answers, but not as Redis does"),
    ],
)
def test_refusals(answers: list[Any], says: str) -> None:
    with pytest.raises(LayerUnavailable) as failed:
        talk(answers)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)
    assert len(str(failed.value)) < 300
    assert not failed.value.uncertain


def test_a_wrong_password() -> None:
    with pytest.raises(LayerUnavailable, match="refuses this user name and password"):
        talk([ReplyError("WRONGPASS no"), NOPE, NOPE, NOPE], address=Address("h", password="p"))


def test_a_script_that_may_not_be_loaded() -> None:
    with pytest.raises(LayerUnavailable, match="refuses the connection: NOPERM"):
        talk([hello(), INFO, [0, 0], TIME], [b"aa", ReplyError("NOPERM no")])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "TLS failed: [SSL: WRONG VERSION NUMBER] wrong"),
        ("two\nlines \x1b[1m", "two lines [1m"),
    ],
)
def test_reasons_are_few_words(error: object, words: str) -> None:
    assert describe(error) == words

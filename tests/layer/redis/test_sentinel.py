"""What an address with Sentinels says, and whom of them to believe."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, open_layer
from trunkline.layer.options import shown
from trunkline.layer.redis.address import TLS, Address
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.sentinel import Sentinels, read_where

from .conftest import Fake, RedisServer, free_port
from .sentinels import SERVICE, Watched

MASTER = ("10.0.0.1", 6379)


def soon() -> float:
    return time.monotonic() + 5


def answers(place: tuple[str, int] | None = MASTER, flags: str = "master", other: Any = None) -> bytes:
    """What a Sentinel says of its master and of where that is."""
    host, port = place or ("", 0)
    known = ["name", SERVICE, "ip", host, "port", str(port), "flags", flags]
    return bulk(known) + bulk(other or [host, str(port)])


def bulk(texts: Sequence[str]) -> bytes:
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each.encode()) for each in texts)


@pytest.fixture
def sentinels(fake: Callable[..., Fake]) -> Callable[..., Sentinels]:
    """Make Sentinels that answer so: bytes, None for silence, or a port where nobody listens."""

    def make(*said: bytes | int | None) -> Sentinels:
        addresses = []
        for each in said:
            if isinstance(each, int):
                addresses.append(Address(port=each))
                continue

            def behave(sock: socket.socket, each: bytes | None = each) -> None:
                while sock.recv(65536):
                    if each is not None:
                        sock.sendall(each)

            addresses.append(fake(behave).address)
        return Sentinels(addresses, SERVICE, Address("", 0, password="secret", database=3))

    return make


def test_reads() -> None:
    where: Any = read_where("redis+sentinel", "u:p@a,b:1,[::1]/main/2", sentinel_user="s", sentinel_password="t")
    assert where.text == "redis+sentinel://a:26379,b:1,[::1]:26379/main/2"
    assert where._sentinels == (
        Address("a", 26379, username="s", password="t"),
        Address("b", 1, username="s", password="t"),
        Address("::1", 26379, username="s", password="t"),
    )
    assert where._master == Address("", 0, database=2, username="u", password="p")


def test_reads_tls_for_both(certificate: Any) -> None:
    where: Any = read_where("rediss+sentinel", "a/main", tls_ca=str(certificate.certificate), db=4)
    assert where.text == "rediss+sentinel://a:26379/main/4"
    assert where._master.tls == where._sentinels[0].tls == TLS(str(certificate.certificate))


@pytest.mark.parametrize("url", ["redis://h", "unix:///r"])
def test_other_addresses_are_addresses(url: str) -> None:
    scheme, _, place = url.partition("://")
    where = read_where(scheme, place)
    assert where.resolve(soon()) is where


@pytest.mark.parametrize(
    ("scheme", "place", "options", "says"),
    [
        ("redis+sentinel", "a", {}, "redis+sentinel://a/: expected redis+sentinel://[user:password@]host[:port],host"),
        ("redis+sentinel", "a/", {}, "/service[/database]"),
        ("redis+sentinel", "a/main/0/1", {}, "redis+sentinel://a/main/0/1: expected"),
        ("redis+sentinel", "/main", {}, "the host is missing"),
        ("redis+sentinel", "a,,b/main", {}, "the host is missing"),
        ("redis+sentinel", "a:x,b/main", {}, "the port is 'x'"),
        ("redis+sentinel", "a/main/x", {}, "the database is 'x'"),
        ("redis+sentinel", "a/main/1", {"db": 2}, "the database stands twice"),
        ("redis+sentinel", "u@a/main", {}, "a user name needs a password"),
        ("redis+sentinel", "u:se/cret@a/main", {}, "are written %2F and %40"),
        ("redis+sentinel", "a/main", {"sentinel_user": "u"}, "sentinel_user needs sentinel_password"),
        ("redis+sentinel", "a/main", {"tls_ca": "x"}, "tls_ca is for rediss+sentinel://"),
        ("rediss+sentinel", "a/main", {"tls_key": "x"}, "tls_key needs tls_certificate"),
        ("redis", "a", {"sentinel_password": "secret"}, "are for redis+sentinel://"),
    ],
)
def test_says_what_is_wrong(scheme: str, place: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as failed:
        read_where(scheme, place, **options)
    assert says in str(failed.value)
    assert "cret" not in str(failed.value)
    assert "\n" not in str(failed.value)


def test_no_password_is_shown() -> None:
    url = "redis+sentinel://u:secret@a,[::1]/main?sentinel_password=secret&expirx=1"
    assert shown(url) == "redis+sentinel://a,[::1]/main?sentinel_password=&expirx=1"
    with pytest.raises(ValueError, match="expirx") as failed:
        open_layer(url)
    assert "secret" not in str(failed.value)


def test_takes_all_but_the_place_from_the_url(sentinels: Callable[..., Sentinels]) -> None:
    where = sentinels(answers())
    assert where.resolve(soon()) == Address(*MASTER, password="secret", database=3)


def test_asks_in_turn_and_first_who_answered_last(sentinels: Callable[..., Sentinels]) -> None:
    where: Any = sentinels(free_port(), None, answers(), None)
    began = time.monotonic()
    assert where.resolve(soon()).host == MASTER[0]
    assert time.monotonic() - began > 0.4, "who is silent costs half a second"
    assert where._first == 2
    assert where.resolve(soon()).host == MASTER[0]


def test_says_what_each_said(sentinels: Callable[..., Sentinels]) -> None:
    port = free_port()
    where = sentinels(
        port, b"-ERR No such master with that name\r\n*-1\r\n", b"-NOAUTH Authentication required.\r\n" * 2,
        b"+OK\r\n+OK\r\n", b"*-1\r\n*-1\r\n", b"hello\r\n",
    )  # fmt: skip
    with pytest.raises(LayerUnavailable) as failed:
        where.resolve(soon())
    text = str(failed.value)
    assert text.startswith(f"{where.text}: no Sentinel knows its master: 127.0.0.1:{port}: Connection refused; ")
    for words in (
        "No such master with that name", "NOAUTH Authentication required.", "answers, but not as a Sentinel does",
    ):  # fmt: skip
        assert words in text
    assert not failed.value.uncertain


def test_who_holds_its_master_for_dead_is_believed_last(sentinels: Callable[..., Sentinels]) -> None:
    dead = answers(("10.0.0.9", 1), "s_down,o_down,master,disconnected")
    assert sentinels(dead, answers()).resolve(soon()).host == MASTER[0]
    assert sentinels(dead, None).resolve(soon()).host == "10.0.0.9"


def test_during_a_failover_the_second_answer_is_ahead(sentinels: Callable[..., Sentinels]) -> None:
    said = answers(("10.0.0.9", 1), "o_down,master,failover_in_progress", ["10.0.0.2", "7"])
    found = sentinels(said).resolve(soon())
    assert (found.host, found.port) == ("10.0.0.2", 7)


def test_another_master_is_told_once(sentinels: Callable[..., Sentinels], caplog: pytest.LogCaptureFixture) -> None:
    where: Any = sentinels(answers())
    for _ in range(2):
        where.resolve(soon())
    assert caplog.text == ""
    where._sentinels = dataclasses.replace(where._sentinels[0]), *sentinels(answers(("10.0.0.2", 7)))._sentinels
    where._first = 1
    for _ in range(2):
        where.resolve(soon())
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "the master is redis://10.0.0.2:7/3 now, not redis://10.0.0.1:6379/3 any more" in record.getMessage()


def test_a_redis_is_no_sentinel(redis_server: RedisServer) -> None:
    with (
        open_layer(f"redis+sentinel://127.0.0.1:{redis_server.port}/main") as layer,
        pytest.raises(LayerUnavailable, match="ERR unkn"),
    ):
        layer.send("a", {})


def test_a_replica_is_not_taken_for_the_master(
    start_redis: Callable[..., RedisServer], sentinels: Callable[..., Sentinels]
) -> None:
    master = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    where: Any = sentinels(answers(("127.0.0.1", replica.port)))
    with open_layer(where.text) as layer, pytest.raises(LayerUnavailable, match="read-only replica"):
        layer.send("a", {})


def test_passwords_of_both(start_watched: Callable[..., Watched]) -> None:
    watched = start_watched(
        "--user", "bus", "on", ">inner", "~trunkline:*", "+@all",
        config='requirepass "outer"', credentials="bus:inner@",
    )  # fmt: skip
    with RedisLayer(watched.url, sentinel_password="outer") as layer:
        assert layer.send("a", {"n": 1})
        assert layer.receive(["a"]) == ("a", {"n": 1})
        assert layer.problems() == []
    with RedisLayer(watched.url) as layer, pytest.raises(LayerUnavailable, match="NOAUTH"):
        layer.send("a", {"n": 1})


def test_unknown_service(start_watched: Callable[..., Watched]) -> None:
    watched = start_watched()
    with RedisLayer(watched.url.replace("/main", "/mein")) as layer:
        with pytest.raises(LayerUnavailable, match="No such master with that name"):
            layer.send("a", {"n": 1})
        assert "No such master" in layer.problems()[0]

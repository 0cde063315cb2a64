"""Our server between networks and the bus, on real sockets."""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import Conversation, Group, route
from trunkline.layer import MemoryLayer
from trunkline.layer.errors import LayerError, LayerUnavailable
from trunkline.operations.errors import StartError, UsageError
from trunkline.protocol_servers.irc import remembering
from trunkline.protocol_servers.irc.server import IrcServer
from trunkline.protocol_servers.irc.settings import IrcSettings, NetworkSettings, SaslSettings
from trunkline.protocol_servers.testing import IrcRealm, ReactorThread
from trunkline.protocol_servers.tls import client_context, server_context

Start = Callable[..., IrcServer]
Serve = Callable[..., Any]


def echo(message: Any) -> None:
    message.reply(f"{message['user']} said {message['text']}")


def greet(message: Any) -> None:
    Group("rooms").add(message.reply_channel)
    message.reply(f"ready in {message['channel']}")


ROUTING = [route("chat.message", echo), route("chat.ready", greet)]


def texts(network: Any, nick: str = "bot", target: str = "#dev") -> list[str]:
    with network.lock:
        return [each.text for each in network.realm.log if (each.nick, each.target) == (nick, target)]


def say(network: Any, nick: str, text: str, target: str = "#dev") -> None:
    with network.lock:
        network.realm.say(nick, target, text)


@pytest.fixture(params=["ngircd", "inspircd"])
def port(request: pytest.FixtureRequest) -> int:
    """The port of each of the real servers."""
    found: int = request.getfixturevalue(request.param)
    return found


def test_a_line_is_answered_on_real_servers(
    port: int, start_irc: Start, memory_layer: MemoryLayer, work: Any, peers: Any, eventually: Any
) -> None:
    work(memory_layer, ROUTING)
    server = start_irc(memory_layer, port, nick="answerer", password="secret", join=["#answers"], pace=20.0)
    assert server.peers == [f"test at irc://127.0.0.1:{port}"]
    eventually(lambda: "#answers" in server.session.rooms)
    person = peers(port, "person", password="secret", join=("#answers",))
    person.until(lambda seen: any(type(each).__name__ == "RoomJoined" for each in seen))
    person.session.say("#answers", "hällo")
    person.until(lambda seen: [each for each in seen if getattr(each, "text", "") == "person said hällo"])
    Conversation("irc", "test", "person", layer=memory_layer).send({"text": "psst"}, immediately=True)
    heard = person.until(lambda seen: [each for each in seen if getattr(each, "text", "") == "psst"])
    assert heard[0].direct


def test_ready_waits_for_somebody_who_listens(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, eventually: Any
) -> None:
    network = serve_realm()
    server = start_irc(memory_layer, network.port, join=["#dev", "#ops"])
    eventually(lambda: "#dev" in server.session.rooms and "#ops" in server.session.rooms)
    assert (server.title, server.serves, server.problems()) == ("irc.test", True, [])
    with network.lock:
        network.realm.kick("#ops", "bot")
    eventually(lambda: "#ops" not in server.session.rooms)
    work(memory_layer, ROUTING)
    eventually(lambda: texts(network) == ["ready in #dev"])
    say(network, "ann", "nobody's business", "#elsewhere")
    say(network, "ann", "hello")
    eventually(lambda: texts(network) == ["ready in #dev", "ann said hello"])
    assert server.stats["notifications_dropped"] > 0  # irc-client.*, that nobody wants


def test_groups_and_receipts_and_irc_own_words(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, eventually: Any
) -> None:
    seen: list[dict[str, Any]] = []

    def told(message: Any) -> None:
        seen.append(dict(message))
        if "topic" not in message:
            message.reply("by us", type="topic", channel="#dev")

    def receipt(message: Any) -> None:
        seen.append({"receipt": message["status"]})

    network = serve_realm()
    work(memory_layer, [*ROUTING, route("irc-client.*", told), route("chat.receipt", receipt), route("got", receipt)])
    start_irc(memory_layer, network.port, join=["#dev", "#ops"], numerics=True)
    eventually(lambda: texts(network) and texts(network, target="#ops"))
    group = Group("rooms", layer=memory_layer)
    group.send({"text": "to all", "receipt_channel": "got"}, immediately=True)
    group.send({"nonsense": 1}, immediately=True)
    group.send({"text": "bad receipt", "receipt_channel": "no/such name"}, immediately=True)
    eventually(lambda: "bad receipt" in texts(network) and "bad receipt" in texts(network, target="#ops"))
    eventually(lambda: seen.count({"receipt": "sent"}) == 2)
    eventually(lambda: any(each.get("topic") == "by us" for each in seen))
    connect = next(each for each in seen if "nick" in each)
    assert connect == {"reply_channel": "irc.reply.test!", "network": "test", "server": ["127.0.0.1", network.port],
                       "nick": "bot"}  # fmt: skip
    assert any(each.get("command") == "366" for each in seen)


def test_a_room_that_we_leave_leaves_its_groups(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, eventually: Any
) -> None:
    network = serve_realm()
    work(memory_layer, ROUTING)
    server = start_irc(memory_layer, network.port, join=["#dev", "#ops"])
    eventually(lambda: len(memory_layer.group_channels("rooms")) == 2)
    memory_layer.send("irc.reply.test!", {"type": "part", "channel": "#ops"})
    eventually(lambda: memory_layer.group_channels("rooms") == ["irc.reply.test!_23dev"])
    memory_layer.group_add("rooms", "irc.reply.test!_23no")
    network.realm.refused.add("#no")
    memory_layer.send("irc.reply.test!", {"type": "join", "channel": "#no"})
    eventually(lambda: server.stats["failed_joins"])
    eventually(lambda: memory_layer.group_channels("rooms") == ["irc.reply.test!_23dev"])


def test_raw_lines_and_raw_messages(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, eventually: Any
) -> None:
    raw: list[Any] = []
    network = serve_realm()
    work(memory_layer, [route("chat.message", lambda message: raw.append(message["raw"]))])
    server = start_irc(memory_layer, network.port, join=["#dev"], raw=True, include_raw=True)
    eventually(lambda: server.session.registered)
    memory_layer.send("irc.reply.test!", {"type": "raw", "body": "TOPIC #dev :any line"})
    eventually(lambda: "TOPIC #dev :any line" in network.realm.received)
    eventually(lambda: "#dev" in server.session.rooms)
    say(network, "ann", "\x02bold\x02")
    found = eventually(lambda: raw)[0]
    assert (found["type"], found["user"], found["target"], found["text"]) == (
        "message", "ann!ann@ann.test", "#dev", "\x02bold\x02",
    )  # fmt: skip
    assert found["tags"]["msgid"]


# TLS


def context_of(certificate: Any) -> ssl.SSLContext:
    return server_context(str(certificate.certificate), str(certificate.key))


def fingerprint_of(certificate: Any) -> str:
    der = ssl.PEM_cert_to_DER_cert(certificate.certificate.read_text())
    return hashlib.sha256(der).hexdigest()


def test_tls_with_a_pinned_certificate(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, certificate: Any, eventually: Any
) -> None:
    network = serve_realm(IrcRealm(accounts={"ann": "sesame"}), context_of(certificate))
    pinned = ":".join(fingerprint_of(certificate)[i : i + 2].upper() for i in range(0, 64, 2))
    server = start_irc(
        memory_layer,
        servers=[f"ircs://localhost:{network.port}"],
        tls_fingerprint=pinned,
        sasl=SaslSettings(user="ann", password="sesame"),
        join=["#dev"],
    )
    eventually(lambda: "#dev" in server.session.rooms)
    assert server.peers == [f"test at ircs://localhost:{network.port}"]


def test_tls_with_a_certificate_that_the_system_trusts(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    certificate: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    client_context.cache_clear()
    try:
        network = serve_realm(context=context_of(certificate))
        server = start_irc(memory_layer, servers=[f"ircs://localhost:{network.port}"], join=["#dev"])
        eventually(lambda: "#dev" in server.session.rooms)
    finally:
        client_context.cache_clear()


@pytest.mark.parametrize(
    ("tls", "settings", "reason"),
    [
        (True, {}, "TLS failed: .*certificate verify failed"),
        (
            True,
            {"tls_fingerprint": "ab" * 32},
            "the server's certificate has the fingerprint [0-9a-f]{64}, not the one",
        ),
        (False, {}, "no connection within 0.5 s"),
    ],
)
def test_tls_that_fails(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    certificate: Any,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
    tls: bool,
    settings: dict[str, Any],
    reason: str,
) -> None:
    """It is tried again and again, and the other network does not notice."""
    network, other = serve_realm(context=context_of(certificate) if tls else None), serve_realm()
    fine = start_irc(memory_layer, other.port, network="fine", join=["#dev"])
    with caplog.at_level(logging.WARNING, "trunkline.irc"):
        server = start_irc(memory_layer, servers=[f"ircs://localhost:{network.port}"], connect_timeout=0.5, **settings)
        eventually(lambda: server.stats["failed_connections"] >= 2)
    assert not server.session.registered
    assert re.search(reason, caplog.text)
    eventually(lambda: "#dev" in fine.session.rooms)
    assert fine.stats["connections"] == 1


def test_a_certificate_of_ours_that_is_none(start_irc: Start, memory_layer: MemoryLayer) -> None:
    with pytest.raises(UsageError, match=r"\[irc.test\] certificate nowhere.pem cannot be used: No such file"):
        start_irc(memory_layer, 1, certificate="nowhere.pem")


def test_tls_on_real_servers(
    start_irc: Start, memory_layer: MemoryLayer, tls_port: int, certificate: Any, eventually: Any
) -> None:
    server = start_irc(
        memory_layer,
        servers=[f"ircs://127.0.0.1:{tls_port}"],
        tls_fingerprint=fingerprint_of(certificate),
        password="secret",
        join=["#safe"],
    )
    eventually(lambda: "#safe" in server.session.rooms)


# SASL


def test_a_wrong_password_keeps_us_out(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    network = serve_realm(IrcRealm(accounts={"ann": "sesame"}))
    sasl = SaslSettings(user="ann", password="wrong")
    with caplog.at_level(logging.WARNING, "trunkline.irc"):
        server = start_irc(memory_layer, network.port, sasl=sasl)
        eventually(lambda: server.stats["disconnections"] >= 1)
    assert "SASL PLAIN failed: SASL authentication failed" in caplog.text
    assert "wrong" not in caplog.text
    assert network.realm.rooms == {}
    assert (server.serves, server.problems()) == (False, ["irc.test: not connected"])
    assert server.counts()["disconnections"] >= 1


# Servers that behave badly


def closes(sock: socket.socket) -> None:
    return


def never_answers(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def says_nonsense(sock: socket.socket) -> None:
    sock.sendall(bytes(range(256)) * 200 + b"\r\n:\r\n@ \r\n001\r\n")
    never_answers(sock)


def says_goodbye(sock: socket.socket) -> None:
    sock.sendall(b"ERROR :Closing Link: go away\r\n")
    never_answers(sock)


@pytest.mark.parametrize("rude", [closes, never_answers, says_nonsense, says_goodbye])
def test_a_rude_server_is_left_and_the_next_address_is_tried(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    work: Any,
    eventually: Any,
    rude: Callable[[socket.socket], None],
) -> None:
    """Nothing hangs, and what was to be said is said elsewhere."""
    bad, good = serve_realm(), serve_realm()
    bad.rude = rude
    addresses = [f"irc://127.0.0.1:{bad.port}", f"irc://127.0.0.1:{good.port}"]
    work(memory_layer, ROUTING)
    server = start_irc(
        memory_layer, servers=addresses, join=["#dev"], ping_interval=0.1, ping_timeout=0.2, connect_timeout=2.0
    )
    eventually(lambda: texts(good) == ["ready in #dev"])
    assert bad.accepted == 1
    assert server.stats["disconnections"] == 1


def test_a_half_open_connection_is_noticed(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, eventually: Any
) -> None:
    """The server takes us, and from then on says nothing, not even when asked."""
    network = serve_realm()

    def falls_silent(sock: socket.socket) -> None:
        seat = network.realm.connect()
        while not seat.known:
            seat.receive(sock.recv(65536))
            sock.sendall(seat.take())
        network.rude = None
        network.realm.leave(seat)
        never_answers(sock)

    network.rude = falls_silent
    server = start_irc(memory_layer, network.port, join=["#dev"], ping_interval=0.2, ping_timeout=0.2)
    eventually(lambda: network.accepted == 2 and "bot" in network.realm.rooms.get("#dev", ()))
    assert server.stats["disconnections"] == 1


def test_a_flood_of_pings_that_reads_nothing_is_cut_off(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = serve_realm()
    sent = [0]

    def floods(sock: socket.socket) -> None:
        seat = network.realm.connect()
        while not seat.known:
            seat.receive(sock.recv(65536))
            sock.sendall(seat.take())
        network.rude = None
        network.realm.leave(seat)
        ping = b"PING :" + b"x" * 480 + b"\r\n"
        while True:
            sent[0] += sock.send(ping * 100)

    network.rude = floods
    with caplog.at_level(logging.WARNING, "trunkline.irc"):
        start_irc(memory_layer, network.port, join=["#dev"])
        eventually(lambda: network.accepted == 2 and "bot" in network.realm.rooms.get("#dev", ()))
    assert "the server does not read what we send" in caplog.text
    assert sent[0] < 64 * 1024 * 1024


def test_nobody_is_there(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, eventually: Any, reactor_thread: ReactorThread
) -> None:
    """A network that comes later is found later."""
    network = serve_realm()
    network.close()
    server = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: server.stats["failed_connections"] >= 2)
    memory_layer.send("irc.reply.test!_23dev", {"text": "waited"})
    network.open()
    eventually(lambda: texts(network) == ["waited"])
    assert reactor_thread.call(server.stop(30)) is True


def test_a_name_that_cannot_be_one(start_irc: Start, memory_layer: MemoryLayer, eventually: Any) -> None:
    server = start_irc(memory_layer, servers=[f"irc://{'a' * 64}.test:1"])
    eventually(lambda: server.stats["failed_connections"] >= 1)
    assert server.stats["failures"] == 0


def test_an_error_of_ours_is_no_end(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    work: Any,
) -> None:
    from trunkline.protocol_servers.irc import server as module
    from trunkline.protocol_servers.irc.connecting import connect as real

    calls: list[Any] = []

    async def fails_once(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("surprise")
        return await real(*args, **options)

    monkeypatch.setattr(module, "connect", fails_once)
    network = serve_realm()
    work(memory_layer, ROUTING)
    server = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: texts(network) == ["ready in #dev"])
    assert server.stats["failures"] == 1
    monkeypatch.setattr(server._performer, "perform", lambda *_: 1 / 0)
    monkeypatch.setattr(server._publisher, "messages", lambda event: 1 / 0)
    memory_layer.send("irc.reply.test!_23dev", {"text": "x"})
    say(network, "ann", "hello")
    eventually(lambda: server.stats["failures"] == 3)
    assert server.session.registered


# The lease


def test_a_second_server_for_a_network_waits_and_then_does_not_start(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    reactor_thread: ReactorThread,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = serve_realm()
    first = start_irc(memory_layer, network.port)
    with pytest.raises(StartError, match=r"irc\.test: another process serves this network"):
        start_irc(memory_layer, network.port)
    settings = NetworkSettings(servers=[f"irc://127.0.0.1:{network.port}"], nick="bot", join=["#dev"])
    second = reactor_thread.run(
        lambda: IrcServer(memory_layer, settings, network="test", reactor=reactor_thread.reactor)
    )
    outcome: list[Any] = []
    waiting = threading.Thread(target=lambda: outcome.append(reactor_thread.call(second.start())))
    with caplog.at_level(logging.WARNING, "trunkline.irc"):
        waiting.start()
        eventually(lambda: "waiting up to 20 s for it to end" in caplog.text)
        assert reactor_thread.call(first.stop(30)) is True
    waiting.join(20)
    assert outcome == [None]
    eventually(lambda: "#dev" in second.session.rooms)
    assert reactor_thread.call(second.stop(30)) is True


def test_who_lost_the_lease_leaves_until_it_is_back(
    start_irc: Start,
    serve_realm: Serve,
    memory_layer: MemoryLayer,
    reactor_thread: ReactorThread,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that stood still may find another one in its place."""
    network = serve_realm()
    server = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: "bot" in network.realm.rooms.get("#dev", ()))
    reactor_thread.run(server._layer_down, "irc.reply.test! is leased by another process")
    reactor_thread.run(server._layer_down, "irc.reply.test! is leased by another process")
    eventually(lambda: network.realm.received[-1] == "QUIT :Another process took over")
    eventually(lambda: "bot" not in network.realm.rooms["#dev"])
    reactor_thread.run(server._layer_up)
    eventually(lambda: "bot" in network.realm.rooms["#dev"])
    # The same while there is no connection, and before the old one is gone.
    network.close()
    eventually(lambda: server.stats["failed_connections"])
    reactor_thread.run(server._layer_down, "irc.reply.test! is leased by another process")
    failed = server.stats["failed_connections"]
    network.open()
    network.rude = never_answers
    reactor_thread.run(server._layer_up)
    eventually(lambda: server._wire is not None)
    assert server.stats["failed_connections"] == failed
    reactor_thread.run(server._layer_down, "irc.reply.test! is leased by another process")
    network.rude = None

    def away(_: str) -> Any:
        raise LayerUnavailable

    monkeypatch.setattr(memory_layer, "get_state", away)  # then it goes on from what it knows itself
    reactor_thread.run(server._layer_up)
    eventually(lambda: "bot" in network.realm.rooms["#dev"])


def test_a_layer_that_is_away_is_told_at_once(start_irc: Start) -> None:
    layer = MemoryLayer()
    layer.close()
    with pytest.raises(LayerUnavailable):
        start_irc(layer, 1)


# The end


def test_what_waits_to_be_said_is_said_before_we_leave(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, reactor_thread: ReactorThread, eventually: Any
) -> None:
    network = serve_realm()
    server = start_irc(memory_layer, network.port, join=["#dev"], pace=20.0)
    eventually(lambda: "#dev" in server.session.rooms)
    for number in range(40):
        memory_layer.send("irc.reply.test!_23dev", {"text": str(number)})
    eventually(lambda: server.session.waiting)
    assert reactor_thread.call(server.stop(10)) is True
    assert texts(network) == [str(number) for number in range(40)]
    assert network.realm.received[-1] == "QUIT :Until later"


def test_what_cannot_be_said_in_time_is_a_failure(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, reactor_thread: ReactorThread, eventually: Any
) -> None:
    network = serve_realm()
    server = start_irc(memory_layer, network.port, join=["#dev"], pace=0.1)
    eventually(lambda: "#dev" in server.session.rooms)
    for number in range(20):
        memory_layer.send("irc.reply.test!_23dev", {"text": str(number), "receipt_channel": "receipts"})
    eventually(lambda: server.session.waiting)
    assert reactor_thread.call(server.stop(1)) is False
    statuses = [memory_layer.receive(["receipts"])[1] for _ in range(20)]
    assert [each["status"] for each in statuses if each][-1] == "dropped"
    assert network.realm.received[-1] == "QUIT :Until later"


def test_an_answer_that_comes_too_late_waits_for_the_next_process(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, reactor_thread: ReactorThread, eventually: Any
) -> None:
    network = serve_realm()
    server = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: "#dev" in server.session.rooms)

    async def stop() -> bool:
        stopping = reactor_thread.loop.create_task(server.stop(5))
        while not server._left:
            await __import__("asyncio").sleep(0)
        memory_layer.send("irc.reply.test!_23dev", {"text": "late"})
        return await stopping

    assert reactor_thread.call(stop()) is True
    assert texts(network) == []
    start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: texts(network) == ["late"])


def test_a_server_that_ignores_quit_holds_nobody_up(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, reactor_thread: ReactorThread, eventually: Any
) -> None:
    network = serve_realm()
    network.rude = never_answers
    server = start_irc(memory_layer, network.port)
    eventually(lambda: server.stats["connections"])
    began = time.monotonic()
    assert reactor_thread.call(server.stop(30)) is True
    assert time.monotonic() - began < 20


# The next process


def test_the_gap_between_two_processes_is_filled_and_nothing_is_handled_twice(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, reactor_thread: ReactorThread,
    eventually: Any,
) -> None:  # fmt: skip
    heard: list[tuple[str, bool]] = []
    realm = IrcRealm(caps=["message-tags", "server-time", "batch", "draft/chathistory"])
    network = serve_realm(realm)
    work(memory_layer, [route("chat.message", lambda message: heard.append((message["text"], message["replayed"])))])
    first = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: "#dev" in first.session.rooms)
    say(network, "ann", "one")
    say(network, "ann", "two")
    eventually(lambda: len(heard) == 2)
    marks_then = {key: list(mark) for key, mark in first.session.marks().items()}
    assert reactor_thread.call(first.stop(30)) is True
    eventually(lambda: not realm.seats)
    say(network, "ann", "missed")
    second = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: len(heard) == 3)
    say(network, "ann", "three")
    eventually(lambda: len(heard) == 4)
    assert heard == [("one", False), ("two", False), ("missed", True), ("three", False)]
    # A process that was killed wrote its marks some seconds before: what came after them is told again, and dropped.
    assert reactor_thread.call(second.stop(30)) is True
    (key,) = marks_then
    memory_layer.put_state("irc.marks.test", {key: [marks_then[key][0], "id1"], "bad": 1, "worse": ["x", 2]}, 60)
    third = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: third.stats["repeats_dropped"] == 3)
    say(network, "ann", "four")
    eventually(lambda: len(heard) == 5)
    assert heard[-1] == ("four", False)


def test_marks_are_written_while_it_runs(
    start_irc: Start, serve_realm: Serve, memory_layer: MemoryLayer, work: Any, eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(remembering, "PAUSE", 0.05)
    network = serve_realm()
    work(memory_layer, ROUTING)
    server = start_irc(memory_layer, network.port, join=["#dev"])
    eventually(lambda: "#dev" in server.session.rooms)
    say(network, "ann", "one")
    eventually(lambda: memory_layer.get_state("irc.marks.test")[0])

    def away(*_: Any) -> None:
        raise LayerError("away")

    monkeypatch.setattr(memory_layer, "put_state", away)
    say(network, "ann", "two")
    eventually(lambda: server.stats["marks_not_saved"])


def test_a_server_for_each_network(memory_layer: MemoryLayer, reactor_thread: ReactorThread) -> None:
    table = {"servers": ["irc://localhost"], "nick": "bot"}
    settings = IrcSettings({name: NetworkSettings(**table) for name in ("one", "two")})  # type: ignore[arg-type]
    made = IrcServer.instances(memory_layer, settings, reactor=reactor_thread.reactor)
    assert [each.inbox_name() for each in made] == ["irc.reply.one!", "irc.reply.two!"]

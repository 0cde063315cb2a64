"""Endpoint strings: what they bind, and what a person is told when they cannot be."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.errors import StartError, UsageError
from trunkline.protocol_servers import endpoints
from trunkline.protocol_servers.endpoints import Description, Port, listen_all, listen_udp
from trunkline.protocol_servers.inherited import Inherited, read_inherited
from trunkline.protocol_servers.testing import ReactorThread

PATIENCE = 60


def listen(place: ReactorThread, factory: Any, *descriptions: str, **options: Any) -> list[Port]:
    return place.call(listen_all(place.reactor, list(descriptions), factory, **options))


def close(place: ReactorThread, ports: list[Port]) -> None:
    for port in ports:
        place.run(port.close)
        place.run(port.close)
        place.run(port.abort)
    place.turns()


def echo(place: ReactorThread, factory: Any, client: socket.socket) -> None:
    """Check that the server at the other end of ``client`` is the factory's."""
    client.settimeout(PATIENCE)
    client.sendall(b"question")
    protocol = factory.next()
    assert protocol.receive(8) == b"question"
    place.run(protocol.transport.write, b"answer")
    assert client.recv(100) == b"answer"


@pytest.mark.parametrize(
    ("text", "kind", "arguments", "options"),
    [
        ("tcp:8000", "tcp", ("8000",), {}),
        ("tcp:8000:interface=0.0.0.0", "tcp", ("8000",), {"interface": "0.0.0.0"}),
        (r"tcp:80:interface=\:\:1", "tcp", ("80",), {"interface": "::1"}),
        (r"unix:/a\:b\\c\=d", "unix", (r"/a:b\c=d",), {}),
        (r"ssl:1:privateKey=a=b:certKey=", "ssl", ("1",), {"privateKey": "a=b", "certKey": ""}),
        ("tcp:8000\\", "tcp", ("8000\\",), {}),
        ("", "", (), {}),
    ],
)
def test_descriptions_are_taken_apart(text: str, kind: str, arguments: Any, options: Any) -> None:
    assert Description.parse(text) == Description(text, kind, arguments, options)


def test_without_interface_only_this_machine_is_served_and_the_address_says_so(
    place: ReactorThread, factory: Any
) -> None:
    ports = listen(place, factory, "tcp:0", "tcp6:0", "tcp:0:interface=0.0.0.0")
    assert [port.address.rpartition(":")[0] for port in ports] == ["127.0.0.1", "[::1]", "0.0.0.0"]
    for port, host in zip(ports, ("127.0.0.1", "::1", "127.0.0.1"), strict=True):
        assert repr(port) == f"<Port {port.address}>"
        assert port.address.endswith(f":{port.number}")
        with socket.create_connection((host, port.number or 0)) as client:
            echo(place, factory, client)
    close(place, ports)


def test_closing_stops_accepting_and_leaves_open_connections(place: ReactorThread, factory: Any) -> None:
    ports = listen(place, factory, "tcp:0", "tcp:0")
    assert factory.started == 1  # Twisted counts the ports, and starts a factory with the first
    number = ports[0].number or 0
    with socket.create_connection(("127.0.0.1", number)) as client:
        protocol = factory.next()
        place.run(ports[0].close)
        place.turns()
        assert factory.stopped == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number))
        client.sendall(b"still here")
        assert protocol.receive(10) == b"still here"
        close(place, ports)
        client.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            if client.recv(100) == b"":
                raise ConnectionResetError
    assert factory.stopped == 1


def test_a_port_that_is_taken_is_named_and_nothing_else_stays_open(place: ReactorThread, factory: Any) -> None:
    taken = listen(place, factory, "tcp:0")[0]
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    number = free.getsockname()[1]
    free.close()
    with pytest.raises(StartError) as caught:
        listen(place, factory, f"tcp:{number}", f"tcp:{taken.number}")
    assert str(caught.value) == f"tcp:{taken.number}: port {taken.number} on 127.0.0.1 is already in use"
    assert (factory.started, factory.stopped) == (1, 0)  # by the port that was there before
    place.turns()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", number))
    close(place, [taken])


def test_a_port_can_be_shared_on_request(place: ReactorThread, factory: Any) -> None:
    first = listen(place, factory, "tcp:0", reuse_port=True)
    second = listen(place, factory, f"tcp:{first[0].number}", reuse_port=True)
    assert first[0].number == second[0].number
    close(place, first + second)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("tcp:http", "the port must be a number from 0 to 65535, not 'http'"),
        ("tcp:65536", "the port must be a number from 0 to 65535"),
        ("tcp:-1", "the port must be a number"),
        ("tcp:٣", "the port must be a number"),
        ("tcp", "expected 1 value(s) after 'tcp'"),
        ("tcp:1:2", "expected 1 value(s)"),
        ("tcp:8000:interfce=::", "unknown option 'interfce'; known are backlog, interface"),
        ("tcp:8000:interface=", "interface is empty; write interface=0.0.0.0 for every address"),
        ("tcp:8000:backlog=many", "backlog must be a number"),
        ("ssl:8000", "certificate server.pem with key server.pem cannot be used: No such file or directory"),
        ("unix:/tmp/x:mode=999", "mode must be three octal digits, not '999'"),
        ("unix:/tmp/x:mood=600", "unknown option 'mood'"),
        ("systemd:domain=INET:index=x", "index must be a number"),
        ("fd:stdin", "the descriptor must be a number"),
        ("carrier-pigeon:7", "not an endpoint"),
        ("haproxy:", "not an endpoint"),
        ("", "not an endpoint"),
    ],
)
def test_a_description_that_makes_no_sense_is_a_usage_error(
    reactor_thread: ReactorThread, factory: Any, description: str, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        listen(reactor_thread, factory, description)
    assert str(caught.value).startswith(f"{description}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (errno.EACCES, "tcp:80: no permission to listen on port 80 of 127.0.0.1"),
        (errno.EADDRNOTAVAIL, "tcp:80: 127.0.0.1 is not an address of this machine"),
        (errno.EMFILE, "tcp:80: Too many open files"),
    ],
)
def test_what_the_system_refuses_is_a_start_error(number: int, complaint: str) -> None:
    error = Description.parse("tcp:80").refused(OSError(number, os.strerror(number)), "127.0.0.1", 80)
    assert isinstance(error, StartError)
    assert str(error) == complaint


def test_an_address_of_another_machine_is_a_start_error(place: ReactorThread, factory: Any) -> None:
    with pytest.raises(StartError, match="not an address of this machine"):
        listen(place, factory, "tcp:0:interface=192.0.2.1")


def test_a_unix_socket_is_made_served_and_removed(place: ReactorThread, factory: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    ports = listen(place, factory, f"unix:{path}:mode=600")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (ports[0].address, ports[0].number, ports[0].tls) == (str(path), None, False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        echo(place, factory, client)
    with pytest.raises(StartError, match="already in use"):
        listen(place, factory, f"unix:{path}")
    close(place, ports)
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_anything_else_is_not(
    place: ReactorThread, factory: Any, tmp_path: Path
) -> None:
    stale, plain = tmp_path / "stale.sock", tmp_path / "plain"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    plain.write_text("precious")
    ports = listen(place, factory, f"unix:{stale}")
    stale.unlink()
    close(place, ports)
    with pytest.raises(StartError, match="already in use"):
        listen(place, factory, f"unix:{plain}")
    assert plain.read_text() == "precious"
    with pytest.raises(StartError, match="No such file or directory"):
        listen(place, factory, f"unix:{tmp_path}/missing/x.sock")


def test_a_unix_socket_whose_queue_is_full_is_in_use(place: ReactorThread, factory: Any, tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(StartError, match="already in use"):
            listen(place, factory, f"unix:{path}")
    for client in waiting:
        client.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_an_inherited_descriptor_is_served(
    place: ReactorThread, factory: Any, tmp_path: Path, family: socket.AddressFamily
) -> None:
    with socket.socket(family) as inherited:
        inherited.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "x.sock"))
        inherited.listen()
        ports = listen(place, factory, f"fd:{inherited.fileno()}")
        with socket.socket(family) as client:
            client.connect(inherited.getsockname())
            echo(place, factory, client)
        close(place, ports)
        assert inherited.fileno() >= 0


def test_sockets_that_systemd_passes(place: ReactorThread, factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = [socket.socket(), socket.socket()]
    for each in inherited:
        each.bind(("127.0.0.1", 0))
        each.listen()
    passed = [Inherited(each.fileno(), name) for each, name in zip(inherited, ("web", "mail"), strict=True)]
    monkeypatch.setattr(endpoints, "SOCKETS", passed)
    ports = listen(place, factory, "systemd:domain=INET:index=1", "systemd:domain=INET:name=web")
    assert [port.number for port in ports] == [inherited[1].getsockname()[1], inherited[0].getsockname()[1]]
    for port in ports:
        with socket.create_connection(("127.0.0.1", port.number or 0)) as client:
            echo(place, factory, client)
    close(place, ports)
    for missing in ("index=2", "name=chat"):
        with pytest.raises(StartError, match="systemd passed no such socket"):
            listen(place, factory, f"systemd:domain=INET:{missing}")
    for each in inherited:
        each.close()


def test_what_systemd_says_is_taken_once_and_only_by_whom_it_means() -> None:
    with socket.socket() as one:
        first = one.fileno()
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "PATH": "/bin"}
        os.set_inheritable(first, True)
        assert read_inherited(environ, 8, first) == []
        assert len(environ) == 4
        assert read_inherited(environ, 7, first) == [Inherited(first, "web")]
        assert environ == {"PATH": "/bin"}
        assert not os.get_inheritable(first)
        assert read_inherited(environ, 7, first) == []
        # Names are missing where a socket was not given any; a count that makes no sense is none.
        assert read_inherited({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7, first) == [Inherited(first, "")]
        assert read_inherited({"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, 7, first) == []
        assert read_inherited({"LISTEN_PID": "7"}, 7, first) == []
    assert read_inherited({"LISTEN_PID": "7", "LISTEN_FDS": "9999"}, 7, 60_000) == []


def test_without_systemd_there_are_no_such_sockets(reactor_thread: ReactorThread, factory: Any) -> None:
    with pytest.raises(StartError, match="systemd passed no such socket"):
        listen(reactor_thread, factory, "systemd:domain=INET:index=0")


def test_a_descriptor_that_cannot_be_listened_on_is_a_start_error(
    place: ReactorThread, factory: Any, tmp_path: Path
) -> None:
    with pytest.raises(StartError, match="descriptor 60000 is no socket"):
        listen(place, factory, "fd:60000")
    with (tmp_path / "file").open("w") as file, pytest.raises(StartError, match="is no socket"):
        listen(place, factory, f"fd:{file.fileno()}")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(StartError, match="cannot be listened on"),
    ):
        listen(place, factory, f"fd:{datagrams.fileno()}")


def test_any_other_endpoint_goes_through_twisted(reactor_thread: ReactorThread, factory: Any) -> None:
    """Here Twisted's HAProxy endpoint; its transport gets what our protocols expect of a transport."""
    ports = listen(reactor_thread, factory, r"haproxy:tcp:0:interface=127.0.0.1")
    number = ports[0].number or 0
    assert ports[0].address == f"127.0.0.1:{number}"
    with socket.create_connection(("127.0.0.1", number)) as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n")
        echo(reactor_thread, factory, client)
        client.sendall(b"again")
    with socket.create_connection(("127.0.0.1", number)) as client:
        protocol = factory.next()
        transport = protocol.transport
        assert reactor_thread.run(lambda: transport.buffered) == 0
        reactor_thread.run(transport.write, b"x" * 10_000_000)
        assert reactor_thread.run(lambda: transport.buffered) > 0
        assert transport.tls is False
        with pytest.raises(RuntimeError, match="not available"):
            reactor_thread.run(transport.startTLS, None)
        close(reactor_thread, ports)
        protocol.lost.get(timeout=PATIENCE)


def test_a_port_that_twisted_finds_taken_is_a_start_error(reactor_thread: ReactorThread, factory: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(StartError, match=r"already in use"):
            listen(reactor_thread, factory, f"haproxy:tcp:{number}:interface=127.0.0.1")


def test_udp_descriptions(reactor_thread: ReactorThread, factory: Any) -> None:
    from twisted.internet.protocol import DatagramProtocol

    def open_udp(text: str) -> Port:
        return reactor_thread.run(listen_udp, reactor_thread.reactor, text, DatagramProtocol())

    port = open_udp("udp:0")
    assert port.address == f"127.0.0.1:{port.number}"
    with pytest.raises(StartError, match="already in use"):
        open_udp(f"udp:{port.number}")
    reactor_thread.run(port.close)
    port = open_udp(r"udp:0:interface=\:\:1")
    assert port.address == f"[::1]:{port.number}"
    reactor_thread.run(port.close)
    for wrong in ("tcp:1", "udp:x", "udp:1:backlog=3", ""):
        with pytest.raises(UsageError):
            open_udp(wrong)

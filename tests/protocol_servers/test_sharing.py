"""Ports for several processes: what can be shared, and what is taken."""

import socket

import pytest

from trunkline.operations.errors import StartError, UsageError
from trunkline.protocol_servers.sharing import check_shared


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("text", ["tcp:{}", "tcp:{}:interface=0.0.0.0", "ssl:{}:privateKey=key.pem", "tcp6:{}"])
def test_free_ports(text: str) -> None:
    check_shared([text.format(free_port())])


def test_a_port_of_another_that_shares_it_too_is_taken() -> None:
    """Linux would let every process of one user join in."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^tcp:{port}: port {port} on 127\.0\.0\.1 is already in use$"):
            check_shared([f"tcp:{port}"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:0", "not 0"),
        ("tcp", "several processes share"),
        ("tcp:many", "the port must be a number"),
        ("udp:9999", "several processes share tcp:PORT and ssl:PORT alone; leave --processes at 1"),
        ("unix:/tmp/x.sock", "several processes share"),
        ("systemd:domain=INET:index=0", "several processes share"),
        ("fd:3", "several processes share"),
    ],
)
def test_what_cannot_be_shared(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_shared([text])
    assert str(caught.value).startswith(f"{text}: ")
    assert expected in str(caught.value)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartError, match="is not an address of this machine"):
        check_shared(["tcp:8000:interface=192.0.2.1"])

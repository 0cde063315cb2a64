"""One question to a server, over a connection of its own: what Sentinels and the nodes of a cluster are asked."""

from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from .address import Address
from .replies import Command, Parser, pack
from .sockets import connect, left


class Useless(Exception):
    """Tell that a server does not help."""


def ask(address: Address, commands: Sequence[Command], deadline: float) -> list[Any]:
    """Connect, say who we are if that is wanted, send commands, and return their replies.

    Args:
        deadline: Of `time.monotonic()`.

    Raises:
        OSError, hiredis.ProtocolError: It cannot be reached, does not answer in time, or speaks something else.
        Useless: It refuses.
    """
    if address.password is not None:
        commands = [("AUTH", address.username or "default", address.password), *commands]
    parser = Parser()
    with connect(address, deadline) as sock:
        sock.settimeout(left(deadline))
        sock.sendall(pack(commands))
        while len(parser.replies) < len(commands):
            sock.settimeout(left(deadline))
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("it closed the connection")
            parser.feed(data)
    refused = next((reply for reply in parser.replies if isinstance(reply, ReplyError)), None)
    if refused is not None:
        raise Useless(refused)
    return parser.replies[address.password is not None :]


def server_text(address: Address) -> str:
    """Return host and port as people write them."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"

"""UDP: every datagram becomes a message, every answer a datagram. The smallest complete server on the common base."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from twisted.internet.protocol import DatagramProtocol

from .base import Connection, Message, ProtocolServer


@dataclass
class UdpSettings:
    """The table `[udp]`.

    Args:
        endpoints: where to listen: `udp:PORT` or `udp:PORT:interface=ADDRESS`.
        answer_timeout: seconds that a silent peer is remembered and can be answered.
        max_peers: peers remembered at a time; for a new one the longest silent is forgotten.
    """

    endpoints: list[str] = field(default_factory=lambda: ["udp:9999"])
    answer_timeout: float = field(default=60.0, metadata={"min": 0.1})
    max_peers: int = field(default=10_000, metadata={"min": 1})


class UdpServer(ProtocolServer):
    """Answer datagrams; a peer, one address and port, is one `Connection`."""

    name = "udp"
    Settings = UdpSettings

    async def listen(self) -> None:
        self.peers: OrderedDict[tuple[_Socket, tuple[str, int]], Connection] = OrderedDict()  # longest silent first
        self.receive_on(self.settings.endpoints, lambda: _Socket(self), "udp")

    def deliver(self, connection: Connection, message: Message) -> None:
        data = message.get("data")
        if not isinstance(data, bytes) or len(data) > 65_507:  # 65 535 less the headers of IP and UDP (RFC 768)
            return self.unfit(connection, "data must be at most 65507 bytes")
        socket, client = connection.state
        try:
            socket.transport.write(data, client)
        except OSError:  # a forged address, such as one with port 0, takes nothing
            self.stats["unsent_datagrams"] += 1

    def close(self, connection: Connection) -> None:
        self.peers.pop(connection.state, None)
        super().close(connection)

    async def drain(self, grace: float) -> None:
        """Wait for nothing: no socket is open any more that an answer could leave by."""


class _Socket(DatagramProtocol):
    def __init__(self, server: UdpServer) -> None:
        self.server = server

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        server, seconds = self.server, self.server.settings.answer_timeout
        peer = server.peers.pop((self, addr), None) or server.open((self, addr))
        server.peers[self, addr] = peer
        if len(server.peers) > server.settings.max_peers:  # addresses are easily forged
            server.stats["forgotten_peers"] += 1
            server.close(next(iter(server.peers.values())))
        server.set_timer(peer, seconds)
        message = {"reply_channel": peer.reply_channel, "data": datagram, "client": list(addr)}
        server.publish("udp.receive", message, peer, expiry=seconds)

"""UDP: every datagram becomes a message, every answer a datagram. The smallest complete server on the common base."""

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
        max_connections: peers that each process remembers at a time; of more, the longest silent are forgotten.
    """

    endpoints: list[str] = field(default_factory=lambda: ["udp:9999"])
    answer_timeout: float = field(default=60.0, metadata={"min": 0.1})
    max_connections: int = field(default=10_000, metadata={"min": 1})


class UdpServer(ProtocolServer):
    """Answer datagrams; a peer, one address and port, is one `Connection`."""

    name, Settings = "udp", UdpSettings

    async def listen(self) -> None:
        self.receive_on(self.settings.endpoints, lambda: _Socket(self), "udp")

    def deliver(self, connection: Connection, message: Message) -> None:
        data, (socket, client) = message.get("data"), connection.state
        if not isinstance(data, bytes) or len(data) > 65_507:  # 65 535 less the headers of IP and UDP (RFC 768)
            return self.unfit(connection, "data must be at most 65507 bytes")
        try:
            socket.transport.write(data, client)
        except OSError:  # a forged address, such as one with port 0, takes nothing
            self.stats["unsent_datagrams"] += 1

    async def drain(self, grace: float) -> None:
        """Wait for nothing: the sockets are closed, so no answer could leave."""


class _Socket(DatagramProtocol):
    def __init__(self, server: UdpServer) -> None:
        self.server, self.peers = server, OrderedDict[tuple[str, int], Connection]()  # the longest silent first

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        server, seconds, peer = self.server, self.server.settings.answer_timeout, self.peers.pop(addr, None)
        self.peers[addr] = peer = peer if peer and peer.state else server.open((self, addr))
        if len(self.peers) > server.settings.max_connections:  # addresses are easily forged
            server.stats["forgotten_peers"] += 1
            server.close(self.peers.popitem(last=False)[1])
        server.set_timer(peer, seconds)
        message = {"reply_channel": peer.reply_channel, "data": datagram, "client": list(addr)}
        server.publish("udp.receive", message, peer, expiry=seconds)

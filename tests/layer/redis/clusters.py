"""A real Redis Cluster of three nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trunkline.layer.redis.cluster import SLOTS

from .traffic import until

if TYPE_CHECKING:
    from .conftest import RedisServer


class RedisCluster:
    """Three nodes that share all slots.

    Args:
        start: Starts a Redis.
        free_port: Finds a port.
        options: Of each node.

    Attributes:
        nodes: The servers.
        ids: What they are called in the cluster.
    """

    def __init__(self, start: Callable[..., RedisServer], free_port: Callable[[], int], *options: str) -> None:
        self._start, self._free_port, self._options = start, free_port, options
        self.nodes = [self._node() for _ in range(3)]
        self.ids = [node.command("CLUSTER", "MYID").decode() for node in self.nodes]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            begin, end = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", begin, end)
            if node is not first:
                self._meet(node)
        self.wait()

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[1].port}"

    def _node(self) -> RedisServer:
        return self._start(
            "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "500",
            "--cluster-require-full-coverage", "no", "--cluster-port", str(self._free_port()), *self._options,
        )  # fmt: skip

    def _meet(self, node: RedisServer) -> None:
        bus = self.nodes[0].command("CONFIG", "GET", "cluster-port")
        node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, _value(bus))

    def add_replica(self, number: int) -> RedisServer:
        """Start a replica of a node, and wait until it has what that has."""
        replica = self._node()
        self._meet(replica)
        until(lambda: self.ids[number] in str(replica.command("CLUSTER", "NODES")))
        replica.command("CLUSTER", "REPLICATE", self.ids[number])
        until(lambda: _facts(replica.command("INFO", "replication")).get("master_link_status") == "up")
        until(lambda: all(_facts(node.command("CLUSTER", "INFO"))["cluster_known_nodes"] == "4" for node in self.nodes))
        return replica

    def wait(self) -> None:
        """Wait until all nodes agree that all slots are served."""
        until(lambda: all(self._is_well(node) for node in self.nodes))

    def _is_well(self, node: RedisServer) -> bool:
        facts = _facts(node.command("CLUSTER", "INFO"))
        return (
            facts["cluster_state"] == "ok"
            and facts["cluster_slots_ok"] == str(SLOTS)
            and facts["cluster_known_nodes"] == "3"
        )

    def owner(self, slot: int) -> int:
        """Return the number of the node that has a slot, as the nodes agree."""
        for number, node in enumerate(self.nodes):
            for first, last, *_ in _mine(node.command("CLUSTER", "SLOTS"), node.port):
                if first <= slot <= last:
                    return number
        raise AssertionError(f"nobody has slot {slot}")

    def move(self, slot: int, to: int) -> int:
        """Give a slot with all its keys to another node, as `redis-cli --cluster reshard` does; return how many."""
        since = self.owner(slot)
        source, target = self.nodes[since], self.nodes[to]
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[since])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[to])
        moved = 0
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 5):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        for node in (target, source, *self.nodes):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[to])
        return moved


def _value(reply: Any) -> Any:
    """Return the value of CONFIG GET of one parameter."""
    if isinstance(reply, dict):
        [value] = reply.values()
        return value
    return reply[1]


def _facts(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {str(name): str(value) for name, value in reply.items()}
    return dict(line.split(":", 1) for line in reply.decode().split())


def _mine(reply: Any, port: int) -> list[tuple[int, int]]:
    """Return the ranges of the node with this port, in whatever form the client gives CLUSTER SLOTS."""
    if isinstance(reply, dict):
        return [(first, last) for (first, last), facts in reply.items() if facts["primary"][1] == port]
    return [(first, last) for first, last, primary, *_ in reply if primary[1] == port]

"""The Redis engine on a real cluster."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from trunkline.layer import LayerUnavailable, open_layer
from trunkline.layer.redis.cluster import Cluster, slot_of, tag_for
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.spread import SpreadLayer
from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.machine import LayerMachine
from trunkline.layer.testing.redis import RedisSubject

from .aging import AgingSpreadLayer, AgingSubject
from .clusters import RedisCluster
from .commands_used import documented
from .conftest import RedisServer, free_port
from .traffic import PATIENCE, Traffic, until


class ClusterSubject(RedisSubject):
    """The Redis engine on a cluster."""


class AgingCluster(AgingSubject):
    """The same, where time is let pass without waiting."""

    layer_class = AgingSpreadLayer


class ClusterMachine(LayerMachine):
    subject_class = AgingCluster
    unit = 4.0


@pytest.fixture(scope="module")
def cluster(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """One cluster for this module."""
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        started.append(RedisServer(redis_program, tmp_path_factory.mktemp("node"), *options))
        return started[-1]

    try:
        made = RedisCluster(start, free_port)
        AgingCluster.url = ClusterSubject.url = made.url
        yield made
    finally:
        for server in started:
            server.kill()


TestClusterMachine = pytest.mark.usefixtures("cluster")(ClusterMachine.TestCase)
TestClusterMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


@pytest.mark.usefixtures("cluster")
class TestCluster(LayerConformance):
    subject_class = ClusterSubject


@pytest.fixture
def own_cluster(start_redis: Callable[..., RedisServer]) -> RedisCluster:
    """A cluster whose nodes may suffer."""
    return RedisCluster(start_redis, free_port)


@pytest.fixture
def layer(cluster: RedisCluster) -> Iterator[SpreadLayer]:
    with RedisLayer(cluster.url, prefix=f"test.{secrets.token_hex(8)}") as layer:
        assert isinstance(layer, SpreadLayer)
        yield layer


def nodes_of(layer: SpreadLayer, cluster: RedisCluster) -> list[int]:
    """Return the number of the node at which each place is."""
    return [cluster.owner(slot_of(tag_for(place))) for place in range(len(layer.places))]


def channel_at(layer: SpreadLayer, place: int) -> str:
    return next(name for n in range(1000) if layer.router.place(name := f"c.{n}") == place)


# where it is


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+cluster://h", "redis+cluster://h:6379"),
        ("redis+cluster://u:secret@h:1,[::1]:2/0", "redis+cluster://h:1,[::1]:2"),
        ("redis+cluster://h/?prefix=p", "redis+cluster://h:6379"),
        ("rediss+cluster://h:1", "rediss+cluster://h:1"),
    ],
)
def test_urls(url: str, text: str) -> None:
    with open_layer(url) as layer:
        assert isinstance(layer, SpreadLayer)
        assert layer.text == text
        prefixes = [place._commands.keys.prefix.decode() for place in layer.places]
        assert all(re.fullmatch(r"(trunkline|p):\{\d+\.\d+\}:", prefix) for prefix in prefixes)
        assert len(set(prefixes)) == 12


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://", "the host is missing"),
        ("redis+cluster://h/1", "only the database 0"),
        ("redis+cluster://h/a/b", "only the database 0"),
        ("redis+cluster://h?db=2", "only the database 0"),
        ("redis+cluster://h,h2:x", "the port is 'x'"),
        ("redis+cluster://h?sentinel_user=x", "redis\\+sentinel"),
        ("redis+cluster://h?tls_ca=x", "tls_ca is for rediss\\+cluster"),
    ],
)
def test_urls_that_cannot_be_right(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_layer(url)
    assert "\n" not in str(caught.value)


def test_slots_are_those_of_redis_and_lie_evenly(cluster: RedisCluster, layer: SpreadLayer) -> None:
    for place in layer.places:
        prefix = place._commands.keys.prefix.decode()
        tag = prefix.partition("{")[2].partition("}")[0]
        for key in (place._commands.keys.wake, place._commands.keys.list("a{b}")):
            assert cluster.nodes[0].command("CLUSTER", "KEYSLOT", key) == slot_of(tag)
    assert Counter(nodes_of(layer, cluster)) == {0: 4, 1: 4, 2: 4}


def test_a_node_is_refused_where_the_url_means_one_server(cluster: RedisCluster) -> None:
    with (
        RedisLayer(cluster.nodes[0].url) as layer,
        pytest.raises(LayerUnavailable, match=r"is a node of a cluster, whose URL begins with redis\+cluster://"),
    ):
        layer.send("a", {})


def test_what_is_no_cluster_is_one_clear_line(
    redis_server: RedisServer, start_redis: Callable[..., RedisServer]
) -> None:
    alone = start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    for server, said in ((redis_server, "cluster support disabled"), (alone, "it has not joined a cluster")):
        with (
            RedisLayer(f"redis+cluster://127.0.0.1:{server.port}") as layer,
            pytest.raises(LayerUnavailable, match=said) as caught,
        ):
            layer.send("a", {})
        assert not caught.value.uncertain
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"*1\r\n:1\r\n", "not as a node of a cluster does"),
        (b"*0\r\n", "it has not joined"),
        (b"+OK\r\n", "not as a node of a cluster does"),
        (b"", "it closed the connection"),
    ],
)
def test_odd_answers(fake: Callable[..., Any], answer: bytes, said: str) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    server = fake(behave)
    cluster = Cluster([server.address])
    with pytest.raises(LayerUnavailable, match=said):
        cluster.node(1, time.monotonic() + 5)


def test_nodes_without_a_name_are_where_they_were_asked(fake: Callable[..., Any]) -> None:
    asked: list[float] = []

    def behave(sock: socket.socket) -> None:
        asked.append(time.monotonic())
        sock.recv(65536)
        sock.sendall(b"*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n$-1\r\n:7000\r\n*3\r\n:20\r\n:29\r\n*2\r\n$1\r\n?\r\n:7001\r\n")

    server = fake(behave)
    cluster = Cluster([server.address])
    deadline = time.monotonic() + PATIENCE
    assert cluster.node(5, deadline).text == "redis://127.0.0.1:7000/0"
    assert cluster.node(29, deadline).port == 7001
    with pytest.raises(LayerUnavailable, match="no node has the slot 15"):
        cluster.node(15, deadline)
    assert len(asked) == 1, "nobody asks again at once"
    cluster.doubt()
    until(lambda: cluster.node(5, deadline).port == 7000 and len(asked) == 2)


def test_who_waits_for_an_answer_too_long_gives_up(fake: Callable[..., Any]) -> None:
    server = fake(lambda sock: sock.recv(65536) and sock.recv(65536))
    cluster = Cluster([server.address])
    with cluster._lock, pytest.raises(LayerUnavailable, match="do not answer in time"):
        cluster.node(1, time.monotonic() + 0.01)
    with pytest.raises(LayerUnavailable, match="no node answers"):
        cluster.node(1, time.monotonic() + 0.05)


# slots that move


def test_a_call_after_a_slot_moved_is_done_where_it_is_now(own_cluster: RedisCluster) -> None:
    with RedisLayer(own_cluster.url) as layer:
        assert isinstance(layer, SpreadLayer)
        for place, node in enumerate(nodes_of(layer, own_cluster)):
            channel = channel_at(layer, place)
            layer.send(channel, {"n": 1})
            assert own_cluster.move(slot_of(tag_for(place)), (node + 1) % 3) > 0
            assert layer.send(channel, {"n": 2}) is True
            assert [delivery.message["n"] for delivery in layer.receive_batch([channel], 9)] == [1, 2]


def test_slots_move_under_traffic(
    own_cluster: RedisCluster, start_traffic: Callable[..., Traffic], tell: Callable[[str], None], scale: int
) -> None:
    """Nothing is lost or doubled, and nobody asks where the slots are all the time."""
    traffic = start_traffic(own_cluster.url)
    layer = traffic.layer
    assert isinstance(layer, SpreadLayer)
    places = [layer.router.place("work"), layer.router.place("server.1!")]
    asked = asked_for_slots(own_cluster)
    began, moved = time.monotonic(), 0
    for turn in range(6 * scale):
        slot = slot_of(tag_for(places[turn % 2]))
        moved += own_cluster.move(slot, (own_cluster.owner(slot) + 1) % 3)
        traffic.goes_on()
    took, asked = time.monotonic() - began, asked_for_slots(own_cluster) - asked
    counted = traffic.finish()
    tell(f"{counted}; {moved} keys moved, told {traffic.told}, {asked} times asked where slots are in {took:.1f} s")
    assert counted.lost == []
    assert counted.twice == []
    assert counted.risen == []
    assert asked < 4 * 4 * took + 12 * 4 * 6 * scale, "four layers, each at most four times a second but for doubts"


def asked_for_slots(cluster: RedisCluster) -> int:
    """Return how often nodes were asked, by whomever."""
    told = [str(node.command("INFO", "commandstats")) for node in cluster.nodes]
    return sum(
        int(count) for text in told for count in re.findall(r"cmdstat_cluster\|slots'?: ?\{?'?calls'?[=:] ?(\d+)", text)
    )


# a node that is lost


def test_a_node_is_lost_and_comes_back_empty(
    own_cluster: RedisCluster, start_traffic: Callable[..., Traffic], tell: Callable[[str], None]
) -> None:
    """What was at the node is lost, and nothing else; everybody goes on when it is back."""
    traffic = start_traffic(own_cluster.url)
    layer = traffic.layer
    assert isinstance(layer, SpreadLayer)
    home = nodes_of(layer, own_cluster)[layer.router.place("server.1!")]
    work = nodes_of(layer, own_cluster)[layer.router.place("work")]
    bystander = next(place for place, node in enumerate(nodes_of(layer, own_cluster)) if node not in (home, work))
    channel = channel_at(layer, bystander)
    own_cluster.nodes[home].kill()
    with traffic.outage():
        until(lambda: traffic.told == ["down"])
        for n in range(20):
            assert layer.send(channel, {"n": n}) is True, "the other nodes have no share in this"
    own_cluster.nodes[home].restart()
    own_cluster.wait()
    traffic.goes_on()
    counted = traffic.finish()
    with RedisLayer(own_cluster.url, prefix=layer.places[0]._commands.keys.prefix.decode().partition(":")[0]) as after:
        assert [delivery.message["n"] for delivery in after.receive_batch([channel], 30)] == list(range(20))
    kinds = Counter(traffic.kinds[number] for number in counted.lost)
    tell(f"{counted}; lost of {dict(kinds)}, told {traffic.told}; home at node {home}, work at node {work}")
    assert counted.twice == []
    assert counted.risen == []
    assert traffic.lied() == []
    assert traffic.told == ["down", "up"]
    if work != home:
        assert set(kinds) <= {"inbox", "group"}


def test_a_replica_takes_over(
    own_cluster: RedisCluster, start_traffic: Callable[..., Traffic], tell: Callable[[str], None]
) -> None:
    replica = own_cluster.add_replica(0)
    traffic = start_traffic(own_cluster.url)
    layer = traffic.layer
    assert isinstance(layer, SpreadLayer)
    assert nodes_of(layer, own_cluster)[layer.router.place("server.1!")] == 0
    began = time.monotonic()
    own_cluster.nodes[0].kill()
    with traffic.outage():
        until(lambda: traffic.told == ["down"])
    traffic.goes_on()
    took = time.monotonic() - began
    assert replica.command("ROLE")[0] in (b"master", "master")
    counted = traffic.finish()
    tell(f"{counted}; {took:.1f} s until everything went on; told {traffic.told}")
    assert traffic.lied() == []
    assert counted.risen == []
    assert traffic.told == ["down", "up"]


def test_a_user_with_the_documented_rights(own_cluster: RedisCluster) -> None:
    for node in own_cluster.nodes:
        node.command(
            "ACL", "SETUSER", "bus", "on", ">secret", "resetchannels", "~trunkline:*", *documented(), "+cluster|slots"
        )
        node.command("ACL", "SETUSER", "default", "off")
    with RedisLayer(own_cluster.url.replace("://", "://bus:secret@")) as layer:
        assert isinstance(layer, SpreadLayer)
        channels = [channel_at(layer, place) for place in range(12)]
        reader = layer.reader()
        assert reader.receive_batch(channels, 1, 0.01) == []
        for channel in channels:
            layer.send(channel, {"n": 1})
            assert [each.channel for each in reader.receive_batch(channels, 1, 1)] == [channel]
        loop = asyncio.new_event_loop()
        items: list[Any] = []
        inbox = layer.open_inbox("server.1!", loop=loop, receive=items.extend)
        layer.group_add("g", "server.1!a")
        inbox.send_group("g", {"n": 2})
        inbox.announce({"channels": {}})

        async def arrived() -> None:
            while not items:
                await asyncio.sleep(0.001)

        loop.run_until_complete(asyncio.wait_for(arrived(), PATIENCE))
        loop.run_until_complete(inbox.close())
        loop.close()
        assert list(layer.listeners()) == ["server.1!"]
        layer.flush()
        assert layer.problems() == []

"""The Redis engine on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.machine import LayerMachine
from trunkline.layer.testing.redis import RedisSubject

from .aging import AgingSpreadLayer, AgingSubject
from .clusters import RedisCluster
from .conftest import RedisServer, free_port


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

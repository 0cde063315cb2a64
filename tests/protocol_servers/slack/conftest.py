"""A Slack in memory, our server pointed at it, and workers; everything on loopback and free ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import Layer, MemoryLayer
from trunkline.operations.secret import Secret
from trunkline.protocol_servers.slack import receiving
from trunkline.protocol_servers.slack.server import SlackServer
from trunkline.protocol_servers.slack.settings import WorkspaceSettings
from trunkline.protocol_servers.slack.socket_mode import Pace
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace
from trunkline.workers import Worker

PATIENCE = 60  # seconds; a bound against hanging, never waited for

QUICK = Pace(overlap=0.05, shortest_wait=0.02, longest_wait=0.2, refused_wait=0.05)


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
    return found


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Waits until something is so, and returns it."""
    return until


@pytest.fixture
def patience() -> float:
    """Seconds that Slack waits for an acknowledgement, on a busy machine; who waits for their end has them shorter."""
    return 30.0


@pytest.fixture
def slack(patience: float) -> Iterator[SlackService]:
    """A Slack whose retries come soon, and do not end while a test waits for them."""
    with SlackService(retries=(0.05, *[0.2] * 200), patience=patience) as service:
        yield service


@pytest.fixture
def workspace(slack: SlackService) -> SlackWorkspace:
    """Its first workspace."""
    return slack.workspace


@pytest.fixture
def memory_layer() -> Iterator[MemoryLayer]:
    """A layer of the test's own."""
    layer = MemoryLayer()
    yield layer
    layer.close()


class Running:
    """Our server, and what its tests ask of it."""

    def __init__(self, server: SlackServer, reactor_thread: ReactorThread) -> None:
        self.server = server
        self._thread = reactor_thread

    @property
    def stats(self) -> dict[str, int]:
        return self.server.stats

    @property
    def address(self) -> str:
        """Where it listens: "http://127.0.0.1:<port>"."""
        return self.server.ports[0]

    def problems(self) -> list[str]:
        return self._thread.run(self.server.problems)

    def stop(self, grace: float = 5.0) -> bool:
        return self._thread.call(self.server.stop(grace), timeout=60)


@pytest.fixture
def start_slack(
    slack: SlackService, reactor_thread: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Running]]:
    """Starts our server: ``start_slack(layer, workspace, http=True, **settings)``; it ends with the test."""
    running: list[Running] = []
    # As much earlier than a patient Slack's as it is than Slack's own.
    monkeypatch.setattr(receiving, "ACKNOWLEDGE", receiving.ACKNOWLEDGE * max(slack.patience / 3, 1))

    def start(
        layer: Layer,
        workspace: SlackWorkspace | None = None,
        *,
        network: str = "acme",
        sockets: bool = True,
        http: bool = False,
        connected: bool = True,
        pace: Pace = QUICK,
        check_interval: float = 60.0,
        limit_speed: float = 1000.0,
        **settings: Any,
    ) -> Running:
        workspace = workspace or slack.workspace
        settings.setdefault("api_url", slack.api_url)
        settings.setdefault("bot_token", Secret(workspace.bot_token))
        if sockets:
            settings.setdefault("app_token", Secret(workspace.app_token))
        if http:
            settings.setdefault("signing_secret", Secret(workspace.signing_secret))
            settings.setdefault("endpoints", ["tcp:0"])
        table = WorkspaceSettings(**settings)

        def make() -> SlackServer:
            server = SlackServer(layer, table, network=network, reactor=reactor_thread.reactor, limit_speed=limit_speed)
            server.pace = pace
            server.check_interval = check_interval
            return server

        server = reactor_thread.run(make)
        reactor_thread.call(server.start(), timeout=60)
        running.append(Running(server, reactor_thread))
        if sockets and connected:
            until(lambda: server.stats["connections"])  # it was greeted, which is after Slack counts it
        if http and not sockets:
            address = running[-1].address
            paths = settings.get("paths") or table.paths
            workspace.use_http(
                events=address + paths.events,
                commands=address + paths.commands,
                interactivity=address + paths.interactivity,
            )
        return running[-1]

    yield start
    for each in reversed(running):
        if not each.server.stopping:
            each.stop()


@pytest.fixture
def listen() -> Callable[..., None]:
    """Says that a worker listens: ``listen(layer, "chat.message", …)``."""

    def announce(layer: Layer, *channels: str) -> None:
        layer.announce("worker.test", {"channels": dict.fromkeys(channels, False)})

    return announce


@pytest.fixture
def take() -> Callable[..., list[dict[str, Any]]]:
    """Takes what came on a channel: ``take(layer, "chat.message", 3)`` waits until there are three."""

    def taking(layer: Layer, channel: str, count: int = 1) -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []

        def enough() -> bool:
            while (found := layer.receive([channel]))[0] is not None:
                assert found[1] is not None
                taken.append(found[1])
            return len(taken) >= count

        until(enough)
        return taken

    return taking


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Runs workers in threads: ``work(layer, routing)``; they end with the test."""
    running: list[tuple[Worker, threading.Thread]] = []

    def run(layer: Layer, routing: Any) -> Worker:
        worker = Worker(layer, routing)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        running.append((worker, thread))
        until(lambda: any(info["channels"] for info in layer.listeners().values()))
        return worker

    yield run
    for worker, thread in running:
        worker.stop()
        thread.join(PATIENCE)

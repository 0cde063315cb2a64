"""What the worker's tests share: a layer whose time they move, and messages as servers publish them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import Worker, set_layer

REPLIES = "http.reply.test!"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def layer(clock: ManualClock) -> Iterator[MemoryLayer]:
    with MemoryLayer(clock=clock) as made:
        yield made
    set_layer(None)


@pytest.fixture
def no_layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Outside a consumer nothing says which layer is meant."""
    monkeypatch.delenv("TRUNKLINE_LAYER", raising=False)
    set_layer(None)
    yield
    set_layer(None)


class Bench:
    """A worker that works in steps, with the answers it gave."""

    def __init__(self, layer: MemoryLayer, clock: ManualClock, routing: Any, **options: Any) -> None:
        self.layer = layer
        self.clock = clock
        self.worker = Worker(layer, routing, **options)
        self.worker.wait_with(clock.advance)

    def send(self, channel: str, /, **content: Any) -> None:
        """Publish a message as it is, right or wrong."""
        self.layer.send(channel, {key.removesuffix("_"): value for key, value in content.items()})

    def request(self, path: str = "/", local: str = "1", **keys: Any) -> None:
        """Publish an HTTP request."""
        head = {"http_version": "1.1", "method": "GET", "query_string": b"", "headers": []}
        self.send("http.request", reply_channel=REPLIES + local, path=path, **{**head, **keys})

    def mail(self, id: str = "mail-1", local: str = "1", address: str = "support@example.com", **keys: Any) -> None:
        """Publish an `email.receive`, as far as consumers need it."""
        content = {"content-type": "text/plain", "body": b"hello", "size": 5}
        head = {"from_": "a@example.org", "to": [address], "headers": {}, "header_list": [], "content": content}
        keys = {**head, "size": 5, "client": ["192.0.2.1", 5], "helo": "x", **keys}
        self.send("email.receive", reply_channel=REPLIES + local, id=id, address=address, **keys)

    def run(self) -> int:
        """Step until nothing is left to do; return how many messages were taken."""
        taken = 0
        while step := self.worker.step():
            taken += step
        return taken

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass in small steps."""
        until = self.clock() + seconds
        while self.clock() < until:
            self.clock.advance(step)
            self.run()

    def replies(self, local: str = "1", inbox: str = REPLIES) -> list[dict[str, Any]]:
        """Take what was sent to one reply channel; the answers of others are lost."""
        return [message for name, message in self.taken(inbox) if name == inbox + local]

    def taken(self, channel: str) -> list[tuple[str, dict[str, Any]]]:
        """Take everything from a channel."""
        found = []
        while (received := self.layer.receive([channel]))[0] is not None:
            found.append(received)
        return found

    @property
    def stats(self) -> dict[str, int]:
        return dict(self.worker.stats)


@pytest.fixture
def bench(layer: MemoryLayer, clock: ManualClock) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*routes: Any, **options: Any) -> Bench:
        made.append(Bench(layer, clock, list(routes), **options))
        return made[-1]

    yield make
    for one in made:
        one.worker.close()

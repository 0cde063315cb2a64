"""What the parts of the suite share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ...base import Layer
from ..subject import Instance, Subject

Open = Callable[..., Instance]


class Part:
    """A part of the suite."""

    subject_class: type[Subject]

    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        subject = self.subject_class()
        yield subject
        subject.close()

    @pytest.fixture
    def layer(self, subject: Subject) -> Layer:
        return subject.make()

    @pytest.fixture
    def open(self, layer: Layer) -> Iterator[Open]:
        """Open server instances, closed at the end of the test."""
        instances: list[Instance] = []

        def opened(name: str = "server.1!", lasting: bool = False, on: Layer = layer) -> Instance:
            instances.append(Instance(on, name, lasting))
            return instances[-1]

        yield opened
        for instance in instances:
            instance.close()


def drain(layer: Layer, *channels: str) -> list[tuple[str, dict[str, Any]]]:
    """Receive until nothing is left."""
    got: list[tuple[str, dict[str, Any]]] = []
    while True:
        channel, message = layer.receive(channels)
        if channel is None or message is None:
            return got
        got.append((channel, message))


def numbers(layer: Layer, channel: str) -> list[Any]:
    """Receive until nothing is left, and return the `n` of each message."""
    return [message["n"] for _, message in drain(layer, channel)]

"""The Redis engine as a subject of the suites that every engine passes."""

import secrets
import time
from typing import Any, ClassVar

from ..base import Layer
from ..inbox import Inbox
from ..redis.layer import RedisLayer
from .subject import Subject


class RedisSubject(Subject):
    """The Redis engine on a real server, under keys of its own.

    Attributes:
        url: The server; to be set before the first test.
    """

    url: ClassVar[str]

    def __init__(self) -> None:
        self._prefix = f"test.{secrets.token_hex(8)}"
        self._layers: list[RedisLayer] = []

    def make(self, **options: Any) -> Layer:
        self._layers.append(RedisLayer(self.url, prefix=self._prefix, **options))
        return self._layers[-1]

    def advance(self, seconds: float) -> None:
        time.sleep(seconds)

    def lapse(self, inbox: Inbox) -> None:
        self._layers[0]._call(("renew", (inbox.name, inbox._holder, -1.0)))  # type: ignore[attr-defined]

    def close(self) -> None:
        for layer in self._layers:
            layer.close()
        with RedisLayer(self.url, prefix=self._prefix) as last:
            last.flush()

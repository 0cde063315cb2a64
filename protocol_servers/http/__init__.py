"""HTTP and WebSocket: the server that browsers, apps and other programs talk to."""

from __future__ import annotations

from .server import HttpServer
from .settings import HttpSettings

__all__ = ["HttpServer", "HttpSettings"]

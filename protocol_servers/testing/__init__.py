"""What the tests of a protocol server need: the reactor in a thread, a transport in memory, a layer that records."""

from __future__ import annotations

from .memory_transport import MemoryTransport
from .reactor_thread import ReactorThread
from .stub_layer import Sent, StubInbox, StubLayer

__all__ = ["MemoryTransport", "ReactorThread", "Sent", "StubInbox", "StubLayer"]

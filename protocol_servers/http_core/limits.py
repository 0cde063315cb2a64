"""What one HTTP connection may ask of us: sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class HttpLimits:
    """Limits that every server standing on the HTTP core has as settings.

    Args:
        head_timeout: seconds from the first byte of a head to its last; over it 408.
        body_timeout: seconds a request body may pause, and the start it has before `min_body_rate` counts; over it 408.
        min_body_rate: bytes a second that a request body must come with on average; 0 asks for none.
        idle_timeout: seconds a connection may rest between requests before it is closed without a word.
        max_head: bytes of request line and headers together; over it 431.
        max_headers: header lines of a request; over it 431.
        max_body: bytes of a request body; over it 413.
    """

    head_timeout: float = field(default=10.0, metadata={"min": 0.01})
    body_timeout: float = field(default=30.0, metadata={"min": 0.01})
    min_body_rate: int = field(default=500, metadata={"min": 0})
    idle_timeout: float = field(default=75.0, metadata={"min": 0.01})
    max_head: int = field(default=65536, metadata={"min": 256})
    max_headers: int = field(default=100, metadata={"min": 1})
    max_body: int = field(default=1024 * 1024 * 1024, metadata={"min": 0})

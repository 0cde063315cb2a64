"""The table `[http]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...message_formats.origins import policy_of
from ..http_core.limits import HttpLimits
from ..listening import ListeningSettings
from .files import Folders


@dataclass(kw_only=True)
class HttpSettings(HttpLimits, ListeningSettings):
    """What can be set of the HTTP server; times in seconds, sizes in bytes. Its bases have the rest.

    Args:
        endpoints: where to listen, as Twisted endpoint strings.
        response_timeout: from the request, or its last body chunk taken, to the first message of the answer; over
            it 504.
        ws_max: a WebSocket message, also after inflating.
        connect_timeout: for the answer to a WebSocket handshake; over it 403.
        ping_interval: between pings on a WebSocket; 0 sends none.
        ping_timeout: for the answer to a ping; 0 waits for none.
        write_limit: what a WebSocket's client may leave untaken before it is cut off.
        order_timeout: for a worker to be done with a message where consumers are `@ordered`; over it the next follows.
        origins: pages that may open a WebSocket besides those of our own host; `*` allows all.
        access_log: one line for each response on standard output: "common", "json" or "off".
        static: folders of files that are served here, for development, by the beginning of their paths:
            `"/static/" = "assets"`.
    """

    endpoints: list[str] = field(default_factory=lambda: ["tcp:8000"])
    response_timeout: float = field(default=60.0, metadata={"min": 0.01})
    ws_max: int = field(default=1024 * 1024, metadata={"min": 1})
    connect_timeout: float = field(default=10.0, metadata={"min": 0.01})
    ping_interval: float = field(default=20.0, metadata={"min": 0})
    ping_timeout: float = field(default=20.0, metadata={"min": 0})
    write_limit: int = field(default=1024 * 1024, metadata={"min": 1})
    order_timeout: float = field(default=30.0, metadata={"min": 0.01})
    origins: list[str] = field(default_factory=list)
    access_log: Literal["common", "json", "off"] = "common"
    static: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        policy_of(tuple(self.origins))
        Folders(self.static)

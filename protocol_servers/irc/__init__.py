"""IRC, as a client of one or more networks: the core, which knows no sockets and no clock.

`Session` is one network: bytes in, events and bytes out. `Publisher` makes messages of its events, `Performer` does
what the replies ask for, and `Conversations` names the reply channels for both.
"""

from .conversations import Conversations
from .events import Event
from .history import Mark
from .options import Options
from .performing import Performer
from .publishing import Publisher
from .registration import Identity
from .sasl import Credentials
from .session import Session

__all__ = [
    "Conversations",
    "Credentials",
    "Event",
    "Identity",
    "Mark",
    "Options",
    "Performer",
    "Publisher",
    "Session",
]

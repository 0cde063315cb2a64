"""A Slack in memory, for the tests of apps: made from Slack's public documentation, without Slack's help.

`SlackService` listens on loopback; people and their rooms are in a `SlackWorkspace`, beside the app that is tested.
The real client libraries work against it unchanged, which is how it is checked.
"""

from .delivery import Attempt, Delivery
from .faults import Call, Fault
from .service import SlackService
from .shapes import Person, Room, Said, Stored
from .sockets import SocketConnection
from .workspace import SlackWorkspace

__all__ = [
    "Attempt",
    "Call",
    "Delivery",
    "Fault",
    "Person",
    "Room",
    "Said",
    "SlackService",
    "SlackWorkspace",
    "SocketConnection",
    "Stored",
]

"""Mail that goes out: `email.send` by a relay, with a result for each recipient."""

from .outbox import Outbox
from .relay import Relay, parse_relay

__all__ = ["Outbox", "Relay", "parse_relay"]

"""A bot: commands, and what it hears, for any chat service."""

from ..exceptions import CommandError
from .bot import Bot
from .permissions import Who
from .rooms import Room

__all__ = ["Bot", "CommandError", "Room", "Who"]

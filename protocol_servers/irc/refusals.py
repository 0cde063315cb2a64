"""What the server refuses: a room, a line, a request for history."""

from __future__ import annotations

from collections.abc import Callable

from .events import JoinFailed
from .history import History
from .joining import REFUSALS, Joining
from .link import Link
from .message import Message
from .numerics import numeric_name
from .speaking import Speaker

_OF_SPEECH = frozenset(("401", "403", "404", "407", "411", "412", "413", "414", "415", "477", "486", "492", "531"))


class Refusals:
    """Tells those who asked for something that they do not get it.

    Args:
        link: The connection.
        joining: Asks for rooms.
        speaker: Asks for lines to be passed on.
        history: Asks for what was said.
        ask: Takes lines to send.
    """

    def __init__(
        self,
        link: Link,
        joining: Joining,
        speaker: Speaker,
        history: History,
        ask: Callable[[list[bytes]], None],
    ) -> None:
        self._link = link
        self._joining = joining
        self._speaker = speaker
        self._history = history
        self._ask = ask

    def handle(self, command: str, message: Message, label: str | None) -> None:
        """Take a message, with the label of the request that it answers."""
        params = message.params
        reason = params[-1][:300] if params else ""
        name = params[1] if len(params) > 1 else ""
        if command in REFUSALS and (final := self._joining.refused(name, command)) is not None:
            self._link.emit(JoinFailed(name, f"{command} {reason}", final))
            self._speaker.drop(name, f"we cannot come into {name}: {reason}")
        elif command == "FAIL":
            if params[:1] == ("CHATHISTORY",):
                for each in params[2:-1]:
                    self._ask(self._history.failed(self._link.isupport.fold(each), self._link.isupport))
            if label is not None:
                self._speaker.refused(label, "", reason)
        elif command in _OF_SPEECH or (label is not None and command[:1] in ("4", "5")):
            self._speaker.refused(label, name, f"{command} {numeric_name(command)}: {reason}")

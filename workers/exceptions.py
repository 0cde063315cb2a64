"""What a consumer raises to say how its message ends, and what goes wrong around one.

Exception
├── EndOfMessage        raised by a consumer; never logged as an error
│   ├── ConsumeLater        try the same message again, later; what is held is dropped
│   ├── DenyConnection      refuse the connection with the protocol's own refusal (WebSocket: 403)
│   │   └── Forbidden           refuse whom the consumer must not serve (HTTP: 403)
│   ├── TooMany             refuse who comes too often (HTTP: 429); what is held is sent
│   ├── StopConsumer        end here as if the consumer had returned
│   ├── ResponseLater       end here, and send no automatic answer: somebody else answers
│   └── Reject              refuse a mail, or one of its recipients, with a code and a text
├── CommandError        what was wrong with a command of a bot; said to who gave it
├── HeldTooMuch         more sends held than one consumer may hold
├── StreamClosed        the sender of a body went away before its end, or it is not kept any more
├── StreamTimeout       a body stopped coming
└── UsageError (operations)
    └── RoutingError    a routing that cannot be: one line with what is wrong, and where
"""

from __future__ import annotations

from ..operations.errors import UsageError


class EndOfMessage(Exception):
    """End the consumer here; the subclasses say with what outcome."""


class ConsumeLater(EndOfMessage):
    """Ask for the message again later: after 0.1 s, doubling to 10 s; after 10 tries it is a dead letter.

    What the consumer held is dropped. On a channel whose sender repeats (email), and once the message's body was
    read with `stream()`, the sender gets the failure answer instead.

    Args:
        tries: How often the message is consumed in all.
        delay: Seconds until the second try; doubled for each further one.
        max_delay: Seconds the doubling stops at.
    """

    def __init__(self, *, tries: int = 10, delay: float = 0.1, max_delay: float = 10.0) -> None:
        super().__init__()
        self.tries = tries
        self.delay = delay
        self.max_delay = max_delay

    def wait(self, tries: int) -> float:
        """Return the seconds until the next try, after `tries` of them."""
        return min(self.delay * 2.0 ** min(tries - 1, 64), self.max_delay)


class DenyConnection(EndOfMessage):
    """Refuse the connection with the answer an unrouted one gets; what is held is sent first."""


class Forbidden(DenyConnection):
    """Refuse whom the consumer must not serve: HTTP 403; where the protocol has no word for it, as DenyConnection."""


class TooMany(EndOfMessage):
    """Refuse who comes too often: HTTP 429, a WebSocket's 1008, email 451 4.7.1; elsewhere nothing is said.

    Args:
        seconds: After how many it is no longer too often.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class StopConsumer(EndOfMessage):
    """End the consumer as if it had returned; what is held is sent."""


class ResponseLater(EndOfMessage):
    """End the consumer without an automatic answer; what is held is sent.

    Whoever was handed the reply channel answers later. In an email consumer it is an error: the sender would wait.
    """


class Reject(EndOfMessage):
    """Refuse a mail or a recipient; what is held is sent.

    Args:
        code: SMTP reply code, 4xx for "try again later" or 5xx for "never" (RFC 5321 section 4.2.1).
        text: What the sender is told, best with an enhanced status code in front (RFC 3463).

    Raises:
        ValueError: the code refuses nothing.
    """

    def __init__(self, code: int = 550, text: str = "5.7.1 rejected") -> None:
        if not isinstance(code, int) or not 400 <= code <= 599:
            raise ValueError(f"a code that refuses is 400 to 599, not {code!r}")
        super().__init__(code, text)
        self.code = code
        self.text = text


class CommandError(Exception):
    """Say in the room what was wrong with a command, and end it; what is held is sent, and nothing is logged.

    Args:
        text: What to say.
    """


class HeldTooMuch(Exception):
    """Say that one consumer held over 1 000 sends, or several over 8 MiB; send some with `immediately=True`."""


class StreamClosed(ConnectionError):
    """Say that a body ends here: its sender went away, or it is not kept any more. Abandon what was made of it."""


class StreamTimeout(TimeoutError):
    """Say that a body stopped coming for longer than `[worker] stream_timeout`."""


class RoutingError(UsageError):
    """Say in one line what is wrong with a routing, and in which file and line.

    Args:
        text: What is wrong.
        where: `file:line`, or "" where only whoever loads the routing can know.
    """

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text

"""What a message format is: its keys, its checks and the answers that belong to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .kinds import Field, Record, Unfit

Message = dict[str, Any]


class FormatError(ValueError):
    """A message breaks its format.

    Attributes:
        channel: the name of the format, such as "http.request"; for replies "http reply".
        field: the place inside the message, such as "headers[1][0]"; "" for the message itself.
        expected: what would be right.
        got: what was there, in a few words.
    """

    def __init__(self, channel: str, field: str, expected: str, got: str) -> None:
        super().__init__(channel, field, expected, got)
        self.channel = channel
        self.field = field
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        place = f"{self.channel}: {self.field}" if self.field else self.channel
        return f"{place}: expected {self.expected}; got {self.got}"


@dataclass
class Composed:
    """What a `message.reply(...)` sends.

    Attributes:
        channel: where it goes.
        messages: what goes there, in order; none when nothing is to be sent. Made from what a consumer gave, not yet
            validated: whoever sends them validates them as it does any other message.
        stream: True when the messages come one by one and each is to be sent at once.
        fits: True when the messages are known to fit the format of replies: whoever sends them need not look again.
    """

    channel: str
    messages: Iterable[Message]
    stream: bool = False
    fits: bool = False


Compose = Callable[..., Composed]


@dataclass(frozen=True, eq=False)
class Format:
    """The messages of one channel, and all that others need to know of them.

    Attributes:
        name: the channel's name; one that ends in "?" stands for every single-reader channel that begins with it.
        record: the keys and the rules over them, made from a TypedDict by `record_of`.
        reply: what may be sent to the message's reply channel; None when nothing may.
        default: the answer of a consumer that returned and sent nothing to the reply channel. Like all answers it is
            shared: send it, do not alter it.
        failure: the answer when anything went wrong in the worker.
        unrouted: the answer when no route takes the message; None: it is dropped and counted.
        denied: the answer to whom a consumer must not serve; where there is none, `unrouted` is.
        limited: makes the answer to who comes too often, of the seconds until it is not; None: nothing is said.
        busy: the answer while another worker holds the claim.
        together: the channels that a worker listens to as well when a route names this one.
        judged_by: the channel whose routes decide about an unrouted message: where some route of it may match, the
            default answer is given.
        published: servers publish it, so that a route's channel name that ends in "*" stands for it too.
        notification: servers publish it only where a worker announced the channel.
        sender_repeats: whoever sent it repeats what was not answered, so workers never dead-letter it.
        claim: the key whose value is claimed while the consumer runs.
        temporary: tells whether an answer asks the sender to come again: then it is not kept for the repeat.
        alone: nothing else comes from its reply channel, so that there is no order to keep.
        needs_listener: sent while nobody announced the channel, it is dead-lettered.
        compose: the protocol's `message.reply(...)`: takes the message and the arguments, returns `Composed`.
    """

    name: str
    record: Record
    reply: Format | None = None
    default: Message | None = None
    failure: Message | None = None
    unrouted: Message | None = None
    denied: Message | None = None
    limited: Callable[[float], Message] | None = None
    busy: Message | None = None
    together: tuple[str, ...] = ()
    judged_by: str | None = None
    published: bool = True
    notification: bool = False
    sender_repeats: bool = False
    claim: str | None = None
    temporary: Callable[[Mapping[str, Any]], bool] | None = None
    alone: bool = False
    needs_listener: bool = False
    compose: Compose | None = None

    def __post_init__(self) -> None:
        """Check the answers.

        Raises:
            TypeError: there is an answer, but no reply.
            FormatError: an answer does not fit the reply.
        """
        limited = self.limited(1.0) if self.limited is not None else None
        for answer in (self.default, self.failure, self.unrouted, self.denied, limited, self.busy):
            if answer is not None:
                if self.reply is None:
                    raise TypeError(f"{self.name}: has an answer, but no format of replies")
                self.reply.validate(answer)

    @property
    def doc(self) -> str:
        """What the message means."""
        return self.record.doc

    @property
    def fields(self) -> tuple[Field, ...]:
        """The documented keys, in order."""
        return self.record.fields

    def validate(self, message: Mapping[str, Any], *, unknown: Literal["refuse", "ignore"] = "refuse") -> None:
        """Check a message.

        Args:
            message: the message, a dict.
            unknown: "refuse" unknown keys, as senders do, or "ignore" them, as receivers do.

        Raises:
            FormatError: the message breaks the format; names the first place that does.
        """
        try:
            self.record.check(message, unknown != "ignore")
        except Unfit as unfit:
            raise FormatError(self.name, unfit.place, unfit.expected, unfit.got) from None
        except RecursionError:
            raise FormatError(self.name, "", "a message of few levels", "one nested too deeply") from None

    def default_of(self, field: str) -> Any:
        """Return what the absence of a documented key means.

        Raises:
            KeyError: the format has no such key, or requires it.
        """
        return copy.copy(self.record.defaults[field])

"""A mail as a provider posts it, and what keeps a request from being one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...http_core.hooks import HookAnswer, HookRequest

MAX_FIELDS = 2000


class Unbelieved(Exception):
    """A request that anybody may have sent; its text says why, and nothing of what it was."""


class Malformed(Exception):
    """A request of whoever may send them, which makes no sense; its text says why, and nothing of what it was."""


class Unverifiable(Exception):
    """A request that nobody can verify for now; its text says why."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One mail.

    Attributes:
        raw: The mail.
        sender: The envelope sender; "": the null sender.
        recipients: The recipients of the envelope.
        client: The address of whoever gave it to the provider; "" where the provider does not say.
        helo: What they called themselves; "" where the provider does not say.
        spf: What the provider found by SPF, in the shape of `authentication.spf`; None where it does not say.
    """

    raw: bytes = field(repr=False)
    sender: str
    recipients: list[str]
    client: str = ""
    helo: str = ""
    spf: dict[str, Any] | None = None


class Provider(Protocol):
    """What posts mails.

    Attributes:
        refused: The status that tells it not to try again.
        asks: Somebody else may have to be asked who sent a request, which takes its time.
    """

    refused: int
    asks: bool

    def read(self, request: HookRequest) -> Posted | HookAnswer:
        """Return the mail in a request, or what it is to be answered that has none.

        Raises:
            Unbelieved: Anybody may have sent it.
            Malformed: It makes no sense.
            Unverifiable: Nobody can say now who sent it.
        """


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return what JSON says, which has to be an object.

    Raises:
        Malformed: It is none.
    """
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("what should be JSON is none") from None
    if not isinstance(read, dict):
        raise Malformed("what should be a JSON object is none")
    return read


def text_of(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    """Return a text from an object.

    Raises:
        Malformed: It is no text, or is missing and has no default.
    """
    value = fields.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise Malformed(f"{name} is missing or is no text")
    return value

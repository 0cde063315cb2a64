"""The arguments of a Web API call, and how a call fails."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .shapes import Shape

T = TypeVar("T")


class Failure(Exception):
    """A call fails.

    Args:
        error: Slack's word for it.
        **more: Other keys of the answer.
    """

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.error = error
        self.more = more


class Arguments:
    """What a call was given. Forms carry everything as text, lists and objects as JSON."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text.

        Raises:
            Failure: It is not there, and has no default.
        """
        value = self._given.get(name)
        if value in (None, ""):
            if default is None:
                raise Failure(
                    "invalid_arguments", response_metadata={"messages": [f"[ERROR] missing required field: {name}"]}
                )
            return default
        return str(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a flag: true, 1 and their like."""
        value = self._given.get(name)
        return default if value in (None, "") else str(value).lower() in ("1", "true")

    def number(self, name: str, default: int) -> int:
        """Return a number.

        Raises:
            Failure: It is none.
        """
        try:
            return int(self._given.get(name) or default)
        except (TypeError, ValueError):
            raise Failure("invalid_arguments") from None

    def structure(self, name: str) -> Any:
        """Return a list or object, or None.

        Raises:
            Failure: It is no JSON.
        """
        value = self._given.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError:
            raise Failure("invalid_blocks" if name == "blocks" else "invalid_arguments") from None

    def all(self) -> dict[str, Any]:
        """Return everything."""
        return dict(self._given)

    def page(self, items: Sequence[T], default: int = 100) -> tuple[list[T], Shape]:
        """Return the page of a list that the call asks for, and what of the answer leads to the next.

        Raises:
            Failure: The cursor is none of ours, or the limit is none.
        """
        cursor = self.text("cursor", "")
        try:
            start = int(base64.b64decode(cursor, validate=True).decode().removeprefix("next:")) if cursor else 0
        except (ValueError, binascii.Error):
            raise Failure("invalid_cursor") from None
        limit = self.number("limit", default)
        if not 1 <= limit <= 1000:
            raise Failure("invalid_limit")
        end = start + limit
        more = base64.b64encode(f"next:{end}".encode()).decode() if end < len(items) else ""
        return list(items[start:end]), {"response_metadata": {"next_cursor": more}}

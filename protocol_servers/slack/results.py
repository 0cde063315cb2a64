"""What a method of the Web API answered, as it may travel: as Slack gave it, without what opens a workspace."""

from __future__ import annotations

import re
from typing import Any

_KEY = re.compile(r"(?:.*_)?(?:token|secret|password)")
_VALUE = re.compile(r"x(?:ox[a-z](?:\.xox[a-z])?|app)-[A-Za-z0-9-]+")
_REMOVED = "[removed]"
_MOST_NESTED = 40


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a method that Slack took.

    Raises:
        ValueError: It is nested too deep.
    """
    result: dict[str, Any] = _clean(answer, 0)
    return result


def failed_result(error: str, retry_after: float | None = None) -> dict[str, Any]:
    """Return the result of a method that Slack did not take, or that was not called."""
    result: dict[str, Any] = {"ok": False, "error": error}
    return result if retry_after is None else result | {"retry_after": retry_after}


def _clean(value: Any, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        return {
            key: _REMOVED if isinstance(each, str) and _KEY.fullmatch(key) else _clean(each, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_clean(each, depth + 1) for each in value]
    return _VALUE.sub(_REMOVED, value) if isinstance(value, str) else value

"""The JSON form of messages, for logs, the command line and other languages.

JSON has no byte strings: they appear as `{"$bytes": "<base64>"}`, and a key that begins with "$" gets a second one.
"""

from __future__ import annotations

import base64
from typing import Any

from .kinds import Anything, Unfit, told


def to_json(value: Any) -> Any:
    """Turn a message, or any value in one, into what `json.dumps` takes.

    Tuples become lists.

    Raises:
        TypeError: a value that cannot travel; names the place.
    """
    try:
        Anything().check(value, True)
    except Unfit as unfit:
        raise TypeError(_told(unfit)) from None
    except RecursionError:
        raise TypeError("message: nested too deeply") from None
    return _outward(value)


def from_json(value: Any) -> Any:
    """Turn what `json.loads` returned into a message, or a value in one.

    Raises:
        ValueError: not the JSON form of a value that can travel; names the place.
    """
    try:
        message = _inward(value)
        Anything().check(message, True)
    except Unfit as unfit:
        raise ValueError(_told(unfit)) from None
    except RecursionError:
        raise ValueError("message: nested too deeply") from None
    return message


def _told(unfit: Unfit) -> str:
    return f"{unfit.place or 'message'}: expected {unfit.expected}; got {unfit.got}"


def _outward(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {f"${key}" if key[:1] == "$" else key: _outward(item) for key, item in value.items()}
    return [_outward(item) for item in value] if isinstance(value, (list, tuple)) else value


def _inward(value: Any) -> Any:
    if isinstance(value, dict):
        return _bytes(value) if "$bytes" in value else {_key(key): _at(key, item) for key, item in value.items()}
    return [_at(index, item) for index, item in enumerate(value)] if isinstance(value, list) else value


def _at(step: str | int, value: Any) -> Any:
    try:
        return _inward(value)
    except Unfit as unfit:
        unfit.inside(step)
        raise


def _bytes(value: dict[str, Any]) -> bytes:
    encoded = value["$bytes"]
    try:
        if len(value) == 1 and isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except ValueError:
        pass
    raise Unfit('bytes as {"$bytes": "<base64>"}, with nothing beside', told(encoded))


def _key(key: str) -> str:
    if key[:1] != "$":
        return key
    if key[:2] != "$$":
        raise Unfit('a key that begins with "$" to have a second one', told(key))
    return key[1:]

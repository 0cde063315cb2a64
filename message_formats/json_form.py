"""The JSON form of messages, for logs, the command line and other languages.

JSON has no byte strings: they appear as `{"$bytes": "<base64>"}`, and a key that begins with "$" gets a second one.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from .kinds import INT_MAX, INT_MIN, told


def to_json(value: Any) -> Any:
    """Turn a message, or any value in one, into what `json.dumps` takes.

    Tuples become lists.

    Raises:
        TypeError: a value that cannot travel; names the place.
    """
    try:
        return _outward(value, "message")
    except RecursionError:
        raise TypeError("message: nested too deeply") from None


def from_json(value: Any) -> Any:
    """Turn what `json.loads` returned into a message, or a value in one.

    Raises:
        ValueError: not the JSON form of a value that can travel; names the place.
    """
    try:
        return _inward(value, "message")
    except RecursionError:
        raise ValueError("message: nested too deeply") from None


def _outward(value: Any, place: str) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place}: keys must be str, not {told(key)}")
        return {f"${key}" if key[:1] == "$" else key: _outward(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_outward(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if _is_plain(value):
        return value
    raise TypeError(f"{place}: {told(value)} cannot travel")


def _inward(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        if "$bytes" in value:
            return _bytes(value, place)
        return {_key(key, place): _inward(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_inward(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if _is_plain(value):
        return value
    raise ValueError(f"{place}: {told(value)} cannot travel")


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return INT_MIN <= value <= INT_MAX
    return value is None or isinstance(value, str)


def _bytes(value: dict[str, Any], place: str) -> bytes:
    encoded = value["$bytes"]
    try:
        if len(value) == 1 and isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except ValueError:
        pass
    raise ValueError(f'{place}: bytes are written {{"$bytes": "<base64>"}}, with nothing beside')


def _key(key: str, place: str) -> str:
    if key[:1] != "$":
        return key
    if key[:2] != "$$":
        raise ValueError(f'{place}: {told(key)}: a key that begins with "$" is written with a second one')
    return key[1:]

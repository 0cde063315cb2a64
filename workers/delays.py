"""What every worker does with a message on `asgi.delay`: it becomes a delayed send of the layer.

    {channel, delay, content}              one delayed send to the channel
    … with an id, repeat or cron           waits on `asgi.delay` itself, under the id's key, and is sent on when due:
                                           a later one of that id replaces it, delay -1 cancels it

A repetition waits again each time. One with an id also has a token in the layer's state: what comes with an older
token was replaced or cancelled while a worker had it in hand, and is dropped.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import message_formats
from .cron import Cron

if TYPE_CHECKING:
    from ..layer import Batch, Layer

CHANNEL = "asgi.delay"

_DUE = "trunkline.due"
"""Key of what waited here for its time: the token of a repetition with an id, or ""."""

_PATIENCE = 86_400.0  # seconds a due message waits here for a worker
_REMEMBERED = 7 * 86_400.0  # seconds a token outlives the time it is next needed


def take(content: Mapping[str, Any], queued: float, layer: Layer, wall: Callable[[], float]) -> Batch:
    """Make the sends a message on `asgi.delay` stands for.

    Args:
        content: The message.
        queued: Seconds since it was due, which a repetition makes up for.
        layer: The layer.
        wall: Unix seconds, for `cron`.

    Raises:
        FormatError: the message, or what it is to send, breaks its format.
        ValueError: `cron` is no crontab line, stands beside `repeat`, or a cancellation has no id.
        LayerError: the layer is away, or has no room.
    """
    message_formats.validate(CHANNEL, content, unknown="ignore")
    batch = layer.batch()
    if _DUE in content:
        _pass_on(content, queued, layer, batch, wall)
    else:
        _schedule(content, layer, batch)
    return batch


def _schedule(content: Mapping[str, Any], layer: Layer, batch: Batch) -> None:
    channel, delay, id = content["channel"], content["delay"] / 1000, content.get("id")
    key = None if id is None else _key(id)
    if delay < 0:
        if key is None:
            raise ValueError("a delay of -1 cancels, and needs the id of what it cancels")
        layer.cancel(CHANNEL, key)
        batch.delete_state(_state(key))
        return
    message_formats.validate(channel, content["content"])
    cron, repeats = content.get("cron"), _repeats(content)
    if cron is not None:
        if content.get("repeat") is not None:
            raise ValueError("either repeat or cron, not both")
        Cron(cron)
    if key is None and not repeats:
        batch.send(channel, content["content"], delay=delay)
        return
    token = ""
    if key is not None and repeats:
        token = secrets.token_hex(8)
        batch.put_state(_state(key), token, delay + _REMEMBERED)
    elif key is not None:
        batch.delete_state(_state(key))
    batch.send(CHANNEL, {**content, _DUE: token}, delay=delay, key=key, expiry=_PATIENCE)


def _pass_on(content: Mapping[str, Any], queued: float, layer: Layer, batch: Batch, wall: Callable[[], float]) -> None:
    """Send what is due, and let a repetition wait again."""
    if not _repeats(content):
        batch.send(content["channel"], content["content"])
        return
    if content.get("cron") is not None:
        now = wall()
        wait = max(0.0, Cron(content["cron"]).after(now) - now)
    else:
        period = content["repeat"] / 1000
        wait = period - queued % period
    if content.get("id") is not None:
        state = _state(_key(content["id"]))
        token, version = layer.get_state(state)
        if token != content[_DUE] or not layer.put_state(state, token, wait + _REMEMBERED, if_version=version):
            return
    batch.send(content["channel"], content["content"])
    batch.send(CHANNEL, dict(content), delay=wait, expiry=_PATIENCE)


def _repeats(content: Mapping[str, Any]) -> bool:
    return content.get("repeat") is not None or content.get("cron") is not None


def _key(id: str) -> str:
    """Make a key of an id of any length."""
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()


def _state(key: str) -> str:
    return f"{CHANNEL}:{key}"

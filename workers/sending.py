"""One way out for everything that is sent: checked, then held by the consumer that runs here, or sent at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..layer import ChannelFull, LayerUnavailable
from .context import current_layer, running

if TYPE_CHECKING:
    from ..layer import Layer
    from ..message_formats import Format
    from .held import Held

log = logging.getLogger("trunkline.workers")

T = TypeVar("T")

STREAM_PATIENCE = 30.0
"""Seconds a streamed reply waits for room, or for a layer that is away."""

STREAM_AHEAD = 4 * 1024 * 1024
"""Bytes that may wait in a server's inbox for a part of a streamed reply to be sent: what is streamed is not in memory
anywhere, and what others answer finds room beside it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


def send(
    name: str,
    content: Mapping[str, Any],
    form: Format | None,
    layer: Layer | None,
    immediately: bool,
    options: Mapping[str, Any],
    fits: bool = False,
) -> bool | None:
    """Send or hold one message; see `Channel.send`.

    Args:
        fits: it is known to fit its format.
    """
    held = _holder(layer)
    if form is None and held is not None and name == held.reply_name:
        form = held.reply_format
    if form is not None and not fits:
        form.validate(content)
    if held is None:
        return _send_now(layer if layer is not None else current_layer(), name, content, form, options)
    if immediately:
        if name == held.reply_name and not options:
            _stream_part(held.layer, name, content, held)
            return True
        held.make_way(name)
        content = held.dress(name, content)
        sent = _send_now(held.layer, name, content, form, options)
        held.note_answer(name, content)
        return sent
    if form is not None and form.needs_listener and not heard(held.layer, name):
        held.unheard(name, content)
    else:
        held.send(name, content, options, form is not None)
    return None


def send_group(
    group: str, content: Mapping[str, Any], exclude: str | list[str] | None, layer: Layer | None, immediately: bool
) -> None:
    """Send or hold one message to a group; see `Group.send`."""
    held = _holder(layer)
    if held is None:
        (layer if layer is not None else current_layer()).send_group(group, plain(content), exclude=exclude)
    elif immediately:
        held.make_way()
        held.layer.send_group(group, plain(content), exclude=exclude)
    else:
        held.send_group(group, content, exclude)


def stream(name: str, messages: Iterable[Mapping[str, Any]], form: Format | None, layer: Layer | None) -> None:
    """Send messages one by one as they come, each waiting for room, and for a layer that is away.

    Raises:
        ChannelFull: there was no room for 30 s.
        LayerUnavailable: the layer was away for 30 s, or was lost under a message, which may have arrived.
    """
    held = _holder(layer)
    to = layer if layer is not None else current_layer()
    for one in messages:
        if form is not None:
            form.validate(one)
        _stream_part(to, name, one, held)


def ask(layer: Layer | None, call: Callable[[Layer], T]) -> T:
    """Ask the layer for what does no harm when it is done twice; a consumer waits while the layer is away.

    Args:
        layer: The layer, or None for the one that is sent to here.
        call: Asks it.

    Raises:
        LayerUnavailable: the layer is away, and no consumer runs here, or its time is up, or the worker stops.
    """
    held = _holder(layer)
    to = held.layer if held is not None else layer if layer is not None else current_layer()
    while True:
        try:
            return call(to)
        except LayerUnavailable:
            if held is None or not held.wait_for_layer():
                raise


def heard(layer: Layer, name: str) -> bool:
    """Say whether what is sent to a channel finds somebody: a listener who is alive, or, where it is durable, one who
    comes back.
    """
    if ask(layer, lambda to: to.is_durable(name, anew=True)):
        return True
    listeners = ask(layer, lambda to: to.listeners())
    return any(name in info.get("channels", ()) for info in listeners.values())


def bury_unheard(layer: Layer, name: str, content: Mapping[str, Any]) -> None:
    """Keep as a dead letter what was sent to a channel that nobody listens to, and say so."""
    log.warning("nobody listens to %s: what was sent to it is a dead letter", name)
    layer.dead_letter(name, plain(content), reason=f"nobody listens to {name}")


def plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as the dict the layer takes; what is no mapping stays, and the layer says that it is none."""
    if type(content) is dict or not isinstance(content, Mapping):
        return content
    return dict(content)


def _holder(layer: Layer | None) -> Held | None:
    held = running.get()
    if held is None or not held.open or (layer is not None and layer is not held.layer):
        return None
    return held


def _send_now(
    layer: Layer, name: str, content: Mapping[str, Any], form: Format | None, options: Mapping[str, Any]
) -> bool:
    if form is not None and form.needs_listener and not heard(layer, name):
        bury_unheard(layer, name, content)
        return False
    return layer.send(name, plain(content), **options)


def _stream_part(layer: Layer, name: str, content: Mapping[str, Any], held: Held | None) -> None:
    if held is None:
        _send_patiently(layer, name, content, None)
        return
    content = held.dress(name, content)
    _send_patiently(layer, name, content, held)
    held.note_answer(name, content)


def _send_patiently(layer: Layer, name: str, content: Mapping[str, Any], held: Held | None) -> None:
    until = layer.clock() + STREAM_PATIENCE
    pause = held.pause if held is not None else time.sleep
    wait = _FIRST_PAUSE
    while True:
        try:
            if held is not None:
                held.make_way(name)
            layer.send(name, plain(content), ahead=STREAM_AHEAD)
            return
        except (ChannelFull, LayerUnavailable) as error:
            if layer.clock() >= until or getattr(error, "uncertain", False):
                raise
        pause(wait)
        wait = min(wait * 2, _LONGEST_PAUSE)

"""Large parts of what a consumer sends: kept in the layer, and named in the message by a `body_key`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..layer import LayerError
from ..layer.blobs import Data, cut
from . import sending

if TYPE_CHECKING:
    from ..layer import Layer


def put_blob(data: Data, channel: str | None = None, *, layer: Layer | None = None) -> str:
    """Keep something large in the layer, and return the key by which a message names it.

        key = put_blob(open("report.pdf", "rb"), "email.send")
        attachment = {"filename": "report.pdf", "content-type": "application/pdf", "body_key": key}
        Channel("email.send").send({"to": ["ann@example.com"], "from": "us@example.com", "attachments": [attachment]})

    It leaves at once, in pieces, and is kept for an hour; for longer where a message that names it in a `body_key`,
    anywhere in it, was sent to a durable channel: until that is done with. Who takes the message reads it with
    `message.stream(node)`, as often as it likes.

    Args:
        data: Bytes, a binary file, or an iterable of bytes. No more than 64 KiB of it are held here at a time.
        channel: Where the message will be sent: with several Redis servers it is kept beside that at once, and else
            copied there later.
        layer: As for `Channel`.

    Raises:
        ChannelFull: the layer holds `blob_capacity` bytes of such things.
        LayerUnavailable: the layer is away, and no consumer runs here, or its time is up.
        TypeError: this cannot be kept.
    """
    key = sending.ask(layer, lambda to: to.new_blob(channel))
    try:
        for chunk in cut(data):
            sending.ask(layer, partial(_append, key, chunk))
    except BaseException:
        with suppress(LayerError):
            sending.ask(layer, lambda to: to.drop_blob(key))
        raise
    return str(key)


def _append(key: str, chunk: bytes, to: Layer) -> int:
    return to.append_blob(key, chunk)

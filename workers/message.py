"""The message a consumer is called with."""

from __future__ import annotations

import io
from collections.abc import Iterator, KeysView, Mapping
from typing import TYPE_CHECKING, Any

from .. import message_formats
from . import sending
from .channels import Channel, replying
from .context import current_layer
from .streams import open_stream

if TYPE_CHECKING:
    from ..layer import Delivery, Layer
    from .sessions import ChannelSession, HttpSession

_STREAM_TIMEOUT = 60.0


class Message:
    """What came on a channel.

    Args:
        content: The message's keys.
        channel: The name of the channel it came on.
        layer: The layer it came from; by default the one that is sent to here.
        delivery: How it came: `.id` and `.tries`.
        stream_timeout: Seconds `stream()` waits for the next chunk of a body.

    Attributes:
        content: The message's keys, as they came.
        delivery: How it came; None in a message of one's own making.
        channel_session: What is kept of its connection; where the consumer is decorated with `@channel_session`.
        http_session: What is kept of its browser; where it is decorated with `@http_session`.
    """

    __slots__ = ("_channel", "_layer", "_streams", "_timeout", "channel_session", "content", "delivery", "http_session")

    channel_session: ChannelSession
    http_session: HttpSession

    def __init__(
        self,
        content: dict[str, Any],
        channel: str,
        layer: Layer | None = None,
        delivery: Delivery | None = None,
        stream_timeout: float = _STREAM_TIMEOUT,
    ) -> None:
        self.content = content
        self._channel = channel
        self._layer = layer
        self.delivery: Delivery | Any = delivery
        self._timeout = stream_timeout
        self._streams: tuple[tuple[Mapping[str, Any], io.BufferedIOBase], ...] = ()

    def __repr__(self) -> str:
        return f"<Message on {self._channel}: {', '.join(self.content)}>"

    def __getattr__(self, name: str) -> Any:
        if name in ("channel_session", "http_session"):
            raise AttributeError(f"a message has no {name} unless its consumer is decorated with @{name}")
        raise AttributeError(f"a message has no attribute {name!r}")

    def __getitem__(self, key: str) -> Any:
        """Return a key's value; a documented key that is absent, or None, gives its default.

        Raises:
            KeyError: the message has no such key, and its format none with a default.
        """
        value = self.content.get(key)
        if value is not None:
            return value
        form = message_formats.get(self._channel)
        try:
            if form is not None:
                return form.default_of(key)
        except KeyError:
            pass
        return self.content[key]

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def keys(self) -> KeysView[str]:
        """Return the keys that came, so that `dict(message)` is a copy of them."""
        return self.content.keys()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value, or `default` where it is absent or None."""
        value = self.content.get(key)
        return default if value is None else value

    @property
    def layer(self) -> Layer:
        """The layer it came from.

        Raises:
            RuntimeError: it is a message of one's own making, and nothing says which layer is meant.
        """
        return self._layer if self._layer is not None else current_layer()

    @property
    def channel(self) -> Channel:
        """The channel it came on."""
        return replying(self._channel, None, self._layer)

    @property
    def reply_channel(self) -> Channel | Any:
        """The channel that answers it, which knows the format of an answer; None where nobody waits for one."""
        name = self.content.get("reply_channel")
        if not isinstance(name, str) or not name:
            return None
        form = message_formats.get(self._channel)
        return replying(name, form.reply if form is not None else None, self._layer)

    def reply(self, *args: Any, **kwargs: Any) -> None:
        """Answer in the protocol's own way: a response, a frame, a line of chat, a mail back, a datagram.

        Args:
            *args: As the protocol takes them, see the reference of its message formats:
                HTTP `reply(text | bytes | dict | iterable of bytes, status=200, headers=())`,
                WebSocket `reply(text | bytes)`, chat `reply(text, **reply keys)`,
                email `reply(text, html=None, attachments=())`, UDP `reply(bytes)`.
            **kwargs: Likewise.

        Raises:
            TypeError: nothing can answer a message of this channel, or the arguments are of wrong types.
            FormatError: the answer breaks the reply's format.
            ChannelFull: while streaming there was no room for 30 s.
        """
        form = message_formats.get(self._channel)
        if form is None or form.compose is None:
            raise TypeError(f"nothing answers a message of {self._channel}; send to a channel instead")
        composed = form.compose(self.content, *args, **kwargs)
        mine = composed.channel == self.content.get("reply_channel")
        to = form.reply if mine else message_formats.get(composed.channel)
        if composed.stream:
            sending.stream(composed.channel, composed.messages, to, self._layer)
        else:
            for one in composed.messages:
                sending.send(composed.channel, one, to, self._layer, False, {}, composed.fits)

    def stream(self, node: Mapping[str, Any] | None = None) -> io.BufferedIOBase:
        """Open the message's body, or a part of a mail, as a binary file; the same file each time.

        A body that was read from its channel cannot come again: `ConsumeLater` then gives the failure answer. One that
        is kept in the layer (`body_key`) can: each call begins anew, and the file can be sought in.

        Args:
            node: A leaf of a mail's `content`, or anything else with a `body_key`; by default the message's own body.

        Raises:
            ValueError: there is no body. Reading raises StreamTimeout where the body stopped coming, StreamClosed
                where its sender went away, or where it is not kept any more.
        """
        where = self.content if node is None else node
        if where.get("body_key") is not None:
            return self._open(where)
        for known, file in self._streams:
            if known is where:
                return file
        file = self._open(where)
        self._streams += ((where, file),)
        return file

    @property
    def streamed(self) -> bool:
        """Whether a body was read from its channel, so that it cannot come again."""
        return any(getattr(getattr(file, "raw", None), "taken", False) for _, file in self._streams)

    def _open(self, where: Mapping[str, Any]) -> io.BufferedIOBase:
        if where is self.content and not {"body", "body_channel", "body_key"} & where.keys():
            form = message_formats.get(self._channel)
            if form is not None and any(field.name == "body" for field in form.fields):
                return io.BytesIO()
        return open_stream(where, self._layer or current_layer, self._timeout)

"""What consumers and other programs send to: channels, groups and conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import message_formats
from ..message_formats.conversation import conversation_channel, room_of
from . import sending
from .context import current_layer

if TYPE_CHECKING:
    from ..layer import Layer
    from ..message_formats import Format


class Channel(str):
    """A channel, by its name; a `Channel` is a str, and can stand wherever a name is taken.

    Args:
        name: The channel's name, such as `"http.request"` or a message's reply channel.
        layer: The layer to send on, for tests and other programs; by default the running consumer's, else the one
            chosen with `set_layer`, else that of `TRUNKLINE_LAYER`.
    """

    __slots__ = ("_format", "_layer", "name")

    name: str
    _layer: Layer | None
    _format: Format | None

    def __new__(cls, name: str, layer: Layer | None = None) -> Channel:
        if not isinstance(name, str):
            raise TypeError(f"a channel's name is a str, not {name!r:.100}")
        return _made(cls, name, layer, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Channel, (self.name,))

    def send(
        self,
        content: Mapping[str, Any],
        *,
        immediately: bool = False,
        expiry: float | None = None,
        delay: float = 0,
        key: str | None = None,
        once: str | None = None,
        window: float = 600,
    ) -> bool | None:
        """Send a message; inside a consumer it is held until the consumer returned.

        Args:
            content: The message; checked where the channel's format is known.
            immediately: Inside a consumer, send now.
            expiry: Seconds after which nobody gets it any more; the layer's own by default.
            delay: Seconds until it is due.
            key: A name for a delayed message; a later one replaces it.
            once: A name that makes a repeated send within `window` seconds one send.
            window: Seconds.

        Returns:
            None where it is held; else True, or False when `once` was seen or nobody listens to a channel that
            needs a listener (it is a dead letter then).

        Raises:
            FormatError: the message breaks the channel's format.
            TypeError: a message that cannot travel.
            HeldTooMuch: the consumer holds too much already.
            LayerError: the layer refused a message that was sent now: ChannelFull, MessageTooLarge, LayerUnavailable.
        """
        form = self._format or message_formats.get(self.name)
        options = _NONE
        if expiry is not None or delay or key is not None or once is not None:
            options = {"expiry": expiry, "delay": delay, "key": key, "once": once, "window": window}
        return sending.send(self.name, content, form, self._layer, immediately, options)


_NONE: dict[str, Any] = {}


def _made(cls: type[Channel], name: str, layer: Layer | None, form: Format | None) -> Channel:
    channel = str.__new__(cls, name)
    channel.name = str(name)
    channel._layer = layer
    channel._format = form
    return channel


def replying(name: str, form: Format | None, layer: Layer | None = None) -> Channel:
    """Make a channel that knows the format of what may be sent to it: a message's reply channel."""
    return _made(Channel, name, layer, form)


class Group:
    """A group of channels: what is sent to it goes to all its members.

    Inside a consumer its methods wait while the layer is away; elsewhere they raise LayerUnavailable.

    Args:
        name: The group's name.
        layer: As for `Channel`.
    """

    __slots__ = ("_layer", "name")

    def __init__(self, name: str, layer: Layer | None = None) -> None:
        self.name = name
        self._layer = layer

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    @property
    def layer(self) -> Layer:
        """The layer the group lives on."""
        return self._layer if self._layer is not None else current_layer()

    def add(self, channel: str, info: Any = None) -> None:
        """Add a channel, at once; once more is no error.

        Args:
            channel: The member.
            info: Anything that can travel; `members` gives it back.
        """
        sending.ask(self._layer, lambda layer: layer.group_add(self.name, _name_of(channel), info))

    def discard(self, channel: str) -> None:
        """Remove a channel, at once; one that is no member is no error."""
        sending.ask(self._layer, lambda layer: layer.group_discard(self.name, _name_of(channel)))

    def members(self) -> dict[str, Any]:
        """Return the members and what they were added with: channel -> info."""
        return sending.ask(self._layer, lambda layer: layer.group_members(self.name))

    def send(
        self, content: Mapping[str, Any], *, exclude: str | Iterable[str] | None = None, immediately: bool = False
    ) -> None:
        """Send a message to all members; inside a consumer it is held until the consumer returned.

        A member whose channel is full misses it; that is counted, and never an error here. The message is not checked
        against a format, since members may be of several protocols: what does not fit one is ignored there.

        Args:
            content: The message.
            exclude: A member or several that do not get it, such as `message.reply_channel`. A thread stands for its
                room as well: what was said in one would otherwise come back to where it was said.
            immediately: Inside a consumer, send now.

        Raises:
            TypeError: a message that cannot travel.
            HeldTooMuch: the consumer holds too much already.
        """
        if exclude is not None:
            exclude = _with_rooms([exclude] if isinstance(exclude, str) else exclude)
        sending.send_group(self.name, content, exclude, self._layer, immediately)


def _name_of(channel: str) -> str:
    """Return a member's plain name; the layer says what is wrong with anything else, such as no reply channel."""
    return str(channel) if isinstance(channel, str) else channel


def _with_rooms(channels: Iterable[str]) -> list[str]:
    """Return members' plain names, and those of the rooms that the threads among them are in."""
    names = [_name_of(one) for one in channels]
    return names + [room for name in names if isinstance(name, str) and (room := room_of(name)) is not None]


class Conversation:
    """A room, a private chat or a thread of a chat service that is spoken to without having spoken first.

    Args:
        service: "irc", "slack" or another service's name.
        network: The configured network or workspace.
        room: Id of the room or person, as the service knows it.
        thread: Id of the thread in it.
        layer: As for `Channel`.
    """

    __slots__ = ("channel",)

    def __init__(
        self, service: str, network: str, room: str, thread: str | None = None, layer: Layer | None = None
    ) -> None:
        name = conversation_channel(service, network, room, thread)
        self.channel = replying(name, message_formats.chat.REPLY, layer)

    def __repr__(self) -> str:
        return f"Conversation({self.channel.name!r})"

    def send(self, content: Mapping[str, Any], *, immediately: bool = False) -> bool | None:
        """Say something, as `Channel.send` does: `{"text": "Hello"}` is enough."""
        return self.channel.send(content, immediately=immediately)

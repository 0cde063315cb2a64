"""People and rooms: what the server says of them, into events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .events import (
    Invited,
    Joined,
    Kicked,
    ModeChanged,
    Parted,
    PersonChanged,
    Quit,
    Renamed,
    RoomJoined,
    TopicChanged,
)
from .joining import Joining
from .link import Link
from .message import Message
from .modes import parse_modes
from .names import MAX_NAME, account_of, is_target
from .speaking import Speaker


class Watcher:
    """Follows people and rooms on one connection.

    Args:
        link: The connection.
        joining: Hears of the rooms that we came into or were thrown out of.
        speaker: Hears of changes to how others see us.
        came: Called when we came into a room.
        left: Called with the nick of somebody who left the network or has another nick.
    """

    def __init__(
        self,
        link: Link,
        joining: Joining,
        speaker: Speaker,
        *,
        came: Callable[[str], None],
        left: Callable[[str], None],
    ) -> None:
        self._link = link
        self._joining = joining
        self._speaker = speaker
        self._came = came
        self._left = left

    def handle(self, command: str, message: Message) -> bool:
        """Take a message; say whether it was about people or rooms."""
        handler = _HANDLERS.get(command)
        if handler is None:
            return False
        handler(self, message, *message.params, *("",) * (4 - len(message.params)))
        return True

    def _join(self, message: Message, room: str, account: str, *_: str) -> None:
        link = self._link
        if not is_target(room):
            return
        if link.is_own(message.source.nick):
            link.see_own(message.source)
            self._speaker.split_again()
            self._joining.joined(room)
            if link.rooms.enter(room) is not None:
                link.rooms.add(room, link.own)
                link.emit(RoomJoined(room))
                self._came(room)
        elif room in link.rooms:
            person = link.rooms.person(message.source)
            if link.has("extended-join"):
                person = replace(person, account=account_of(account))
            link.rooms.add(room, person)
            link.emit(Joined(room, person))

    def _part(self, message: Message, room: str, reason: str, *_: str) -> None:
        person = self._link.rooms.person(message.source)
        own = self._link.is_own(message.source.nick)
        if room not in self._link.rooms:
            return
        if own:
            self._link.rooms.leave(room)
            self._joining.unwant(room)
        else:
            self._link.rooms.remove(room, person.nick)
        self._link.emit(Parted(room, person, reason, own))

    def _kick(self, message: Message, room: str, nick: str, reason: str, *_: str) -> None:
        rooms = self._link.rooms
        if room not in rooms:
            return
        own = self._link.is_own(nick)
        target = rooms.known(nick)
        if own:
            rooms.leave(room)
            self._joining.kicked(room)
        else:
            rooms.remove(room, nick)
        self._link.emit(Kicked(room, rooms.person(message.source), target, reason, own))

    def _quit(self, message: Message, reason: str, *_: str) -> None:
        person = self._link.rooms.person(message.source)
        rooms = self._link.rooms.remove_everywhere(person.nick)
        if rooms and not self._link.is_own(person.nick):
            self._link.emit(Quit(person, rooms, reason))
        self._left(person.nick)

    def _nick(self, message: Message, new: str, *_: str) -> None:
        link = self._link
        if not is_target(new):
            return
        person = link.rooms.person(message.source)
        own = link.is_own(person.nick)
        rooms = link.rooms.rename(person.nick, new)
        if own:
            link.see_own(message.source)
            link.own = replace(link.own, nick=new)
            self._speaker.split_again()
        if own or rooms:
            link.emit(Renamed(person, new, rooms, own))
        self._left(person.nick)

    def _topic(self, message: Message, room: str, topic: str, *_: str) -> None:
        if room in self._link.rooms:
            self._link.emit(TopicChanged(room, self._link.rooms.person(message.source), topic))

    def _mode(self, message: Message, target: str, *_: str) -> None:
        link = self._link
        if target in link.rooms:
            link.rooms.change_modes(target, parse_modes(message.params[1:], link.isupport))
        elif not link.is_own(target):
            return
        link.emit(ModeChanged(target, link.rooms.person(message.source), " ".join(message.params[1:])))

    def _invite(self, message: Message, nick: str, room: str, *_: str) -> None:
        if self._link.is_own(nick) and is_target(room):
            self._link.emit(Invited(room, self._link.rooms.person(message.source)))

    def _account(self, message: Message, account: str, *_: str) -> None:
        self._link.rooms.set_account(message.source.nick, account_of(account))
        person = self._link.rooms.person(message.source)
        self._link.emit(PersonChanged(person, "account", person.account or ""))

    def _chghost(self, message: Message, user: str, host: str, *_: str) -> None:
        link = self._link
        if not (user and host):
            return
        source = replace(message.source, user=user[:MAX_NAME], host=host[:MAX_NAME])
        person = link.rooms.person(source)
        if link.is_own(person.nick):
            link.see_own(source)
            self._speaker.split_again()
        link.emit(PersonChanged(person, "host", f"{source.user}@{source.host}"))

    def _visible_host(self, message: Message, nick: str, host: str, *_: str) -> None:
        link = self._link
        user, at, host = host.rpartition("@")
        if host and link.own.host:
            link.own = replace(link.own, user=user if at else link.own.user, host=host[:MAX_NAME])
            self._speaker.split_again()

    def _away(self, message: Message, reason: str, *_: str) -> None:
        self._link.emit(PersonChanged(self._link.rooms.person(message.source), "away", reason))

    def _setname(self, message: Message, realname: str, *_: str) -> None:
        self._link.emit(PersonChanged(self._link.rooms.person(message.source), "realname", realname))

    def _names(self, message: Message, *_: str) -> None:
        if len(message.params) >= 3:
            self._link.rooms.names(message.params[-2], message.params[-1].split(" "))


_HANDLERS: dict[str, Callable[..., None]] = {
    "JOIN": Watcher._join,
    "PART": Watcher._part,
    "KICK": Watcher._kick,
    "QUIT": Watcher._quit,
    "NICK": Watcher._nick,
    "TOPIC": Watcher._topic,
    "MODE": Watcher._mode,
    "INVITE": Watcher._invite,
    "ACCOUNT": Watcher._account,
    "CHGHOST": Watcher._chghost,
    "AWAY": Watcher._away,
    "SETNAME": Watcher._setname,
    "353": Watcher._names,
    "396": Watcher._visible_host,
}

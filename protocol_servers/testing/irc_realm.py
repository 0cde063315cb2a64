"""An IRC network without sockets: who is in which room, what is said, and what each client is told.

It is small, kind and quick: no limits, no refusals but of a wrong password. Its people are names that a test moves;
its clients are seats, whose bytes come from a `Session` or a socket.
"""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..irc.message import Message, parse

NAME = "irc.test"


class Said(NamedTuple):
    """Something that was said.

    Attributes:
        nick: Who said it.
        target: The room or person.
        text: What.
        command: "PRIVMSG" or "NOTICE".
        id: Its message id.
        time: When, in Unix seconds.
    """

    nick: str
    target: str
    text: str
    command: str
    id: str
    time: float


class IrcRealm:
    """One network.

    Args:
        caps: The capabilities it offers; "sasl" is added where there are accounts.
        accounts: Passwords by account: then nobody comes in without SASL PLAIN.
        clock: Unix seconds.

    Attributes:
        rooms: Who is where: nicks by room.
        refused: Rooms that no client may come into.
        log: Everything that was said.
        received: The lines of all clients.
        seats: The connected clients.
        accounts: As it was given.
    """

    def __init__(
        self,
        *,
        caps: Iterable[str] = ("message-tags", "server-time", "batch"),
        accounts: dict[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rooms: dict[str, set[str]] = {}
        self.refused: set[str] = set()
        self.log: list[Said] = []
        self.received: list[str] = []
        self.seats: list[Seat] = []
        self.accounts = accounts or {}
        self.caps = [*caps, *(["sasl=PLAIN"] if accounts else [])]
        self.clock = clock
        self._people: dict[str, str | None] = {}  # nick → account

    # What people do

    def join(self, nick: str, room: str, *, account: str | None = None) -> None:
        """Let somebody come into a room, from nowhere if need be."""
        self._people.setdefault(nick, account)
        self.rooms.setdefault(room, set()).add(nick)
        self.tell(room, f":{self.mask(nick)} JOIN {room}")

    def part(self, nick: str, room: str, reason: str = "") -> None:
        """Let somebody leave a room."""
        self.tell(room, f":{self.mask(nick)} PART {room} :{reason}")
        self.rooms[room].discard(nick)

    def say(self, nick: str, target: str, text: str, *, command: str = "PRIVMSG") -> Said:
        """Let somebody say something in a room, or to a client.

        Returns:
            What was said, with its id.
        """
        said = Said(nick, target, text, command, f"id{len(self.log) + 1}", self.clock())
        self.log.append(said)
        for seat in self.seats:
            if seat.nick != nick and (seat.nick in self.rooms.get(target, ()) or seat.nick == target):
                seat.hear(said)
        return said

    def kick(self, room: str, nick: str, reason: str = "", *, by: str = "oper") -> None:
        """Throw somebody out of a room."""
        self.tell(room, f":{self.mask(by)} KICK {room} {nick} :{reason}")
        self.rooms[room].discard(nick)

    def quit(self, *nicks: str, reason: str = "") -> None:
        """Let people leave the network, all at once: with the reason "one.test two.test" it is a netsplit."""
        for nick in nicks:
            mask = self.mask(nick)
            self._people.pop(nick, None)
            for room in [room for room, members in self.rooms.items() if nick in members]:
                self.rooms[room].discard(nick)
            for seat in self.seats:
                seat.send(f":{mask} QUIT :{reason}")

    def mask(self, nick: str) -> str:
        """Return how others see somebody."""
        return f"{nick}!{nick}@{nick}.test"

    def account(self, nick: str) -> str | None:
        """Return the account that somebody is logged in to."""
        return self._people.get(nick)

    # Clients

    def connect(self) -> Seat:
        """Let a client connect."""
        seat = Seat(self)
        self.seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """A client is gone."""
        if seat in self.seats:
            self.seats.remove(seat)
            if seat.known:
                self.quit(seat.nick)

    def tell(self, room: str, line: str) -> None:
        """Tell every client in a room."""
        for seat in self.seats:
            if seat.nick in self.rooms.get(room, ()):
                seat.send(line)


class Seat:
    """One client's connection.

    Attributes:
        nick: Its nick, or what it asked for.
        known: It is registered.
        closed: Nothing more will be said.
    """

    def __init__(self, realm: IrcRealm) -> None:
        self.nick = "*"
        self.known = False
        self.closed = False
        self._realm = realm
        self._caps: set[str] = set()
        self._negotiating = False
        self._user = False
        self._logged_in = False
        self._out: list[str] = []
        self._rest = b""

    def take(self) -> bytes:
        """Return what the client is to be told."""
        out, self._out = self._out, []
        return "".join(out).encode()

    def receive(self, data: bytes) -> None:
        """Take what the client says."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            message = parse(line)
            if message is not None and not self.closed:
                self._realm.received.append(line.decode("utf-8", "replace"))
                handle = getattr(self, f"_on_{message.command.lower()}", None)
                if handle is not None:
                    handle(message)

    def send(self, line: str) -> None:
        """Tell the client something."""
        self._out.append(line + "\r\n")

    def hear(self, said: Said, *, batch: str | None = None) -> None:
        """Tell the client what somebody said."""
        tags = {}
        if batch is not None:
            tags["batch"] = batch
        if "message-tags" in self._caps:
            tags["msgid"] = said.id
        if "server-time" in self._caps:
            tags["time"] = _written(said.time)
        account = self._realm.account(said.nick)
        if account is not None and "account-tag" in self._caps:
            tags["account"] = account
        head = f"@{';'.join(f'{key}={value}' for key, value in tags.items())} " if tags else ""
        self.send(f"{head}:{self._realm.mask(said.nick)} {said.command} {said.target} :{said.text}")

    def end(self, reason: str) -> None:
        """Close the connection with an ERROR."""
        self.send(f"ERROR :{reason}")
        self.closed = True
        self._realm.leave(self)

    # What the client says

    def _numeric(self, number: str, *params: str) -> None:
        self.send(f":{NAME} {number} {self.nick} {' '.join(params)}")

    def _on_cap(self, message: Message) -> None:
        match [each.upper() for each in message.params[:1]]:
            case ["LS"]:
                self._negotiating = True
                self.send(f":{NAME} CAP {self.nick} LS :{' '.join(self._realm.caps)}")
            case ["REQ"]:
                self._caps |= set(message.params[1].split())
                self.send(f":{NAME} CAP {self.nick} ACK :{message.params[1]}")
            case ["END"]:
                self._negotiating = False
                self._welcome()

    def _on_authenticate(self, message: Message) -> None:
        if message.params[0] == "PLAIN":
            self.send("AUTHENTICATE +")
            return
        _, user, password = base64.b64decode(message.params[0]).decode().split("\0")
        if self._realm.accounts.get(user) != password:
            self._numeric("904", ":SASL authentication failed")
            return
        self._logged_in = True
        self._numeric("900", self._realm.mask(self.nick), user, ":You are now logged in")
        self._numeric("903", ":SASL authentication successful")

    def _on_nick(self, message: Message) -> None:
        wanted = message.params[0]
        if any(seat.nick == wanted for seat in self._realm.seats if seat is not self):
            self.send(f":{NAME} 433 {self.nick} {wanted} :Nickname is already in use")
            return
        if self.known:
            self.send(f":{self._realm.mask(self.nick)} NICK {wanted}")
            for members in self._realm.rooms.values():
                if self.nick in members:
                    members.remove(self.nick)
                    members.add(wanted)
        self.nick = wanted
        self._welcome()

    def _on_user(self, message: Message) -> None:
        self._user = True
        self._welcome()

    def _welcome(self) -> None:
        if self.known or self._negotiating or not self._user or self.nick == "*":
            return
        if self._realm.accounts and not self._logged_in:
            self.end("Closing Link: you have to log in")
            return
        self.known = True
        self._numeric("001", ":Welcome")
        self._numeric("005", "CHATHISTORY=100", "MSGREFTYPES=msgid,timestamp", ":are supported by this server")
        self._numeric("376", ":End of MOTD")

    def _on_ping(self, message: Message) -> None:
        self.send(f":{NAME} PONG {NAME} :{message.params[0]}")

    def _on_join(self, message: Message) -> None:
        for room in message.params[0].split(","):
            if room in self._realm.refused:
                self._numeric("403", room, ":No such channel")
                continue
            self._realm.join(self.nick, room)
            self._numeric("353", "=", room, f":{' '.join(sorted(self._realm.rooms[room]))}")
            self._numeric("366", room, ":End of NAMES")

    def _on_part(self, message: Message) -> None:
        self._realm.part(self.nick, *message.params[:2])

    def _on_kick(self, message: Message) -> None:
        self._realm.kick(*message.params[:3], by=self.nick)

    def _on_topic(self, message: Message) -> None:
        room, topic = message.params[:2]
        self._realm.tell(room, f":{self._realm.mask(self.nick)} TOPIC {room} :{topic}")

    def _on_privmsg(self, message: Message) -> None:
        self._realm.say(self.nick, message.params[0], message.params[1], command=message.command)

    _on_notice = _on_privmsg

    def _on_quit(self, message: Message) -> None:
        self.end("Closing Link: quit")

    def _on_chathistory(self, message: Message) -> None:
        if message.params[0].upper() == "TARGETS":
            since = _moment(message.params[1])
            people = {
                said.nick: said.time for said in self._realm.log if said.target == self.nick and said.time > since
            }
            self.send(f":{NAME} BATCH +h draft/chathistory-targets")
            for nick, last in people.items():
                self.send(f"@batch=h :{NAME} CHATHISTORY TARGETS {nick} timestamp={_written(last)}")
        else:
            target, after = message.params[1:3]
            place = (target, None) if target in self._realm.rooms else (self.nick, target)
            log = [said for said in self._realm.log if said.target == place[0] and place[1] in (None, said.nick)]
            if after.startswith("msgid="):
                log = log[[f"msgid={said.id}" for said in log].index(after) + 1 :]
            else:
                log = [said for said in log if said.time > _moment(after)]
            self.send(f":{NAME} BATCH +h chathistory {target}")
            for said in log[:100]:
                self.hear(said, batch="h")
        self.send(f":{NAME} BATCH -h")


def _written(time: float) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _moment(text: str) -> float:
    """Read ``timestamp=…``."""
    return datetime.datetime.fromisoformat(text.partition("=")[2]).timestamp()

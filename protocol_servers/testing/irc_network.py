"""An IRC network in memory with our client on it, for the tests of consumers: no sockets, threads or sleeping."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from ...layer import ChannelFull, Layer
from ..irc import Conversations, Event, Identity, Options, Performer, Publisher, Session
from ..irc.events import Receipt
from .irc_realm import IrcRealm, Said, Seat


class IrcNetwork:
    """A network, and on it the client that carries what is said there to consumers and back.

    With the kit for consumers it is a few lines:

        client = trunkline.workers.testing.Client(routing)
        network = IrcNetwork(client.layer, client.settle, join=["#dev"])
        network.say("ann", "#dev", "bot: hello")
        assert network.said("#dev") == ["hello ann"]

    Time passes with the layer's: a room that threw us out is tried again some seconds after, by
    `client.advance(10)` and `network.settle()`. Nothing else is slow.

    Args:
        layer: The channel layer that the consumers are on.
        settle: Lets the consumers do what there is to do.
        network: What the network is called in the settings.
        nick: Our nick.
        join: The rooms that we are in.
        raw: Whether consumers may send any line at all.
        realm: Another network than a new one of its own; several clients may be on one.

    Attributes:
        realm: The network itself: who is in which room (`rooms`), everything that was said (`log`), people's moves.
        stats: What the client ignored.
    """

    def __init__(
        self,
        layer: Layer,
        settle: Callable[[], object] = lambda: None,
        *,
        network: str = "test",
        nick: str = "bot",
        join: Iterable[str] = (),
        raw: bool = False,
        realm: IrcRealm | None = None,
    ) -> None:
        begun = time.time() - layer.clock()
        self._wall = lambda: begun + layer.clock()
        self.realm = realm or IrcRealm(clock=self._wall)
        self.stats: Counter[str] = Counter()
        self._layer = layer
        self._settle = settle
        self._network = network
        self._raw = raw
        self._options = Options(identity=Identity(nick), join=tuple(join), rate=1e6, burst=1_000_000)
        self._random = Random(1)
        self._read = 0
        self._unread: list[Said] = []
        self._start()

    @property
    def nick(self) -> str:
        """Our nick."""
        return self._session.nick

    # What people do

    def join(self, nick: str, room: str, *, account: str | None = None) -> None:
        """Let somebody come into a room; ``account``: what services know them as."""
        self.realm.join(nick, room, account=account)
        self.settle()

    def part(self, nick: str, room: str, reason: str = "") -> None:
        """Let somebody leave a room."""
        self.realm.part(nick, room, reason)
        self.settle()

    def say(self, nick: str, target: str, text: str, *, action: bool = False, notice: bool = False) -> None:
        """Let somebody say something in a room, or to us by our nick, and the consumers answer it."""
        if action:
            text = f"\x01ACTION {text}\x01"
        self.realm.say(nick, target, text, command="NOTICE" if notice else "PRIVMSG")
        self.settle()

    def kick(self, room: str, nick: str | None = None, reason: str = "", *, by: str = "oper") -> None:
        """Throw somebody, or us, out of a room."""
        self.realm.kick(room, self.nick if nick is None else nick, reason, by=by)
        self.settle()

    def quit(self, nick: str, reason: str = "") -> None:
        """Let somebody leave the network."""
        self.realm.quit(nick, reason=reason)
        self.settle()

    def netsplit(self, *nicks: str) -> None:
        """Let people vanish all at once."""
        self.realm.quit(*nicks, reason="one.test two.test")
        self.settle()

    # What became of it

    def said(self, target: str | None = None) -> list[str]:
        """Return what we said since the last call, in one place or in all; actions stand as "* text"."""
        self._unread += [each for each in self.realm.log[self._read :] if each.nick == self.nick]
        self._read = len(self.realm.log)
        found = [each for each in self._unread if target in (None, each.target)]
        self._unread = [each for each in self._unread if each not in found]
        return [_readable(each.text) for each in found]

    # Trouble

    def disconnect(self) -> None:
        """Cut the connection, and connect anew."""
        self._seat.end("Closing Link: for a test")
        self.settle()
        self._connect()
        self.settle()

    def restart(self) -> None:
        """End our process, as a crash would, and start it again; replies that come meanwhile wait in the layer."""
        marks = self._session.marks()
        self.realm.leave(self._seat)
        self._start(marks)

    # How it works

    def _start(self, marks: Any = None) -> None:
        self._session = Session(
            self._options,
            clock=self._layer.clock,
            wall=self._wall,
            random=self._random,
            make_token=lambda: f"{self._random.getrandbits(64):x}",
            marks=marks,
        )
        conversations = Conversations(self._network, self._session.fold)
        self._publisher = Publisher(self._network, self._session, conversations)
        self._publisher.server = ("127.0.0.1", 6667)
        self._performer = Performer(self._session, conversations, self.stats, raw=self._raw)
        self._connect()
        self.settle()

    def _connect(self) -> None:
        self._seat: Seat = self.realm.connect()
        self._session.begin(secure=True)

    def settle(self) -> None:
        """Let everybody do what there is to do, until there is nothing more."""
        while True:
            self._exchange()
            self._settle()
            replies = self._layer.receive_batch([f"irc.reply.{self._network}!"], 100)
            for reply in replies:
                reply.ack()
                self._performer.perform(reply.channel.partition("!")[2], reply.message)
            if not replies and not self._exchange():
                return

    def _exchange(self) -> bool:
        """Carry bytes and events until there are none; say whether there were any."""
        session, any_yet = self._session, False
        while True:
            session.advance()
            sent, seat = session.data_to_send(), self._seat
            seat.receive(sent)
            told = seat.take()
            session.receive_data(told)
            if seat.closed and not session.closed:
                session.connection_lost("closed by the server")
            events = session.events()
            for event in events:
                self._publish(event)
            if not (sent or told or events):
                return any_yet
            any_yet = True

    def _publish(self, event: Event) -> None:
        listening = {name for info in self._layer.listeners().values() for name in info.get("channels", ())}
        for channel, message in self._publisher.messages(event):
            if isinstance(event, Receipt) or channel in listening:
                try:
                    self._layer.send(channel, message)
                except ChannelFull:
                    self._settle()
                    self._layer.send(channel, message)


def _readable(text: str) -> str:
    return f"* {text[8:-1]}" if text.startswith("\x01ACTION ") else text

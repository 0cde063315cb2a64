"""A session with an IRC network, as a state machine without sockets and clocks.

One `Session` lives as long as the network is wanted, through all its connections: what waits to be said, the rooms we
want to be in and the last message heard in each of them outlive a connection. Whoever drives it does this:

    session.begin(secure=True)                       # connected
    session.receive_data(data)                       # bytes came
    session.advance()                                # session.deadline has passed
    session.connection_lost("reset by peer")         # and again from the top, `retry_after` seconds later

and after each call sends `session.data_to_send()`, closes the connection if `session.closed`, takes
`session.events()`, and sets its timer by `session.deadline`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from random import Random

from .ctcp import Ctcp, CtcpReplies
from .events import Closed, Disconnected, Event, Kind, Numeric, Overflow, Person, Registered
from .hearing import Listener
from .history import History, Mark
from .isupport import ISupport
from .joining import Joining
from .keepalive import KeepAlive
from .lines import LineReader
from .link import Link
from .message import Message, encode, parse
from .names import is_target, may_be_joined
from .numerics import numeric_name
from .options import Options
from .pacing import Pacer, Utterance
from .reconnecting import Reconnecting
from .refusals import Refusals
from .regain import NickKeeper
from .registration import Registration, RegistrationFailed
from .rooms import Rooms
from .speaking import Speaker
from .splitting import lines_of, truncate
from .watching import Watcher

_MOTD_PATIENCE = 5.0  # seconds after 001; whoever sends a longer one shows it to nobody
_QUIT_PATIENCE = 5.0
_CTCP_EXPIRY = 30.0


class Session:
    """One network.

    Args:
        options: What is to be done.
        clock: Monotonic seconds.
        wall: Unix seconds.
        random: The source of jitter.
        make_token: Makes a nonce that nobody can guess, and the beginning of ids of our own.
        marks: Where the process before this one stopped hearing, as `marks` gave it.

    Attributes:
        closed: The connection is to be closed.
        stats: Counts what was dropped, cut, over a limit.
    """

    def __init__(
        self,
        options: Options,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        random: Random,
        make_token: Callable[[], str],
        marks: Mapping[str, Mark] | None = None,
    ) -> None:
        self.closed = True
        self.stats: Counter[str] = Counter()
        self._options = options
        self._clock = clock
        self._wall = wall
        self._random = random
        self._make_token = make_token
        identity = options.identity
        self._pacer = Pacer(clock, rate=options.rate, burst=options.burst, most=options.max_waiting, stats=self.stats)
        self._joining = Joining(clock, random, rejoin=options.rejoin)
        self._history = History(clock, marks)
        self._nicks = NickKeeper(clock, random, identity.nick)
        self._ctcp = CtcpReplies(clock, wall, options.version)
        self._speaker = Speaker(
            self._pacer,
            clock,
            self._emit,
            self.stats,
            nick=identity.nick,
            username=identity.username,
            most_lines=options.max_lines,
        )
        self._reconnecting = Reconnecting(clock, random)
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._quitting = False
        self._ids = 0
        self._ids_token = make_token()
        self._sweep: float | None = None
        for each in options.join:
            name, _, key = each.partition(" ")
            self._joining.want(name, key or None)
        self._new_connection(secure=False)

    def _new_connection(self, *, secure: bool) -> None:
        """Make what belongs to one connection."""
        identity = self._options.identity
        self._reader = LineReader()
        self._registration = Registration(
            identity, secure=secure, random=self._random, make_nonce=self._make_token, nick=self._nicks.wanted
        )
        isupport = ISupport()
        self._link = Link(
            Person(self._nicks.wanted),
            self._registration.capabilities,
            isupport,
            Rooms(isupport, self.stats),
            self.stats,
            self._emit,
            self._clock,
            self._wall,
        )
        self._watcher = Watcher(
            self._link, self._joining, self._speaker, came=self._came_into_room, left=self._somebody_left
        )
        self._listener = Listener(
            self._link,
            self._history,
            self._speaker,
            ignored=self._options.ignore,
            make_id=self._make_id,
            ask=self._ask,
            asked=self._answer_ctcp,
        )
        self._refusals = Refusals(self._link, self._joining, self._speaker, self._history, self._ask)
        self._alive = KeepAlive(self._clock, interval=self._options.ping_interval, timeout=self._options.ping_timeout)
        self._limit: float | None = None  # until registered, the MOTD's end, or the end after QUIT
        self._ready = False
        self._reason = ""

    # What goes out

    def data_to_send(self) -> bytes:
        """Return what is to be sent since the last call."""
        out, self._out = self._out, []
        return b"".join(out)

    def events(self) -> list[Event]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def nick(self) -> str:
        """Our nick."""
        return self._link.own.nick

    @property
    def registered(self) -> bool:
        """Whether the network knows us, and hears what we say."""
        return self._ready and not self.closed

    @property
    def waiting(self) -> int:
        """Lines that wait to be said."""
        return len(self._pacer)

    @property
    def rooms(self) -> Rooms:
        """The rooms we are in, and who else is."""
        return self._link.rooms

    def limit(self, target: str) -> int:
        """Return the bytes of text that reach ``target`` in one line."""
        return self._speaker.limit(target)

    def is_room(self, target: str) -> bool:
        """Say whether ``target`` is a room, and not a person."""
        return self._link.isupport.is_room(target)

    def fold(self, name: str) -> str:
        """Return the spelling of a name that all its spellings share."""
        return self._link.isupport.fold(name)

    def marks(self) -> dict[str, Mark]:
        """Return where each conversation stands, for the next process."""
        return self._history.marks()

    # The connection

    def begin(self, *, secure: bool) -> None:
        """A connection was made.

        Args:
            secure: Whether nobody else can read along: TLS, or this very machine.
        """
        self._new_connection(secure=secure)
        self.closed = False
        self._pacer.start_again()
        self._speaker.connected(self._link)
        self._history.connected()
        self._limit = self._clock() + self._options.registration_timeout
        try:
            self._out += self._registration.begin()
        except RegistrationFailed as failure:
            self._fail(failure)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self.closed:
            return
        self._alive.heard()
        for line in self._reader.feed(data):
            message = parse(line)
            if message is not None:
                self._handle(message)
            if self.closed:
                break
        if self._reader.cut:
            self.stats["lines_cut"] += self._reader.cut
            self._reader.cut = 0
        self._flush()

    def connection_lost(self, reason: str) -> None:
        """The connection is gone."""
        self.closed = True
        self._ready = False
        self._out.clear()
        self._joining.disconnected()
        self._nicks.stop()
        self._speaker.disconnected()
        self._limit = None
        if self._quitting:
            self._speaker.drop_all("the session ended")
        self._emit(Disconnected(self._reason or reason, None if self._quitting else self._reconnecting.next()))
        self._reason = ""
        self._flush()

    # Time

    @property
    def deadline(self) -> float | None:
        """When `advance` is to be called next, by the clock; None: not before something else happens."""
        times = [self._sweep]
        if not self.closed:
            times += [self._limit, self._alive.deadline, self._pacer.deadline(self._may_go), self._speaker.deadline]
            times += [self._joining.deadline, self._nicks.deadline] if self._ready else []
        return min((each for each in times if each is not None), default=None)

    def advance(self) -> None:
        """Do what is due."""
        now = self._clock()
        if not self.closed:
            self._speaker.time_out()
            if self._limit is not None and now >= self._limit:
                self._time_is_up()
            if self._alive.is_dead:
                self._close("the server does not answer any more")
            elif self._alive.must_ask():
                self._pacer.put_urgent(encode("PING", "trunkline"))
        if self._ready:
            self._ask(self._joining.due())
            self._ask(self._nicks.due())
        self._flush()

    def _time_is_up(self) -> None:
        self._limit = None
        if self._quitting:
            self._close("we left")
        elif self._registration.done:
            self._become_ready()
        else:
            self._close("the server did not register us in time")

    # What is asked of us

    def say(
        self,
        target: str,
        text: str,
        *,
        kind: Kind = "message",
        overflow: Overflow = "split",
        expires: float | None = None,
        receipt: Hashable | None = None,
    ) -> None:
        """Say something, as soon as the pace allows; without a connection it waits for the next one.

        Args:
            target: The room or person.
            text: What; each of its lines is one of its own.
            kind: How.
            overflow: What becomes of a text that is longer than a line: several lines, the first one only, or one
                message of several lines where the network has that.
            expires: When nobody wants to hear it any more, in Unix seconds.
            receipt: With it a `Receipt` tells what became of it.
        """
        self._speaker.say(target, text, kind=kind, overflow=overflow, expires=expires, receipt=receipt)
        self._flush()

    def join(self, room: str, key: str | None = None) -> None:
        """Be in a room from now on.

        Raises:
            ValueError: That is no room.
        """
        if not may_be_joined(room) or (key is not None and not is_target(key)):
            raise ValueError(f"{room[:100]!r}: no room can be called that, or have such a key")
        self._joining.want(room, key)
        if self._ready:
            self._ask(self._joining.due())
            self._flush()

    def part(self, room: str, reason: str = "") -> None:
        """Leave a room, and do not come back.

        Raises:
            ValueError: That is no room.
        """
        self._joining.unwant(room)
        self.command("PART", room, reason)

    def change_nick(self, nick: str) -> None:
        """Have another nick from now on.

        Raises:
            ValueError: That is no nick.
        """
        if not is_target(nick):
            raise ValueError(f"{nick[:100]!r} is no nick")
        self.command("NICK", nick)
        self._nicks.wanted = nick

    def command(self, command: str, *params: str) -> None:
        """Send any other command, in the queue of its first parameter; without a connection it is ignored.

        The last parameter may be any text, of which the first line is sent, as much as fits.

        Raises:
            ValueError: The command or a parameter before the last would be read as something else.
        """
        *middle, last = params or ("",)
        for each in (command, *middle):
            if not is_target(each):
                raise ValueError(f"{each[:100]!r} cannot stand in a command")
        last = truncate(next(lines_of(last)), self._speaker.limit(" ".join(middle), command))
        line = encode(command, *middle, last) if params else encode(command)
        if not self._ready:
            self.stats["commands_without_connection"] += 1
        elif command == "QUIT":
            self.quit(last)
        else:
            self._pacer.put(self.fold(middle[0] if middle else last), Utterance(deque([line])))
            self._flush()

    def quit(self, reason: str = "") -> None:
        """Leave the network for good, before all that waits to be said."""
        if self._quitting:
            return
        self._quitting = True
        if self.closed:
            return
        self._pacer.put_urgent(encode("QUIT", truncate(reason.replace("\n", " "), 300)) if reason else encode("QUIT"))
        self._limit = self._clock() + _QUIT_PATIENCE
        self._flush()

    # What the server says

    def _handle(self, message: Message) -> None:
        command = message.command.upper()
        if command == "PING":
            self._pacer.put_urgent(encode("PONG", *message.params[:1]))
        elif command == "ERROR":
            self._error(message)
        elif not self._registration.done or command in ("CAP", "900"):
            self._register(message)
        elif command == "005":
            self._link.isupport.load(message.params[1:-1])
        elif command in ("376", "422") and not self._ready:
            self._become_ready()
        elif not self._watcher.handle(command, message) and not self._listener.handle(command, message):
            self._refusals.handle(command, message, self._listener.batches.label_of(message))
        if self._options.numerics and self._ready and command.isdecimal():
            self._emit(Numeric(command, numeric_name(command), message.params))

    def _register(self, message: Message) -> None:
        before = self._registration.done
        try:
            self._out += self._registration.handle(message)
        except RegistrationFailed as failure:
            self._fail(failure)
            return
        if self._registration.done and not before:
            self._reconnecting.registered()
            self._link.own = Person(self._registration.nick, account=self._registration.account)
            self._limit = self._clock() + _MOTD_PATIENCE

    def _become_ready(self) -> None:
        self._limit = None
        self._ready = True
        self._emit(Registered(self.nick))
        self._watch_nick()
        self._joining.connected(self._link.isupport.fold)
        self._ask(self._joining.due())
        if self._link.has("draft/chathistory"):
            self._ask(self._history.ask_targets(self._wall()))

    def _error(self, message: Message) -> None:
        reason = message.params[-1][:300] if message.params else ""
        self._reconnecting.closed_by_server(reason)
        self._close(f"the server closed the connection: {reason}")

    # What follows from it

    def _came_into_room(self, room: str) -> None:
        if self._link.has("draft/chathistory"):
            self._ask(self._history.ask(self.fold(room), room, self._link.isupport))

    def _somebody_left(self, nick: str) -> None:
        if self.fold(nick) == self.fold(self._nicks.wanted):
            self._nicks.free()
        self._watch_nick()

    def _watch_nick(self) -> None:
        if self._ready:
            self._nicks.watch(self._link.is_own(self._nicks.wanted))

    def _answer_ctcp(self, person: Person, request: Ctcp) -> None:
        answer = self._ctcp.answer(request)
        if answer is None or not is_target(person.nick):
            self.stats["ctcp_unanswered"] += 1
            return
        line = encode("NOTICE", person.nick, answer)
        self._pacer.put(self.fold(person.nick), Utterance(deque([line]), self._wall() + _CTCP_EXPIRY))

    def _make_id(self) -> str:
        self._ids += 1
        return f"{self._ids_token}-{self._ids}"

    def _ask(self, lines: list[bytes]) -> None:
        for line in lines:
            self._pacer.put_first(line)

    def _may_go(self, target: str) -> bool:
        return self._ready and not self._joining.is_coming(target)

    def _flush(self) -> None:
        """Drop what is stale, and send what may go."""
        now = self._wall()
        self._speaker.drop_stale(now)
        if not self.closed:
            self._out += self._speaker.lines_to_send(self._may_go)
        soonest = self._pacer.soonest
        # The wall clock may be set: it is looked at often enough.
        self._sweep = None if soonest is None else self._clock() + min(max(soonest - now, 0.0), 5.0) + 0.001

    def _fail(self, failure: RegistrationFailed) -> None:
        if failure.permanent:
            self._reconnecting.refused()
        self._close(str(failure))

    def _close(self, reason: str) -> None:
        if not self.closed:
            self._flush()
            self.closed = True
            self._ready = False
            self._reason = reason
            self._emit(Closed(reason))

    def _emit(self, event: Event) -> None:
        self._events.append(event)

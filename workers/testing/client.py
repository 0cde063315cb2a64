"""A client of a routing: what goes in is what servers would publish, what comes out is what they would do with it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, TypeVar, cast
from urllib.parse import unquote

from ... import message_formats
from ...layer import MemoryLayer
from ...layer.testing import ManualClock
from ...message_formats.conversation import conversation_channel
from ...message_formats.email import mail_id, parse_mail, receive_message
from ...message_formats.email.receive import normalise_address
from ..message import Message
from ..worker import ANNOUNCE, Worker
from .rooms import Room
from .sockets import Refused, WebSocket
from .turns import Turns

T = TypeVar("T")

Header = tuple[bytes | str, bytes | str]

_CHUNK = 64 * 1024
_INBOX = "http.reply.client!"
_MAIL_INBOX = "smtp.reply.client!"
_LISTENER = "client"
_STEP = 0.1
_STEPS = 6000
_BUSY = 10_000
_RESPONSE_TIMEOUT, _CONNECT_TIMEOUT, _RCPT_TIMEOUT, _ANSWER_TIMEOUT = 60.0, 10.0, 10.0, 300.0


class Client:
    """Runs a routing's consumers in the test's own thread, on a layer in memory whose time the test moves.

    A consumer that fails gives its protocol's failure answer, as it would outside; its traceback is logged by
    `trunkline.workers`, where pytest shows it and its `caplog` finds it.

    Args:
        routing: A Routing, or a list of routes.
        options: Options of the layer, such as `capacity=10`.

    Attributes:
        layer: The layer, for `Channel(name, layer=client.layer)` and the like.
        clock: Its time, moved by `advance`.
        worker: The worker; `worker.stats` counts what happened.
        cookies: What responses set, sent with all later requests and handshakes that bring no cookie of their own.
    """

    def __init__(self, routing: Any, **options: Any) -> None:
        self.clock = ManualClock()
        bodies = {"http.request.body?*": 1_000_000, "email.body?*": 1_000_000}
        capacity = {**bodies, **options.pop("channel_capacity", {})}
        self.layer = MemoryLayer(clock=self.clock, channel_capacity=capacity, **options)
        # What a body or a full channel would wait for cannot come while a consumer runs in this very thread.
        self.worker = Worker(self.layer, routing, stream_timeout=0)
        self.worker.wait_with(self.clock.advance)
        self.cookies: dict[str, str] = {}
        self._turns = Turns(self.clock)
        self._ids = map(str, itertools.count(1))
        self._answers: dict[str, deque[dict[str, Any]]] = {}
        self._sockets: dict[str, WebSocket] = {}
        self._rooms: dict[str, Room] = {}
        self._held_back: dict[str, deque[tuple[str, dict[str, Any]]]] = {}  # by reply channel, where one is consumed
        self._early: dict[str, list[dict[str, Any]]] = {}  # what was said in rooms that nobody asked for yet
        self._announced = float("-inf")
        self._inboxes = {name: self._open(name, False) for name in (_INBOX, _MAIL_INBOX)}
        self.settle()

    # protocols

    def http(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[Header] = (),
        query: bytes | str = b"",
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Make a request and wait for its response, 60 s of the test's time at most.

        Args:
            method: Such as "GET".
            path: The path as in a URL, with or without a query.
            body: The request's body.
            headers: Names and values.
            query: What stands behind the `?`.

        Returns:
            Status (504 where no answer came), headers, and the whole body.

        Raises:
            ConnectionResetError: the consumer failed after the response had begun.
        """
        path, _, inline = path.partition("?")
        local = next(self._ids)
        content: dict[str, Any] = {
            "http_version": "1.1",
            "method": method.upper(),
            "path": unquote(path),
            "query_string": query.encode() if isinstance(query, str) else query or inline.encode(),
            "headers": self._headers(headers),
            "body": body[:_CHUNK],
        }
        if len(body) > _CHUNK:
            content["body_channel"] = self._body("http.request.body?", body[_CHUNK:])
        answers = self._answers[local] = deque()
        self.publish("http.request", content, local)
        found = self._await(lambda: _response(answers), _RESPONSE_TIMEOUT)
        self.forget(local)
        if found is None:
            return 504, [], b""
        self._keep_cookies(found[1])
        return found

    def websocket(self, path: str, headers: Iterable[Header] = ()) -> WebSocket:
        """Open a WebSocket.

        Args:
            path: The path as in a URL, with or without a query.
            headers: Names and values.

        Raises:
            Refused: the handshake was refused.
        """
        path, _, query = path.partition("?")
        local = next(self._ids)
        socket = self._sockets[local] = WebSocket(self, local, unquote(path))
        content = {"path": unquote(path), "query_string": query.encode(), "headers": self._headers(headers), "order": 0}
        self.publish("websocket.connect", content, local)
        self._await(lambda: socket.accepted or socket.refused, _CONNECT_TIMEOUT)
        if not socket.accepted:
            self.forget(local)
            raise Refused(socket.refused or 403)
        return socket

    def email(
        self,
        address: str,
        text: str = "",
        subject: str = "",
        sender: str | None = "a@example.org",
        raw: bytes | None = None,
        authentication: Mapping[str, Any] | None = None,
    ) -> tuple[int, str, list[dict[str, Any]]]:
        """Send a mail to one recipient.

        Args:
            address: The recipient.
            text: What the mail says.
            subject: Its subject.
            sender: The envelope sender; None: a bounce.
            raw: The whole mail instead, with its headers.
            authentication: What the DNS says of its sender; None: nothing.

        Returns:
            Code and text the sender is told, at RCPT TO or after the mail, and the mails that were sent meanwhile
            (the messages on `email.send`).
        """
        if raw is None:
            raw = _mail(address, text, subject, sender, next(self._ids))
        question = {"address": normalise_address(address)[0], "client": ["192.0.2.1", 50000], "helo": "client.example"}
        answer = self._ask("email.recipient", question | ({} if sender is None else {"from": sender}), _RCPT_TIMEOUT)
        if answer[0] < 300:
            answer = self._ask("email.receive", self._received(address, sender, raw, authentication), _ANSWER_TIMEOUT)
        return *answer, self._take("email.send")

    def chat(
        self, text: str, service: str = "irc", user: str = "ann", channel: str = "#test", **keys: Any
    ) -> list[str]:
        """Say something in a room, and return the texts that were said there since the last call.

        Those that `user` alone was told come last; `room` keeps them apart, and does more.

        Args:
            text: What is said.
            service: "irc", "slack" or another.
            user: Who says it.
            channel: The room.
            keys: Further keys of `chat.message`, such as `mention=True`.
        """
        room = self.room(channel, service, str(keys.pop("network", "test")))
        return room.say(text, user, **keys) + room.told(user)

    def room(
        self, channel: str = "#test", service: str = "irc", network: str = "test", *, direct: bool = False
    ) -> Room:
        """Return a room, in which people say something and consumers answer; the same one each time.

        Args:
            channel: Its name.
            service: "irc", "slack" or another.
            network: The network or workspace.
            direct: It is a private chat, and `channel` the other person's name.
        """
        name = conversation_channel(service, network, channel)
        if name not in self._rooms:
            self.converse(name, Room(self, service, network, channel, direct))
        return self._rooms[name]

    # time and other channels

    def advance(self, seconds: float) -> None:
        """Let time pass, and the consumers finish what becomes due, in steps of at least 0.1 s."""
        step = max(_STEP, seconds / _STEPS)
        end = self.clock() + seconds
        self.settle()
        # By what is left, not by a count: many steps add up to a little less, and what is due at the end were not.
        while (left := end - self.clock()) > 0:
            self.clock.advance(min(step, left))
            self.settle()

    def next_message(self, channel: str) -> Message | None:
        """Take the next message of a channel no route listens to; None where there is none."""
        self.settle()
        name, content = self.layer.receive([channel])
        return None if name is None or content is None else Message(content, name, self.layer)

    def settle(self) -> None:
        """Let the consumers finish whatever waits for them.

        Raises:
            RuntimeError: they never do, since each message leads to another.
        """
        if self._announced + ANNOUNCE <= self.clock():
            self._announced = self.clock()
            self.layer.announce(_LISTENER, {"channels": {"email.send": False}})
        for _ in range(_BUSY):
            if not self.worker.step() + self._turns.run():
                return
        raise RuntimeError("the consumers do not come to an end: does one send to its own channel?")

    def close(self) -> None:
        """End the worker and its loop, and close the layer; no test needs it."""
        self.worker.close()
        self.layer.close()

    # what a server would do

    def new_id(self) -> str:
        """Return an id that is not taken."""
        return next(self._ids)

    def publish(self, channel: str, content: dict[str, Any], local: str | None = None, inbox: str = _INBOX) -> None:
        """Publish a message as a server would: a notification only where a worker listens.

        Args:
            channel: The channel.
            content: The message.
            local: Whom an answer goes to; None: the content has its reply channel.
            inbox: Where that is.
        """
        form = message_formats.get(channel)
        assert form is not None, "servers publish what has a format"
        if form.notification and channel not in self.worker.channels:
            return
        message = content if local is None else {"reply_channel": inbox + local, **content}
        form.validate(message)
        waiting = self._held_back.get(message.get("reply_channel", ""))
        if waiting is not None:
            waiting.append((channel, message))
        else:
            self._send(channel, message, form)

    def _send(self, channel: str, message: dict[str, Any], form: message_formats.Format | None) -> None:
        if channel in self.worker.ordered and form is not None and form.reply is not None:
            self._held_back.setdefault(message["reply_channel"], deque())
        if form is not None and form.notification:  # behind the end of the memberships of what was closed
            self._turns.call_soon(self.layer.send, channel, message)
        else:
            self.layer.send(channel, message)

    def _done(self, reply_channel: str) -> None:
        """Go on with what was held back behind a message of an `@ordered` channel."""
        waiting = self._held_back.pop(reply_channel, None)
        if waiting:
            channel, message = waiting.popleft()
            self._send(channel, message, message_formats.get(channel))
            if waiting:
                self._held_back[reply_channel] = waiting

    def converse(self, name: str, room: Room) -> None:
        """Have what is sent to a reply channel said in a room: one for itself, and one for each of its threads."""
        inbox, mark, _ = name.partition("!")
        if inbox + mark not in self._inboxes:
            self._inboxes[inbox + mark] = self._open(inbox + mark, True)
        if name not in self._rooms:
            self._rooms[name] = room
            for message in self._early.pop(name, ()):
                room.deliver(message)

    def forget(self, local: str) -> None:
        """Close what an answer could go to; it leaves its groups."""
        self._answers.pop(local, None)
        self._sockets.pop(local, None)
        self._inboxes[_INBOX].gone(local)

    def _open(self, name: str, lasting: bool) -> Any:
        def receive(items: Sequence[Any]) -> None:
            for group, locals_, message in items:
                for local in locals_:
                    self._deliver(name, local, message, group is not None)

        return self.layer.open_inbox(name, loop=cast(Any, self._turns), receive=receive, lasting=lasting)

    def _deliver(self, inbox: str, local: str, message: dict[str, Any], grouped: bool) -> None:
        if "done" in message and not grouped:
            if "later" not in message:
                self._done(inbox + local)
        elif local in self._sockets:
            self._sockets[local].deliver(message, grouped)
        elif local in self._answers:
            self._answers[local].append(message)
        elif inbox + local in self._rooms:
            self._rooms[inbox + local].deliver(message)
        elif inbox not in (_INBOX, _MAIL_INBOX):
            self._early.setdefault(inbox + local, []).append(message)

    def _await(self, found: Callable[[], T], timeout: float) -> T:
        """Wait as a server would, at most so long, on the test's clock."""
        self.settle()
        until = self.clock() + timeout
        while not (result := found()) and self.clock() < until:
            self.clock.advance(_STEP)
            self.settle()
        return result

    def _ask(self, channel: str, content: dict[str, Any], timeout: float) -> tuple[int, str]:
        local = next(self._ids)
        answers = self._answers[local] = deque()
        self.publish(channel, content, local, _MAIL_INBOX)
        self._await(lambda: bool(answers), timeout)
        self.forget(local)
        if not answers:
            return 451, "4.3.0 no answer in time"
        answer = answers[0]
        if answer.get("accept", True):
            return answer.get("code") or 250, answer.get("text") or "2.0.0 OK"
        return answer.get("code") or 550, answer.get("text") or "5.7.1 Refused"

    def _received(
        self, address: str, sender: str | None, raw: bytes, authentication: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        parsed = parse_mail(raw)
        channels = {at: self._body("email.body?", part.read()) for at, (_, part) in enumerate(parsed.large)}
        message = receive_message(
            parsed,
            reply_channel="",
            id=mail_id(sender, address, parsed.fields.get("message_id", ""), raw),
            address=address,
            sender=sender,
            to=[address],
            client=["192.0.2.1", 50000],
            helo="client.example",
            authentication=authentication,
            body_channels=channels,
        )
        del message["reply_channel"]
        return message

    def _headers(self, headers: Iterable[Header]) -> list[list[bytes]]:
        given = [[_bytes(name).lower(), _bytes(value)] for name, value in headers]
        names = {name for name, _ in given}
        if self.cookies and b"cookie" not in names:
            given.append([b"cookie", _bytes("; ".join(f"{name}={value}" for name, value in self.cookies.items()))])
        return given if b"host" in names else [[b"host", b"localhost"], *given]

    def _keep_cookies(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep what a response sets, as a browser does that knows one site; Max-Age=0 removes it (RFC 6265, 5.2.2)."""
        for header, line in headers:
            if header.lower() == b"set-cookie":
                pair, *attributes = line.decode("latin-1").split("; ")
                name, _, value = pair.partition("=")
                self.cookies[name] = value
                if "Max-Age=0" in attributes:
                    del self.cookies[name]

    def _body(self, family: str, body: bytes) -> str:
        """Put a body onto a channel of its own, whole: nobody could go on putting while a consumer reads it."""
        name = self.layer.new_channel(family)
        for start in range(0, len(body), _CHUNK):
            more = start + _CHUNK < len(body)
            self.layer.send(name, {"content": body[start : start + _CHUNK], **({"more_content": True} if more else {})})
        return name

    def _take(self, channel: str) -> list[dict[str, Any]]:
        taken = []
        while (found := self.layer.receive([channel])[1]) is not None:
            taken.append(found)
        return taken


def _bytes(text: bytes | str) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _response(answers: Sequence[dict[str, Any]]) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
    """Put a response together; None as long as its end is not there."""
    body = b""
    for at, answer in enumerate(answers):
        if at and "status" in answer:
            raise ConnectionResetError("the response was cut: the consumer failed after it had begun")
        body += answer.get("content", b"")
        if not answer.get("more_content", False):
            headers = [(bytes(name), bytes(value)) for name, value in answers[0].get("headers", ())]
            return answers[0]["status"], headers, body
    return None


def _mail(address: str, text: str, subject: str, sender: str | None, number: str) -> bytes:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender or "mailer-daemon@example.org"
    mail["To"] = address
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{number}@client.example>"
    mail.set_content(text)
    return mail.as_bytes()

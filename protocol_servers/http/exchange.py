"""One HTTP request on the bus: its message, the rest of its body, and the messages that answer it.

A body up to 64 KiB travels inside the `http.request`. Of a larger one the first 64 KiB do; the rest goes through a
channel of its own, at most `AHEAD` chunks beyond what the consumer has taken, and while that is reached the client
is not read from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import Connection, Message, Refusal
from ..http_core import BadResponse, Request, ResponseStream, plain

if TYPE_CHECKING:
    from .server import HttpServer

REQUEST = "http.request"
DISCONNECT = "http.disconnect"
BODY = "http.request.body?"
CHUNK = 65536  # bytes of a body that travel in one message
AHEAD = 16  # chunks on the channel that the consumer has not taken, at most: fewer where it holds fewer


class Exchange:
    """A request that is published, and answered from the bus.

    Args:
        server: whose request this is.
        request: the request.
        stream: what to answer on.
    """

    __slots__ = (
        "_ahead",
        "_ahead_most",
        "_body",
        "_channel",
        "_complete",
        "_connection",
        "_request",
        "_server",
        "_size",
        "_started",
        "_stream",
        "_taken",
        "_waits",
    )

    def __init__(self, server: HttpServer, request: Request, stream: ResponseStream) -> None:
        self._server = server
        self._request = request
        self._stream = stream
        self._connection: Connection | None = None
        self._body: bytes | bytearray = b""  # what was read of the body and not published
        self._size = 0  # bytes of the body read
        self._channel: str | None = None
        self._taken = False  # the layer took the request, so that there can be a reader of the channel
        self._ahead = 0
        self._ahead_most = AHEAD
        self._complete = False  # the body was read to its end
        self._waits = False  # the client is not read from
        self._started = False

    # What the connection calls

    def body(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._size += len(data)
        if not self._body:
            self._body = data
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += data
        if self._channel is not None:
            self._pump()
        elif self._size > CHUNK:
            inbox = self._server.inbox
            self._channel = inbox.new_channel(BODY)
            # One that was refused would be a hole in the body: the others are on their way before that is known.
            self._ahead_most = min(AHEAD, inbox.capacity(self._channel))
            self._publish(self._take())

    def end(self) -> None:
        """Publish what is still to be published of the complete request."""
        self._complete = True
        if self._channel is None:
            body, self._body = self._body, b""
            self._publish(bytes(body) if body else b"")
        else:
            self._pump()

    def lost(self) -> None:
        """Tell the consumer that its client is gone, if one can have heard of it."""
        connection = self._connection
        if connection is not None and connection.state is self:
            self._server.stats["clients_left"] += 1
            self._server.notify(DISCONNECT, {"reply_channel": connection.reply_channel, "path": self._request.path})
            self._close(connection)

    # What the server calls

    def misunderstood(self, error: BadResponse) -> None:
        """Answer that the answer, or a part of it, is none."""
        self._server.stats["bad_responses"] += 1
        assert self._connection is not None
        self._server.logger(self._connection).error(
            "%s %s: the answer is no response: %s", self._request.method, self._request.path, error
        )
        self._fail(500, "the answer to this request was no HTTP response")

    def deliver_group(self, message: Message) -> None:
        """Take a group's message: whatever fits answers, what does not was meant for others."""
        try:
            self.deliver(message)
        except BadResponse as error:
            assert self._connection is not None
            self._server.unfit(self._connection, str(error))

    def refuse(self, refusal: Refusal) -> None:
        """Answer that the layer did not take the request, or a chunk of its body, as far as it knows."""
        if self._started and self._complete and not self._taken:
            return  # an answer has begun: it took the request after all
        self._fail(413 if refusal is Refusal.TOO_LARGE else 503, refusal.text)

    def timed_out(self) -> None:
        """Answer that nobody answers."""
        self._fail(504, self._server.why_silent(REQUEST, self._server.settings.response_timeout))

    def credited(self, count: int) -> None:
        """Send on: the consumer took chunks."""
        self._ahead -= count
        self._wait_for_answer()
        self._pump()

    # The request

    def _publish(self, body: bytes) -> None:
        server, request = self._server, self._request
        connection = self._connection = server.open(self)
        message: Message = {
            "reply_channel": connection.reply_channel,
            "http_version": request.http_version,
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "query_string": request.query_string,
            "root_path": "",
            "headers": request.headers,
            "body": body,
        }
        if self._channel is not None:
            message["body_channel"] = self._channel
        if request.client is not None:
            message["client"] = request.client
        if request.server is not None:
            message["server"] = request.server
        timeout = server.settings.response_timeout
        if self._channel is None:
            server.publish(REQUEST, message, connection, expiry=timeout)
        else:
            server.inbox.send(REQUEST, message, expiry=timeout, then=self._sent)
        server.timers.set(connection, timeout)

    def _sent(self, outcome: object) -> None:
        """Send the rest of the body behind the request, unless the layer refused that."""
        connection = self._connection
        if connection is None:
            return
        if self._started and self._server.in_doubt(outcome):
            outcome = True  # an answer has begun: it took the request after all
        if isinstance(outcome, Exception):
            if not getattr(outcome, "uncertain", False):
                self._channel = None  # nobody will ever read it
            connection.sent(outcome)
        else:
            self._taken = True
            self._pump()

    def _take(self) -> bytes:
        """Take one chunk of the body."""
        chunk = bytes(self._body[:CHUNK])
        self._body = self._body[CHUNK:]
        return chunk

    def _pump(self) -> None:
        """Send chunks as far as they may be sent; a small one waits for more to come while others are on their way."""
        if self._taken:
            while self._ahead < self._ahead_most and self._is_worth_sending():
                self._send_chunk({"content": self._take(), "more_content": True})
            if self._complete and len(self._body) <= CHUNK and self._channel is not None:
                # The last chunk has room in every channel.
                self._send_chunk({"content": bytes(self._body)}, last=True)
                self._body = b""
                self._channel = None
        waits = len(self._body) > CHUNK
        if waits is not self._waits:
            self._waits = waits
            if waits:
                self._stream.pause_body()
            else:
                self._stream.resume_body()

    def _is_worth_sending(self) -> bool:
        size = len(self._body)
        if size > CHUNK:
            return True
        if not size or self._complete or self._size == self._request.length:
            return False  # there is nothing, or it is the last chunk: `end` has said so or will
        return not self._ahead or size == CHUNK

    def _send_chunk(self, chunk: Message, last: bool = False) -> None:
        assert self._channel is not None
        self._ahead += 1
        self._wait_for_answer()
        self._server.publish(self._channel, chunk, self._connection, credit=True, last=last)

    def _wait_for_answer(self) -> None:
        """Let the time for an answer begin anew."""
        if not self._started and self._connection is not None:
            self._server.set_timer(self._connection, self._server.settings.response_timeout)

    # The response

    def deliver(self, message: Message) -> None:
        """Take a message of the reply channel: the response, or a part of it.

        Raises:
            BadResponse: it is neither; nothing was sent of it.
        """
        get = message.get
        status = get("status")
        content = get("content")
        if content is None:
            content = b""
        more = get("more_content") is True
        if not self._started:
            if status is None:
                if message.get("request") is None:
                    raise BadResponse("its first message has no status")
                self._server.stats["ignored_pushes"] += 1  # a server push of ASGI 1.0, which clients have given up
                return
            ended = self._stream.start(status, get("headers") or (), content, more)
            self._started = True
            if not ended and self._connection is not None:
                self._server.clear_timer(self._connection)
        elif status is None:
            ended = self._stream.write(content, more)
        else:
            self._server.stats["second_statuses"] += 1
            self._drop()
            return
        if ended and self._connection is not None:
            self._close(self._connection)

    def _fail(self, status: int, reason: str) -> None:
        """Answer in the consumer's place; where its answer has begun, cut it off."""
        if self._started:
            self._drop()
            return
        self._stream.start(*plain(status, reason))
        if self._connection is not None:
            self._close(self._connection)

    def _drop(self) -> None:
        connection = self._connection
        if connection is not None:
            self._close(connection)
        self._stream.cut()

    def _close(self, connection: Connection) -> None:
        """End on the bus; whoever still reads the body learns that no more of it comes."""
        self._connection = None
        if self._channel is not None:
            self._server.publish(self._channel, {"content": b"", "closed": True}, last=True)
            self._channel = None
        self._server.close(connection)

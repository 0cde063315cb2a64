"""A workspace's app as Slack sees it: its tokens, how it is told of things, what it calls, and trouble with both."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import aiohttp

from .delivery import Courier, Delivery
from .faults import Call, Fault, Faults, bursts
from .requests import Requests, RequestUrls, signed
from .shapes import Person, Room, Shape
from .sockets import SocketConnection, Sockets
from .state import SlackState

T = TypeVar("T")


class Host(Protocol):
    """What an app needs of the service that holds it."""

    address: str
    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    changed: threading.Condition
    retries: Sequence[float]
    patience: float
    socket_lifetime: float
    connection_age: float | None
    ping_interval: float

    def locked(self, function: Callable[[], None]) -> None:
        """Call a function with the lock held, and wake who waits."""


class SlackApp:
    """An app that is installed in a workspace.

    Attributes:
        state: What the workspace holds.
        app_token: "xapp-…", for Socket Mode.
        bot_token: "xoxb-…", for everything else.
        signing_secret: What HTTP requests are signed with.
        tokens: What each valid token is for: "bot" or "app".
        scopes: The scopes of the bot's token; None for all.
        subscribed: The event types that the app is told of; None for all.
        calls: Every call of the Web API.
        faults: The trouble that was scripted, and whether the tiers' limits are kept.
        trigger_lifetime: Seconds that a trigger is good for; Slack's is 3.
    """

    def __init__(self, state: SlackState, host: Host, answered: Callable[[Delivery], None]) -> None:
        self.state = state
        self.app_token = f"xapp-1-{state.app_id}-{secrets.token_hex(8)}"
        self.bot_token = f"xoxb-{state.team_id}-{secrets.token_hex(8)}"
        self.signing_secret = secrets.token_hex(16)
        self.verification_token = secrets.token_hex(8)
        self.tokens = {self.app_token: "app", self.bot_token: "bot"}
        self.scopes: set[str] | None = None
        self.subscribed: set[str] | None = None
        self.calls: list[Call] = []
        self.faults = Faults()
        self.trigger_lifetime = 60.0
        self.triggers: dict[str, float] = {}
        self._host = host
        self._changed = host.changed
        self._courier = Courier(
            host.loop,
            clock=time.monotonic,
            make_id=lambda: secrets.token_hex(16),
            retries=host.retries,
            patience=host.patience,
            locked=host.locked,
            answered=answered,
        )
        self.sockets = Sockets(
            self._courier,
            state.app_id,
            address=f"{host.address.replace('http', 'ws', 1)}/link/{state.team_id}",
            clock=time.monotonic,
            make_ticket=lambda: secrets.token_hex(16),
            lifetime=host.socket_lifetime,
            age=host.connection_age,
            ping_interval=host.ping_interval,
            locked=host.locked,
        )
        self._requests: Requests | None = None
        self._courier.carrier = self.sockets

    @property
    def bot(self) -> Person:
        """The app's bot."""
        return self.state.bot

    @property
    def team_id(self) -> str:
        """The workspace's id, "T…"."""
        return self.state.team_id

    @property
    def api_url(self) -> str:
        """The Web API's address, which ends in "/api/"."""
        return f"{self._host.address}/api/"

    # Telling the app

    def event(self, event: Shape, room: Room | None = None) -> list[str]:
        """Tell the app of an event, if it has subscribed to it and its bot is in the room.

        Returns:
            The event's id, or nothing.
        """
        with self._changed:
            if self.subscribed is not None and event["type"] not in self.subscribed:
                return []
            if room is not None and self.bot.id not in room.members:
                return []
            event_id = self.state.new_id("Ev")
            payload = {
                "token": self.verification_token,
                "team_id": self.team_id,
                "context_team_id": self.team_id,
                "context_enterprise_id": None,
                "api_app_id": self.state.app_id,
                "event": event,
                "type": "event_callback",
                "event_id": event_id,
                "event_time": int(float(event.get("event_ts", time.time()))),
                "authorizations": [
                    {
                        "enterprise_id": None,
                        "team_id": self.team_id,
                        "user_id": self.bot.id,
                        "is_bot": True,
                        "is_enterprise_install": False,
                    }
                ],
                "is_ext_shared_channel": False,
                "event_context": f"4-{event_id}",
            }
            # A snapshot: what is edited later does not change what is told, nor what is told again.
            self.post(Delivery("events_api", event_id, json.loads(json.dumps(payload)), room.id if room else None))
            return [event_id]

    def post(self, delivery: Delivery) -> Delivery:
        """Tell the app of anything."""
        with self._changed:
            self._courier.deliveries.append(delivery)
            self._later(lambda: self._courier.attempt(delivery))
            self._changed.notify_all()
            return delivery

    def use_http(self, *, events: str = "", commands: str = "", interactivity: str = "") -> None:
        """Tell the app by signed requests to these addresses from now on; without any, by Socket Mode again."""
        urls = RequestUrls(events, commands, interactivity)
        requests = Requests(
            self._courier,
            urls,
            secret=self.signing_secret,
            session=self._host.session,
            wall=time.time,
            patience=self._host.patience,
            locked=self._host.locked,
        )
        with self._changed:
            self._requests = requests
            self._courier.carrier = requests if events or commands or interactivity else self.sockets

    def verify_url(self, url: str) -> tuple[int, bytes]:
        """Ask an address to prove that it is the app's, as Slack does when it is entered.

        Returns:
            The status and body of the answer; the body has to hold the challenge, which is "challenge-of-slack".
        """
        body = {"token": self.verification_token, "challenge": "challenge-of-slack", "type": "url_verification"}
        return self.request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def request(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Send one signed request, or, with headers that say so, one that is signed wrongly.

        Args:
            url: The address.
            body: The body.
            headers: Headers, which stand before those of the signature.

        Returns:
            The status and body of the answer.
        """

        async def posting() -> tuple[int, bytes]:
            head = self.sign(body) | dict(headers or {})
            timeout = aiohttp.ClientTimeout(total=30)
            async with self._host.session.post(url, data=body, headers=head, timeout=timeout) as response:
                return response.status, await response.read()

        return asyncio.run_coroutine_threadsafe(posting(), self._host.loop).result(40)

    def sign(self, body: bytes, at: float | None = None) -> dict[str, str]:
        """Return the headers that sign a body, at a time in Unix seconds (default: now)."""
        return signed(self.signing_secret, body, time.time() if at is None else at)

    @property
    def deliveries(self) -> list[Delivery]:
        """Everything that the app was to be told."""
        with self._changed:
            return list(self._courier.deliveries)

    def delivery(self, event_id: str) -> Delivery:
        """Return what the app is told by an event id or trigger id."""
        return next(each for each in self.deliveries if each.id == event_id)

    def undelivered(self) -> list[Delivery]:
        """Return what the app has not acknowledged."""
        return [each for each in self.deliveries if not each.acknowledged]

    @property
    def acknowledgements(self) -> int:
        """How many acknowledgements came, repeated ones too."""
        return self._courier.acknowledgements

    @property
    def strays(self) -> int:
        """How many acknowledgements were of what was never sent."""
        return self._courier.strays

    def retry_now(self) -> None:
        """Tell the app again of all that it has not acknowledged and that is not under way, what Slack gave up too."""
        self._later(lambda: self._courier.retry_now())

    def again(self, delivery: Delivery) -> None:
        """Tell the app again of something, even if it has acknowledged it."""
        self._later(lambda: self._courier.attempt(delivery))

    # Its connections

    @property
    def connections(self) -> list[SocketConnection]:
        """Its open WebSockets."""
        with self._changed:
            return list(self.sockets.connections)

    def wait_connected(self, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until the app has opened WebSockets.

        Raises:
            TimeoutError: It has not within ``timeout`` seconds.
        """
        self.wait(lambda: len(self.sockets.connections) >= count, timeout)

    def disconnect(self, reason: str = "refresh_requested") -> None:
        """Announce the end of the app's WebSockets; the app opens new ones and closes these.

        Args:
            reason: "warning", "refresh_requested", or "link_disabled", which ends them at once.
        """
        self._later(lambda: self.sockets.disconnect(reason))

    def close_connections(self) -> None:
        """Close the app's WebSockets as Slack does, without a word before."""
        self._each_connection(SocketConnection.close)

    def cut_connections(self) -> None:
        """Cut the app's WebSockets, as a network does."""
        self._each_connection(SocketConnection.cut)

    def freeze_connections(self) -> None:
        """Let the app's WebSockets stay open, and nothing pass through them any more, pings included."""
        self._each_connection(SocketConnection.freeze)

    def _each_connection(self, act: Callable[[SocketConnection], None]) -> None:
        def acting() -> None:
            for connection in tuple(self.sockets.connections):
                act(connection)

        self._later(acting)

    # Its calls

    def called(self, method: str) -> list[Call]:
        """Return the calls of one method."""
        with self._changed:
            return [call for call in self.calls if call.method == method]

    def bursts(self) -> dict[tuple[str, str | None], float]:
        """Return how the calls kept the pace of their tiers: 1.0 is an even pace (`faults.bursts`)."""
        with self._changed:
            return bursts(self.calls, self.faults.speed)

    def enforce_limits(self, *, burst: int = 1, speed: float = 1.0) -> None:
        """Keep the limits of the tiers from now on, with 429.

        Args:
            burst: How many calls may come at once.
            speed: How many times as fast as Slack's the limits are, so that a test need not last minutes.
        """
        with self._changed:
            self.faults.enforced, self.faults.burst, self.faults.speed = True, burst, speed

    def fail(
        self,
        method: str | None = None,
        error: str = "",
        *,
        times: int = 1,
        channel: str | None = None,
        status: int = 200,
    ) -> Fault:
        """Let calls fail.

        Args:
            method: The method; None for whatever is called next.
            error: Slack's word for it, such as "internal_error"; "" for an answer that is no JSON.
            times: How many calls.
            channel: Only those that name this channel.
            status: The HTTP status, such as 503.
        """
        return self._plan(channel, Fault(method, times=times, error=error, status=status))

    def limit(
        self, method: str | None = None, retry_after: int = 1, *, times: int = 1, channel: str | None = None
    ) -> Fault:
        """Let calls be answered with 429, and the seconds after which to come again."""
        return self._plan(channel, Fault(method, times=times, status=429, error="ratelimited", retry_after=retry_after))

    def delay(self, method: str | None, seconds: float, *, times: int = 1, channel: str | None = None) -> Fault:
        """Let answers take longer."""
        return self._plan(channel, Fault(method, times=times, delay=seconds))

    def cut(
        self, method: str | None = None, *, done: bool = False, times: int = 1, channel: str | None = None
    ) -> Fault:
        """Let the connection be cut instead of an answer, before or after the call was ``done``."""
        return self._plan(channel, Fault(method, times=times, cut="after" if done else "before"))

    def answer(self, method: str, answer: Shape, *, times: int = 1, channel: str | None = None) -> Fault:
        """Let calls be answered with this, whatever they are."""
        return self._plan(channel, Fault(method, times=times, answer=answer))

    def revoke(self, token: str | None = None) -> None:
        """Revoke a token, or the bot's: calls with it end with "token_revoked", and the app is told."""
        with self._changed:
            token = self.bot_token if token is None else token
            self.tokens[token] = "revoked"
            if token == self.bot_token:
                ts = self.state.new_ts()
                self.event({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [self.bot.id]}, "event_ts": ts})

    def _plan(self, channel: str | None, fault: Fault) -> Fault:
        with self._changed:
            fault.room = None if channel is None else self.state.room(channel).id
            self.faults.planned.append(fault)
            return fault

    # Waiting

    def wait(self, condition: Callable[[], T], timeout: float = 30.0) -> T:
        """Wait until a condition on the workspace holds; return what made it so.

        Raises:
            TimeoutError: It does not hold after ``timeout`` seconds.
        """
        with self._changed:
            found = self._changed.wait_for(condition, timeout)
            if not found:
                raise TimeoutError(f"not within {timeout} s")
            return found

    def wait_delivered(self, timeout: float = 30.0) -> None:
        """Wait until the app has acknowledged everything.

        Raises:
            TimeoutError: It has not within ``timeout`` seconds.
        """
        self.wait(lambda: not self.undelivered(), timeout)

    def _later(self, function: Callable[[], Any]) -> None:
        """Have something done on the service's loop, in the order of the calls."""
        self._host.loop.call_soon_threadsafe(self._host.locked, function)

    async def close(self) -> None:
        """End everything, on the service's loop."""
        self._courier.close()
        if self._requests is not None:
            await self._requests.close()
        for connection in tuple(self.sockets.connections):
            connection.cut()

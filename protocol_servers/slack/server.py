"""The Slack server: one workspace, between Slack and the bus.

    Socket Mode ─┐                                                      ┌─► the layer
                 ├─► Receiver (filter, names, put with `once`) ─► inbox ┘        │
    Events API ──┘        └─► acknowledged when the layer has it                 ▼
    Web API ◄── Speaker ◄── Seat, the lease on slack.reply.<workspace>! ◄────────┘

Every process of a workspace receives, by an inbox of its own that nothing is ever sent to; the one that holds the
lease on the workspace's inbox speaks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...layer import Layer, LayerError
from ...layer.backoff import Backoff
from ...message_formats.conversation import conversation_channel
from ...message_formats.slack import emoji_name, to_slack
from ...operations.errors import StartError
from ..base import Message, ProtocolServer
from ..http_core.hooks import HookFactory
from ..traces import places_of
from .blobs import LayerBlobs
from .events_api import EventsApi
from .limiter import LayerState, Limiter
from .mapping import Delivery, Identity, Mapper
from .names import Names, as_name
from .receiving import Outcome, Receiver
from .rooms import Rooms
from .seat import Seat
from .settings import SlackSettings, WorkspaceSettings
from .signature import Signatures
from .socket_mode import Pace, SocketMode
from .speaking import Speaker
from .web_api import RateLimited, Refused, SlackCallError, WebApi

WINDOW = 900.0  # seconds that a repetition is recognised; Slack's last comes after six minutes
START = 10.0  # seconds that Slack may take for its first answer
CHECK = 60.0  # seconds between two questions whether Slack still takes the token
_FINISH = 3.0  # seconds for what was begun to be acknowledged, at the end
_KINDS = ("events_api", "slash_commands", "interactive")
# Slack's words for a token that is wrong, of another kind, or taken back.
_BAD_TOKEN = frozenset(
    (
        "account_inactive", "access_denied", "ekm_access_denied", "enterprise_is_restricted", "invalid_auth",
        "not_allowed_token_type", "not_authed", "org_login_required", "team_access_not_granted", "token_expired",
        "token_revoked",
    )
)  # fmt: skip


class SlackServer(ProtocolServer):
    """Be an app of one workspace.

    Args:
        layer: The channel layer.
        settings: The workspace's.
        network: Its name.
        reactor: Twisted's asyncio reactor.
        clock: A monotonic clock in seconds.
        draw: Returns a number from 0 up to 1; the source of jitter.
        limit_speed: How many times faster than Slack's own the limits of the Web API are; for servers that are not
            Slack.

    Attributes:
        pace: The times of Socket Mode.
        check_interval: Seconds between two questions whether Slack still takes the token.
    """

    name = "slack"
    extra = "slack"
    Settings = SlackSettings
    settings: WorkspaceSettings

    def __init__(
        self,
        layer: Layer,
        settings: WorkspaceSettings,
        *,
        network: str,
        reactor: Any,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        limit_speed: float = 1.0,
    ) -> None:
        self.network = network
        super().__init__(layer, settings, reactor=reactor, clock=clock)
        self.pace = Pace()
        self.check_interval = CHECK
        self._draw = draw
        self._known = False  # who we are
        self._token_problem: str | None = None
        self._recheck = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._limiter = Limiter(LayerState(layer, self.loop), network, speed=limit_speed, stats=self.stats)
        bot, app = settings.bot_token, settings.app_token
        self._api = WebApi(lambda: bot.value, settings.api_url)
        self._app = None if app is None else WebApi(lambda: app.value, settings.api_url)
        self._socket: SocketMode | None = None
        self._hooks: HookFactory | None = None
        self.names = Names(self._ask, spawn=self._spawn, clock=clock, stats=self.stats)
        self.mapper = Mapper(network, self.names, include_raw=settings.include_raw)
        self.receiver = Receiver(
            self.mapper,
            self.names,
            self,
            follow=self._follow,
            network=network,
            clock=clock,
            stats=self.stats,
            log=self.log,
        )
        self.rooms = Rooms(
            self._ask,
            self.names,
            ready=self.mapper.ready,
            wanted=self.wanted,
            put=self.put,
            spawn=self._spawn,
            network=network,
            stats=self.stats,
            log=self.log,
        )
        self.speaker = Speaker(
            network,
            self._api,
            self._limiter,
            self.names,
            LayerBlobs(layer, self.loop),
            token=lambda: bot.value,
            encode=self._encode,
            emoji=emoji_name,
            emit=self._emit,
            give_back=lambda conversation, message: self._seat.give_back(conversation, message),
            secure=settings.api_url.startswith("https://"),
            stats=self.stats,
        )
        self._seat = Seat(
            layer,
            network,
            loop=self.loop,
            voice=self.speaker,
            taken=self._took_seat,
            send=lambda channel, message, then: self.inbox.send(channel, message, then=then),
            stats=self.stats,
            log=self.log,
            draw=draw,
        )

    @classmethod
    def instances(cls, layer: Layer, settings: SlackSettings, *, reactor: Any) -> Sequence[SlackServer]:
        """Return a server for each workspace."""
        return [cls(layer, each, network=name, reactor=reactor) for name, each in settings.workspaces.items()]

    def inbox_name(self) -> str:
        """Return the name of this process' inbox, by which it sends; replies come to the workspace's."""
        return f"slack.process.{self.process_id}!"

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that speaks in the workspace."""
        return self._seat.held

    @property
    def serves(self) -> bool:
        """Whether Slack takes its token."""
        return self._token_problem is None and super().serves

    def problems(self) -> list[str]:
        """Return what a person has to do something about, a line each."""
        socket = None if self._socket is None else self._socket.problem
        found = (self._token_problem or self.speaker.problem, socket)
        problems = [f"{self.title}: {each}" for each in found if each is not None]
        if not self._known:
            problems.append(f"{self.title}: Slack did not answer yet")
        return problems

    # Life

    async def listen(self) -> None:
        """Ask Slack who we are, and begin to hear and to speak; Slack being away is no reason not to start.

        Raises:
            StartError: Slack refuses a token, or a port is taken.
            UsageError: An endpoint's description makes no sense.
        """
        settings = self.settings
        await self._api.open()
        try:
            async with asyncio.timeout(START):
                await self._introduce()
        except Refused as error:
            raise StartError(f"slack.{self.network}: Slack does not take bot_token: {error}") from None
        except (SlackCallError, TimeoutError) as error:
            self.log.warning("%s: Slack does not answer: %s", self.network, error or "too slow")
        if settings.endpoints:
            await self._listen_to_requests(settings)
        if self._app is not None:
            await self._app.open()
            await self._open_socket(self._app)
        await self._seat.start()
        self.peers = [f"{self.network} at {urlsplit(settings.api_url).hostname}"]
        self._spawn(self._watch())

    async def _listen_to_requests(self, settings: WorkspaceSettings) -> None:
        assert settings.signing_secret is not None
        requests = EventsApi(
            Signatures(settings.signing_secret),
            self.receiver.take,
            is_foreign=self.mapper.is_foreign,
            is_ready=lambda: self._known and not self.stopping,
            stats=self.stats,
        )
        self._hooks = HookFactory(dict.fromkeys(settings.paths.all(), requests.hook), self)
        await self.listen_on(settings.endpoints, self._hooks, "http")

    async def _open_socket(self, app: WebApi) -> None:
        socket = SocketMode(
            self._new_address,
            self._take_envelope,
            network=self.network,
            clock=self.clock,
            stats=self.stats,
            log=self.log,
            pace=self.pace,
            proxy=app.client.proxy,
            draw=self._draw,
        )
        try:
            await socket.start()
        except Refused as error:
            raise StartError(f"slack.{self.network}: Slack does not take app_token: {error}") from None
        self._socket = socket

    async def drain(self, grace: float) -> None:
        """Acknowledge what was begun, take nothing more, and say what waits to be said."""
        until = self.clock() + grace
        finish = min(_FINISH, grace / 2)
        hearing = [self._hooks.drain(finish)] if self._hooks is not None else []
        if self._socket is not None:
            hearing.append(self._socket.stop(finish))
        await asyncio.gather(*hearing)
        if not await self._seat.stop(max(until - self.clock(), 0.0) * 0.9):
            self.log.warning("%s: what became of some replies is not known", self.network)

    async def _end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.stop(0.0)
        await self._seat.close()
        await self._api.close()
        if self._app is not None:
            await self._app.close()
        await super()._end()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stats["failures"] += 1
            self.log.error("%s: something failed: %s", self.network, places_of(error))

    # Who we are

    async def _introduce(self) -> None:
        """Ask Slack who we are.

        Raises:
            Refused: It does not take the token.
            SlackCallError: It could not be asked.
        """
        try:
            answer = await self._api.call("auth.test", {})
        except Refused as error:
            if error.error in _BAD_TOKEN:
                raise
            self.log.warning("%s: Slack does not say who we are: %s", self.network, error)
            answer = {}
        names = (answer.get(key) for key in ("team_id", "user_id", "bot_id"))
        team, user, bot = (name if isinstance(name, str) else "" for name in names)
        self.mapper.identity = Identity(team, user, bot, as_name(answer.get("user")) or "")
        if not self._known:
            self._known = True
            self.log.info("%s: the workspace is %s", self.network, as_name(answer.get("team")) or team or "unknown")

    async def _watch(self) -> None:
        """Ask now and then whether Slack still takes the token."""
        backoff = Backoff(1.0, self.check_interval, draw=self._draw)
        while True:
            wait = self.check_interval if self._known else backoff.next()
            try:
                await asyncio.wait_for(self._recheck.wait(), wait)
            except TimeoutError:
                pass
            self._recheck.clear()
            try:
                await self._introduce()
            except Refused as error:
                self._report_token(f"Slack does not take bot_token: {error}")
            except RateLimited as error:
                await asyncio.sleep(error.retry_after)
            except SlackCallError:
                pass  # it is away, which the connections tell
            else:
                self._report_token(None)

    def _report_token(self, problem: str | None) -> None:
        if problem != self._token_problem:
            self._token_problem = problem
            if problem is not None:
                self.log.error("%s: %s", self.network, problem)
            else:
                self.log.info("%s: Slack takes bot_token again", self.network)

    async def _ask(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method for ourselves, at the pace that is allowed."""
        await self._limiter.wait(method)
        try:
            return await self._api.call(method, arguments)
        except RateLimited as error:
            await self._limiter.hold(method, error.retry_after)
            raise
        except Refused as error:
            if error.error in _BAD_TOKEN:
                self._recheck.set()
            raise
        finally:
            self._limiter.finished(method)

    # Hearing

    async def _new_address(self) -> str:
        assert self._app is not None
        answer = await self._app.call("apps.connections.open", {})
        address = answer.get("url")
        if not isinstance(address, str) or not address.startswith(("ws://", "wss://")):
            raise Refused("no address")
        return address

    async def _take_envelope(self, envelope: Mapping[str, Any]) -> bool:
        """Take an envelope of Socket Mode, and say whether to acknowledge it."""
        kind, payload = envelope.get("type"), envelope.get("payload")
        if kind not in _KINDS or not isinstance(payload, dict):
            self.stats["unfit_frames"] += 1
            return True
        if not self._known:
            return False
        if kind == "events_api" and self.mapper.is_foreign(payload):
            self.stats["foreign_events"] += 1
            return True
        retry = envelope.get("retry_attempt")
        retry = retry if isinstance(retry, int) else 0
        if retry:
            self.stats["retries"] += 1
        outcome = await self.receiver.take(Delivery(kind, payload, envelope["envelope_id"], retry))
        return outcome is not Outcome.REFUSED

    def wanted(self, channel: str) -> bool:
        """Return whether a notification is published; while the layer is away, Slack is to keep it."""
        try:
            return not self.available or super().wanted(channel)
        except LayerError:
            return True

    def put(self, channel: str, message: Message, once: str | None = None) -> asyncio.Future[Any]:
        """Send a message; the future has the layer's word on it.

        Raises:
            TypeError, ValueError: The message cannot travel.
        """
        outcome: asyncio.Future[Any] = self.loop.create_future()

        def landed(result: Any) -> None:
            if not outcome.done():
                outcome.set_result(result)

        self.inbox.send(channel, message, once=once, window=WINDOW, then=landed)
        return outcome

    def _follow(self, event: Mapping[str, Any]) -> None:
        """Keep up with what an event changes for us."""
        self.names.follow(event)
        channel = event.get("channel")
        room = channel.get("id") if isinstance(channel, dict) else channel
        ours = event.get("user") == self.mapper.identity.user != ""
        match event.get("type"):
            case "member_joined_channel" if ours and isinstance(room, str):
                self.rooms.joined(room)
            case "member_left_channel" if ours and isinstance(room, str):
                self._leave(room)
            case "channel_left" | "group_left" | "channel_deleted" | "group_deleted" if isinstance(room, str):
                self._leave(room)
            case "tokens_revoked" | "app_uninstalled":
                self._recheck.set()

    def _leave(self, room: str) -> None:
        self.rooms.left(room)
        self._seat.gone(conversation_channel("slack", self.network, room).removeprefix(self._seat.name))

    # Speaking

    def _took_seat(self) -> None:
        self.rooms.find()

    def _encode(self, text: str, notify: bool) -> str:
        return to_slack(text, notify=notify, user=self.names.user_id, room=self.names.room_id)

    def _emit(self, channel: str, message: Message) -> None:
        self.inbox.send(channel, message, then=self._sent)

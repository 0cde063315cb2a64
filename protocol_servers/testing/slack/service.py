"""A Slack in memory, on loopback, for the tests of apps: the Web API, Socket Mode, and signed requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from .responses import answered, respond
from .state import SlackState
from .web_api import WebApi
from .workspace import SlackWorkspace


class SlackService:
    """A Slack that an app is pointed at instead of slack.com.

        with SlackService() as slack:
            workspace = slack.workspace
            client = WebClient(workspace.bot_token, base_url=slack.api_url)
            client.chat_postMessage(channel="#general", text="hello")
            assert workspace.texts("general") == ["hello"]

    It listens on a free port of 127.0.0.1, in a thread of its own, from the moment it is made until `stop`.

    Args:
        name: What the first workspace is called.
        bot: The handle of the app's bot.
        retries: Seconds from a failed event to each of Slack's retries; Slack's own are 0, 60 and 300.
        patience: Seconds that an app has to acknowledge; Slack's are 3.
        socket_lifetime: Seconds that an address for a WebSocket is good for.
        connection_age: Seconds after which a WebSocket is to be refreshed, and after as many more is closed; None for
            never.
        ping_interval: Seconds between Slack's pings on a WebSocket.

    Attributes:
        address: "http://127.0.0.1:<port>".
        workspaces: Its workspaces, the first first.
    """

    def __init__(
        self,
        name: str = "acme",
        *,
        bot: str = "bot",
        retries: Sequence[float] = (0, 60, 300),
        patience: float = 3.0,
        socket_lifetime: float = 30.0,
        connection_age: float | None = None,
        ping_interval: float = 5.0,
    ) -> None:
        self.retries = retries
        self.patience = patience
        self.socket_lifetime = socket_lifetime
        self.connection_age = connection_age
        self.ping_interval = ping_interval
        self.changed = threading.Condition(threading.RLock())
        self.loop = asyncio.new_event_loop()
        self.address = ""
        self.session: aiohttp.ClientSession
        self.workspaces: list[SlackWorkspace] = []
        self._runner: web.AppRunner
        self._thread = threading.Thread(target=self._run, name="slack", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(30)
        self.add_workspace(name, bot=bot)

    @property
    def api_url(self) -> str:
        """The Web API's address, what slack_sdk calls `base_url`: ends in "/api/"."""
        return f"{self.address}/api/"

    @property
    def workspace(self) -> SlackWorkspace:
        """The first workspace."""
        return self.workspaces[0]

    def add_workspace(self, name: str, *, bot: str = "bot") -> SlackWorkspace:
        """Let there be another workspace, with an app of its own."""
        with self.changed:
            workspace = SlackWorkspace(SlackState(name, len(self.workspaces) + 1, bot, time.time), self, answered)
            self.workspaces.append(workspace)
            return workspace

    def locked(self, function: Callable[[], None]) -> None:
        """Call a function with the lock held, and wake who waits."""
        with self.changed:
            function()
            self.changed.notify_all()

    def stop(self) -> None:
        """Stop for good: connections are cut, and the thread ends."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(30)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # On the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    async def _start(self) -> None:
        self.session = aiohttp.ClientSession()
        api = WebApi(lambda: self.workspaces, self.locked)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/api/{method}", api.serve)
        app.router.add_get("/link/{team}", self._serve_socket)
        app.router.add_post("/upload/{team}/{file}", self._take_upload)
        app.router.add_get("/files-pri/{file}/{name}", self._give_file)
        app.router.add_post("/response/{team}/{key}", self._take_response)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        for workspace in self.workspaces:
            await workspace.close()
        await self._runner.cleanup()
        await self.session.close()
        answering = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in answering:  # what a test has made slow
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    def _workspace(self, request: web.Request) -> SlackWorkspace:
        team = request.match_info["team"]
        for workspace in self.workspaces:
            if workspace.team_id == team:
                return workspace
        raise web.HTTPNotFound

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        sockets = self._workspace(request).sockets
        if not sockets.take_ticket(request.query.get("ticket", "")):
            raise web.HTTPRequestTimeout
        return await sockets.serve(request)

    async def _take_upload(self, request: web.Request) -> web.StreamResponse:
        workspace, file_id = self._workspace(request), request.match_info["file"]
        content = await _content(request)
        length = workspace.uploads.get(file_id)
        if length is None:
            raise web.HTTPNotFound
        if length != len(content):
            return web.Response(status=400, text=f"expected {length} bytes, got {len(content)}")
        self.locked(lambda: setattr(workspace.state.files[file_id], "content", content))
        return web.Response(text=f"OK - {length}")

    async def _give_file(self, request: web.Request) -> web.StreamResponse:
        team, _, file_id = request.match_info["file"].partition("-")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for workspace in self.workspaces:
            stored = workspace.state.files.get(file_id)
            if workspace.team_id == team and stored is not None:
                if workspace.tokens.get(token) != "bot":
                    # Slack shows a page to log in at, with status 200.
                    return web.Response(text="<!DOCTYPE html><html>Sign in</html>", content_type="text/html")
                return web.Response(body=stored.content, content_type=stored.mimetype)
        raise web.HTTPNotFound

    async def _take_response(self, request: web.Request) -> web.StreamResponse:
        workspace = self._workspace(request)
        try:
            given: Any = json.loads(await request.text())
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        answers: list[tuple[int, str]] = []
        self.locked(lambda: answers.append(respond(workspace, request.match_info["key"], given)))
        status, text = answers[0]
        return web.Response(status=status, text=text)


async def _content(request: web.Request) -> bytes:
    """Return the content of an upload: the body, or the first file of a form."""
    if not request.content_type.startswith("multipart/"):
        return await request.read()
    for value in (await request.post()).values():
        if isinstance(value, web.FileField):
            return value.file.read()
    return b""

"""The Web API: who calls, with what, whether they may, and the answer; what each method does stands in `methods`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from .arguments import Arguments, Failure
from .faults import Call, Fault
from .methods import METHODS, SCOPES
from .shapes import Shape
from .workspace import SlackWorkspace

_APP_ONLY = {"apps.connections.open"}


class WebApi:
    """Answers the calls of every workspace's app.

    Args:
        workspaces: Returns the workspaces.
        locked: Calls a function with the lock held, and wakes who waits.
    """

    def __init__(
        self, workspaces: Callable[[], list[SlackWorkspace]], locked: Callable[[Callable[[], None]], None]
    ) -> None:
        self._workspaces = workspaces
        self._locked = locked

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        method = request.match_info["method"]
        try:
            arguments = await read_arguments(request)
        except ValueError:
            return _json(
                {"ok": False, "error": "invalid_json" if "json" in request.content_type else "invalid_form_data"}
            )
        given = arguments.pop("token", "")
        token = _bearer(request) or str(given)
        workspace = next((each for each in self._workspaces() if token in each.tokens), None)
        if workspace is None:
            return _json({"ok": False, "error": "invalid_auth" if token else "not_authed"})
        room = workspace.state.find_room(str(arguments.get("channel") or ""))
        call = Call(method, arguments, time.monotonic(), room.id if room is not None else None)
        fault: list[Fault | None] = []
        self._locked(lambda: fault.append(_begin(workspace, call)))
        answer = await self._answer(request, workspace, call, fault[0], token)

        def end() -> None:
            call.ended = time.monotonic()
            call.status = None if answer is None else answer.status

        self._locked(end)
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return answer

    async def _answer(
        self, request: web.Request, workspace: SlackWorkspace, call: Call, fault: Fault | None, token: str
    ) -> web.Response | None:
        """Return the answer; None: the connection is to be cut."""
        if fault is None:
            fault = Fault()
        await asyncio.sleep(fault.delay)
        if fault.cut == "before":
            call.error = "cut"
            return None
        if fault.retry_after is not None:
            call.error = "ratelimited"
            headers = {"Retry-After": str(fault.retry_after)}
            return _json({"ok": False, "error": "ratelimited"}, 429, headers)
        if fault.error:
            call.error = fault.error
            return _json({"ok": False, "error": fault.error}, fault.status)
        if fault.status != 200:
            call.error = "unreadable"
            return web.Response(status=fault.status, text="<html>upstream failed</html>", content_type="text/html")
        if fault.answer is not None:
            return _json(fault.answer)
        answers: list[Shape] = []
        self._locked(lambda: answers.append(perform(workspace, call.method, call.arguments, token)))
        if fault.cut == "after":
            call.error = "cut"
            return None
        call.error = answers[0].get("error", "")
        scopes = {"X-OAuth-Scopes": ",".join(sorted(workspace.scopes or set(SCOPES.values())))}
        return _json(answers[0], headers=scopes)


def perform(workspace: SlackWorkspace, method: str, arguments: Mapping[str, Any], token: str) -> Shape:
    """Do what a call asks, with the lock held, and return its answer.

    A method that is not known here does nothing, and is answered with no more than "ok".
    """
    try:
        kind = workspace.tokens[token]
        if kind == "revoked":
            raise Failure("token_revoked")
        if (method in _APP_ONLY) != (kind == "app") and method != "auth.test":
            raise Failure("not_allowed_token_type")
        scope = SCOPES.get(method)
        if scope is not None and workspace.scopes is not None and scope not in workspace.scopes:
            raise Failure("missing_scope", needed=scope, provided=",".join(sorted(workspace.scopes)))
        handle = METHODS.get(method)
        answer = {} if handle is None else handle(workspace, Arguments(arguments))
    except Failure as failure:
        return {"ok": False, "error": failure.error, **failure.more}
    return {"ok": True, **answer}


def _begin(workspace: SlackWorkspace, call: Call) -> Fault | None:
    workspace.calls.append(call)
    return workspace.faults.take(call)


async def read_arguments(request: web.Request) -> dict[str, Any]:
    """Return a call's arguments: of the query, and of a JSON, form or multipart body.

    Raises:
        ValueError: The body is not what its type says.
    """
    arguments: dict[str, Any] = dict(request.query)
    if request.method != "POST":
        return arguments
    if request.content_type == "application/json":
        content = json.loads(await request.text() or "{}")
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        return arguments | content
    for key, value in (await request.post()).items():
        arguments[key] = value if isinstance(value, str) else getattr(value, "filename", "")
    return arguments


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _json(answer: Shape, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(answer, ensure_ascii=False)
    return web.Response(text=text, status=status, headers=headers, content_type="application/json", charset="utf-8")

"""Events, commands and interactions as signed HTTP requests.

Signature: HMAC-SHA256 over "v0:<timestamp>:<body>" with the app's signing secret (docs.slack.dev, "Verifying requests
from Slack").
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from .delivery import Attempt, Courier, Delivery


@dataclass(frozen=True)
class RequestUrls:
    """Where an app is told by HTTP; an empty one stands for nowhere.

    Attributes:
        events: For events.
        commands: For slash commands.
        interactivity: For actions, shortcuts and views.
    """

    events: str = ""
    commands: str = ""
    interactivity: str = ""


def signed(secret: str, body: bytes, time: float) -> dict[str, str]:
    """Return the headers that prove where a body comes from.

    Args:
        secret: The app's signing secret.
        body: The body of the request.
        time: When it is signed, in Unix seconds.
    """
    timestamp = str(int(time))
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


def written(delivery: Delivery) -> tuple[bytes, str]:
    """Return the body and content type of the request that tells of something."""
    if delivery.kind == "events_api":
        return json.dumps(delivery.payload, ensure_ascii=False).encode(), "application/json"
    if delivery.kind == "slash_commands":
        return urlencode(delivery.payload).encode(), "application/x-www-form-urlencoded"
    body = urlencode({"payload": json.dumps(delivery.payload, ensure_ascii=False)})
    return body.encode(), "application/x-www-form-urlencoded"


class Requests:
    """Carries attempts as requests.

    Args:
        courier: Where acknowledgements and failures are reported.
        urls: Where the requests go.
        secret: The signing secret.
        session: The HTTP client.
        wall: Unix seconds.
        patience: Seconds that the app has for its answer.
        locked: Calls a function with the workspace's lock held, and wakes who waits.
    """

    def __init__(
        self,
        courier: Courier,
        urls: RequestUrls,
        *,
        secret: str,
        session: aiohttp.ClientSession,
        wall: Callable[[], float],
        patience: float,
        locked: Callable[[Callable[[], None]], None],
    ) -> None:
        self._courier = courier
        self._urls = urls
        self._secret = secret
        self._session = session
        self._wall = wall
        self._timeout = aiohttp.ClientTimeout(total=patience)
        self._locked = locked
        self._tasks: set[asyncio.Task[None]] = set()
        self._rooms: dict[str | None, asyncio.Lock] = {}

    def carry(self, delivery: Delivery, attempt: Attempt) -> None:
        """Send a request."""
        task = asyncio.ensure_future(self._carry(delivery, attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, delivery: Delivery, attempt: Attempt) -> None:
        url = {
            "events_api": self._urls.events,
            "slash_commands": self._urls.commands,
            "interactive": self._urls.interactivity,
        }[delivery.kind]
        body, content_type = written(delivery)
        headers = {"Content-Type": content_type}
        retry = len(delivery.attempts) - 1
        if retry and delivery.kind == "events_api":
            headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": attempt.reason}
        async with self._rooms.setdefault(delivery.room, asyncio.Lock()):
            outcome, answer, again = await self._post(url, body, headers)

        def report() -> None:
            if outcome:
                self._courier.failed(attempt.envelope_id, outcome, again=again)
            else:
                self._courier.acknowledge(attempt.envelope_id, answer)

        self._locked(report)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[str, Any, bool]:
        """Return why it failed, the answer, and whether to try again."""
        if not url:
            return "connection_failed", None, True
        try:
            status, received, content = await self.post(url, body, headers)
        except TimeoutError:
            return "http_timeout", None, True
        except aiohttp.TooManyRedirects:
            return "too_many_redirects", None, True
        except aiohttp.ClientError:
            return "connection_failed", None, True
        again = received.get("X-Slack-No-Retry") != "1"
        return ("" if 200 <= status < 300 else "http_error"), _read(content), again

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Send a signed request; return the status, headers and body of the answer."""
        head = {"User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)", "Accept": "*/*"}
        head |= signed(self._secret, body, self._wall()) | dict(headers)
        async with self._session.post(url, data=body, headers=head, timeout=self._timeout, max_redirects=2) as response:
            return response.status, response.headers, await response.read()

    async def close(self) -> None:
        """End the requests that are under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _read(content: bytes) -> Any:
    """Return what an answer says: an object, a text, or None where it says nothing."""
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text

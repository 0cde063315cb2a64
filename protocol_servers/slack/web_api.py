"""Slack's Web API by `slack_sdk`, with one difference: it says whether a call that failed may have been done.

The client repeats nothing by itself. A repetition inside it would pass by the limits, by the order of a channel and by
what is known of the calls before; whoever calls decides by the error:

    SlackCallError
    ├── Refused      Slack's answer is no; it says why
    ├── RateLimited  not now, but after some seconds
    ├── NotSent      it never left, or Slack says that it never arrived as a whole: it may be repeated
    └── InDoubt      it left, and what became of it is unknown

No error carries what was sent, and none the token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

MOST_ANSWER = 8 * 1024 * 1024
_CONNECT_TIMEOUT = 10.0
_KEPT_ALIVE = 10.0
_USUAL_WAIT = 1.0
_LONGEST_WAIT = 86400.0
# What Slack answers when it failed itself, and says of it that some of it may have been done nevertheless.
_DOUBTFUL = frozenset(("internal_error", "fatal_error", "service_unavailable", "service_timeout"))
_LIMITED = frozenset(("ratelimited", "rate_limited"))
_TORN = "request_timeout"  # the body did not arrive as a whole

_sdk_log = logging.getLogger("trunkline.slack.sdk")
_sdk_log.setLevel(logging.WARNING)  # below that it writes down what was said


class SlackCallError(Exception):
    """A call of the Web API failed."""


class Refused(SlackCallError):
    """Slack's answer is no.

    Attributes:
        error: Slack's word for why.
        needed: The scope that is missing.
    """

    def __init__(self, error: str, needed: str | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.needed = needed


class RateLimited(SlackCallError):
    """Slack wants to be asked later.

    Attributes:
        retry_after: In how many seconds.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"rate limited for {retry_after:g} s")
        self.retry_after = retry_after


class NotSent(SlackCallError):
    """The call did not arrive."""


class InDoubt(SlackCallError):
    """Nobody knows whether the call was done."""


class _Answer(aiohttp.ClientResponse):
    """An answer that is not read beyond `MOST_ANSWER`."""

    async def read(self) -> bytes:
        if self._body is None:
            parts: list[bytes] = []
            size = 0
            async for part in self.content.iter_any():
                size += len(part)
                if size > MOST_ANSWER:
                    self.close()
                    raise aiohttp.ClientPayloadError(f"an answer of more than {MOST_ANSWER} bytes")
                parts.append(part)
            self._body = b"".join(parts)
        return self._body


class WebApi:
    """The Web API of one workspace.

    Args:
        token: Returns the bot's token of now.
        base_url: Where the API is, `https://slack.com/api/`.
        timeout: Seconds for a call.
        most: Calls under way at a time; more wait.
    """

    def __init__(self, token: Callable[[], str], base_url: str, *, timeout: float = 30.0, most: int = 50) -> None:
        self.token = token
        self._base_url = base_url
        self._timeout = timeout
        self._most = most
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self.client: AsyncWebClient

    async def open(self) -> None:
        """Make ready for calls, on the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._most, keepalive_timeout=_KEPT_ALIVE),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT),
            response_class=_Answer,
        )
        self._room = asyncio.Semaphore(self._most)
        self.client = AsyncWebClient(base_url=self._base_url, session=self._session, logger=_sdk_log, retry_handlers=[])
        if _is_local(self._base_url):
            self.client.proxy = None  # which the environment names for the world outside
        self._proxy = self.client.proxy

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method once.

        Args:
            method: Such as "chat.postMessage".
            arguments: Its arguments, without the token; those that are None are left out.

        Returns:
            Slack's answer.

        Raises:
            Refused, RateLimited, NotSent, InDoubt: It failed.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        # Methods that write take JSON, which keeps types; the others take forms alone.
        json_body, form = (given, None) if method.startswith(("chat.", "views.")) else (None, _form(given))
        async with self._room:
            if self._session is None:  # the SDK would open one of its own
                raise NotSent("the connection is closed")
            try:
                async with asyncio.timeout(self._timeout):
                    self.client.token = self.token()
                    answer = await self.client.api_call(method, json=json_body, data=form)
            except SlackApiError as error:
                raise _failure_of(error.response) from None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _lost(error) from None
            except (AttributeError, TypeError):  # which the SDK ends in when the JSON is no object
                raise InDoubt("an answer that makes no sense") from None
        if not isinstance(answer.data, dict):
            raise InDoubt("an answer that is no JSON")
        return answer.data

    async def upload(self, url: str, content: bytes | AsyncIterator[bytes], size: int) -> None:
        """Send a file's content to where `files.getUploadURLExternal` says; the token does not go there.

        Args:
            url: Where to.
            content: The content, or its parts in order.
            size: Its bytes in all.

        Raises:
            Refused, RateLimited, NotSent, InDoubt: It failed.
        """
        if self._session is None:
            raise NotSent("the connection is closed")
        headers = {hdrs.CONTENT_LENGTH: str(size), hdrs.CONTENT_TYPE: "application/octet-stream"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=self._timeout)
        proxy = None if _is_local(url) else self._proxy
        async with self._room:
            try:
                async with self._session.post(
                    url, data=content, headers=headers, timeout=timeout, proxy=proxy, allow_redirects=False
                ) as answer:
                    if answer.status == 429:
                        raise RateLimited(_retry_after(answer.headers))
                    if answer.status >= 500:
                        raise InDoubt(f"the upload ended with HTTP {answer.status}")
                    if answer.status >= 300:
                        raise Refused(f"upload_refused_{answer.status}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _lost(error) from None


def _failure_of(response: Any) -> SlackCallError:
    """Return what an answer that is not "ok" means; the SDK has one error for all of them."""
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
    data = getattr(response, "data", None)
    answer = data if isinstance(data, dict) else {}
    error = answer.get("error")
    if status == 429 or error in _LIMITED:
        return RateLimited(_retry_after(getattr(response, "headers", None) or {}))
    if error == _TORN:
        return NotSent("the request was torn on its way")
    if status >= 500 or error in _DOUBTFUL:
        return InDoubt(f"Slack failed: {error or f'HTTP {status}'}"[:200])
    if isinstance(error, str) and error:
        needed = answer.get("needed")
        return Refused(error[:200], needed[:200] if isinstance(needed, str) and needed else None)
    if status == 200:
        return InDoubt("an answer that makes no sense")
    return Refused(f"http_{status}")


def _lost(error: Exception) -> SlackCallError:
    """Return what an error of the connection means; only one from before it was made is no doubt."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return NotSent(f"Slack cannot be reached: {type(error).__name__}")
    return InDoubt(f"the connection was lost: {type(error).__name__}")


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get(hdrs.RETRY_AFTER, ""))
    except ValueError:
        return _USUAL_WAIT
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else _USUAL_WAIT


def _form(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return arguments as a form has them: lists of words with commas, everything else that is no text as JSON."""
    fields = {}
    for name, value in arguments.items():
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            fields[name] = ",".join(value)
        elif isinstance(value, str):
            fields[name] = value
        else:
            fields[name] = json.dumps(value, ensure_ascii=False)
    return fields


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

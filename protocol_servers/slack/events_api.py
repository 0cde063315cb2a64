"""The Events API, slash commands and interactivity: what happens in a workspace comes as signed requests to us.

https://docs.slack.dev/apis/events-api: a request that is not answered with 2xx within three seconds comes again, at
once, after a minute and after five, with the header `x-slack-retry-num`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from ..http_core.hooks import HookAnswer, HookRequest
from .mapping import Delivery
from .receiving import Outcome
from .shapes import read_object
from .signature import Signatures

_FORM = b"application/x-www-form-urlencoded"
_MOST_FIELDS = 100
_LONGEST_CHALLENGE = 1000


class Malformed(Exception):
    """A request that Slack would not send; its text says why, and nothing of what it was."""


class EventsApi:
    """The requests of one app.

    Args:
        signatures: Who sent them.
        take: Takes what Slack tells.
        is_foreign: Says whether an event is another workspace's.
        is_ready: Says whether anything can be taken by now.
        stats: Counts "requests_refused" and "retries".
    """

    def __init__(
        self,
        signatures: Signatures,
        take: Callable[[Delivery], Awaitable[Outcome]],
        *,
        is_foreign: Callable[[dict[str, Any]], bool],
        is_ready: Callable[[], bool],
        stats: Counter[str],
    ) -> None:
        self._signatures = signatures
        self._take = take
        self._is_foreign = is_foreign
        self._is_ready = is_ready
        self._stats = stats

    async def hook(self, request: HookRequest) -> HookAnswer:
        """Answer a request: 200 when the layer has what it tells, 503 when it does not; 400 or 401 to anybody else."""
        refusal = self._signatures.refusal(request)
        if refusal is not None:
            self._stats["requests_refused"] += 1
            return HookAnswer.text(*refusal)
        try:
            delivery = _read(request)
        except Malformed as error:
            self._stats["requests_refused"] += 1
            return HookAnswer.text(400, str(error))
        if isinstance(delivery, HookAnswer):
            return delivery
        if delivery.retry:
            self._stats["retries"] += 1
        if not self._is_ready():
            return HookAnswer.text(503, "not yet")
        if delivery.kind == "events_api" and self._is_foreign(dict(delivery.payload)):
            self._stats["requests_refused"] += 1
            return HookAnswer.text(401, "another workspace's")
        outcome = await self._take(delivery)
        if outcome is Outcome.REFUSED:
            self._stats["not_acknowledged"] += 1
            return HookAnswer.text(503, "try again")
        if outcome is Outcome.UNFIT:
            return HookAnswer.text(400, "this makes no sense")
        self._stats["acknowledged"] += 1
        self._signatures.acknowledged(request)
        return HookAnswer(200)


def _read(request: HookRequest) -> Delivery | HookAnswer:
    """Return what a request tells, or what is to be answered at once.

    Raises:
        Malformed: It tells nothing that Slack would.
    """
    # The body is the same in every repetition.
    key = hashlib.sha256(request.body).hexdigest()[:40]
    if (request.header(b"content-type") or b"").partition(b";")[0].strip().lower() == _FORM:
        return _read_form(request.body, key)
    payload = read_object(request.body)
    if payload is None:
        raise Malformed("its body is no JSON object")
    kind = payload.get("type")
    if kind == "event_callback":
        return Delivery("events_api", payload, key, _retry(request))
    if kind == "url_verification":
        challenge = payload.get("challenge")
        if not isinstance(challenge, str) or len(challenge) > _LONGEST_CHALLENGE:
            raise Malformed("a verification without a challenge")
        return HookAnswer(200, [(b"content-type", b"text/plain; charset=utf-8")], challenge.encode("utf-8", "replace"))
    if kind == "app_rate_limited":
        return HookAnswer(200)
    raise Malformed("its type is none of Slack's")


def _read_form(body: bytes, key: str) -> Delivery | HookAnswer:
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Malformed("its form makes no sense") from None
    form = dict(pairs)
    if "payload" in form:
        payload = read_object(form["payload"])
        if payload is None:
            raise Malformed("its payload is no JSON object")
        return Delivery("interactive", payload, key)
    if "command" in form:
        return Delivery("slash_commands", form, key)
    if form.get("ssl_check") == "1":
        return HookAnswer(200)
    raise Malformed("its form is none of Slack's")


def _retry(request: HookRequest) -> int:
    number = request.header(b"x-slack-retry-num") or b""
    return int(number) if number.isdigit() and len(number) < 4 else 0

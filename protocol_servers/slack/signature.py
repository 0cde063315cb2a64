"""Who sent a request: only Slack, and only once, knows how to sign it.

https://docs.slack.dev/authentication/verifying-requests-from-slack: a signature is the HMAC-SHA-256 of the time stamp
and the body, and good for five minutes. The verifier of `slack_sdk` compares in constant time, but raises on a time
stamp that is no number, a signature that is not ASCII, or a body that is not UTF-8; here these are refusals.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from slack_sdk.signature import Clock, SignatureVerifier

from ...operations.secret import Secret
from ..http_core.hooks import HookRequest

WINDOW = 300.0  # seconds that a request is good for
MOST_SEEN = 100_000

_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_SIGNATURE = re.compile(rb"v0=[0-9a-f]{64}")


class Refusal(NamedTuple):
    """Why a request is not believed.

    Attributes:
        status: 400 where it is no request of Slack's kind, 401 where it may be anybody's.
        reason: One line.
    """

    status: int
    reason: str


class _Clock(Clock):
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now  # type: ignore[method-assign]


class Signatures:
    """The signatures of one app's requests.

    Args:
        secret: The signing secret.
        wall: Unix time in seconds.
    """

    def __init__(self, secret: Secret, *, wall: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._wall = wall
        self._clock = _Clock(wall)
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def refusal(self, request: HookRequest) -> Refusal | None:
        """Return why a request is refused; None: Slack sent it, and not long ago."""
        timestamps = [value for name, value in request.headers if name == b"x-slack-request-timestamp"]
        signatures = [value for name, value in request.headers if name == b"x-slack-signature"]
        if not timestamps or not signatures:
            return Refusal(401, "it is not signed")
        if len(timestamps) > 1 or len(signatures) > 1:
            return Refusal(400, "it is signed twice")
        if not _TIMESTAMP.fullmatch(timestamps[0]) or not _SIGNATURE.fullmatch(signatures[0]):
            return Refusal(400, "its signature is malformed")
        try:
            request.body.decode()
        except UnicodeDecodeError:
            return Refusal(400, "its body is not UTF-8")
        timestamp, signature = timestamps[0].decode("ascii"), signatures[0].decode("ascii")
        verifier = SignatureVerifier(self._secret.value, self._clock)
        if not verifier.is_valid(request.body, timestamp, signature):
            return Refusal(401, "its signature is wrong, or older than five minutes")
        # The header is not signed: whoever adds it to a request that was acknowledged finds it done already.
        if signatures[0] in self._seen and request.header(b"x-slack-retry-num") is None:
            return Refusal(401, "it was sent before")
        return None

    def acknowledged(self, request: HookRequest) -> None:
        """Take note that a request, which was not refused, is done: whoever sends it once more is not Slack."""
        now = self._wall()
        seen = self._seen
        while seen and (len(seen) >= MOST_SEEN or next(iter(seen.values())) < now):
            seen.popitem(last=False)
        signature = request.header(b"x-slack-signature")
        if signature is not None:
            # Its time stamp may lie in the future as far as in the past.
            seen[signature] = now + 2 * WINDOW

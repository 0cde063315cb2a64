"""Which provider posts where, and the ports that take it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...http_core.hooks import Hook, HookFactory
from .believing import MailgunSignatures
from .hooks import MailHook
from .mailgun import Mailgun
from .posted import Provider
from .postmark import Postmark
from .sendgrid import SendGrid
from .ses import Ses
from .settings import (
    MailgunSettings,
    PostmarkSettings,
    SendgridSettings,
    SesSettings,
    WebhookSettings,
    WebhooksSettings,
)
from .sns import Fetch, Topic, fetch

if TYPE_CHECKING:
    from ..server import SmtpServer

_ROUND = 2  # times the largest mail: base64, and what stands around it
_MORE = 1024 * 1024


def make_provider(
    settings: WebhookSettings, *, wall: Callable[[], float] = time.time, fetched: Fetch = fetch
) -> Provider:
    """Return what reads the requests of a provider.

    Args:
        settings: Its table.
        wall: Unix time in seconds.
        fetched: Fetches what Amazon names.
    """
    secret = settings.secret
    if isinstance(settings, SesSettings):
        return Ses(Topic(settings.topic, wall, fetched), secret)
    assert secret is not None  # their settings see to it
    if isinstance(settings, MailgunSettings):
        return Mailgun(MailgunSignatures(secret, wall))
    if isinstance(settings, PostmarkSettings):
        return Postmark(secret)
    assert isinstance(settings, SendgridSettings)
    return SendGrid(secret, wall)


async def listen(server: SmtpServer, settings: WebhooksSettings) -> list[HookFactory]:
    """Listen where providers post to, and return what makes the connections.

    Raises:
        UsageError: An endpoint makes no sense.
        StartError: A port is taken or may not be used.
    """
    most = _ROUND * server.limits.max_size + _MORE
    places: dict[str, tuple[WebhookSettings, dict[str, Hook]]] = {}
    for name, each in settings.all():
        hook = MailHook(server, name, make_provider(each))
        for endpoint in each.endpoints:
            places.setdefault(endpoint, (each, {}))[1][each.path] = hook
    factories = []
    for endpoint, (listening, hooks) in places.items():
        factory = HookFactory(hooks, server, max_body=most, max_held=2 * most, listening=listening)
        await server.listen_on([endpoint], factory, "http", listening=listening)
        factories.append(factory)
    return factories

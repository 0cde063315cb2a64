"""Requests to mails, and what becomes of a mail to answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...http_core.hooks import HookAnswer, HookRequest
from .. import replies
from ..addresses import give_postmaster, parse_path
from ..content import Content, NoRoom
from ..delivery import PARSED_AT_ONCE, Delivery
from ..events import Mail, Origin, Recipient
from ..replies import Reply
from .posted import Malformed, Posted, Provider, Unbelieved, Unverifiable

if TYPE_CHECKING:
    from ..server import SmtpServer


class Waiter:
    """Whoever waits for what becomes of a mail: a request."""

    def __init__(self, answer: asyncio.Future[Reply]) -> None:
        self._answer = answer

    def answer_mail(self, reply: Reply) -> None:
        """Take what became of it; nobody hears it whose request ended."""
        if not self._answer.done():
            self._answer.set_result(reply)

    def answer_copy(self, address: str, reply: Reply) -> None:
        """Take what became of it for one recipient, of which a request is not told."""


class MailHook:
    """The hook of one provider.

    Args:
        server: Takes the mails.
        name: The provider's name.
        provider: Reads its requests.
    """

    def __init__(self, server: SmtpServer, name: str, provider: Provider) -> None:
        self._server = server
        self._name = name
        self._provider = provider

    async def __call__(self, request: HookRequest) -> HookAnswer:
        """Answer a request.

        Returns:
            200 once the mail is done, as 250 would be said; 503 for what is to be tried again; the provider's status
            for what is not; 401 to whom nobody believes, and 400 to what makes no sense.
        """
        stats = self._server.stats
        try:
            posted = await self._read(request)
            if isinstance(posted, HookAnswer):
                return posted
            mail = self._mail(posted)
        except Unbelieved as error:
            stats["webhooks_refused"] += 1
            if stats["webhooks_refused"] == 1:
                self._server.log.warning("[smtp.webhooks.%s] a request is not believed: %s", self._name, error)
            return HookAnswer.text(401, str(error))
        except Malformed as error:
            stats["webhooks_malformed"] += 1
            if stats["webhooks_malformed"] == 1:
                self._server.log.warning("[smtp.webhooks.%s] a request makes no sense: %s", self._name, error)
            return HookAnswer.text(400, str(error))
        except (Unverifiable, NoRoom) as error:
            return HookAnswer.text(503, str(error))
        if isinstance(mail, Reply):
            return self._answered(mail)
        stats["webhooks_mails"] += 1
        # The provider speaks for a client whose address it tells.
        origin = Origin([posted.client, 0], helo=posted.helo, judged=bool(posted.client), spf=posted.spf)
        waiter: asyncio.Future[Reply] = self._server.loop.create_future()
        Delivery(self._server, Waiter(waiter), mail, origin).start()
        return self._answered(await waiter)

    async def _read(self, request: HookRequest) -> Posted | HookAnswer:
        """Read a request: in a thread where that takes its time."""
        if self._provider.asks:
            return await asyncio.to_thread(self._provider.read, request)
        if len(request.body) > PARSED_AT_ONCE:
            return await self._server.in_thread(lambda: self._provider.read(request))
        return self._provider.read(request)

    def _mail(self, posted: Posted) -> Mail | Reply:
        """Return the mail, or why it is not taken."""
        limits = self._server.limits
        if len(posted.raw) > limits.max_size:
            return replies.TOO_LARGE
        if len(posted.recipients) > limits.max_recipients:
            return Reply(554, "5.5.3 Too many recipients")
        sender = parse_path(f"<{posted.sender}>")
        mail = Mail(sender and sender.text, smtputf8=True)
        for each in posted.recipients:
            address = parse_path(f"<{each}>")
            if address is None or address.text is None or address.rest:
                raise Malformed("a recipient is no address")
            text = give_postmaster(address.text, limits.postmaster, limits.hostname)
            mail.recipients[text] = Recipient(text, replies.RECIPIENT_OK)
        if not mail.recipients:
            raise Malformed("it has no recipient")
        raw = posted.raw if b"\r\n" in posted.raw else posted.raw.replace(b"\n", b"\r\n")
        mail.content = Content(self._server.room)
        mail.content.write(raw)
        return mail

    def _answered(self, reply: Reply) -> HookAnswer:
        if reply.is_good:
            return HookAnswer.text(200, reply.text)
        return HookAnswer.text(503 if reply.is_temporary else self._provider.refused, reply.text)

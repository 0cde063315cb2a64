"""Mail out: what is sent to `email.send` goes to the relay, and what became of it to whoever wants to know.

A mail stays in the durable channel until all of its recipients are settled. What is settled before that is written
down beside it (`email.send:<id>` in the layer's state) before anything else is sent, so that whoever gets the mail
after a crash goes on where this process was. Somebody can get a mail twice in two cases only: this process is killed
after the relay took it and before that is written, or the relay is lost after the mail's end was sent and before its
answer came. Both concern at most one mail a connection, and its bytes are the same the second time.

    taken ─► composed ─► sent ─┬► all settled: results, acknowledged
                               ├► some to be tried later: progress, given back with a delay
                               └► tried for five days: results, a dead letter, acknowledged
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ....layer import Batch, Delivery, LayerError
from ....message_formats import FormatError, get
from ....message_formats.email import Outcome, delivery_report
from ....message_formats.email.compose import CompositionError, compose_mail, seven_bit
from ....operations.errors import UsageError
from ...taking import DurableTaker
from .connection import RelayConnection
from .dialogue import END_TIMEOUT, Answer, Envelope, RelayError
from .mail import DAY, MOST_TEXT, OutgoingMail, Schedule, state_key
from .relay import Relay

if TYPE_CHECKING:
    from ...base import ProtocolServer

CHANNEL = "email.send"
CONNECTIONS = 4
IN_HAND = 2 * CONNECTIONS  # mails
MOST_BYTES = 64 * 1024 * 1024  # of an attachment
IDLE = 20.0  # seconds that a connection is kept for the next mail
ANNOUNCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # before a relay is tried again that is away
_UNDONE = Answer(451, ("4.3.0 It could not be sent now",))


class Outbox:
    """Send mails by a relay. All of it runs on the server's loop, but for composing.

    Args:
        server: Whose layer, loop, log and counters are used.
        relay: Where mails go.
        name: Our own name.
        schedule: When mails are tried again.
        context: For TLS.
        patience: The longest wait for an answer of the relay, in seconds.
    """

    def __init__(
        self,
        server: ProtocolServer,
        relay: Relay,
        *,
        name: str,
        context: ssl.SSLContext,
        schedule: Schedule | None = None,
        patience: float = END_TIMEOUT,
    ) -> None:
        self.relay = relay
        self.schedule = schedule or Schedule()
        self._server = server
        self._layer = server.layer
        self._loop = server.loop
        self._log = server.log
        self._stats = server.stats
        self._name = name
        self._context = context
        self._patience = patience
        self._mails: dict[str, OutgoingMail] = {}
        self._ready: asyncio.Queue[OutgoingMail] = asyncio.Queue()
        self._slots: dict[asyncio.Task[None], OutgoingMail | None] = {}
        self._connecting = asyncio.Lock()
        self._pause = 0.0  # seconds, where the relay is away
        self._not_before = 0.0
        self._dialling: set[asyncio.Task[None]] = set()  # slots that have no connection yet
        self._announcing: asyncio.TimerHandle | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._interval = 10.0  # seconds between asking for more time for the mails in hand
        self._stopping = False
        self._composer = ThreadPoolExecutor(1, "smtp-composer")
        self._taker: DurableTaker

    def start(self) -> None:
        """Begin to take mails.

        Raises:
            UsageError: `email.send` is said not to be durable.
            LayerUnavailable: The layer is away.
        """
        if not self._layer.ask_durable(CHANNEL):
            why = f"{CHANNEL} has to be durable, and in this layer it is said that it is not"
            raise UsageError(f"[{self._server.name}] relay: {why}")
        self._taker = DurableTaker(self._layer, CHANNEL, loop=self._loop, taken=self._taken, look=self._look)
        self._taker.start()
        self._announce()
        self._keep()
        for _ in range(CONNECTIONS):
            self._slots[self._loop.create_task(self._slot())] = None
        self._want()

    async def stop(self, grace: float) -> bool:
        """Take nothing more, end what is being sent within `grace` seconds, and give back the rest.

        Returns:
            Whether nothing had to be cut off.
        """
        self._stopping = True
        self._taker.want(0)
        if self._announcing is not None:
            self._announcing.cancel()
        until = self._loop.time() + grace
        for task, mail in self._slots.items():
            if mail is None or task in self._dialling:
                task.cancel()
        busy = [task for task in self._slots if not task.done()]
        in_time = True
        if busy:
            _, late = await asyncio.wait(busy, timeout=max(0.0, until - self._loop.time()))
            in_time = not late
            for task in late:
                task.cancel()
            await asyncio.wait(busy)
        for mail in list(self._mails.values()):
            self._give_back(mail, 0.0)
        if self._keeping is not None:
            self._keeping.cancel()
        settled = await self._taker.stop(max(0.1, until - self._loop.time()))
        self._composer.shutdown(wait=False, cancel_futures=True)
        return in_time and settled

    # Taking

    def _look(self, delivery: Delivery) -> Any:
        """Read what was written down of a mail that was delivered before."""
        if delivery.tries == 1 or delivery.id is None:
            return None
        return self._layer.get_state(state_key(delivery.id))[0]

    def _taken(self, delivery: Delivery, progress: Any, when: float) -> None:
        assert delivery.id is not None
        known = self._mails.get(delivery.id)
        if known is None:
            known = self._mails[delivery.id] = OutgoingMail(delivery, progress)
            self._ready.put_nowait(known)
        known.delivery = delivery  # it came once more where its time was over while the layer was away
        known.held_until = when + delivery.visibility
        if delivery.visibility / 3 < self._interval:
            self._interval = delivery.visibility / 3
            self._keep()
        if self._stopping:
            self._give_back(known, 0.0)
        else:
            self._want()

    def _want(self) -> None:
        if not self._stopping:
            self._taker.want(max(0, IN_HAND - len(self._mails)))

    def _keep(self) -> None:
        """Ask for more time for all mails in hand, again and again."""
        if self._keeping is not None:
            self._keeping.cancel()
        batch, asked = self._layer.batch(), list(self._mails.values())
        now = time.monotonic()
        for mail in asked:
            batch.extend(mail.delivery, mail.delivery.visibility)
        if asked:
            self._taker.run(batch).add_done_callback(lambda future: self._kept(asked, now, future))
        self._keeping = self._loop.call_later(self._interval, self._keep)

    def _kept(self, mails: Iterable[OutgoingMail], asked: float, future: asyncio.Future[list[Any]]) -> None:
        if future.cancelled():
            return
        for mail, held in zip(mails, future.result(), strict=True):
            if held is True:
                mail.held_until = max(mail.held_until, asked + mail.delivery.visibility)

    def _announce(self) -> None:
        """Tell that somebody takes mails; workers keep those back that nobody would take."""
        self._server.inbox.announce({"channels": {CHANNEL: False}})
        self._announcing = self._loop.call_later(ANNOUNCE, self._announce)

    # Sending

    async def _slot(self) -> None:
        """Send one mail after another over one connection, which is kept a while for the next."""
        task = asyncio.current_task()
        assert task is not None
        connection: RelayConnection | None = None
        try:
            while not self._stopping:
                try:
                    async with asyncio.timeout(None if connection is None else IDLE):
                        mail = await self._ready.get()
                except TimeoutError:
                    if connection is not None:
                        await connection.close()
                    connection = None
                    continue
                self._slots[task] = mail
                try:
                    connection = await self._attempt(mail, connection)
                except Exception:
                    self._stats["failures"] += 1
                    self._log.exception("mail %s failed", mail.id)
                    if connection is not None:
                        connection.abort()
                    connection = None
                    mail.delay(_UNDONE)
                    await self._finish(mail, b"")
                self._slots[task] = None
            if connection is not None:
                await connection.close()
        finally:
            self._slots[task] = None
            if connection is not None:
                connection.abort()

    async def _attempt(self, mail: OutgoingMail, connection: RelayConnection | None) -> RelayConnection | None:
        """Try to send a mail; return the connection, where another mail can be sent on it."""
        try:
            content = await self._loop.run_in_executor(self._composer, self._compose, mail)
        except (CompositionError, FormatError) as error:
            mail.fail(Answer(554, (f"5.6.0 {error}"[:MOST_TEXT],)))
            await self._finish(mail, b"", f"no mail can be made of it: {error}")
            return connection
        except LayerError as error:
            mail.delay(Answer(451, (f"4.3.0 {error}"[:MOST_TEXT],)))
            await self._finish(mail, b"")
            return connection
        fresh = False
        while mail.waiting:
            if connection is None or not connection.is_usable:
                try:
                    connection, fresh = await self._connect(), True
                except RelayError as error:
                    connection = None
                    mail.delay(Answer(451, (f"4.4.1 {error}"[:MOST_TEXT],)))
                    continue
            if time.monotonic() >= mail.held_until:  # the layer was away for so long that somebody else may have it
                self._mails.pop(mail.delivery.id or "", None)
                self._want()
                return connection
            try:
                content = await self._fitting(connection, content)
            except CompositionError as error:
                mail.fail(Answer(554, (f"5.6.3 {error}"[:MOST_TEXT],)))
                continue
            international = _is_international(mail, content)
            try:
                transfer = await connection.send(Envelope(mail.sender, mail.waiting, content, international))
            except RelayError as error:
                connection = None
                self._stats["mails_in_doubt"] += error.in_doubt
                # A connection that was kept may have been closed meanwhile: that tells nothing.
                if fresh or error.in_doubt:
                    self._away(error)
                    mail.delay(Answer(451, (f"4.4.2 {error}"[:MOST_TEXT],)))
            else:
                self._back()
                mail.take(transfer)
                if mail.waiting:
                    await self._note(mail)
        await self._finish(mail, content)
        return connection

    async def _fitting(self, connection: RelayConnection, content: bytes) -> bytes:
        if content.isascii() or "8BITMIME" in connection.extensions:
            return content
        return await self._loop.run_in_executor(self._composer, seven_bit, content)

    async def _connect(self) -> RelayConnection:
        """Connect to the relay, one at a time, and after a pause where it was away.

        Raises:
            RelayError: It cannot be used.
        """
        task = asyncio.current_task()
        assert task is not None
        self._dialling.add(task)
        try:
            async with self._connecting:
                await asyncio.sleep(max(0.0, self._not_before - self._loop.time()))
                connection = RelayConnection(self._loop, self._patience)
                try:
                    await connection.open(self.relay, self._name, self._context)
                except RelayError as error:
                    self._away(error)
                    raise
                self._stats["relay_connections"] += 1
                return connection
        finally:
            self._dialling.discard(task)

    def _away(self, error: RelayError) -> None:
        """Take note that the relay cannot be used; all who connect to it wait a while."""
        if not self._pause:
            self._log.warning("mail stays here: the relay %s cannot be used: %s", self.relay, error)
            self._stats["relay_outages"] += 1
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause or min(_FIRST_PAUSE, self.schedule.first))
        self._not_before = self._loop.time() + self._pause

    def _back(self) -> None:
        if self._pause:
            self._log.info("the relay %s can be used again", self.relay)
            self._pause = 0.0

    def _compose(self, mail: OutgoingMail) -> bytes:
        form = get(CHANNEL)
        assert form is not None
        form.validate(mail.message, unknown="ignore")
        mail.address()
        return compose_mail(mail.message, id=mail.id, date=mail.sent, read=self._read)

    def _read(self, key: str) -> bytes:
        """Read a large part of a mail."""
        size = self._layer.blob_size(key)
        if size is None:
            raise CompositionError("a part of it is not kept any more")
        if size > MOST_BYTES:
            raise CompositionError(f"a part of it has {size} bytes")
        pieces: list[bytes] = []
        while sum(len(piece) for piece in pieces) < size:
            piece = self._layer.read_blob(key, len(pieces))
            if not piece:
                raise CompositionError("a part of it is not kept any more")
            pieces.append(piece)
        return b"".join(pieces)

    # Settling

    async def _note(self, mail: OutgoingMail) -> None:
        """Write down whom the relay took a mail for, before it is sent to others."""
        batch = self._layer.batch()
        self._tell_accepted(batch, mail)
        self._write_down(batch, mail)
        await self._run(batch)

    async def _finish(self, mail: OutgoingMail, content: bytes, reason: str | None = None) -> None:
        """Say for whom it failed, and be done with it or have it tried again."""
        mail.tries += 1
        if mail.left and time.time() - mail.sent >= self.schedule.give_up:
            days = f"{self.schedule.give_up / DAY:g} days"
            reason = f"not delivered within {days}: {next(iter(mail.delayed.values()), _UNDONE)}"
            mail.fail()
        batch = self._layer.batch()
        self._tell_accepted(batch, mail)
        failed = mail.failed
        self._stats["recipients_failed"] += len(failed)
        self._tell(batch, mail, "email.failed", failed, permanent=True)
        self._bounce(batch, mail, content)
        if mail.left:
            if mail.tries == 1:
                self._tell(batch, mail, "email.failed", mail.delayed, permanent=False)
            self._write_down(batch, mail)
            batch.nack(mail.delivery, self.schedule.wait(mail.tries))
            self._stats["mails_delayed"] += 1
            self._mails.pop(mail.delivery.id or "", None)
        else:
            if reason is not None:
                letter = mail.rest(list(failed)) if content else mail.message
                batch.dead_letter(CHANNEL, letter, reason=reason, tries=mail.tries)
                self._log.warning("mail %s is a dead letter: %s", mail.id, reason)
            self._settle(batch, mail)
        mail.failed = {}
        await self._run(batch)
        self._want()

    def _write_down(self, batch: Batch, mail: OutgoingMail) -> None:
        batch.put_state(mail.key, mail.progress(), self.schedule.give_up + 2 * DAY)
        mail.is_written_down = True

    def _settle(self, batch: Batch, mail: OutgoingMail) -> None:
        batch.ack(mail.delivery)
        if mail.is_written_down:
            batch.delete_state(mail.key)
        self._stats["mails_settled"] += 1
        self._mails.pop(mail.delivery.id or "", None)

    def _give_back(self, mail: OutgoingMail, delay: float) -> None:
        """Leave a mail to whoever takes it next, itself perhaps."""
        if self._mails.pop(mail.delivery.id or "", None) is not None:
            batch = self._layer.batch()
            batch.nack(mail.delivery, delay)
            self._taker.run(batch)
            self._want()

    async def _run(self, batch: Batch) -> None:
        for outcome in await self._taker.run(batch):
            if isinstance(outcome, LayerError):
                self._stats["results_refused"] += 1

    def _tell_accepted(self, batch: Batch, mail: OutgoingMail) -> None:
        self._stats["recipients_delivered"] += len(mail.accepted)
        self._tell(batch, mail, "email.delivered", mail.accepted, permanent=True)
        mail.accepted = {}

    def _tell(
        self, batch: Batch, mail: OutgoingMail, channel: str, answers: dict[str, Answer], *, permanent: bool
    ) -> None:
        """Publish what became of a mail, where anybody wants to know; the same is told once."""
        if not answers or not self._server.wanted(channel):
            return
        for address, answer in answers.items():
            once = f"{mail.delivery.id} {mail.number(address)} {channel} {permanent}"
            told = {"id": mail.id, "address": address, "code": answer.code, "text": answer.text, "permanent": permanent}
            batch.send(channel, told, once=once, trusted=True)

    def _bounce(self, batch: Batch, mail: OutgoingMail, content: bytes) -> None:
        """Have the sender told by mail: never that of a bounce or of a machine's mail, nor of a `raw` one.

        Who is named in a finished mail need not be who sent it: nobody has verified that here.
        """
        if not mail.failed or mail.sender is None or mail.message.get("raw") is not None or not content:
            return
        names = {name.lower(): value for name, value in (mail.message.get("headers") or {}).items()}
        if names.get("auto-submitted", "no").lower() != "no" or "precedence" in names or "list-id" in names:
            return
        report = delivery_report(
            reporting_mta=self._name,
            to=mail.sender,
            outcomes=[Outcome(address, answer.code, answer.text) for address, answer in mail.failed.items()],
            original=content,
            date=time.time(),
            arrival=mail.sent,
        )
        bounce = {"to": [mail.sender], "from": "", "raw": report}
        batch.send(CHANNEL, bounce, once=f"bounce {mail.delivery.id} {mail.tries}", trusted=True)
        self._stats["bounces"] += 1


def _is_international(mail: OutgoingMail, content: bytes) -> bool:
    """Tell whether the relay has to know RFC 6531 for this mail."""
    addresses = [*mail.waiting, mail.sender or ""]
    return not all(map(str.isascii, addresses)) or not content.partition(b"\r\n\r\n")[0].isascii()

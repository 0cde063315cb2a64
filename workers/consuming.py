"""One message, from its delivery to its outcome. Nothing a message holds gets past `Consuming.consume`.

    no route ──► unrouted answer, or default where a route of the judging channel may match, or dropped
    consumer ─┬► returned, StopConsumer ──► what it held, then the default answer where it answered nothing
              ├► ResponseLater          ──► what it held
              ├► DenyConnection, Reject, TooMany ──► what it held, then the refusal
              ├► ConsumeLater           ──► the same message again, later; in the end a failure
              ├► ignores its @timeout   ──► a failure, by the helper thread; this thread is given up
              └► anything else          ──► a failure: logged, counted, the failure answer, a dead letter

All answers come from the message's format, so a worker knows no protocol.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from inspect import isawaitable
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .. import message_formats
from ..layer import LayerUnavailable
from . import delays
from .awaiting import Awaiting
from .claims import RENEW, Claim, Claims
from .context import running
from .exceptions import (
    ConsumeLater,
    DenyConnection,
    Forbidden,
    Reject,
    ResponseLater,
    StopConsumer,
    StreamClosed,
    TooMany,
)
from .flushing import Flusher, Letter, traceback_of
from .given import TRIES, Again, Given, kind_of, name_of, shown, text_of
from .held import Held
from .message import Message

if TYPE_CHECKING:
    from ..layer import Batch, Delivery, Layer
    from ..message_formats import Format
    from .leases import Leases
    from .repeats import Repeats
    from .routing import Routing

log = logging.getLogger("trunkline.workers")

T = TypeVar("T")

_NEVER = float("inf")
_DURABLE_TRIES = 10

Answer = Mapping[str, Any]


class _About(NamedTuple):
    """What is derived from a format, once."""

    fields: frozenset[str]
    ending: Answer | None  # what ends a reply of several messages as an error


class Consuming:
    """Consumes the messages of one worker thread, one at a time.

    Args:
        layer: Where they came from.
        routing: Which consumer takes which.
        flusher: The thread's way out.
        claims: The worker's claims.
        leases: What the worker holds of durable channels.
        repeats: Which of its failures are logged in full.
        wall: Unix seconds.
        stream_timeout: Seconds `Message.stream` waits for the next chunk.
        ordered: Channels on which servers wait until a message is done.

    Attributes:
        messages: How many began to be consumed.
        stats: Counts: `failures`, `unrouted`, `limited`, `retried`, `delayed`, `repeats`, `busy`,
            `abandoned`; `redelivered`, what a durable channel delivered before.
        abandoned: Whether this thread was given up: it ends when its consumer does.
    """

    def __init__(
        self,
        layer: Layer,
        routing: Routing,
        flusher: Flusher,
        claims: Claims,
        leases: Leases,
        repeats: Repeats,
        wall: Callable[[], float],
        stream_timeout: float,
        ordered: Collection[str] = frozenset(),
    ) -> None:
        self.messages = 0
        self.stats: Counter[str] = Counter()
        self._layer = layer
        self._routing = routing
        self._flusher = flusher
        self._claims = claims
        self._leases = leases
        self._repeats = repeats
        self._wall = wall
        self._stream_timeout = stream_timeout
        self._ordered = ordered
        self._awaiting = Awaiting()
        self._given: Given | None = None
        self._settling = threading.Lock()
        self.abandoned = False
        self._told: set[str] = set()
        self._abouts: dict[Format, _About] = {}

    def consume(self, delivery: Delivery) -> None:
        """Consume one message; its outcome is put to the flusher. Raises nothing, whatever happens."""
        self.messages += 1
        if delivery.id is not None and delivery.tries > 1:
            self.stats["redelivered"] += 1
        given = self._given = Given(delivery)
        try:
            self._consume(given)
        except _Abandoned:
            return
        except BaseException as error:
            self._fail(given, error)
        finally:
            self._given = None
            if given.claim is not None or delivery.id is not None:
                self._end(given)

    def due(self) -> float:
        """Return when the consumer that runs has to be done; infinity where it may take its time."""
        given = self._given
        return given.held.due if given is not None and given.held is not None else float("inf")

    def abandon(self) -> bool:
        """Give up the consumer that runs, from another thread: its message has failed, whatever it does yet.

        Returns:
            False where it was done in time after all.
        """
        given = self._given
        if given is None or given.held is None or given.held.due > self._layer.clock():
            return False
        with self._settling:
            if given.settled:
                return False
            given.settled = self.abandoned = True
        self.stats["abandoned"] += 1
        self._fail(given, TimeoutError("the consumer ignores its timeout; its thread is given up"))
        self._end(given)
        return True

    def _end(self, given: Given) -> None:
        """Renew nothing for a message any more: what became of it is with the flusher."""
        if given.claim is not None:
            self._claims.end(given.claim)
        if given.delivery.id is not None:
            self._leases.end(given.delivery)

    def close(self) -> None:
        """Cancel what `async def` consumers left running, and close their loop."""
        if not self.abandoned:
            self._awaiting.close()

    # the way of a message

    def _consume(self, given: Given) -> None:
        delivery = given.delivery
        channel = delivery.channel
        content = given.content = delivery.message
        form = given.form = message_formats.get(channel)
        reply_name = content.get("reply_channel")
        given.reply_name = reply_name if isinstance(reply_name, str) and reply_name else None
        if channel in self._ordered and given.reply_name is not None and (form is None or form.reply is not None):
            given.mark = content.get("order", content.get("id", True))
        if TRIES in content:
            delivery = given.delivery = Again(delivery, content.pop(TRIES))  # type: ignore[assignment]
        message = given.message = Message(content, channel, self._layer, delivery, self._stream_timeout)
        taken = self._routing.take(channel, content, message)
        if taken is None:
            self._unrouted(given)
            return
        given.consumer, captures = taken
        if form is not None and form.claim is not None and not self._claimed(given, form):
            return
        reply_format = form.reply if form is not None else None
        held = given.held = Held(self._layer, given.reply_name, reply_format, self._flusher)
        answer = form.default if form is not None and held.reply_name is not None else None
        refusal = None
        try:
            try:
                self._call(given.consumer, message, captures, held)
            finally:
                if held.due != _NEVER:
                    self._be_in_time(given, held)
        except StopConsumer:
            pass
        except ResponseLater:
            answer = None
            if form is not None and form.sender_repeats:
                raise
        except DenyConnection as denial:
            denied = form.denied if form is not None and isinstance(denial, Forbidden) else None
            refusal = self._refusal(given, denied or ((form.unrouted or form.failure) if form is not None else None))
        except TooMany as many:
            self.stats["limited"] += 1
            answer = None
            if form is not None and form.limited is not None:
                refusal = self._refusal(given, form.limited(many.seconds))
        except Reject as reject:
            refusal = self._refusal(given, {"accept": False, "code": reject.code, "text": reject.text})
        except ConsumeLater as later:
            self._later(given, later)
            return
        if refusal is not None and delivery.id is not None and self._is_temporary(form, refusal):
            self._later(given, ConsumeLater())  # nobody hears it who would come again: its sender has long been told
            return
        self._finish(given, held, refusal, answer)

    def _call(self, consumer: Callable[..., Any], message: Message, captures: dict[str, Any], held: Held) -> None:
        token = running.set(held)
        try:
            result = consumer(message, **captures)
            if result is not None:
                if isawaitable(result):
                    result = self._awaiting.run(result)
                if isinstance(result, GeneratorType | AsyncGeneratorType):
                    raise TypeError("a consumer that yields does not run; to stream, reply with an iterable of bytes")
                if result is not None:
                    self._ignored(consumer, result)
        finally:
            held.open = False
            running.reset(token)

    def _ignored(self, consumer: Callable[..., Any], result: object) -> None:
        """Say once that a consumer returns something, as functions of web frameworks do."""
        name = name_of(consumer)
        if name not in self._told:
            self._told.add(name)
            log.warning("%s returns a %s, which is ignored: answer with message.reply(…)", name, type(result).__name__)

    def _be_in_time(self, given: Given, held: Held) -> None:
        """Decide between the consumer's end and its being given up: whoever comes first gives the outcome."""
        with self._settling:
            if given.settled:
                raise _Abandoned
            given.settled = True
        if held.due < self._layer.clock():
            raise TimeoutError("the consumer took longer than its timeout")

    def _finish(self, given: Given, held: Held, refusal: Answer | None, answer: Answer | None) -> None:
        batch = held.batch
        said = refusal if refusal is not None else answer if held.answer is None else None
        if held.sessions:
            said = self._patiently(partial(held.tell_sessions, said))
        if said is not None or given.mark is not None or given.claim is not None or given.delivery.id is not None:
            batch = batch if batch is not None else self._layer.batch()
            if said is not None:
                assert held.reply_name is not None
                batch.send(held.reply_name, dict(said), trusted=True)
            self._done(given, batch)
            if given.claim is not None:
                self._settle(given, batch, held.answer or said or {})
            if given.delivery.id is not None:
                batch.ack(given.delivery)
        if batch is not None:
            form = given.form
            about = None if form is None else self._abouts.get(form) or self._about(form)
            self._flusher.put(batch.calls, held.reply_name, None if about is None else about.ending)
        for name, content in held.letters:
            self._flusher.bury(Letter(name, content, f"nobody listens to {name}"))
            log.warning("nobody listens to %s: what was sent to it is a dead letter", name)

    def _done(self, given: Given, batch: Batch, **later: float) -> None:
        """Tell a server that waits for it that the message is done, or in how many seconds it is consumed `later`."""
        if given.mark is not None and given.reply_name is not None:
            try:
                batch.send(given.reply_name, {"done": given.mark, **later}, trusted=True)
            except TypeError as error:
                log.error("%s: nobody can be told that it is done: %s", shown(given), error)

    def _settle(self, given: Given, batch: Batch, outcome: Answer) -> None:
        """Add to a flush what repeats of the message are told, or that the next one is consumed."""
        assert given.claim is not None
        assert given.form is not None
        if self._is_temporary(given.form, outcome):
            self._claims.end(given.claim)
            given.claim.release(batch)
        else:
            given.claim.settle(batch, outcome)

    @staticmethod
    def _is_temporary(form: Format | None, answer: Answer) -> bool:
        return form is not None and form.temporary is not None and form.temporary(answer)

    def _refusal(self, given: Given, refusal: Answer | None) -> Answer:
        form = given.form
        if form is None or form.reply is None or given.reply_name is None or refusal is None:
            raise TypeError(f"there is nothing to refuse in a message of {given.channel}")
        form.reply.validate(refusal)
        return refusal

    # messages without a consumer

    def _unrouted(self, given: Given) -> None:
        form, content = given.form, given.content
        if given.channel == delays.CHANNEL:
            self._delay(given)
            return
        answer = None
        if form is not None:
            known = self._about(form).fields
            if form.judged_by is not None and self._routing.may_take(form.judged_by, content, known):
                self._answer(given, form.default)
                return
            answer = form.unrouted
            if form.sender_repeats and given.delivery.id is not None:
                # Its sender was told long ago that it is taken, and hears no refusal any more.
                self.stats["unrouted"] += 1
                self._settle_failed(given, "no route takes it")
                return
        self.stats["unrouted"] += 1
        self._answer(given, answer)

    def _delay(self, given: Given) -> None:
        queued = given.delivery.queued or 0.0
        batch = self._patiently(lambda: delays.take(given.content, queued, self._layer, self._wall))
        self.stats["delayed"] += 1
        self._flusher.put(batch.calls)

    def _answer(self, given: Given, answer: Answer | None) -> None:
        batch = self._layer.batch()
        if answer is not None and given.reply_name is not None:
            batch.send(given.reply_name, dict(answer), trusted=True)
        self._done(given, batch)
        if given.delivery.id is not None:
            batch.ack(given.delivery)
        self._flusher.put(batch.calls)

    def _claimed(self, given: Given, form: Format) -> bool:
        """Claim a message that its sender may repeat; a repeat is answered here."""
        value = given.content.get(form.claim or "")
        if not isinstance(value, str):
            return True
        token = secrets.token_hex(8)
        claim = self._patiently(lambda: self._claims.take(given.channel, value, token, self._flusher.run))
        if isinstance(claim, Claim):
            given.claim = claim
            return True
        self.stats["busy" if claim is None else "repeats"] += 1
        if claim is None and given.delivery.id is not None:
            self._give_back(given, RENEW)  # who asks is the layer, and it asks again
        else:
            self._answer(given, form.busy if claim is None else claim)
        return False

    # messages that cannot be consumed, now or ever

    def _later(self, given: Given, later: ConsumeLater) -> None:
        delivery, form = given.delivery, given.form
        repeats = form is not None and form.sender_repeats
        if delivery.id is None and (repeats or (given.message is not None and given.message.streamed)):
            log.info("%s: to be consumed later, so its sender is told to come again", shown(given))
            self._settle_failed(given)
            return
        if delivery.tries >= later.tries:
            given.exhausted = True
            cause = later.__cause__ or RuntimeError(f"not consumed in {delivery.tries} tries")
            raise cause from cause.__cause__
        self.stats["retried"] += 1
        wait = later.wait(delivery.tries)
        if delivery.id is not None:
            self._give_back(given, wait)
            return
        batch = self._layer.batch()
        batch.send(given.channel, {**delivery.original(), TRIES: delivery.tries + 1}, delay=wait)
        self._done(given, batch, later=wait)
        self._flusher.put(batch.calls)

    def _give_back(self, given: Given, wait: float) -> None:
        """Have a durable channel deliver a message again after some seconds, without what was done for it so far."""
        batch = self._layer.batch()
        if given.claim is not None:
            self._claims.end(given.claim)
            given.claim.release(batch)
        batch.nack(given.delivery, wait)
        self._done(given, batch, later=wait)
        self._flusher.put(batch.calls)

    def _fail(self, given: Given, error: BaseException) -> None:
        try:
            self._failed(given, error)
        except BaseException:
            self._give_up(given)

    def _failed(self, given: Given, error: BaseException) -> None:
        """Answer, keep and log a failure, in this order: a log that fails takes nothing with it."""
        if isinstance(error, StreamClosed):
            self._left(given, error)
            return
        self.stats["failures"] += 1
        delivery, form = given.delivery, given.form
        reason = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
        if delivery.id is None:
            self._settle_failed(given)
            if form is None or not form.sender_repeats:
                letter = Letter(given.channel, delivery.original(), reason, traceback_of(error), delivery.tries)
                self._flusher.bury(letter)
        elif delivery.tries < _DURABLE_TRIES and not given.exhausted:
            self._give_back(given, ConsumeLater().wait(delivery.tries))
        else:
            self._settle_failed(given, reason, traceback_of(error))
        if self._repeats.is_new(kind_of(given), error):
            log.error("%s failed", shown(given), exc_info=(type(error), error, error.__traceback__))

    def _left(self, given: Given, error: StreamClosed) -> None:
        """Be done with a message whose sender left in the middle of its body.

        Any client can, as often as it likes: that is no failure to look into, and there is nothing to try again.
        """
        self.stats["senders_left"] += 1
        self._settle_failed(given)
        if self._repeats.is_new(kind_of(given), error, logging.WARNING):
            log.warning("%s: %s", shown(given), error)

    def _settle_failed(self, given: Given, reason: str = "", traceback: str = "") -> None:
        """Give the failure answer and release the claim.

        Args:
            given: The message.
            reason: Why it becomes a dead letter before it is acknowledged; "": it does not, here.
            traceback: Of what failed.
        """
        batch = self._layer.batch()
        if given.claim is not None:
            self._claims.end(given.claim)
            given.claim.release(batch)
        delivery = given.delivery
        if reason:
            tries = delivery.tries
            batch.dead_letter(given.channel, delivery.original(), reason=reason, traceback=traceback, tries=tries)
            self.stats["dead_letters"] += 1
        if given.form is not None and given.form.failure is not None and given.reply_name is not None:
            try:
                batch.send(given.reply_name, dict(given.form.failure), trusted=True)
            except TypeError as error:
                log.error("%s cannot be answered: %s", shown(given), error)
        self._done(given, batch)
        if delivery.id is not None:
            batch.ack(delivery)
        self._flusher.put(batch.calls)

    def _give_up(self, given: Given) -> None:
        """Count a message whose failure could not even be recorded: memory or the stack is at its end."""
        self.stats["failures_lost"] += 1
        try:
            log.critical("%s failed, and its failure could not be recorded in full", shown(given))
        except BaseException:
            self.stats["failures_unlogged"] += 1

    def _patiently(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except LayerUnavailable:
                if not self._flusher.outage(_NEVER):
                    raise

    def _about(self, form: Format) -> _About:
        about = self._abouts.get(form)
        if about is None:
            chunked = form.reply is not None and any(field.name == "more_content" for field in form.reply.fields)
            fields = frozenset(field.name for field in form.fields)
            about = self._abouts[form] = _About(fields, form.failure if chunked else None)
        return about


class _Abandoned(BaseException):
    """The helper thread gave this thread up; what its consumer did goes nowhere."""

"""An inbox on Redis: two connections, one to send and one to receive, a lease, and what an outage means for them.

    tx   what a loop turn sent, in one write; the lease; everything that is asked for
    rx   nothing but BLMPOP (`pulling.py`)

The members this process holds follow the notes in the inbox. They can no longer be trusted once notes may have been
missed: `_missed` counts these occasions, `_loaded` says up to which of them they were loaded anew. Meanwhile nothing
is pulled, and what was pulled is held.

    rx was lost                                      load a snapshot: Redis knows better
    a RELOAD note                                    likewise
    the lease was lost, or it is another Redis now   replay: `restore` writes down the members that we hold

Every RENEW seconds, whenever a connection came up, and AGAIN seconds after a refusal, `_check` asks for all that is
needed in one write.
"""

import asyncio
import logging
import secrets
import time
from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import hiredis

from ..calls import Call
from ..errors import LayerError, LayerUnavailable
from ..inbox import Callbacks, Inbox, Then
from ..membership import Snapshot
from ..store.element import PART, Element
from ..store.listeners import Heard
from .pulling import BLOCK, Puller
from .scripts import SCRIPTS
from .stream import Stream

if TYPE_CHECKING:
    from .commands import Plan
    from .layer import RedisLayer

log = logging.getLogger("trunkline.layer")

LEASE = 15.0
RENEW = 5.0
AGAIN = 1.0  # seconds after which Redis is asked anew that has refused something
_CLOSING = 5.0  # seconds that closing may take

Replies = list[Any] | LayerUnavailable


class RedisInbox(Inbox):
    """One server instance's inbox on Redis.

    Raises:
        LayerError: Another process has leased it.
        LayerUnavailable: Redis is out of reach.
    """

    _layer: "RedisLayer"

    def __init__(
        self, layer: "RedisLayer", name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool
    ) -> None:
        super().__init__(layer, name, loop, callbacks, lasting)
        self._plan = layer._commands.plan
        self._holder = secrets.token_hex(8)
        lease = self._checked.lease(name, self._holder, LEASE, lasting)
        self._lease = lease[1]
        self._renewal: Call = ("renew", (name, self._holder, LEASE))
        self.heard = Heard(time.monotonic)

        self._up: bool | None = None  # whether the lease is held and both connections work; None: not yet known
        self._reason = "the channel layer has not been reached yet"
        self._early: list[tuple[list[Call], list[Then | None]]] = []  # what was sent before that was known
        self._outstanding = 0  # writes that were not answered
        self._owed: list[Call] = []  # members that left, and Redis could not be told
        self._due: TimerHandle | None = None
        self._change: Future[None] | None = None
        self._closing: Task[None] | None = None

        self._asking = False  # whether an answer to `_check` is to come
        self._run_id: str | None = None
        self._reading: tuple[str, int] | None = None  # run_id and client_id of the connection we pull from
        self._deserted: tuple[str, int] | None = None  # of the one before, which Redis may still push to
        self._missed = self._loaded = 0
        self._lapsed = False
        self._parting: set[tuple[str, str]] = set()  # members that left while they were being loaded
        self._trouble: str | None = None

        snapshot, renewal = layer._run([lease, self._renewal])
        if isinstance(snapshot, LayerError):
            raise snapshot
        self._membership.load(snapshot)
        if not isinstance(renewal, LayerError):
            self.heard.hear(renewal[1])
        open_stream = partial(Stream, loop, layer._address, SCRIPTS, name=f"trunkline.{name}")
        self._tx: Stream = open_stream(up=self._check, down=self._down)
        self._rx: Stream = open_stream(up=self._hearing, down=self._deaf, patience=BLOCK)
        self._puller = Puller(
            self._rx, layer._commands, name, self.heard, self.stats, self._took, self._promote, self._fail
        )
        self._timer = loop.call_later(RENEW, self._renew)
        self._tx.start()
        self._rx.start()

    # sending

    def _transmit(self, calls: list[Call], thens: list[Then | None]) -> None:
        if self._up:
            plan = self._plan(calls)
            self._outstanding += 1
            self._tx.send(plan.commands, partial(self._sent, plan, thens))
        elif self._up is None:
            self._early.append((calls, thens))
        else:
            self._settle(thens, [LayerUnavailable(self._reason)] * len(thens))

    def _sent(self, plan: "Plan", thens: list[Then | None], replies: Replies) -> None:
        self._outstanding -= 1
        if isinstance(replies, LayerUnavailable):
            outcomes = plan.lost(replies)
            self.stats["in_doubt"] += sum(
                isinstance(outcome, LayerUnavailable) and outcome.uncertain for outcome in outcomes
            )
        else:
            outcomes = plan.outcomes(replies)
        self._settle(thens, outcomes)
        self._changed()

    def _leave(self, group: str, local: str, sequence: int) -> None:
        if self._missed != self._loaded:
            self._parting.add((group, local))
        call: Call = ("group_leave", (group, self.name, local, sequence))
        self._enqueue(call, partial(self._left, call))

    def _left(self, call: Call, outcome: Any) -> None:
        if isinstance(outcome, LayerError):
            self._owed.append(call)

    # receiving

    def _took(self, elements: list[Element]) -> None:
        rest = self._arrived(elements)
        if rest is not None:
            self._miss(rest)
            self._check()

    def _promote(self) -> None:
        """Have what is due moved."""
        plan = self._plan([("promote", ())])
        self._tx.send(plan.commands, partial(self._promoted, plan))

    def _promoted(self, plan: "Plan", replies: Replies) -> None:
        if not isinstance(replies, LayerUnavailable):
            self._wait_for_due(plan.outcomes(replies)[0])

    def _wait_for_due(self, seconds: Any) -> None:
        """Come back when the next delayed message is due, unless `_renew` will ask earlier."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if isinstance(seconds, (int, float)) and seconds < RENEW and not self._closed:
            self._due = self._loop.call_later(seconds, self._promote)

    # the lease and the members

    def _renew(self) -> None:
        self._timer = self._loop.call_later(RENEW, self._renew)
        self._check()

    def _check(self) -> None:
        """Hold the lease; where notes were missed load the members, and where the lease was lost write them down."""
        if self._asking or not self._tx.connected:
            return
        run_id = self._tx.hello.run_id
        if run_id != self._run_id:
            if self._run_id is not None:
                self._lapse()
            self._run_id = run_id
        calls = list(self._owed)
        loading = self._missed != self._loaded and self._rx.connected
        if loading:
            self._puller.forget_notes()
        if loading and self._lapsed:
            calls.append(("restore", (*self._lease, self._membership.members())))
        elif loading:
            calls.append(("snapshot", (self.name,)))
        if self._deserted is not None:
            if run_id and self._deserted[0] == run_id:
                self._tx.send([("CLIENT", "KILL", "ID", self._deserted[1])], _ignore)
            self._deserted = None
        # Whoever took the wake token may have died since: everybody looks after delayed messages now and then.
        plan = self._plan([*calls, self._renewal, ("promote", ())])
        self._asking = True
        answered = partial(self._answered, plan, len(self._owed), self._lapsed, self._missed, time.monotonic())
        self._tx.send(plan.commands, answered)

    def _answered(self, plan: "Plan", owed: int, lapsed: bool, missed: int, asked: float, replies: Replies) -> None:
        self._asking = False
        if isinstance(replies, LayerUnavailable):
            return
        *outcomes, renewal, due = plan.outcomes(replies)
        self._wait_for_due(due)
        told, loaded = outcomes[:owed], outcomes[owed:]
        self._owed[:owed] = [
            call for call, outcome in zip(self._owed, told, strict=False) if isinstance(outcome, LayerError)
        ]
        for outcome in (*loaded, renewal):
            if isinstance(outcome, LayerError):
                self._fail(str(outcome))
                return
        held, heard, clock = renewal
        self.heard.hear(heard)
        self._puller.offset = clock - (asked + time.monotonic()) / 2
        if not held:
            self._lapse()
        elif loaded:
            if lapsed:
                self._lapsed = False
                self.stats["replays"] += 1
            self._loaded = missed
            self._load(loaded[0])
        if self._rx.connected:
            if self._missed != self._loaded:
                self._check()
            else:
                self._stand()

    def _load(self, snapshot: Snapshot) -> None:
        super()._load(snapshot)
        parting, self._parting = self._parting, set()
        for group, local in parting:
            sequence = self._membership.discard(group, local)
            if sequence is not None:
                self._leave(group, local, sequence)

    def _miss(self, rest: Sequence[Element] = ()) -> None:
        self._missed += 1
        self._puller.hold(rest)

    def _lapse(self) -> None:
        self._lapsed = True
        self._miss()

    # up and down

    def _stand(self) -> None:
        """Go on: both connections work, the lease is held, and the members are known."""
        self._trouble = None
        was, self._up = self._up, True
        self._send_early()
        if was is False and self._callbacks.up is not None and not self._closed:
            self._run(self._callbacks.up)
        self._puller.resume()
        self._changed()

    def _hearing(self) -> None:
        """Go on with the connection that we pull from."""
        hello = self._rx.hello
        # Redis may not know yet that the last one was lost. Its BLMPOP would take what is ours.
        self._deserted, self._reading = self._reading, (hello.run_id, hello.client_id)
        self._check()

    def _deaf(self, reason: str) -> None:
        """Go down with the connection that we pull from: what was on its way is lost, notes too."""
        self._miss()
        self._down(reason)

    def _fail(self, reason: str) -> None:
        """Go down because Redis, though it answers, refuses; `_renew` tries again soon."""
        if not self._closed:
            if reason != self._trouble:
                log.warning("%s: %s; trying again every %g s", self.name, reason, AGAIN)
            self._timer.cancel()
            self._timer = self._loop.call_later(AGAIN, self._renew)
        self._trouble = reason
        self._down(reason)

    def _down(self, reason: str) -> None:
        self._reason = reason
        if self._up is False:
            return
        self._up = False
        if not self._closed:
            self.stats["outages"] += 1
            if self._callbacks.down is not None:
                self._run(self._callbacks.down, reason)
        self._send_early()
        self._changed()

    def _send_early(self) -> None:
        early, self._early = self._early, []
        for calls, thens in early:
            RedisInbox._transmit(self, calls, thens)  # what was for other places than this went there

    # the end

    def _changed(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _shut(self) -> None:
        self._timer.cancel()
        self._puller.stop()
        try:
            async with asyncio.timeout(_CLOSING):
                await self._finish()
        except TimeoutError:
            log.warning("%s: the channel layer did not answer within %g s of closing", self.name, _CLOSING)
        finally:
            self._drop()
        await asyncio.sleep(0)  # the connections end in the next turn of the loop

    async def _finish(self) -> None:
        """Wait for what was sent, stop pulling, give back what nobody will read and then the lease."""
        while self._outstanding or self._up is None:
            self._change = self._loop.create_future()
            await self._change
        while self._puller.waiting and self._tx.connected and self._rx.connected:
            replies = await self._ask(("CLIENT", "UNBLOCK", self._rx.hello.client_id))
            if isinstance(replies, LayerUnavailable) or isinstance(replies[0], hiredis.ReplyError):
                break
            await asyncio.sleep(0.005)
        calls = [*self._owed, ("release", (self.name, self._holder))]
        unread = [element for element in self._puller.held if element[2] <= PART]
        if self._lasting and unread:
            calls.insert(0, ("put_back", (self.name, unread)))
        await self._ask(*self._plan(calls).commands)

    async def _ask(self, *commands: Any) -> Replies:
        answer: Future[Replies] = self._loop.create_future()
        self._tx.send(commands, lambda replies: None if answer.done() else answer.set_result(replies))
        return await answer

    def _drop(self) -> None:
        """Close the connections, now."""
        if self._due is not None:
            self._due.cancel()
        self._rx.close()
        self._tx.close()
        self._down(f"{self.name} is closed")

    def _stop(self) -> None:
        """Begin to close, from whatever thread, and wait for nothing: the layer is closed."""
        try:
            self._loop.call_soon_threadsafe(self._begin_to_close)
        except RuntimeError:  # the loop was closed under an open inbox: its lease lapses
            pass

    def _begin_to_close(self) -> None:
        self._closing = self._loop.create_task(self.close())


def _ignore(replies: object) -> None:
    """Take what nobody waits for."""

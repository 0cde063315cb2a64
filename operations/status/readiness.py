"""Whether a command can do its work: one round trip through the layer, and a verdict for people and for probes.

    not ready   it starts, it stops, the layer does not answer in time, its event loop is stuck, a kind of process has
                none that runs, or no server can do its work: nothing should be sent here
    degraded    it works, and a person has something to do: each problem is a line
    ready       nothing is known to be wrong

A revoked token of one workspace does not stop the others, nor the web server beside them: that is degraded. Where it is
all that a command serves, nothing is left, and the command is not ready.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ...layer import Layer, LayerError
from ..census import Told
from ..overview import Seen

if TYPE_CHECKING:
    from ...layer import Reader

DEADLINE = 2.0
"""Seconds that a message may take through the layer and back."""

SILENT = 5.0
"""Seconds without an answer after which a process is called silent."""


class Trip(NamedTuple):
    """A message that went through the layer and back.

    Attributes:
        seconds: How long it took.
        problems: What the layer says is wrong with itself.
        failure: Why it did not come back; "": it did.
    """

    seconds: float
    problems: Sequence[str] = ()
    failure: str = ""


class Verdict(NamedTuple):
    """What to think of a command.

    Attributes:
        state: In one word or two.
        problems: What is wrong, a line each.
    """

    state: Literal["ready", "degraded", "not ready"]
    problems: Sequence[str]

    @property
    def ready(self) -> bool:
        """Whether it does its work."""
        return self.state != "not ready"


class Probe:
    """Sends messages to itself; one call at a time.

    Args:
        layer: Through which.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._channel = layer.new_channel("trunkline.ready?")
        self._reader: Reader | None = None

    def __call__(self) -> Trip:
        """Make a round trip; takes as long as the layer takes to answer, or to be given up."""
        began = time.monotonic()
        try:
            self._send_and_receive()
            seconds = time.monotonic() - began
            return Trip(seconds, self._layer.problems())
        except LayerError as error:
            return Trip(time.monotonic() - began, failure=str(error))

    def _send_and_receive(self) -> None:
        sent = {"probe": secrets.token_hex(8)}
        self._layer.send(self._channel, sent, expiry=DEADLINE)
        reader = self._reader = self._reader or self._layer.reader()
        while found := reader.receive_batch([self._channel], 16):
            if any(delivery.message == sent for delivery in found):
                return  # the others are of trips that were given up
        raise LayerError("a message was sent and did not come")


def judge(seen: Seen, trip: Trip) -> Verdict:
    """Say what to think of a command.

    Args:
        seen: Its processes.
        trip: A message through its layer.
    """
    stopped = [*_life(seen), *([f"layer: {trip.failure}"] if trip.failure else [])]
    servers = [server for report in seen.reports for server in report["servers"]]
    if servers and not any(server["serves"] for server in servers):
        stopped.append("no server can do its work")
    problems = list(trip.problems)
    for crew in seen.crews:
        if seen.state == "running" and crew.running == 0:
            stopped.append(f"no {crew.kind} runs")
        elif seen.state == "running" and crew.running < crew.wanted:
            problems.append(f"{crew.running} of {crew.wanted} {crew.kind}s run")
    problems += [f"{told.name} has not answered for {told.silent:.0f} s" for told in _silent(seen)]
    problems += dict.fromkeys(problem for server in servers for problem in server["problems"])
    if stopped:
        return Verdict("not ready", [*stopped, *problems])
    return Verdict("degraded" if problems else "ready", problems)


def _life(seen: Seen) -> list[str]:
    found: list[str] = [] if seen.state == "running" else [seen.state]
    return found if seen.turns else [*found, "the event loop is stuck"]


def _silent(seen: Seen) -> list[Told]:
    return [told for told in seen.processes if told.silent >= SILENT]

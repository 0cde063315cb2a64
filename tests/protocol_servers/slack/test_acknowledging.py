"""How soon Slack is told: whatever the Web API does, and while connections come and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.testing.slack import SlackWorkspace
from trunkline.workers import route

SLOW = 60.0  # seconds that the Web API takes
PATIENCE = 30.0  # seconds that this Slack waits: the machine does other things as well
EVENTS = 300


@pytest.fixture
def patience() -> float:
    """Seconds that Slack waits for an acknowledgement."""
    return PATIENCE


@pytest.fixture(params=["sockets", "requests"])
def transport(request: pytest.FixtureRequest) -> dict[str, bool]:
    """Both ways in."""
    return {} if request.param == "sockets" else {"sockets": False, "http": True}


def answer(message: Any) -> None:
    message.reply(f"you said {message['text']}")


def test_nobody_waits_for_a_slow_web_api(
    transport: dict[str, bool],
    start_slack: Callable[..., Any],
    work: Callable[..., Any],
    workspace: SlackWorkspace,
    memory_layer: MemoryLayer,
    tell: Callable[[str], None],
) -> None:
    """No call is answered, neither those for names nor those that speak, and everything is acknowledged at once."""
    running = start_slack(memory_layer, **transport)
    work(memory_layer, [route("chat.message", answer)])
    workspace.delay(None, SLOW, times=100_000)
    began = time.monotonic()
    for number in range(EVENTS):
        workspace.say(f"user-{number % 60}", f"#room-{number % 20}", f"line {number}")
    asked = {"users.info", "conversations.info", "chat.postMessage"}  # which are answered in a minute
    workspace.wait(lambda: asked <= {call.method for call in workspace.calls})
    for number in range(EVENTS, EVENTS + 20):
        workspace.say(f"user-{number % 60}", f"#room-{number % 20}", f"line {number}")
    workspace.wait_delivered()
    took = time.monotonic() - began
    slow = [call for call in workspace.calls if call.time >= began]
    assert asked <= {call.method for call in slow}
    assert [call for call in slow if call.ended is not None] == []
    outcomes = Counter(attempt.outcome for each in workspace.deliveries for attempt in each.attempts)
    assert outcomes == {"acknowledged": len(workspace.deliveries)}  # each at the first attempt
    times = sorted(
        attempt.ended - attempt.time for each in workspace.deliveries for attempt in each.attempts if attempt.ended
    )
    assert len(times) == EVENTS + 20
    assert times[-1] < PATIENCE
    assert running.stats["names_late"]
    running.stop(0.5)
    tell(
        f"{len(times)} events in {took:.1f} s: half acknowledged within {times[len(times) // 2]:.2f} s, "
        f"all within {times[-1]:.2f} s, while the Web API took {SLOW:g} s"
    )

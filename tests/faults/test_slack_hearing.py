"""Events of Slack while worker, server and Redis are killed at random: what was acknowledged is heard, and once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

from .counts import Counts
from .site import WAIT, Program, Redis, noted

EVENTS = 250
MOST_EVENTS = 1000
ROUNDS = 1  # in which each of the three is killed once, in any order
PREFETCH = 8
VISIBILITY = 1.5  # seconds; what a killed worker had is delivered again after that

ROUTING = """
import os
import time

from trunkline import route

NOTES = os.environ["NOTES"]
notes = os.open(f"{NOTES}/taken.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def hear(message):
    text, delivery = message["text"], message.delivery
    if text.startswith("hold") and os.path.exists(NOTES + "/hold"):
        os.write(notes, f"held {text} {delivery.id} {delivery.tries}\\n".encode())
        time.sleep(600)
    time.sleep(0.001)
    os.write(notes, f"heard {text} {delivery.id} {delivery.tries}\\n".encode())


routing = [route("chat.message", hear)]
"""

Deliveries = dict[str, list[tuple[str, int]]]
"""A text → its deliveries: id, tries."""

pytestmark = pytest.mark.campaign


class Kept(Redis):
    """A Redis that comes back with what it held: what it has answered is in its file."""

    def start(self) -> None:
        place = self._command.index("--appendonly") + 1
        self._command[place] = "yes"
        super().start()


class Place:
    """A Slack, a Redis, a server and a worker, to be killed and started again."""

    def __init__(self, folder: Path, redis_program: str, options: str, slack: SlackService) -> None:
        self._folder = folder
        self.holding = folder / "hold"  # while it is there, lines that say so are held
        (folder / "app.py").write_text(ROUTING, encoding="utf-8")
        (folder / "bot_token").write_text(slack.workspace.bot_token, encoding="ascii")
        (folder / "app_token").write_text(slack.workspace.app_token, encoding="ascii")
        (folder / "trunkline.toml").write_text(
            f'[slack.acme]\napi_url = "{slack.api_url}"\n'
            'bot_token = { file = "bot_token" }\napp_token = { file = "app_token" }\n',
            encoding="utf-8",
        )
        self.redis = Kept(redis_program, folder)
        self._environ = {"NOTES": str(folder), "TRUNKLINE_LAYER": self.redis.url + options}
        self._programs: dict[str, Program] = {}
        for name in ("server", "worker"):
            self._start(name)
        until(lambda: all(each.ready for each in self._programs.values()), "the commands start")
        until(lambda: self.redis.layer.listeners(), "the worker announces itself")

    def _start(self, name: str) -> None:
        commands = {"server": ("serve", "slack"), "worker": ("work", "app", f"--prefetch={PREFETCH}")}
        self._programs[name] = Program(commands[name], self._folder, self._environ)

    def kill(self, name: str) -> None:
        """Kill one of the three, and start it again."""
        if name == "redis":
            self.redis.kill()
            self.redis.start()
            return
        program = self._programs[name]
        program.signal(signal.SIGKILL)
        program.close()
        self._start(name)
        until(lambda: self._programs[name].ready, f"the {name} starts again")

    def heard(self) -> Deliveries:
        """Return the deliveries of each text that a consumer finished with."""
        return self._noted("heard")

    def held(self) -> Deliveries:
        """Return the deliveries of each text that a consumer held until it was killed."""
        return self._noted("held")

    def _noted(self, kind: str) -> Deliveries:
        found: Deliveries = defaultdict(list)
        for _, lines in noted(self._folder):
            for line in lines:
                what, text, id, tries = line.split()
                if what == kind:
                    found[text].append((id, int(tries)))
        return found

    def printed(self) -> str:
        return "\n".join(f"--- {name}\n{each.printed}" for name, each in self._programs.items())

    def close(self) -> None:
        for program in self._programs.values():
            program.close()
        self.redis.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


@pytest.fixture
def slack() -> Iterator[SlackService]:
    """A Slack that tells again soon, and never gives up."""
    with SlackService(retries=[0.2] * 1000) as service:
        yield service


def hold(place: Place, workspace: SlackWorkspace, number: int) -> int:
    """Have the worker hold a line; return how many lines were said for that, as Redis may have lost one on its way."""
    before = len(place.held())
    place.holding.touch()
    again = 0.0

    def is_held() -> bool:
        nonlocal again, number
        if time.monotonic() > again:
            workspace.say("ann", "#room-0", f"hold-{number}")
            number += 1
            again = time.monotonic() + 5.0
        return len(place.held()) > before

    until(is_held, "the worker holds a line")
    place.holding.unlink()
    return number


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "plain"])
def test_a_thousand_events_while_all_are_killed(
    durable: bool, tmp_path: Path, peer: Callable[[str], str], slack: SlackService, counts: Counts, scale: int
) -> None:
    events, rounds = min(EVENTS * scale, MOST_EVENTS), min(ROUNDS * scale, 6)
    workspace = slack.workspace
    options = f"?capacity=100000&durable=chat.*:{VISIBILITY}" if durable else "?capacity=100000"
    place = Place(tmp_path, peer("redis-server"), options, slack)
    kills: Counter[str] = Counter()
    try:
        workspace.wait_connected()
        done = threading.Event()

        def speak() -> None:
            for number in range(events):
                workspace.say("ann", f"#room-{number % 10}", f"line-{number}")
                time.sleep(0.004)
            done.set()

        speaker = threading.Thread(target=speak)
        speaker.start()
        order = random.Random(7)
        held = 0
        for _ in range(rounds):
            for name in order.sample(["server", "worker", "redis"], 3):
                time.sleep(order.uniform(0, 0.2))
                if name == "worker":  # in the middle of a message, besides those that it has taken
                    held = hold(place, workspace, held)
                place.kill(name)
                kills[name] += 1
        speaker.join(WAIT)
        assert done.is_set()

        def all_told() -> bool:
            workspace.retry_now()
            return not workspace.undelivered()

        until(all_told, "everything is acknowledged")
        workspace.say("ann", "#room-0", "the-end")
        until(lambda: "the-end" in place.heard(), "the end is heard")
        if durable:
            until(lambda: len(place.heard()) == events + held + 1, "what was left behind is heard")
        heard = place.heard()
        del heard["the-end"]
        taken = place.held()

        counts.note("events", events)
        for name, count in sorted(kills.items()):
            counts.note(f"kills of {name}", count)
        attempts = sum(len(each.attempts) for each in workspace.deliveries)
        counts.note("told again by Slack", attempts - len(workspace.deliveries))
        said = [f"line-{number}" for number in range(events)] + [f"hold-{number}" for number in range(held)]
        lost = [text for text in said if text not in heard]
        again = {text: deliveries for text, deliveries in heard.items() if len(deliveries) > 1}
        if durable:
            counts.none("lost", lost)
            late = {text for text, deliveries in heard.items() if min(tries for _, tries in deliveries) > 1}
            counts.note("heard at a later try, as the worker was killed before", len(late))
            counts.none("held by a killed worker and not delivered again", [text for text in taken if text not in late])
            counts.note("heard again", len(again))
            for text, deliveries in taken.items():
                heard[text] += deliveries
            ids = {text: {id for id, _ in deliveries} for text, deliveries in heard.items()}
            counts.none("with another id when heard again", [text for text, found in ids.items() if len(found) > 1])
            firsts = [text for text, found in heard.items() if sum(tries == 1 for _, tries in found) > 1]
            counts.none("heard again as if for the first time", firsts)
            counts.expect("ids", len(set().union(*ids.values())), events + held)
        else:
            # What a killed worker had taken, and what was on its way to it when Redis was killed.
            counts.limit("lost", len(lost), 0, PREFETCH * (kills["worker"] + kills["redis"]))
            counts.none("heard twice", again)
    finally:
        place.close()
    counts.check(place)

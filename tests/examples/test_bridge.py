"""The bridge as its reader would run it: Chromium, a real ngircd, a Slack and swaks in one room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from trunkline.protocol_servers.irc.events import Heard
from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

from ..protocol_servers.irc import conftest as irc
from ..trunkline.conftest import Program
from . import test_helpdesk_demo

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "examples" / "bridge"
WAIT = 60

chromium, ngircd, peers, public_folder = (
    test_helpdesk_demo.chromium, irc.ngircd, irc.peers, irc.public_folder,
)  # fmt: skip


SLACK = """
[slack.acme]
api_url = "{}"
app_token = {{ file = "app_token" }}
bot_token = {{ file = "bot_token" }}
"""


@pytest.fixture
def slack() -> Iterator[SlackWorkspace]:
    """A workspace with a room for the bridge, and Fay in it."""
    with SlackService() as service:
        service.workspace.room("bridge", "fay")
        yield service.workspace


@pytest.fixture
def program(ngircd: int, slack: SlackWorkspace, tmp_path: Path) -> Iterator[Program]:
    """`trunkline run` in the example's folder, on free ports, with one more table in its settings: Slack's."""
    folder = copytree(BRIDGE, tmp_path / "bridge")
    settings = folder / "trunkline.toml"
    text = settings.read_text("utf-8")
    for port, free in (("tcp:8000", "tcp:0"), ("tcp:2525", "tcp:0"), ("127.0.0.1:6667", f"127.0.0.1:{ngircd}")):
        assert port in text
        text = text.replace(port, free)
    settings.write_text(f'{text}password = "secret"\npace = 100\n' + SLACK.format(slack.api_url), "utf-8")
    (folder / "app_token").write_text(slack.app_token, "ascii")
    (folder / "bot_token").write_text(slack.bot_token, "ascii")
    running = Program(("run",), folder, {})
    running.ready()
    slack.wait_connected()
    yield running
    running.kill()


class Bridge:
    """The four places that the bridge joins, and what was said to each of them since all were there.

    Args:
        program: `trunkline run`.
        slack: The workspace.
        eve: Somebody on IRC.
        chromium: The browser.
        swaks: The path of it.
    """

    def __init__(self, program: Program, slack: SlackWorkspace, eve: Any, chromium: Any, swaks: str) -> None:
        self._program = program
        self._slack = slack
        self._eve = eve
        self._swaks = swaks
        self._chromium = chromium
        self._before = 0, 0
        self._page = self._open()
        self._meet()
        self._page.close()
        self._page = self._open()

    def _open(self) -> Any:
        page = self._chromium.new_context(viewport={"width": 640, "height": 340}).new_page()
        page.set_default_timeout(WAIT * 1000)
        page.goto(f"http://127.0.0.1:{self._program.port('http')}/")
        page.wait_for_function("document.getElementById('state').textContent === 'connected'")
        return page

    def _meet(self) -> None:
        """Speak until everybody hears it: when the rooms are in the group, nobody is told."""
        calls = 0
        later = 0.0
        end = time.monotonic() + WAIT
        while not (self.slack and self.irc):
            assert time.monotonic() < end, "the rooms never were in the bridge"
            if time.monotonic() >= later:
                self.from_web(f"call {calls}")
                calls += 1
                later = time.monotonic() + 1.0  # Slack takes one a second
            self._eve._run(later)
        last = f"web: call {calls - 1}"
        self.hears(last, last)
        self._before = len(self.slack), len(self.irc)

    def _until(self, condition: Callable[[], bool]) -> None:
        """Have Eve read until a condition holds."""
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end, (self.web, self.irc, self.slack)
            self._eve._run(time.monotonic() + 0.05)

    # What is said

    def from_web(self, text: str) -> None:
        self._page.fill("#text", text)
        self._page.click("#send")

    def from_irc(self, text: str, target: str = "#bridge") -> None:
        self._eve.session.say(target, text)
        self._eve.flush()

    def from_slack(self, text: str, room: str = "#bridge", **options: Any) -> Any:
        return self._slack.say("fay", room, self._slack.typed(text), **options)

    def by_mail(self, text: str) -> None:
        server = ["--server", "127.0.0.1", "--port", str(self._program.port("smtp")), "--from", "dan@example.org"]
        mail = ["--to", "room@example.com", "--body", text, "--header", "Subject: Hello"]
        told = subprocess.run([self._swaks, *server, *mail], capture_output=True, text=True, timeout=WAIT, check=False)
        assert told.returncode == 0, told.stdout

    # What is heard

    @property
    def web(self) -> list[str]:
        """All lines of the page, its own included."""
        return list(self._page.locator("li").all_inner_texts())

    @property
    def irc(self) -> list[str]:
        return [each.text for each in self._eve.seen if isinstance(each, Heard)][self._before[1] :]

    @property
    def slack(self) -> list[str]:
        """What was said in the room by the bridge."""
        return self._slack.texts("#bridge")[self._before[0] :]

    def shows(self, text: str) -> None:
        """Wait until this is the last line of the page."""
        self._page.wait_for_function("text => document.querySelector('li:last-child')?.textContent === text", arg=text)

    def hears(self, irc: str | None = None, slack: str | None = None) -> None:
        """Wait until these were the last that IRC and Slack heard."""
        self._until(lambda: (irc is None or self.irc[-1:] == [irc]) and (slack is None or self.slack[-1:] == [slack]))

    def picture(self, path: str) -> None:
        self._page.screenshot(path=path)


@pytest.fixture
def bridge(
    program: Program,
    ngircd: int,
    slack: SlackWorkspace,
    peers: Callable[..., Any],
    chromium: Any,
    peer: Callable[[str], str],
) -> Bridge:
    """The bridge, with everybody there."""
    eve = peers(ngircd, "eve", password="secret", join=("#bridge",), rate=1000.0, burst=1000)
    eve.until(lambda seen: "bridge" in {each.nick for each in eve.session.rooms.members("#bridge")})
    return Bridge(program, slack, eve, chromium, peer("swaks"))


def test_it_is_short() -> None:
    assert len((BRIDGE / "bridge.py").read_text("utf-8").splitlines()) <= 30


def test_what_is_said_in_one_appears_in_the_others(bridge: Bridge) -> None:
    bridge.from_web("Is <b>anybody</b> there?")
    bridge.shows("Is <b>anybody</b> there?")
    bridge.hears("web: Is <b>anybody</b> there?", "web: Is &lt;b&gt;anybody&lt;/b&gt; there?")
    bridge.from_irc("I am, on IRC")
    bridge.shows("eve: I am, on IRC")
    bridge.hears(slack="eve: I am, on IRC")
    bridge.from_slack("So am I, in Slack: https://example.com/?a=1&b=2")
    bridge.shows("fay: So am I, in Slack: https://example.com/?a=1&b=2")
    bridge.hears("fay: So am I, in Slack: https://example.com/?a=1&b=2")
    bridge.by_mail("And I write a mail.")
    bridge.shows("dan@example.org: And I write a mail.")
    bridge.hears("dan@example.org: And I write a mail.", "dan@example.org: And I write a mail.")
    assert bridge.web == [
        "Is <b>anybody</b> there?",
        "eve: I am, on IRC",
        "fay: So am I, in Slack: https://example.com/?a=1&b=2",
        "dan@example.org: And I write a mail.",
    ]
    assert (len(bridge.irc), len(bridge.slack)) == (3, 3)
    if picture := os.environ.get("BRIDGE_PICTURE"):
        bridge.picture(picture)


def test_nothing_comes_back_nobody_is_called_and_what_is_private_stays_so(
    bridge: Bridge, slack: SlackWorkspace
) -> None:
    calling = "look @here @channel @everyone @fay #bridge <!channel> <@U1> & more"
    quiet = "look @\u2060here @\u2060channel @\u2060everyone @fay #bridge &lt;!channel&gt; &lt;@U1&gt; &amp; more"
    bridge.from_irc(calling)
    bridge.hears(slack=f"eve: {quiet}")
    bridge.from_web(calling)
    bridge.hears(f"web: {calling}", f"web: {quiet}")
    bridge.by_mail(calling)
    bridge.hears(f"dan@example.org: {calling}", f"dan@example.org: {quiet}")
    assert [each.pings for each in slack.messages("#bridge")[-3:]] == [[], [], []]
    # In a thread, edited, with a file, as an action: everywhere else, and never back to where it was said.
    first = bridge.from_slack("@bot look")
    bridge.hears("fay: look")
    bridge.from_slack("in the thread :wave:", thread=first)
    bridge.hears("fay: in the thread 👋")
    slack.edit(first, "look &lt;here&gt;")
    bridge.hears("fay: look <here>")
    slack.upload("fay", "#bridge", "plan.txt", b"a plan", text="with a file")
    bridge.hears("fay: with a file")
    # What nobody said in the room.
    bridge.from_slack("between us", "@fay")
    bridge.from_irc("between us, too", "bridge")
    slack.react("fay", first, "+1")
    slack.delete(first)
    slack.wait_delivered()
    bridge.from_slack("the end")
    bridge.from_irc("the end, too")
    bridge.hears("fay: the end", "eve: the end, too")
    said = ["look", "in the thread 👋", "look <here>", "with a file", "the end"]
    assert bridge.irc == [f"{who}: {calling}" for who in ("web", "dan@example.org")] + [f"fay: {text}" for text in said]
    assert bridge.slack == [f"{who}: {quiet}" for who in ("eve", "web", "dan@example.org")] + ["eve: the end, too"]
    assert slack.messages("@fay") == []
    assert not [each for each in bridge.web if "between us" in each]


def test_users_own_test_passes() -> None:
    """`pytest` in the example's folder, as its reader would run it."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_bridge.py"],
        cwd=BRIDGE,
        capture_output=True,
        text=True,
        timeout=WAIT * 2,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr

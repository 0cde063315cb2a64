"""The tutorial's bot, unchanged, in Slack and on a real ngircd at the same time, answered by one worker."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.testing.slack import Said, SlackService, SlackWorkspace

from ..layer.redis.conftest import RedisServer
from ..trunkline.conftest import Program
from . import test_a_bot
from .test_a_bot import Person, blocks

PATIENCE = 60  # seconds; a bound against hanging, never waited for

SLACK = """
[slack.acme]
api_url = "{}"
app_token = {{ file = "app_token" }}
bot_token = {{ file = "bot_token" }}
"""

# What a service cannot do degrades to text; a consumer never asks which one it talks to.
ABLE = """
from trunkline import Channel, route

said_in = {}


def hear(message):
    match message["text"].split():
        case ["say", text]:
            receipts = f"receipts.{message['service']}"
            said_in[receipts] = message.reply_channel.name
            message.reply(text, receipt_channel=receipts)
        case ["react", reaction]:
            message.reply(reaction, reaction=reaction, id=message["id"])
        case ["send", name]:
            message.reply("here", files=[{"name": name, "mimetype": "text/plain", "content": b"one"}])
        case ["act", text]:
            message.reply(text, action=True)
        case ["note", text]:
            message.reply(text, notice=True)
        case ["thread", text]:
            message.reply(text, thread="new", id=message["id"])
        case ["blocks", text]:
            message.reply(text, blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": f"*{text}*"}}])
        case ["whisper", text]:
            message.reply(text, user=message["user"])
        case ["shout", text]:
            message.reply(text, notify=True)


def said(receipt):
    id = (receipt.get("ids") or ["unknown"])[0]  # a service may have none
    Channel(said_in[receipt.channel]).send({"text": "said better", "edit": id})


routing = [route("chat.message", hear), route(["receipts.irc", "receipts.slack"], said)]
"""

peers, public_folder, ngircd = test_a_bot.peers, test_a_bot.public_folder, test_a_bot.ngircd


@pytest.fixture
def workspace() -> Iterator[SlackWorkspace]:
    """A workspace, with the tutorial's room and Cai in it."""
    with SlackService() as slack:
        slack.workspace.room("dev", "cai")
        yield slack.workspace


@pytest.fixture
def start(
    ngircd: int,
    workspace: SlackWorkspace,
    peer: Callable[[str], str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Program]]:
    """Starts `trunkline …` in a folder with what the page says to write, and one more table in its settings."""
    redis = RedisServer(peer("redis-server"), tmp_path_factory.mktemp("redis"))
    (settings,) = blocks("toml")
    settings = settings.replace("redis://127.0.0.1:6379", redis.url).replace("6667", str(ngircd))
    text = settings + "pace = 100\n" + SLACK.format(workspace.api_url)
    (tmp_path / "trunkline.toml").write_text(text, "utf-8")
    (tmp_path / "bot.py").write_text("\n".join(blocks("python")), "utf-8")
    (tmp_path / "app_token").write_text(workspace.app_token, "ascii")
    (tmp_path / "bot_token").write_text(workspace.bot_token, "ascii")
    started: list[Program] = []

    def run(*arguments: str) -> Program:
        started.append(Program(arguments, tmp_path, {}))
        return started[-1]

    yield run
    for program in started:
        program.kill()
    redis.kill()


class Two:
    """Ann on IRC and Cai in Slack, who say the same at the same time; and Bob and Dora, who wake the bot for them."""

    def __init__(self, ann: Person, bob: Person, workspace: SlackWorkspace) -> None:
        self.ann = ann
        self._bob = bob
        self._workspace = workspace

    def wake(self, text: str, answer: str) -> None:
        """Say a numbered line again and again until both hear its answer: what no worker listens to is dropped, and
        servers learn of a worker within seconds.
        """
        for number in itertools.count(1):
            assert number < PATIENCE, "nobody answers"
            self._bob.say(text.format(number))
            self._workspace.say("dora", "#dev", text.format(number))
            later = time.monotonic() + 1
            while time.monotonic() < later:
                self.ann.listen(later)
                answered = answer.format(number)
                if ("#dev", answered) in self.ann.heard and self._workspace.texts("#dev")[-1:] == [answered]:
                    return

    def say(self, text: str) -> None:
        self._workspace.say("cai", "#dev", self._workspace.typed(text))
        self.ann.say(text)

    def hear(self, text: str, slack: str | None = None) -> None:
        """Wait until the last that was said in each room is this."""
        self.ann.hears(text)
        self._workspace.wait(lambda: self._workspace.texts("#dev")[-1:] == [slack or text])


@pytest.fixture
def two(
    start: Callable[..., Program], workspace: SlackWorkspace, ngircd: int, peers: Callable[..., Any]
) -> Iterator[Two]:
    """Both, in the rooms where the bot is."""
    servers = [start("serve", "irc"), start("serve", "slack")]
    for server in servers:
        server.ready()
    workspace.wait_connected()
    ann, bob = (Person(peers(ngircd, nick, join=("#dev",), rate=1000.0, burst=1000)) for nick in ("ann", "bob"))
    for each in (ann, bob):
        each.meets("bot")
    yield Two(ann, bob, workspace)
    for server in servers:
        server.signal(signal.SIGTERM)
    for server in servers:
        assert server.ended() == 0, server.printed


def test_one_worker_answers_on_both(two: Two, start: Callable[..., Program], workspace: SlackWorkspace) -> None:
    worker = start("work")
    two.wake("see ticket {}", "https://tickets.example.com/{}")
    for text, answer in (
        ("!deploy web --now", "web goes to eu now."),
        ("!deploy 'the shop' us", "the shop goes to us tonight."),
        ("!restart web", "restart: you may not do that here."),
        ("!remind soon tea", "remind failed, which is logged."),
    ):
        two.say(text)
        two.hear(answer)
    # What a room keeps is its own.
    workspace.say("cai", "#dev", "!todo water the plants")
    two.ann.say("!todo buy milk")
    two.hear("Noted.")
    two.say("!todo")
    two.ann.hears("buy milk")
    workspace.wait(lambda: workspace.texts("#dev")[-1] == "water the plants")
    # By its name, in private, and help for one person alone: each in its service's own way.
    two.ann.say("bot: deploy web")
    workspace.say("cai", "#dev", workspace.typed("@bot deploy web"))
    two.hear("web goes to eu tonight.")
    two.ann.say("deploy 'the mail'", "bot")
    workspace.say("cai", "@cai", "deploy 'the mail'")
    two.ann.hears("the mail goes to eu tonight.", "ann")
    workspace.wait(lambda: workspace.texts("@cai") == ["the mail goes to eu tonight."])
    two.say("!help")
    two.ann.hears("!help [command] says more about one.", "ann")
    cai = workspace.person("cai").id
    workspace.wait(lambda: workspace.messages("#dev")[-1].seen_by == cai)
    assert workspace.texts("#dev")[-1].endswith("!help [command] says more about one.")
    # In a thread it answers there.
    first = workspace.say("cai", "#dev", "let us see")
    workspace.say("cai", "#dev", "!deploy web", thread=first)
    workspace.wait(lambda: workspace.messages("#dev")[-1].thread == first.ts)
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.printed


def test_what_a_service_cannot_do_is_said(
    two: Two, start: Callable[..., Program], workspace: SlackWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "able.py").write_text(ABLE, "utf-8")
    start("work", "able")
    two.wake("note {}", "{}")
    before = len(workspace.texts("#dev"))
    cai = workspace.person("cai").id

    def last() -> Said:
        return workspace.messages("#dev")[-1]

    two.say("say hello")
    two.hear("said better")
    assert len(workspace.texts("#dev")) == before + 1  # it was edited; on IRC it is one more line
    two.ann.hears("hello")
    two.say("react 👍")
    two.ann.hears("👍")
    workspace.wait(lambda: workspace.log("#dev")[-1].reactions)
    assert len(workspace.texts("#dev")) == before + 1
    two.say("send plan.txt")
    two.ann.hears("[plan.txt]")
    workspace.wait(lambda: [file.name for file in last().files] == ["plan.txt"])
    two.say("act waves")
    two.hear("waves", "_waves_")
    two.say("note ready")
    two.hear("ready")
    two.say("blocks bold")
    two.hear("bold")
    assert last().blocks
    two.say("thread under")
    two.hear("under")
    assert last().thread == workspace.log("#dev")[-2].ts
    two.say("whisper psst")
    two.ann.hears("psst", "ann")
    workspace.wait(lambda: last().seen_by == cai)
    two.say("shout @cai")
    two.hear("@cai", f"<@{cai}>")
    assert last().pings

"""The tutorial's bot as its reader would run it: on a real ngircd, over Redis, server and worker apart."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.irc.events import Heard

from ..layer.redis.conftest import RedisServer
from ..protocol_servers.irc import conftest as irc
from ..trunkline.conftest import Program

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "a-bot.md").read_text("utf-8")

peers, public_folder = irc.peers, irc.public_folder


def blocks(language: str) -> list[str]:
    """The page's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def ngircd(public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port of a server with the page's own configuration."""
    (configuration,) = blocks("ini")
    yield from irc._server(
        public_folder(), "ngircd", "ngircd", configuration.replace("6667", "{port}"), "-n", "-f", "{settings}"
    )


@pytest.fixture
def start(
    ngircd: int, peer: Callable[[str], str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Program]]:
    """Starts `trunkline …` in a folder with what the page says to write."""
    redis = RedisServer(peer("redis-server"), tmp_path_factory.mktemp("redis"))
    (settings,) = blocks("toml")
    settings = settings.replace("redis://127.0.0.1:6379", redis.url).replace("6667", str(ngircd))
    (tmp_path / "trunkline.toml").write_text(settings + "pace = 100\n", "utf-8")
    (tmp_path / "bot.py").write_text("\n".join(blocks("python")), "utf-8")
    started: list[Program] = []

    def run(*arguments: str) -> Program:
        started.append(Program(arguments, tmp_path, {}))
        return started[-1]

    yield run
    for program in started:
        program.kill()
    redis.kill()


class Person:
    """Somebody in the room."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer

    def say(self, text: str, target: str = "#dev") -> None:
        self._peer.session.say(target, text)

    def listen(self, until: float) -> None:
        """Take what comes next, by a time at the latest."""
        self._peer._run(until)

    def hears(self, text: str, target: str = "#dev") -> None:
        """Wait until the bot said something."""
        self._peer.until(lambda seen: (target, text) in self.heard)

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Where the bot said what."""
        return [
            (each.target, each.text)
            for each in self._peer.seen
            if isinstance(each, Heard) and each.person.nick == "bot"
        ]

    def meets(self, nick: str) -> None:
        """Wait until somebody is in the room."""
        self._peer.until(lambda seen: nick in {each.nick for each in self._peer.session.rooms.members("#dev")})


def test_the_bot_runs(start: Callable[..., Program], ngircd: int, peers: Callable[..., Any], tmp_path: Path) -> None:
    server, worker = start("serve", "irc"), start("work")
    server.ready()
    worker.ready()
    ann = Person(peers(ngircd, "ann", join=("#dev",), rate=1000.0, burst=1000))
    ann.meets("bot")
    ann.say("!deploy web --now")
    ann.hears("web goes to eu now.")
    ann.say("bot: deploy 'the shop' us")
    ann.hears("the shop goes to us tonight.")
    ann.say("deploy web", "bot")
    ann.hears("web goes to eu tonight.", "ann")
    ann.say("see ticket 7")
    ann.hears("https://tickets.example.com/7")
    ann.say("!restart web")
    ann.hears("restart: you may not do that here.")
    ann.say("!help")  # which is long, and therefore for her alone
    ann.hears("!help [command] says more about one.", "ann")
    ann.say("!todo buy tea")
    ann.hears("Noted.")
    ann.say("!remind 0.5 tea")
    ann.hears("ann: tea")
    ann.say("!remind soon tea")
    ann.hears("remind failed, which is logged.")
    worker.until("ValueError: could not convert string to float: 'soon'")
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.printed
    bob = Person(peers(ngircd, "bob", join=("#dev",)))
    bob.meets("bot")
    bob.say("!todo")
    start("work")
    bob.hears("buy tea")
    assert ("#dev", "!help [command] says more about one.") not in ann.heard
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.printed

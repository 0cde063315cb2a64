"""`trunkline serve irc` and `trunkline run` on a network of the test's own: answers, restarts, ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main
from trunkline.layer import open_layer
from trunkline.protocol_servers.testing import IrcRealm

from ..protocol_servers.irc.realm_server import RealmServer
from .conftest import wait_until

Start = Callable[..., Any]

ROUTING = """
from trunkline import route


def answer(message):
    message.reply("answer " + message["text"] + (" replayed" if message["replayed"] else ""))


routing = [route("chat.message", answer)]
"""


@pytest.fixture
def network() -> Iterator[RealmServer]:
    """A network that remembers what was said."""
    server = RealmServer(IrcRealm(caps=["message-tags", "server-time", "batch", "draft/chathistory"]))
    yield server
    server.close()


@pytest.fixture
def settings(folder: Path, network: RealmServer) -> Path:
    """The user's folder has a bot for the network."""
    (folder / "ircbot.py").write_text(ROUTING, encoding="utf-8")
    table = f'[irc.test]\nservers = ["irc://127.0.0.1:{network.port}"]\nnick = "bot"\njoin = ["#dev"]\npace = 500\n'
    path = folder / "trunkline.toml"
    path.write_text(f'routing = "ircbot"\n{table}', encoding="utf-8")
    return path


@pytest.fixture
def shared(settings: Path, layer: str) -> str:
    """The same on a layer that others can share; return its URL."""
    settings.write_text(f'layer = "{layer}"\n{settings.read_text("utf-8")}', encoding="utf-8")
    return layer


def there(network: RealmServer) -> bool:
    with network.lock:
        return "bot" in network.realm.rooms.get("#dev", ())


def say(network: RealmServer, text: str) -> None:
    with network.lock:
        network.realm.say("ann", "#dev", text)


def answers(network: RealmServer) -> list[str]:
    with network.lock:
        return [each.text for each in network.realm.log if each.nick == "bot"]


def test_run_answers_a_line(start: Start, settings: Path, network: RealmServer) -> None:
    program = start("run")
    program.until(rf"connecting to test at irc://127\.0\.0\.1:{network.port}")
    wait_until(lambda: there(network))
    say(network, "hello")
    wait_until(lambda: answers(network) == ["answer hello"])
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed
    assert time.monotonic() - began < 20
    assert network.realm.received[-1] == "QUIT :Until later"


def test_run_with_worker_processes_answers_a_line(start: Start, settings: Path, network: RealmServer) -> None:
    program = start("run", "--processes", "2")
    program.ready()
    wait_until(lambda: there(network))
    say(network, "hello")
    wait_until(lambda: answers(network) == ["answer hello"])
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_workers_and_server_are_restarted(
    start: Start, shared: str, network: RealmServer, tell: Callable[[str], None]
) -> None:
    """What is said meanwhile is answered, once, by whoever comes next."""
    server, worker = start("serve", "irc"), start("work")
    server.ready()
    worker.ready()
    wait_until(lambda: there(network))
    say(network, "0")
    wait_until(lambda: len(answers(network)) == 1)
    # Workers go: the network is listened to, and answered later.
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    for number in range(1, 11):
        say(network, str(number))
    worker = start("work")
    wait_until(lambda: len(answers(network)) == 11)
    # The server goes, properly: what is said meanwhile it fetches.
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.printed
    say(network, "11")
    with open_layer(shared) as layer:  # an answer to what it said before
        layer.send("irc.reply.test!_23dev", {"text": "waited"})
    server = start("serve", "irc")
    wait_until(lambda: "answer 11 replayed" in answers(network) and "waited" in answers(network))
    # And once more, the hard way: its lease lapses, and what it had not written down comes again, to be dropped.
    say(network, "12")
    wait_until(lambda: "answer 12" in answers(network))
    server.process.kill()
    server.ended()
    say(network, "13")
    server = start("serve", "irc")
    server.until("another process serves this network; waiting up to 20 s for it to end")
    wait_until(lambda: "answer 13 replayed" in answers(network))
    say(network, "14")
    wait_until(lambda: "answer 14" in answers(network))
    found = sorted(answers(network))
    tell(f"said 15, answered {len(found) - 1}")
    expected = [f"answer {number}" for number in range(15) if number not in (11, 13)]
    assert found == sorted([*expected, "answer 11 replayed", "answer 13 replayed", "waited"])


IMPATIENT = "from trunkline.protocol_servers.irc import server\nserver.LEASE_PATIENCE = 1.5\n"


def test_a_second_process_is_3(start: Start, shared: str, network: RealmServer, folder: Path) -> None:
    first = start("serve", "irc")
    first.ready()
    wait_until(lambda: there(network))
    (folder / "sitecustomize.py").write_text(IMPATIENT, encoding="utf-8")
    second = start("serve", "irc", PYTHONPATH=str(folder))
    second.until("another process serves this network; waiting up to 1.5 s for it to end")
    assert second.ended() == 3
    assert second.err[-2].startswith("trunkline: irc.test: another process serves this network, and did not end within")
    assert there(network)
    assert network.accepted == 1
    first.signal(signal.SIGTERM)
    assert first.ended() == 0


def test_who_waits_for_a_network_can_be_told_to_end(start: Start, shared: str, network: RealmServer) -> None:
    start("serve", "irc").ready()
    wait_until(lambda: there(network))
    second = start("serve", "irc")
    second.until("waiting up to 20 s for it to end")
    began = time.monotonic()
    second.signal(signal.SIGTERM)
    assert second.ended() == 0
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("serve", "irc", "-e", "tcp:1"),
            "serve irc listens to nothing: its servers stand in the settings, not after -e",
        ),
        (("serve", "irc", "--processes", "2"), "serve irc is one process, which holds all its connections"),
        (("serve", "irc"), "serve irc needs a layer"),
    ],
)
def test_mistakes_are_2(
    here: Path, settings: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_without_a_network_it_is_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "irc", "--layer", "redis://localhost"]) == 2
    assert "serve irc needs a network: a table [irc.NETWORK] with servers and nick" in capsys.readouterr().err


def test_check_knows_the_networks(here: Path, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "irc.test: irc://127.0.0.1:" in capsys.readouterr().out
    settings.write_text(settings.read_text("utf-8").replace('"bot"', '"no nick"'), encoding="utf-8")
    assert main(["check"]) == 2
    assert "[irc.test]: nick: 'no nick' is no nick" in capsys.readouterr().out

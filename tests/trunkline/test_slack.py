"""`trunkline serve slack` and `trunkline run` on a Slack in memory: answers, restarts, ends."""

from __future__ import annotations

import http.client
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main
from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

from .conftest import wait_until

Start = Callable[..., Any]

ROUTING = """
from trunkline import route


def answer(message):
    message.reply("answer " + message["text"])


routing = [route("chat.message", answer)]
"""


@pytest.fixture
def slack() -> Iterator[SlackService]:
    """A Slack that tells again soon, for as long as a test lasts."""
    with SlackService(retries=[0.5] * 200) as service:
        yield service


@pytest.fixture
def workspace(slack: SlackService) -> SlackWorkspace:
    """Its workspace, and a room in it."""
    slack.workspace.room("#dev", "ann")
    return slack.workspace


@pytest.fixture
def settings(folder: Path, slack: SlackService, workspace: SlackWorkspace) -> Path:
    """The user's folder has a bot for the workspace, whose tokens are in files."""
    (folder / "slackbot.py").write_text(ROUTING, encoding="utf-8")
    (folder / "bot").write_text(workspace.bot_token + "\n", encoding="utf-8")
    (folder / "app_token").write_text(workspace.app_token, encoding="utf-8")
    path = folder / "trunkline.toml"
    path.write_text(
        f'routing = "slackbot"\n[slack.acme]\napi_url = "{slack.api_url}"\n'
        'bot_token = { file = "bot" }\napp_token = { file = "app_token" }\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def shared(settings: Path, layer: str) -> str:
    """The same on a layer that others can share; return its URL."""
    settings.write_text(f'layer = "{layer}"\n{settings.read_text("utf-8")}', encoding="utf-8")
    return layer


def answered(workspace: SlackWorkspace, *texts: str) -> None:
    workspace.wait(lambda: Counter(workspace.texts("#dev")) == Counter(texts))


def test_run_answers_a_line(start: Start, settings: Path, workspace: SlackWorkspace) -> None:
    program = start("run")
    program.until(r"connecting to acme at 127\.0\.0\.1")
    workspace.wait_connected()
    workspace.say("ann", "#dev", "hello")
    answered(workspace, "answer hello")
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed
    assert time.monotonic() - began < 20
    assert "WARNING" not in program.printed
    for secret in (workspace.bot_token, workspace.app_token, "hello"):
        assert secret not in program.printed


def test_run_with_worker_processes_answers_a_line(start: Start, settings: Path, workspace: SlackWorkspace) -> None:
    program = start("run", "--processes", "2")
    program.ready()
    workspace.wait_connected()
    workspace.say("ann", "#dev", "hello")
    answered(workspace, "answer hello")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_requests_are_served(start: Start, settings: Path, workspace: SlackWorkspace, folder: Path) -> None:
    (folder / "secret").write_text(workspace.signing_secret, encoding="utf-8")
    text = settings.read_text("utf-8").replace(
        'app_token = { file = "app_token" }', 'signing_secret = { file = "secret" }\nendpoints = ["tcp:0"]'
    )
    settings.write_text(text, encoding="utf-8")
    program = start("run")
    port = program.port("http")
    workspace.use_http(events=f"http://127.0.0.1:{port}/slack/events")
    workspace.say("ann", "#dev", "hello")
    answered(workspace, "answer hello")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_workers_and_servers_are_restarted_and_killed(start: Start, shared: str, workspace: SlackWorkspace) -> None:
    """What is said meanwhile is answered, once: two servers, of which the one that speaks is killed in the end."""
    first, worker = start("serve", "slack", "--log-level", "debug"), start("work")
    first.until("this process speaks")
    worker.ready()
    workspace.wait_connected()
    said = 0

    def say() -> None:
        nonlocal said
        workspace.say("ann", "#dev", str(said))
        said += 1

    def all_answered() -> None:
        wait_until(lambda: len(workspace.texts("#dev")) >= said)
        assert Counter(workspace.texts("#dev")) == Counter(f"answer {number}" for number in range(said))

    say()
    all_answered()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    say()
    worker = start("work")
    all_answered()
    # The server goes, properly, and Slack tells again what nobody took.
    first.signal(signal.SIGTERM)
    assert first.ended() == 0, first.printed
    say()
    second = start("serve", "slack")
    second.until("this process speaks")
    all_answered()
    third = start("serve", "slack")
    third.until("another process speaks in this workspace; this one receives")
    workspace.wait_connected(2)
    for _ in range(4):
        say()
    all_answered()
    # And once more, the hard way: the lease lapses, and the other one speaks.
    second.process.kill()
    second.ended()
    for _ in range(3):
        say()
    third.until("this process speaks")
    all_answered()
    third.signal(signal.SIGTERM)
    assert third.ended() == 0, third.printed


def test_a_wrong_token_is_3(start: Start, shared: str, folder: Path) -> None:
    (folder / "bot").write_text("xoxb-of-nobody", encoding="utf-8")
    program = start("serve", "slack")
    assert program.ended() == 3
    assert program.err[-2] == "trunkline: slack.acme: Slack does not take bot_token: invalid_auth\n"
    assert "Traceback" not in program.printed


def test_a_token_that_is_revoked_later_is_told_and_stops_no_other_workspace(
    start: Start,
    shared: str,
    slack: SlackService,
    workspace: SlackWorkspace,
    settings: Path,
    folder: Path,
    free_port: int,
) -> None:
    """/readyz tells it; another token in its place needs no restart."""
    other = slack.add_workspace("beta")
    other.room("#dev", "cai")
    (folder / "other_bot").write_text(other.bot_token, encoding="utf-8")
    (folder / "other_app").write_text(other.app_token, encoding="utf-8")
    settings.write_text(
        f'{settings.read_text("utf-8")}[slack.beta]\napi_url = "{slack.api_url}"\n'
        'bot_token = { file = "other_bot" }\napp_token = { file = "other_app" }\n'
        f"[operations]\nport = {free_port}\n",
        encoding="utf-8",
    )

    (folder / "worker.toml").write_text(f'layer = "{shared}"\nrouting = "slackbot"\n', encoding="utf-8")

    def ready() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = answer.status, answer.read().decode()
        connection.close()
        return told

    server, worker = start("serve", "slack"), start("work", "-c", "worker.toml")
    for each in (workspace, other):
        each.wait_connected()
    worker.ready()
    said = 0

    def answers(where: SlackWorkspace, user: str) -> None:
        """Say something until it is answered: a server learns within seconds that there is a worker."""
        nonlocal said
        before = len(where.texts("#dev"))

        def is_answered() -> bool:
            nonlocal said
            where.say(user, "#dev", str(said))
            said += 1
            time.sleep(0.3)
            return len(where.texts("#dev")) > before

        wait_until(is_answered)

    answers(workspace, "ann")
    answers(other, "cai")
    wait_until(lambda: ready() == (200, "ready\n"))
    workspace.revoke()
    server.until("acme: Slack does not take bot_token: token_revoked")
    wait_until(lambda: ready() == (200, "degraded\nslack.acme: Slack does not take bot_token: token_revoked\n"))
    answers(other, "cai")
    workspace.tokens["xoxb-another"] = "bot"
    (folder / "bot").write_text("xoxb-another", encoding="utf-8")
    answers(workspace, "ann")
    answers(other, "cai")
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.printed
    refused = [line for line in server.printed.splitlines() if "does not take" in line]
    assert len(refused) == 1
    assert "beta: Slack" not in server.printed
    assert "Traceback" not in server.printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("serve", "slack", "-e", "tcp:1"), "serve slack has endpoints in its tables, [slack.WORKSPACE], and not"),
        (("serve", "slack"), "serve slack needs a layer"),
    ],
)
def test_mistakes_are_2(
    here: Path, settings: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('endpoints = ["tcp:0"]', "endpoints: anybody could post there; set signing_secret"),
        ("", "nothing would ever come from Slack: set app_token (Socket Mode), or endpoints and signing_secret"),
    ],
)
def test_what_would_hear_nothing_or_anybody_is_2(
    here: Path, settings: Path, capsys: pytest.CaptureFixture[str], table: str, expected: str
) -> None:
    text = settings.read_text("utf-8").replace('app_token = { file = "app_token" }', table)
    settings.write_text(text, encoding="utf-8")
    for command in (["serve", "slack", "--layer", "redis://localhost"], ["run"]):
        assert main(command) == 2
        assert expected in capsys.readouterr().err


def test_without_a_workspace_it_is_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "slack", "--layer", "redis://localhost"]) == 2
    assert "serve slack needs a workspace: a table [slack.WORKSPACE] with bot_token" in capsys.readouterr().err


def test_check_knows_the_workspaces(here: Path, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "slack.acme: http://127.0.0.1:" in capsys.readouterr().out
    settings.write_text(settings.read_text("utf-8").replace("{ file = ", "{ fill = "), encoding="utf-8")
    assert main(["check"]) == 2
    assert "[slack.acme] bot_token: expected a text in quotes or { env" in capsys.readouterr().out

"""The tables `[slack.WORKSPACE]`, from a file as people write it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.errors import SettingsError
from trunkline.operations.settings import load
from trunkline.protocol_servers.slack.settings import SlackSettings

TABLES = {"slack": SlackSettings}
BOT = 'bot_token = { env = "BOT" }\n'
APP = 'app_token = { env = "APP" }\n'
SECRET = 'signing_secret = { env = "SECRET" }\n'
ENDPOINTS = 'endpoints = ["tcp:3000"]\n'
ENVIRON = {"BOT": "xoxb-secret-1", "APP": "xapp-secret-2", "SECRET": "signing-3"}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Reads a file: ``read(text, BOT="xoxb-…")``."""
    monkeypatch.chdir(tmp_path)

    def reading(text: str, **environ: str) -> Any:
        (tmp_path / "trunkline.toml").write_text(text, encoding="utf-8")
        return load("trunkline.toml", ENVIRON | environ, {}, TABLES).servers["slack"]

    return reading


def test_a_whole_table(read: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xoxb-of-a-file\n")
    settings = read(
        f"[slack.acme]\n{BOT}{APP}"
        f'[slack.beta_2]\nbot_token = {{ file = "token" }}\n{SECRET}{ENDPOINTS}include_raw = true\n'
        'api_url = "http://127.0.0.1:8080/api"\n[slack.beta_2.paths]\nevents = "/in"\n'
    )
    acme, beta = settings.workspaces["acme"], settings.workspaces["beta_2"]
    assert (acme.bot_token.value, acme.app_token.value) == ("xoxb-secret-1", "xapp-secret-2")
    assert (acme.api_url, acme.endpoints, acme.signing_secret) == ("https://slack.com/api/", [], None)
    assert acme.paths.all() == ["/slack/events", "/slack/commands", "/slack/interactivity"]
    assert (beta.bot_token.value, beta.signing_secret.value) == ("xoxb-of-a-file", "signing-3")
    assert (beta.api_url, beta.paths.events, beta.include_raw) == ("http://127.0.0.1:8080/api/", "/in", True)
    assert settings.endpoints == ("tcp:3000",)
    for secret in ("xoxb", "xapp", "signing-3"):
        assert secret not in repr(settings)


def test_a_secret_follows_its_file(read: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("xoxb-one\n")
    token = read(f'[slack.acme]\nbot_token = {{ file = "token" }}\n{APP}').workspaces["acme"].bot_token
    assert token.value == "xoxb-one"
    path.write_text("xoxb-another")
    assert token.value == "xoxb-another"
    path.write_text("")
    assert token.value == "xoxb-another"  # it is being written
    path.write_bytes(b"\xff")
    assert token.value == "xoxb-another"
    path.unlink()
    assert token.value == "xoxb-another"
    path.write_text("xoxb-third")
    assert token.value == "xoxb-third"


def test_the_environment_sets_what_a_workspace_of_the_file_has(read: Callable[..., Any]) -> None:
    given = {
        "TRUNKLINE_SLACK_ACME_BOT_TOKEN": "xoxb-of-the-environment",
        "TRUNKLINE_SLACK_ACME_ENDPOINTS": "tcp:3000,tcp:3001",
        "TRUNKLINE_SLACK_ACME_SIGNING_SECRET": "x",
        "TRUNKLINE_SLACK_ACME_PATHS_EVENTS": "/in",
    }
    acme = read(f"[slack.acme]\n{APP}", **given).workspaces["acme"]
    assert (acme.bot_token.value, acme.signing_secret.value) == ("xoxb-of-the-environment", "x")
    assert (acme.endpoints, acme.paths.events) == (["tcp:3000", "tcp:3001"], "/in")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (BOT, "[slack.acme]: nothing would ever come from Slack: set app_token (Socket Mode), or endpoints"),
        (BOT + SECRET, "[slack.acme]: nothing would ever come from Slack"),
        (BOT + ENDPOINTS, "[slack.acme]: endpoints: anybody could post there; set signing_secret"),
        (BOT + APP + ENDPOINTS, "[slack.acme]: endpoints: anybody could post there; set signing_secret"),
        (APP, "[slack.acme] bot_token: is required"),
        (
            APP + 'bot_token = "xoxb-1"',
            '[slack.acme] bot_token: expected { env = "NAME" } or { file = "path" }: a secret',
        ),
        (BOT + 'app_token = "xapp-1"', "[slack.acme] app_token: expected { env ="),
        (BOT + APP + 'signing_secret = "x"', "[slack.acme] signing_secret: expected { env ="),
        (APP + "bot_token = 7", "[slack.acme] bot_token: expected a text in quotes or { env ="),
        (APP + 'bot_token = { env = "NONE" }', "bot_token: the environment variable NONE is not set"),
        (APP + 'bot_token = { env = "BLANK" }', "[slack.acme] bot_token: is empty"),
        (APP + 'bot_token = { file = "none" }', "[slack.acme] bot_token: cannot read the file none: No such file"),
        (
            BOT + APP + 'api_url = "slack.com"',
            "[slack.acme]: api_url: expected an address such as https://slack.com/api/",
        ),
        (BOT + APP + 'api_url = "ftp://slack.com/"', "[slack.acme]: api_url: expected an address"),
        (BOT + APP + 'api_url = "http://x:99999/"', "[slack.acme]: api_url: expected an address"),
        (BOT + APP + 'api_url = "http://x/?a=b"', "[slack.acme]: api_url: expected an address"),
        (BOT + APP + 'paths = { events = "in" }', "[slack.acme.paths]: 'in': expected a path such as /slack/events"),
        (BOT + APP + 'paths = { commands = "/a?b" }', "[slack.acme.paths]: '/a?b': expected a path"),
        (BOT + APP + "nick = 1", "[slack.acme] nick: unknown key; what can stand here:"),
    ],
)
def test_mistakes(read: Callable[..., Any], table: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"[slack.acme]\n{table}", BLANK=" \n")
    assert expected in str(caught.value)
    assert caught.value.code == 2
    assert "\n" not in str(caught.value)
    assert "xoxb-1" not in str(caught.value)
    assert "xapp-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[slack]", "trunkline.toml: [slack]: there is no workspace: write a table [slack.WORKSPACE] with bot_token"),
        (f"[slack.Acme]\n{BOT}{APP}", "trunkline.toml: [slack]: 'Acme': a workspace's name has 1 to 24 of"),
        (f"[slack.{'x' * 25}]\n{BOT}{APP}", "trunkline.toml: [slack]: 'xxxxx"),
        (
            f"[slack.a]\n{BOT}{SECRET}{ENDPOINTS}[slack.b]\n{BOT}{SECRET}{ENDPOINTS}",
            "trunkline.toml: [slack]: endpoints: tcp:3000 is named twice; each workspace listens at a place of its own",
        ),
    ],
)
def test_mistakes_of_the_whole(read: Callable[..., Any], text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert str(caught.value).startswith(expected)

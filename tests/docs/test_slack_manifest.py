"""The Slack app's manifest in the docs: it can be read, and it asks for what the server uses, and for nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import signal
from pathlib import Path
from typing import Any

from trunkline import message_formats
from trunkline.protocol_servers import slack
from trunkline.protocol_servers.slack import limiter, mapping, names, server
from trunkline.protocol_servers.testing.slack import SlackService

from ..trunkline.conftest import Program

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = (DOCS / "slack.md").read_text("utf-8")
yaml: Any = importlib.import_module("yaml")
MANIFEST = yaml.safe_load((DOCS / "slack-manifest.yaml").read_text("utf-8"))
SCOPES = MANIFEST["oauth_config"]["scopes"]["bot"]
EVENTS = MANIFEST["settings"]["event_subscriptions"]["bot_events"]

HISTORY = {"channels:history", "groups:history", "im:history", "mpim:history"}
READ = {"channels:read", "groups:read", "im:read", "mpim:read"}

# What each method needs that the server calls, for all kinds of rooms (docs.slack.dev/reference/methods).
METHODS: dict[str, set[str]] = {
    "apps.connections.open": set(),  # connections:write of the app's own token
    "auth.test": set(),
    "chat.postEphemeral": {"chat:write"},
    "chat.postMessage": {"chat:write"},
    "chat.update": {"chat:write"},
    "conversations.history": HISTORY,
    "conversations.info": READ,
    "conversations.list": {"channels:read", "groups:read"},
    "conversations.open": {"im:write"},
    "conversations.replies": HISTORY,
    "files.completeUploadExternal": {"files:write"},
    "files.getUploadURLExternal": {"files:write"},
    "reactions.add": {"reactions:write"},
    "users.conversations": {"channels:read", "groups:read", "mpim:read"},
    "users.info": {"users:read"},
    "users.list": {"users:read"},
}

# And each event that it does something with, beside giving it on (docs.slack.dev/reference/events).
NEEDED: dict[str, set[str]] = {
    "app_mention": {"app_mentions:read"},
    "app_uninstalled": set(),
    "channel_created": {"channels:read"},
    "channel_deleted": {"channels:read"},
    "channel_left": {"channels:read"},
    "channel_rename": {"channels:read"},
    "group_deleted": {"groups:read"},
    "group_left": {"groups:read"},
    "group_rename": {"groups:read"},
    "member_joined_channel": {"channels:read", "groups:read"},
    "member_left_channel": {"channels:read", "groups:read"},
    "message.channels": {"channels:history"},
    "message.groups": {"groups:history"},
    "message.im": {"im:history"},
    "message.mpim": {"mpim:history"},
    "reaction_added": {"reactions:read"},
    "reaction_removed": {"reactions:read"},
    "team_join": {"users:read"},
    "tokens_revoked": set(),
    "user_change": {"users:read"},
}
# For consumers: slash commands and shortcuts come with the one, what people share is fetched with the other.
FOR_CONSUMERS = {"commands", "files:read"}


def strings(*sources: Any) -> set[str]:
    """The texts that stand in functions, or in modules."""
    trees = [ast.parse(inspect.cleandoc("\n" + inspect.getsource(source))) for source in sources]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_each_scope_is_used_and_none_is_missing() -> None:
    used = set().union(*METHODS.values(), *NEEDED.values(), FOR_CONSUMERS)
    assert set(SCOPES) == used
    assert len(SCOPES) == len(set(SCOPES))


def test_the_server_calls_these_methods() -> None:
    folder = Path(str(slack.__file__)).parent
    sources = [path.read_text("utf-8") for path in folder.glob("*.py") if path.name != Path(limiter.__file__).name]
    known = {*limiter._METHODS, *limiter._POSTING, *limiter._HUNDREDS, *METHODS}
    families = {name.partition(".")[0] for name in known}
    named = {name for source in sources for name in re.findall(r'"([a-z]+\.[a-zA-Z.]+)"', source)}
    called = {name for name in named if name.partition(".")[0] in families} - set(message_formats.names())
    assert called == set(METHODS)


def test_the_server_uses_these_events() -> None:
    words = strings(server.SlackServer._follow, names.Names.follow, mapping.Mapper._event)
    told = {word for word in words if re.fullmatch(r"(message|[a-z]+_[a-z_]+)", word)}
    keys = {"event_id", "event_time", "team_id"}
    # The same comes as user_change, to which alone an app can subscribe.
    assert told - keys - {"user_profile_changed"} == {name.partition(".")[0] for name in NEEDED}
    assert sorted(EVENTS) == sorted(NEEDED)


def test_the_page_says_what_each_scope_is_for() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z_]+(?::[a-z]+)?)`", "".join(rows))) == {"connections:write", *SCOPES}


def test_it_is_a_manifest() -> None:
    assert set(MANIFEST) == {"_metadata", "display_information", "features", "oauth_config", "settings"}
    assert MANIFEST["settings"]["socket_mode_enabled"] is True
    assert MANIFEST["settings"]["interactivity"]["is_enabled"] is True
    assert len(MANIFEST["display_information"]["name"]) <= 35
    for command in MANIFEST["features"]["slash_commands"]:
        assert command["command"] in PAGE  # the page's bot has it
        assert set(command) <= {"command", "description", "usage_hint", "should_escape", "url"}


def test_five_minutes_are_enough(tmp_path: Path) -> None:
    """`trunkline run` with the page's bot and settings, and no more scopes and events than the manifest asks for."""
    python, toml = (re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)[0] for kind in ("python", "toml"))
    with SlackService(bot="helpdesk") as service:
        workspace = service.workspace
        workspace.scopes = set(SCOPES)
        workspace.subscribed = {name.partition(".")[0] for name in EVENTS}
        workspace.room("general", "ann")
        (tmp_path / "bot.py").write_text(python, "utf-8")
        (tmp_path / "trunkline.toml").write_text(f'{toml}api_url = "{service.api_url}"\n', "utf-8")
        tokens = {"SLACK_APP_TOKEN": workspace.app_token, "SLACK_BOT_TOKEN": workspace.bot_token}
        program = Program(("run",), tmp_path, tokens)
        try:
            program.ready()
            workspace.wait_connected()
            workspace.say("ann", "general", workspace.typed("@helpdesk hello"))
            workspace.wait(lambda: workspace.texts("general") == ["ann, you said: hello"])
            workspace.command("ann", "general", "/deploy", "web")
            workspace.wait(lambda: workspace.texts("general")[1:] == ["Deploying web"])
            assert workspace.messages("general")[1].seen_by == workspace.person("ann").id
            workspace.say("ann", "@ann", "psst")
            workspace.wait(lambda: workspace.texts("@ann") == ["ann, you said: psst"])
            program.signal(signal.SIGTERM)
            assert program.ended() == 0, program.printed
            assert "WARNING" not in program.printed
            assert [call for call in workspace.calls if call.error] == []
        finally:
            program.kill()

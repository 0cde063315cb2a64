"""The tables `[slack.WORKSPACE]`."""

from __future__ import annotations

import re
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field

from ...operations.secret import Secret
from ..listening import ListeningSettings

_WORKSPACE = re.compile(r"[a-z0-9_-]{1,24}")
_PATH = re.compile(r"/[!-~]*")


@dataclass(kw_only=True)
class PathsSettings:
    """Where Slack posts to us; several may be the same.

    Args:
        events: the Events API.
        commands: slash commands.
        interactivity: actions, shortcuts and views.
    """

    events: str = "/slack/events"
    commands: str = "/slack/commands"
    interactivity: str = "/slack/interactivity"

    def __post_init__(self) -> None:
        """Check the paths.

        Raises:
            ValueError: one of them is none.
        """
        for path in self.all():
            if not _PATH.fullmatch(path) or set(path) & set("?#%"):
                raise ValueError(f"{path!r}: expected a path such as /slack/events")

    def all(self) -> list[str]:
        """Return them."""
        return [self.events, self.commands, self.interactivity]


@dataclass(kw_only=True)
class WorkspaceSettings(ListeningSettings):
    """One workspace that we are an app of.

    Args:
        bot_token: the bot's token, "xoxb-…".
        app_token: the app's token for Socket Mode, "xapp-…", which needs no public address.
        signing_secret: what Slack signs its requests with; needed with `endpoints`.
        endpoints: where to listen for Slack's requests (Events API, commands, interactivity), as Twisted endpoint
            strings.
        paths: where it posts them to.
        api_url: the Web API's address.
        include_raw: whether `chat.message` has Slack's own event, in `raw`.
    """

    bot_token: Secret
    app_token: Secret | None = None
    signing_secret: Secret | None = None
    endpoints: list[str] = field(default_factory=list)
    paths: PathsSettings = field(default_factory=PathsSettings)
    api_url: str = "https://slack.com/api/"
    include_raw: bool = False

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        super().__post_init__()
        if self.app_token is None and not self.endpoints:
            raise ValueError(
                "nothing would ever come from Slack: set app_token (Socket Mode), or endpoints and signing_secret "
                "(Events API)"
            )
        if self.endpoints and self.signing_secret is None:
            raise ValueError("endpoints: anybody could post there; set signing_secret, which Slack signs requests with")
        try:
            parts = urllib.parse.urlsplit(self.api_url)
            port = parts.port
        except ValueError:
            port = 0
        if port == 0 or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("api_url: expected an address such as https://slack.com/api/")
        if not self.api_url.endswith("/"):
            self.api_url += "/"


@dataclass
class SlackSettings:
    """The workspaces, a table `[slack.WORKSPACE]` each.

    Args:
        workspaces: their settings by name.
    """

    workspaces: dict[str, WorkspaceSettings] = field(default_factory=dict, metadata={"tables": "WORKSPACE"})

    def __post_init__(self) -> None:
        """Check the names, and that no two listen at one place.

        Raises:
            ValueError: there is none, or one that cannot stand in a channel's name, or an endpoint is named twice.
        """
        if not self.workspaces:
            raise ValueError("there is no workspace: write a table [slack.WORKSPACE] with bot_token and app_token")
        for name in self.workspaces:
            if not _WORKSPACE.fullmatch(name):
                raise ValueError(f"{name!r}: a workspace's name has 1 to 24 of a to z, 0 to 9, - and _")
        endpoints = Counter(self.endpoints)
        if endpoints and (most := endpoints.most_common(1)[0])[1] > 1:
            raise ValueError(f"endpoints: {most[0]} is named twice; each workspace listens at a place of its own")

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where all of them listen."""
        return tuple(endpoint for each in self.workspaces.values() for endpoint in each.endpoints)

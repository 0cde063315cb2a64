"""`trunkline check`: everything that can be wrong before anything is started."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import TypeVar

from ..operations.errors import SettingsError, UsageError
from ..operations.settings import Configuration, examine
from . import configuration as configured
from .terminal import GREEN, RED, coloured, say

SUMMARY = "Check the configuration and the routing: what is fine, and each problem. Starts nothing."
EXAMPLES = ("trunkline check", "trunkline check -c trunkline.toml helpdesk.routing")

PRIVATE = "none is named, so trunkline run starts a bus of its own for its worker processes"

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_file(parser)
    configured.add_routing(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print what was found, and return the exit code."""
    report = _Report()
    found = report.of(lambda: examine(*configured.sources(arguments)))
    if found is not None:
        configuration, problems = found
        _check_settings(report, configuration, problems)
        _check_routing(report, configuration)
    return UsageError.code if report.problems else 0


class _Report:
    """Prints findings as they come, and counts the problems."""

    def __init__(self) -> None:
        self.problems = 0

    def fine(self, text: str) -> None:
        say(f"{coloured('fine', GREEN, sys.stdout)}     {text}")

    def problem(self, text: str) -> None:
        self.problems += 1
        say(f"{coloured('problem', RED, sys.stdout)}  {' '.join(text.split())}")

    def of(self, check: Callable[[], T]) -> T | None:
        """Return what a check returns, or report what it raises."""
        try:
            return check()
        except SettingsError as error:
            for text in error.problems:
                self.problem(text)
        except UsageError as error:
            self.problem(str(error))
        return None


def _check_settings(report: _Report, configuration: Configuration, problems: list[str]) -> None:
    for text in problems:
        report.problem(text)
    if not problems:
        report.fine(f"settings: {configuration.path or 'no file, so the defaults'}")
    layer = report.of(lambda: configured.open_layer_of(configuration))
    if layer is not None:
        problems = layer.problems()
        layer.close()
        for text in problems:
            report.problem(f"layer: {text}")
        if not problems:
            private = configured.on_private_bus(configuration)
            report.fine(f"layer: {PRIVATE if private else configured.shown_layer(configuration)}")


def _check_routing(report: _Report, configuration: Configuration) -> None:
    routing = report.of(lambda: configured.routing_of(configuration))
    if routing is None:
        return
    count = sum(1 for _ in routing.leaves())
    problems = [str(problem) for problem in routing.problems()] if count else [f"{configuration.routing} has no route"]
    for text in problems:
        report.problem(text)
    if not problems:
        channels = ", ".join(sorted(routing.channel_names()))
        report.fine(f"routing: {configuration.routing}, {count} route{'s' * (count > 1)} on {channels}")
    servers = report.of(lambda: configured.servers_of(configuration, routing)) or {}
    for name, settings in servers.items():
        for endpoint in getattr(settings, "endpoints", ()):
            if report.of(functools.partial(_check_endpoint, endpoint)):
                report.fine(f"{name}: {endpoint}")
        for network, table in getattr(settings, "networks", {}).items():
            report.fine(f"{name}.{network}: {', '.join(table.servers)}")
        for workspace, table in getattr(settings, "workspaces", {}).items():
            ways = [
                *(["Socket Mode"] if table.app_token is not None else []),
                *(["requests"] if table.endpoints else []),
            ]
            report.fine(f"{name}.{workspace}: {table.api_url} by {' and '.join(ways)}")
        webhooks = getattr(settings, "webhooks", None)
        for provider, table in webhooks.all() if webhooks is not None else ():
            for endpoint in table.endpoints:
                if report.of(functools.partial(_check_endpoint, endpoint)):
                    report.fine(f"{name}.webhooks.{provider}: {endpoint} at {table.path}")


def _check_endpoint(text: str) -> bool:
    """Check what an endpoint's description says, without listening.

    Raises:
        UsageError: it makes no sense.
    """
    from twisted.internet.endpoints import serverFromString

    from ..protocol_servers.endpoints import Description

    description = Description.parse(text)
    if description.kind in ("tcp", "tcp6", "ssl", "udp"):
        if not description.arguments:
            raise UsageError(f"{text}: expected {description.kind}:PORT")
        description.host_and_port("127.0.0.1")
    elif description.kind not in ("unix", "systemd", "fd"):
        try:
            serverFromString(None, text)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise UsageError(f"{text}: not an endpoint: {error}") from error
    return True

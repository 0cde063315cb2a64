"""A Slack, its workspace, and slack_sdk's client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slack_sdk import WebClient

from trunkline.protocol_servers.testing import SlackService, SlackWorkspace


@pytest.fixture(scope="module")
def service() -> Iterator[SlackService]:
    with SlackService(retries=[0.01] * 3, patience=30.0) as service:
        yield service


@pytest.fixture
def workspace(service: SlackService) -> SlackWorkspace:
    """A workspace of this test's own."""
    return service.add_workspace("acme")


@pytest.fixture
def client(service: SlackService, workspace: SlackWorkspace) -> WebClient:
    return WebClient(workspace.bot_token, base_url=service.api_url)

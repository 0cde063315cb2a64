"""The settings of the page about proxies are settings, and what it says of them is so."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from trunkline.operations.settings import load
from trunkline.protocol_servers import door
from trunkline.protocol_servers.http import HttpSettings
from trunkline.protocol_servers.listening import ListeningSettings
from trunkline.protocol_servers.smtp import SmtpSettings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_settings_can_be_read(tmp_path: Path, block: str) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text(block, encoding="utf-8")
    servers = load(str(path), {}, {}, {"http": HttpSettings, "smtp": SmtpSettings}).servers
    assert set(servers) == set(re.findall(r"^\[(\w+)\]$", block, re.MULTILINE))


def test_the_page_knows_the_defaults_and_every_counter() -> None:
    text = PAGE.read_text(encoding="utf-8")
    defaults = ListeningSettings()
    assert f"max_connections = {defaults.max_connections}\n" in text
    assert f"max_per_address = {defaults.max_per_address}\n" in text
    assert f"within {door.HEADER_TIMEOUT:g} seconds" in text
    told = Counter(re.findall(r"``(\w+_\w+)``", door.Door.__doc__ or ""))
    assert len(told) == 5
    for name in told:
        assert f"`{name}`" in text

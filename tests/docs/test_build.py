"""The documentation builds by its one command, with no warning, and says what the code does now."""

import subprocess
import sys
from pathlib import Path

import pytest

from trunkline import message_formats

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1200)
def test_builds_without_a_warning(tmp_path: Path) -> None:
    """What `make docs` runs; the reference is generated from the formats, the settings and the command line."""
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path)]
    told = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr

    reference = {page.stem: page.read_text(encoding="utf-8") for page in (tmp_path / "reference").glob("*.html")}
    for name in message_formats.names():
        assert name in reference["formats"], name
    assert "response_timeout" in reference["settings"]
    assert "trunkline routes" in reference["command-line"]
    for page, public in (
        ("workers", "Client"),
        ("layer", "open_inbox"),
        ("protocol-servers", "ProtocolServer"),
        ("redis-layout", "announce.lua"),
    ):
        assert public in reference[page]

"""Each server runs with what its extra installs, and with nothing else that happens to be there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trunkline.protocol_servers import _EXTRAS, SERVERS

ROOT = Path(__file__).parents[2]

# Whatever does not belong to the extra is hidden, as if it were not installed.
ALONE = """
import sys

for hidden in sys.argv[2].split(","):
    sys.modules[hidden] = None
from trunkline.protocol_servers import load_server
load_server(sys.argv[1])
"""


def required(extra: str | None) -> set[str]:
    """The names of what is installed by the base and an extra, with all that they need in turn."""
    options = ConfigParser()
    options.read(ROOT / "setup.cfg")
    waiting = list(lines(options["options"]["install_requires"]))
    if extra is not None:
        waiting += lines(options["options.extras_require"][extra])
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        extras = [{"extra": name} for name in requirement.extras] or [{"extra": ""}]
        if key in found or (requirement.marker and not any(requirement.marker.evaluate(each) for each in extras)):
            continue
        found.add(key)
        for text in metadata.requires(requirement.name) or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate(each) for each in extras):
                needed.marker = None
                waiting.append(str(needed))
    return {name for name, _ in found}


def lines(text: str) -> Iterator[str]:
    yield from (line for line in text.splitlines() if line)


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_a_server_needs_what_its_extra_installs_and_no_more(server: str) -> None:
    allowed = required(_EXTRAS.get(server)) | {"trunkline"}
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed and module not in sys.stdlib_module_names
    }
    assert "pytest" in hidden
    run = [sys.executable, "-c", ALONE, server, ",".join(hidden)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr

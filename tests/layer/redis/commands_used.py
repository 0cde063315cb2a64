"""Which commands of Redis the engine uses, and which a user of its own is allowed by the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import trunkline.layer.redis

_ENGINE = Path(trunkline.layer.redis.__file__).parent
_HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "redis.md"

_CONTAINERS = frozenset(("CLIENT", "CLUSTER", "SCRIPT", "XGROUP", "XINFO"))
_BEFORE_ANY_RIGHT = frozenset(("auth", "hello"))
_OF_SENTINELS = frozenset(("sentinel|master", "sentinel|get-master-addr-by-name", "subscribe"))
_OF_CLUSTERS = frozenset(("cluster|slots",))
_WITHOUT_SCRIPTS = frozenset(("ping",))  # this engine always has some


def used() -> set[str]:
    """Return what the engine asks a Redis for, as rights are written."""
    found: set[tuple[str, str]] = set()
    for path in (_ENGINE / "scripts").glob("*.lua"):
        source = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"call\((?!')", source), f"{path.name} calls what cannot be seen here"
        found.update(re.findall(r"call\('([A-Z]+)'(?:, '([A-Z]+)')?", source))
    for path in _ENGINE.glob("*.py"):
        # A command is a tuple that begins with a word in capitals; codes of errors look the same.
        source = re.sub(r"startswith\(.*|code in \(.*|frozenset\([^)]*\)", "", path.read_text(encoding="utf-8"))
        found.update(re.findall(r'\("([A-Z]{3,})"(?:, "([A-Z-]+)")?', source))
    rights = {
        f"{command}|{sub}".lower() if command in _CONTAINERS | {"SENTINEL"} else command.lower()
        for command, sub in found
    }
    return rights - _BEFORE_ANY_RIGHT - _OF_SENTINELS - _OF_CLUSTERS - _WITHOUT_SCRIPTS


def documented() -> list[str]:
    """Return the rules of the user that the documentation shows, but for its name and keys."""
    [block] = re.findall(r"ACL SETUSER bus ([^`]*)```", _HOW_TO.read_text(encoding="utf-8"))
    words: list[str] = block.split()
    assert words[:4] == ["on", "'>secret'", "resetchannels", "'~trunkline:*'"], "the test sets these otherwise"
    return words[4:]

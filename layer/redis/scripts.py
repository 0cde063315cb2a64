"""The Lua scripts, which do in one step what has to be one step.

Each file in `scripts/` begins with the data it touches. `-- uses _queue.lua` puts another file before it: Redis knows
no libraries that would also work for whoever may not load functions.
"""

import re
from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).parent / "scripts"
_USES = re.compile(r"^-- uses (.+)\n", re.MULTILINE)


def _read(path: Path) -> bytes:
    text = path.read_text(encoding="utf-8")
    first, rest = text.split("\n", 1)
    used = _USES.search(rest)
    parts = [(_FOLDER / name).read_text(encoding="utf-8") for name in (used[1].split() if used else [])]
    return "\n".join([first, *parts, rest]).encode()


_sources = {path.stem: _read(path) for path in sorted(_FOLDER.glob("[a-z]*.lua"))}

SHA: dict[str, bytes] = {name: sha1(source).hexdigest().encode() for name, source in _sources.items()}
"""Name of a script → the digest Redis knows it by."""

SCRIPTS: dict[bytes, bytes] = {SHA[name]: source for name, source in _sources.items()}
"""Digest → source: what a connection loads where it is missing."""

"""The Lua scripts, which do in one step what has to be one step.

Each file in `scripts/` begins with the data it touches. `-- uses _queue.lua` stands for the text of another file:
Redis' own libraries would ask for a permission of their own.
"""

import re
from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).parent / "scripts"
_USES = re.compile(r"^-- uses (.+)$", re.MULTILINE)


def _read(path: Path) -> bytes:
    def used(line: re.Match[str]) -> str:
        return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in line[1].split())

    return _USES.sub(used, path.read_text(encoding="utf-8")).encode()


_sources = {path.stem: _read(path) for path in sorted(_FOLDER.glob("[a-z]*.lua"))}

SHA: dict[str, bytes] = {name: sha1(source).hexdigest().encode() for name, source in _sources.items()}
"""Name of a script → the digest Redis knows it by."""

SCRIPTS: dict[bytes, bytes] = {SHA[name]: source for name, source in _sources.items()}
"""Digest → source: what a connection loads where it is missing."""

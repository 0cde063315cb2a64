"""What the Redis engine's scripts say of themselves: the generated parts of the page on the layout.

A script begins with `#!lua`, then comments. Prose tells what it does, `KEYS:`, `ARGV:` and `Returns` what goes in and
comes out; an indented block tells what stands behind which keys.
"""

import re
from pathlib import Path
from typing import NamedTuple

from trunkline.layer.redis import elements, scripts
from trunkline.layer.store import element

FOLDER = Path(scripts.__file__).parent / "scripts"

_TYPES = "STRING|LIST|HASH|ZSET|SET|STREAM"
_NAME = r"[a-z]+(?::[\w{}]+)*"
_DEFINED = re.compile(rf"(?:^|;) *((?:{_NAME}, )*{_NAME}) +(?:{_TYPES})\b", re.MULTILINE)
_NAMED = re.compile(r"\bP \.\. '([a-z]+)")


class Script(NamedTuple):
    """What the head of a file says.

    Attributes:
        name: Without its suffix; the others use what begins with `_`.
        flags: As Redis is told them, such as "no-writes".
        uses: The files that are put into it.
        purpose: What it does.
        keys, arguments, returns: What goes in and comes out; "" where nothing is said.
        model: What stands behind which keys, as it is written; "" where nothing is said.
        code: All but comments.
    """

    name: str
    flags: str
    uses: list[str]
    purpose: str
    keys: str
    arguments: str
    returns: str
    model: str
    code: str

    @property
    def families(self) -> set[str]:
        """The families of keys that its head defines."""
        return {name.partition(":")[0] for found in _DEFINED.findall(self.model) for name in found.split(", ")}

    @property
    def named(self) -> set[str]:
        """The families of keys that its code names."""
        return set(_NAMED.findall(self.code))


def read(path: Path) -> Script:
    """Read the head of a script."""
    lines = path.read_text(encoding="utf-8").splitlines()
    flags = lines[0].partition("flags=")[2] if lines[0].startswith("#!") else ""
    uses = [name for line in lines if line.startswith("-- uses ") for name in line.split()[2:]]
    prose: list[str] = []
    model: list[str] = []
    for line in lines:
        if line.startswith("--   ") or (line == "--" and model and model[-1]):
            model.append(line[5:])
        elif line.startswith("-- ") and not line.startswith("-- uses "):
            prose.append(line[3:])
        elif not line.startswith(("--", "#!")):
            break
    text, _, returns = " ".join(prose).partition(" Returns ")
    text, _, arguments = text.partition(" ARGV: ")
    purpose, _, keys = text.partition(" KEYS: ")
    code = "\n".join(line.partition("--")[0] for line in lines)
    keys, arguments, returns = (part.strip().rstrip(".") for part in (keys, arguments, returns))
    return Script(path.stem, flags, uses, purpose.strip(), keys, arguments, returns, "\n".join(model).strip("\n"), code)


def every() -> list[Script]:
    """Return all scripts, `_queue` first: the others build on it."""
    return [read(path) for path in sorted(FOLDER.glob("*.lua"), key=lambda path: (path.stem != "_queue", path.stem))]


def pages() -> dict[str, str]:
    """Return the generated parts: file name → Markdown."""
    return {"redis-keys.md": keys(), "redis-elements.md": head(), "redis-scripts.md": table()}


def keys() -> str:
    """Tell what stands behind which key."""
    parts = []
    for script in every():
        if script.model:
            parts.append(f"From `{script.name}.lua`:\n\n```text\n{script.model}\n```\n")
    return "\n".join(parts)


def head() -> str:
    """Tell what an element is."""
    parts = []
    for module in (elements, element):
        text = (module.__doc__ or "").partition("\n\n")[2].strip("\n")
        parts.append(f"```text\n{text}\n```\n")
    kinds = {name: value for name, value in vars(element).items() if name.isupper() and isinstance(value, int)}
    kinds["HEARD"] = elements.HEARD
    parts.append("In numbers: " + ", ".join(f"{name} {value}" for name, value in kinds.items()) + ".\n")
    return "\n".join(parts)


def table() -> str:
    """Tell what each script does."""
    parts: list[str] = []
    for script in every():
        if script.name.startswith("_"):
            continue
        rows = [("KEYS", script.keys), ("ARGV", script.arguments), ("returns", script.returns), ("flags", script.flags)]
        lines = [f"| {name} | {_plain(text)} |" for name, text in rows if text]
        parts += [f"### {script.name}.lua", "", _plain(script.purpose), "", "| | |", "| --- | --- |", *lines, ""]
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, but for code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_<>|\[\]$])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)

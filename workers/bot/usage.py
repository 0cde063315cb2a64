"""What a command takes, written as people read it, and the parsing of what they write.

    <service>          one word, needed                    deploy web
    [service]          one word, or none
    <what...>          the rest of the line as it stands, needed; [what...]: or nothing
    [--now]            a flag: True or False               deploy web --now
    [--to=<room>]      an option with a value; without the brackets it is needed       --to=#ops, --to "my room"

Words are parted by spaces; quotes hold several together. A name becomes an argument of the function: `--dry-run` is
`dry_run`, and `<from>`, a keyword of Python, is `from_`.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Any

from ..exceptions import CommandError

_PART = re.compile(
    r"\s*(?:"
    r"(?P<flag>\[--(?P<flag_name>[a-z][a-z0-9-]*)\])"
    r"|(?P<option>(?P<open>\[)?--(?P<option_name>[a-z][a-z0-9-]*)[= ]<[a-z][\w -]*>(?(open)\]))"
    r"|<(?P<needed>[a-z][a-z0-9_-]*)(?P<needed_rest>\.\.\.|…)?>"
    r"|\[(?P<angle><)?(?P<optional>[a-z][a-z0-9_-]*)(?P<optional_rest>\.\.\.|…)?(?(angle)>)\]"
    r")(?=\s|\Z)",
    re.ASCII | re.IGNORECASE,
)
_CLOSING = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»"}
_OPTION = re.compile(r"--|—(?=\w)")  # telephones make one dash of two
_LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Part:
    """One part of a usage.

    Attributes:
        name: The function's argument.
        shown: How people see it: "<service>", "--now".
        needed: Whether a command without it is wrong.
        kind: "word", "rest", "flag" or "option".
    """

    name: str
    shown: str
    needed: bool
    kind: str


class Usage:
    """What one command takes.

    Args:
        text: As above; "" for nothing.

    Raises:
        ValueError: it cannot be read so.
    """

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        parts = list(_parts(self.text))
        self.words = [part for part in parts if part.kind in ("word", "rest")]
        self.options = {part.shown: part for part in parts if part.kind in ("flag", "option")}
        self.names = [part.name for part in parts]
        if len(set(self.names)) < len(parts):
            raise ValueError(f"usage {text!r} has one name twice")
        for before, part in zip(self.words, self.words[1:], strict=False):
            if before.kind == "rest":
                raise ValueError(f"usage {text!r}: nothing can follow {before.shown}, which takes the rest of the line")
            if part.needed and not before.needed:
                raise ValueError(f"usage {text!r}: {part.shown} is needed, and {before.shown} before it is not")

    def parse(self, line: str) -> dict[str, Any]:
        """Read what somebody wrote after a command's name.

        Returns:
            The arguments; what is not needed and not there is left out, and a flag that is not there is False.

        Raises:
            CommandError: it does not fit; its text says in what.
        """
        found: dict[str, Any] = {part.name: False for part in self.options.values() if part.kind == "flag"}
        words = list(self.words)
        at, options = 0, bool(self.options)
        while (at := _skip(line, at)) < len(line):
            rest = words[0] if words and words[0].kind == "rest" else None
            if options and _OPTION.match(line, at):
                word, end = _word(line, at, "=")
                name = "--" + word.removeprefix("—").removeprefix("--").lower()
                part = self.options.get(name)
                if part is not None:
                    at = self._option(part, line, end, found)
                    continue
                if name == "--":
                    at, options = end, False
                    continue
                if rest is None:
                    raise CommandError(f"there is no {_shown(name)}.")
            if rest is not None:
                found[rest.name] = line[at:].rstrip()
                words.pop(0)
                break
            word, end = _word(line, at)
            if not words:
                raise CommandError(f"{_shown(word)} is too much.")
            found[words.pop(0).name] = word
            at = end
        for part in (*words, *self.options.values()):
            if part.needed and part.name not in found:
                raise CommandError(f"{part.shown} is missing.")
        return found

    def _option(self, part: Part, line: str, at: int, found: dict[str, Any]) -> int:
        """Take a flag or an option; return where the line goes on."""
        valued = line.startswith("=", at)
        if part.kind == "flag":
            if valued:
                raise CommandError(f"{part.shown} takes no value.")
            found[part.name] = True
            return at
        at = at + 1 if valued else _skip(line, at)
        if at >= len(line) or (valued and line[at].isspace()):
            raise CommandError(f"{part.shown} needs a value.")
        found[part.name], at = _word(line, at)
        return at


def _parts(text: str) -> list[Part]:
    parts, at = [], 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(
                f"usage {text!r}: cannot read {text[at:].strip()!r}; possible are <needed>, [optional], <rest...>, "
                "[--flag], --option=<value> and [--option=<value>]"
            )
        at = match.end()
        if match["flag"]:
            parts.append(Part(_name(match["flag_name"]), f"--{match['flag_name'].lower()}", False, "flag"))
        elif match["option"]:
            shown = f"--{match['option_name'].lower()}"
            parts.append(Part(_name(match["option_name"]), shown, match["open"] is None, "option"))
        else:
            needed = match["needed"] is not None
            written = match["needed"] if needed else match["optional"]
            kind = "rest" if match["needed_rest"] or match["optional_rest"] else "word"
            parts.append(Part(_name(written), f"<{written}>" if needed else f"[{written}]", needed, kind))
    return parts


def _name(written: str) -> str:
    name = written.lower().replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _skip(line: str, at: int) -> int:
    while at < len(line) and line[at].isspace():
        at += 1
    return at


def _word(line: str, at: int, before: str = "") -> tuple[str, int]:
    """Return the word at a place and where it ends; one in quotes may hold spaces.

    Quotes count only around a whole word, so that "don't" is one.

    Args:
        line: The line.
        at: Where the word begins.
        before: What ends it beside a space, and is left.
    """
    closing = _CLOSING.get(line[at])
    if closing is not None:
        end = line.find(closing, at + 1)
        if end < 0:
            raise CommandError(f"the quote {_shown(line[at:])} is not closed.")
        if end + 1 == len(line) or line[end + 1].isspace():
            return line[at + 1 : end], end + 1
    end = at
    while end < len(line) and not line[end].isspace() and line[end] not in before:
        end += 1
    return line[at:end], end


def _shown(text: str) -> str:
    """Show something that somebody wrote, in one line of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"

"""The changes in a MODE message (https://modern.ircdocs.horse/#mode-message).

Why our own: `irc.modes` knows eight modes by heart, whatever ISUPPORT says, and gives a removed limit (``-l``) the
parameter of the next mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .isupport import ISupport


class ModeChange(NamedTuple):
    """One mode that was set or taken back, with its parameter if it has one."""

    added: bool
    mode: str
    parameter: str | None


def parse_modes(params: Sequence[str], isupport: ISupport) -> list[ModeChange]:
    """Read what follows the room in a MODE message; parameters that are missing are None."""
    if not params:
        return []
    always = isupport.setting_modes | isupport.list_modes | set(isupport.prefixes.values())
    values = iter(params[1:])
    added = True
    changes = []
    for letter in params[0]:
        if letter in "+-":
            added = letter == "+"
        elif letter in always or (added and letter in isupport.set_modes):
            changes.append(ModeChange(added, letter, next(values, None)))
        else:
            changes.append(ModeChange(added, letter, None))
    return changes

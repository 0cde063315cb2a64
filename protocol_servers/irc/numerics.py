"""Names of numeric replies, for people: the table of the `irc` package, and the few it has not."""

from __future__ import annotations

import irc.events

_NAMES: dict[str, str] = {code: str(name) for code, name in irc.events.numeric.items()} | {
    "005": "isupport",
    "396": "visiblehost",
    "480": "throttled",
    "489": "secureonlychan",
    "520": "operonly",
}


def numeric_name(code: str) -> str:
    """Return the name of a numeric, such as "nicknameinuse" for "433"; "" for an unknown one."""
    return _NAMES.get(code, "")

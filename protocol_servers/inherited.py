"""Sockets that a process was started with, as systemd passes them (sd_listen_fds(3)).

The variables are read when this is imported, and taken away: no child shall think they are meant for it. Twisted's
endpoints do the same when they are imported, so they have to come later.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from typing import NamedTuple

_FIRST = 3  # SD_LISTEN_FDS_START
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Inherited(NamedTuple):
    """A socket that somebody else listens on, and its name, if it has one."""

    descriptor: int
    name: str


def read_inherited(environ: MutableMapping[str, str], pid: int, first: int = _FIRST) -> list[Inherited]:
    """Return what was passed to a process, in order.

    Args:
        environ: Its environment; the variables are taken out.
        pid: Its number. What is meant for another is left alone.
        first: The first descriptor.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    _, count, names = (environ.pop(variable, "") for variable in _VARIABLES)
    if not re.fullmatch(r"[0-9]{1,4}", count):
        return []
    named = names.split(":") if names else []
    found = []
    for number in range(int(count)):
        try:
            os.set_inheritable(first + number, False)
        except OSError:
            break  # it was announced, and is not there
        found.append(Inherited(first + number, named[number] if number < len(named) else ""))
    return found


SOCKETS = read_inherited(os.environ, os.getpid())
"""What was passed to this process."""

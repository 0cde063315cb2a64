"""What can be written after `trunkline`, and the help that says so."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from .. import __version__
from ..operations.errors import UsageError
from ..operations.tables import nearest
from . import bus, check, dead, formats, mail, new, peek, purge, routes, run, send, serve, top, work
from .terminal import say

COMMANDS: dict[str, ModuleType] = {
    "run": run,
    "serve": serve,
    "work": work,
    "bus": bus,
    "check": check,
    "routes": routes,
    "formats": formats,
    "top": top,
    "send": send,
    "peek": peek,
    "purge": purge,
    "dead": dead,
    "mail": mail,
    "new": new,
}

_EPILOG = """\
exit codes: 0 fine; 1 failed while running, or the grace was exceeded;
2 wrong usage or configuration; 3 could not start

example:
  trunkline run helpdesk.routing
"""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help shows what is possible")

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message.rstrip("\n"))


def build(width: int | None = None) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of everything, and those of the commands by their names.

    Args:
        width: Columns of the help; None: as wide as the terminal.
    """
    formatter = functools.partial(argparse.RawDescriptionHelpFormatter, width=width)
    summary = "Protocol servers, one bus, plain functions."
    parser = _Parser(prog="trunkline", description=summary, epilog=_EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"trunkline {__version__}")
    added = parser.add_subparsers(metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, module in COMMANDS.items():
        epilog = "examples:\n" + "".join(f"  {line}\n" for line in module.EXAMPLES)
        command = added.add_parser(
            name, help=module.SUMMARY, description=module.SUMMARY, epilog=epilog, formatter_class=formatter
        )
        nested = module.add_arguments(command)
        command.set_defaults(execute=module.execute)
        commands[name] = command
        commands |= {f"{name} {action}": parser for action, parser in (nested or {}).items()}
    return parser, commands


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the process; `execute` of what is returned runs the command with them, `argv`.

    Raises:
        UsageError: they make no sense.
    """
    if not argv:
        raise UsageError(f"a command is missing: {', '.join(COMMANDS)}; trunkline --help explains them")
    first = argv[0]
    if not first.startswith("-") and first not in COMMANDS:
        raise UsageError(f"unknown command {first!r}; {nearest(first, COMMANDS)}")
    return build()[0].parse_args(argv, argparse.Namespace(argv=list(argv)))


def reference() -> str:
    """Return the help of everything as Markdown."""
    parser, commands = build(width=100)
    pages = {"trunkline": parser} | {f"trunkline {name}": command for name, command in commands.items()}
    return "\n".join(f"## `{name}`\n\n```text\n{page.format_help()}```\n" for name, page in pages.items())

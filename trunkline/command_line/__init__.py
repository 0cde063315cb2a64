"""The command line: `trunkline run`, `serve`, `work`, `check`, `routes`, `formats`.

Exit codes: 0 fine; 1 failed while running, or grace exceeded; 2 wrong usage or configuration; 3 could not start.
What a person can mend is one line on stderr; a traceback is always an error of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..operations.errors import ExitError
from .parser import parse, reference
from .terminal import close_streams, complain, open_streams

__all__ = ["main", "reference"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its arguments; None: those of the process.

    Returns:
        The exit code.
    """
    open_streams()
    try:
        return _execute(sys.argv[1:] if argv is None else argv)
    finally:
        close_streams()


def _execute(argv: Sequence[str]) -> int:
    try:
        arguments = parse(argv)
        code: int = arguments.execute(arguments)
        return code
    except ExitError as error:
        complain(str(error))
        return error.code
    except BrokenPipeError:  # `trunkline formats | head`: nobody reads on
        return 0
    except KeyboardInterrupt:
        return ExitError.code
    except SystemExit as ended:  # argparse, after --help and --version
        return ended.code if isinstance(ended.code, int) else 0

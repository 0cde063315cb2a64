"""The command line: `trunkline run`, `check`, `routes`, `formats`.

Exit codes: 0 fine; 1 failed while running, or grace exceeded; 2 wrong usage or configuration; 3 could not start.
What a person can mend is one line on stderr; a traceback is always an error of ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..operations.errors import ExitError
from .parser import parse, reference
from .terminal import complain

__all__ = ["main", "reference"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its arguments; None: those of the process.

    Returns:
        The exit code.
    """
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        code: int = arguments.execute(arguments)
        sys.stdout.flush()
        return code
    except ExitError as error:
        complain(str(error))
        return error.code
    except BrokenPipeError:
        # `trunkline formats | head`: nobody reads on. What is still buffered must not fail at exit, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return ExitError.code
    except SystemExit as ended:  # argparse, after --help and --version
        return ended.code if isinstance(ended.code, int) else 0

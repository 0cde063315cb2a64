"""`python -m trunkline.protocol_servers.smtp.passwords`: print the line of a user, for an `auth_file`."""

from __future__ import annotations

import argparse
import getpass
import sys

from . import make_line


def main() -> int:
    """Ask for a password and print the line of a user; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m trunkline.protocol_servers.smtp.passwords",
        description="Ask for a password, and print the line of a user with its hash, for a file that auth_file names.",
    )
    parser.add_argument("user", metavar="USER", help="the name to log in with")
    user = parser.parse_args().user
    password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    try:
        print(make_line(user, password))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

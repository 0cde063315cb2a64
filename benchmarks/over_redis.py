"""All figures of Trunkline over Redis beside its peers, one program after the other.

python benchmarks/over_redis.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from processes import HERE

PROGRAMS = ("http_hello.py", "websocket_echo.py", "websocket_latency.py", "broadcast.py", "mail.py", "redis_layer.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    commands = [[program, "--rounds", str(options.rounds)] for program in PROGRAMS]
    codes = [subprocess.run([sys.executable, *command], cwd=HERE).returncode for command in [*commands, ["idle.py"]]]
    sys.exit(any(codes))


if __name__ == "__main__":
    main()

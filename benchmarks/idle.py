"""What being idle costs: how often each process is given a CPU while nothing happens.

    python benchmarks/idle.py [--seconds 20] [--sockets 0]

Counted are the context switches of all threads of a process, from /proc, some seconds after the system has started and
answered one request. Redis wakes ten times a second by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack

from processes import HERE, Running
from systems import Start, channels, gunicorn, python_socketio, trunkline, trunkline_alone, uvicorn

SUBJECTS: dict[str, Start] = {
    "trunkline": trunkline,
    "in one process": trunkline_alone,
    "channels": channels,
    "python-socketio": python_socketio,
    "uvicorn": uvicorn,
    "gunicorn": gunicorn,
}
NO_SOCKETS = ("uvicorn", "gunicorn")
OURS = ("trunkline", "in one process")
MOST = 1.0  # wakes a second of a process of ours
SETTLE = 6.0  # seconds: beyond the first renewal of leases and announcements


def measure(name: str, seconds: float, sockets: int) -> None:
    """Start a system, leave it alone, and print how often its processes woke."""
    with ExitStack() as stack:
        system = stack.enter_context(SUBJECTS[name]())
        if sockets and name not in NO_SOCKETS:
            load = ["members", str(system.port), system.room, "--sockets", str(sockets)]
            client = Running("client", [sys.executable, HERE / "websocket_load.py", *load], talks=True)
            stack.enter_context(client).hear()
        time.sleep(SETTLE)
        before = [each.wakes() for each in system.processes]
        began = [each.cpu() for each in system.processes]
        time.sleep(seconds)
        for each, old, cpu in zip(system.processes, before, began, strict=True):
            new = each.wakes()
            a_second = sum(count - old.get(thread, 0) for thread, count in new.items()) / seconds
            judged = ""
            if name in OURS and each.name != "redis":
                judged = f"goal at most {MOST:g}: {'met' if a_second <= MOST else 'NOT met'}"
            used = 1000 * (each.cpu() - cpu) / seconds
            print(f"{name:16}{each.name:10}{len(new):8}{a_second:12.2f}{used:18.1f}  {judged}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sockets", type=int, default=0, help="WebSockets that are open meanwhile")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    options = parser.parse_args()
    print(f"\nidle for {options.seconds:g} s with {options.sockets} WebSockets open")
    print(f"{'':16}{'process':10}{'threads':>8}{'wakes/s':>12}{'CPU ms a second':>18}")
    for name in options.only:
        measure(name, options.seconds, options.sockets)


if __name__ == "__main__":
    main()

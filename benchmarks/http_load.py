"""Load for an HTTP server by wrk, in a process of its own and far quicker than what it measures."""

import re
import shutil
import subprocess
from typing import NamedTuple


class Load(NamedTuple):
    """What a load met: answers in how many seconds, and times until the answer in milliseconds."""

    rate: float
    answers: int
    seconds: float
    p50: float
    p99: float


def load(port: int, connections: int, seconds: float) -> Load:
    """Ask 127.0.0.1 for /hello over `connections` connections, each as soon as it has its answer.

    Raises:
        SystemExit: wrk is missing, or an answer was none.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    length = f"-d{max(1, round(seconds))}"
    command = [wrk, "-t1", f"-c{connections}", length, "--latency", f"http://127.0.0.1:{port}/hello"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    whole_run = re.search(r"(\d+) requests in ([\d.]+)s", report)
    if rate is None or whole_run is None or re.search(r"Non-2xx|Socket errors", report):
        raise SystemExit(report)
    answers, took = int(whole_run[1]), float(whole_run[2])
    return Load(float(rate[1]), answers, took, _milliseconds(report, 50), _milliseconds(report, 99))


def _milliseconds(report: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\n", report)
    assert found is not None, report
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]

"""The operations port: whether a command lives, whether it can do its work, its numbers, and a page for people.

/healthz       200 while its event loop turns
/readyz        200 while it can do its work, and what is wrong, a line each
/metrics       Prometheus
/status.json   everything, for programs
/              everything, for people
"""

from .answers import StatusPort

__all__ = ["StatusPort"]

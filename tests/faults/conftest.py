"""Sites to break, and the counts of what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .counts import Counts
from .site import Site


@pytest.fixture
def counts(tell: Callable[[str], None]) -> Iterator[Counts]:
    """The test's table; shown at the end of the run, whatever becomes of the test."""
    counted = Counts()
    yield counted
    tell(str(counted))


@pytest.fixture
def make_site(peer: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make the test's site, with these settings."""
    made: list[Site] = []

    def make(settings: str = "") -> Site:
        made.append(Site(tmp_path, peer("redis-server"), settings))
        return made[-1]

    yield make
    for site in made:
        site.close()
        print(site.printed())  # pytest shows it where the test failed

"""Runs the suite and the machine that every engine passes against any engine, from the command line.

    python -m pytest -p trunkline.layer.testing.plugin --layer-subject my_engine.testing:MySubject \\
        --pyargs trunkline.layer.testing.conformance

`--layer-subject` names a `Subject` as `module:Class`; the module has to be importable, so that `python -m pytest` in
the folder it lies in is enough. All of pytest's own options can be used: `-k delays`, `-x`, `-n 4`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .subject import Subject

# Before anything imports them, so that a failed assertion tells what it compared.
pytest.register_assert_rewrite("trunkline.layer.testing.conformance", "trunkline.layer.testing.machine")

_EXAMPLE = "--layer-subject my_engine.testing:MySubject"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--layer-subject`."""
    group = parser.getgroup("trunkline")
    group.addoption("--layer-subject", metavar="MODULE:CLASS", help="the engine that the suite is run against")


def pytest_configure(config: pytest.Config) -> None:
    """Find the subject before anything is collected, so that a mistake is one line.

    Raises:
        pytest.UsageError: There is none of this name, or it is no `Subject`.
    """
    named = config.getoption("--layer-subject")
    if named is not None:
        config.stash[_chosen] = _find(named)


@pytest.fixture(scope="session")
def layer_subject(pytestconfig: pytest.Config) -> type[Subject]:
    """The class that `--layer-subject` names."""
    chosen = pytestconfig.stash.get(_chosen, None)
    if chosen is None:
        pytest.exit(f"which engine is to be tested? {_EXAMPLE}", returncode=pytest.ExitCode.USAGE_ERROR)
    return chosen


_chosen: pytest.StashKey[type[Subject]] = pytest.StashKey()


def _find(named: str) -> type[Subject]:
    from .subject import Subject

    module, colon, name = named.partition(":")
    if not (module and colon and name):
        raise pytest.UsageError(f"--layer-subject {named}: it looks like {_EXAMPLE}")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--layer-subject {named}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Subject)):
        raise pytest.UsageError(f"--layer-subject {named}: {found!r} is no trunkline.layer.testing.Subject")
    return found

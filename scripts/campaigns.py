"""A pytest plugin for `make campaigns`: every property test, with many times the examples it has in `make test`.

Campaigns that are no property tests read SCALE themselves: the fixture `scale` in tests/conftest.py.
"""

import os

import pytest
from hypothesis import settings

SCALE = int(os.environ.get("SCALE", "20"))

# Where Hypothesis keeps the settings of a function, and of a state machine's class. It has no public way to change
# them from outside, and a factor at each test would be one more thing to forget.
_OF_FUNCTION = "_hypothesis_internal_use_settings"
_OF_CLASS = "settings"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Multiply the examples of what was collected."""
    for item in items:
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        for owner, name in ((function, _OF_FUNCTION), (getattr(item, "cls", None), _OF_CLASS)):
            own = getattr(owner, name, None)
            if isinstance(own, settings):
                setattr(owner, name, settings(own, max_examples=own.max_examples * SCALE, deadline=None))


def pytest_report_header() -> str:
    """Say how large the campaign is."""
    return f"campaign: {SCALE} times the random checks of make test"

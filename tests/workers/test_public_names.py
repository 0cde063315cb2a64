"""`from trunkline import …`: everything a consumer needs, and nothing loaded before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trunkline
import trunkline.workers
import trunkline.workers.testing


@pytest.mark.parametrize("package", [trunkline, trunkline.workers, trunkline.workers.testing])
def test_every_public_name_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        getattr(package, "nonesuch")  # noqa: B009


@pytest.mark.parametrize("package", [trunkline, trunkline.workers])
def test_dir_shows_them(package: object) -> None:
    assert set(package.__all__) <= set(dir(package))  # type: ignore[attr-defined]


def test_names_of_the_design_are_public() -> None:
    wanted = "route route_class include Channel Group Message Conversation open_layer set_layer Worker BaseConsumer"
    wanted += " retry ConsumeLater DenyConnection StopConsumer ResponseLater Reject"
    assert set(wanted.split()) <= set(trunkline.__all__)


def test_importing_the_layer_loads_nothing_else() -> None:
    program = (
        "import sys, trunkline.layer;"
        "print({name.split('.')[1] for name in sys.modules if name.startswith('trunkline.')})"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "{'layer'}"

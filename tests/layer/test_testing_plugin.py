"""The suite of every engine as other authors run it: from the command line, against an engine of their own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.layer.testing.conformance import LayerConformance

ENGINES = '''
from typing import Any

from trunkline.layer import Layer, MemoryLayer
from trunkline.layer.testing import MemorySubject


class Forgetful(MemoryLayer):
    """Takes a message that was to be sent once for another each time."""

    def send(self, channel: str, message: dict[str, Any], *, once: str | None = None, **more: Any) -> bool:
        return super().send(channel, message, **more)


class ForgetfulSubject(MemorySubject):
    def make(self, **options: Any) -> Layer:
        self._layers.append(Forgetful(self._name, clock=self.clock, **options))
        return self._layers[-1]


no_subject = Forgetful
'''


@pytest.fixture
def run(tmp_path: Path) -> "Run":
    (tmp_path / "engines.py").write_text(ENGINES, encoding="utf-8")
    return Run(tmp_path)


class Run:
    """Runs the suite in a folder of an engine's author, where nothing says how tests are run here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, subject: str | None, *more: str) -> tuple[int, str]:
        chosen = [] if subject is None else ["--layer-subject", subject]
        plugin = ["-p", "trunkline.layer.testing.plugin", "--pyargs", "trunkline.layer.testing.conformance"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *chosen, *more]
        told = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        return told.returncode, told.stdout + told.stderr


def test_an_engine_that_does_it_right_passes_all(run: Run) -> None:
    code, told = run("trunkline.layer.testing:MemorySubject")
    assert code == 0, told
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    tests = sum(name.startswith("test_") for name in dir(LayerConformance))
    assert int(passed[1]) > tests, "many of them with several parameters, and the machine"
    assert "skipped" not in told


def test_an_engine_that_does_not_is_told_where(run: Run) -> None:
    code, told = run("engines:ForgetfulSubject", "-k", "once or peek")
    assert code == 1, told
    assert re.search(r"FAILED .*::test_once_", told)
    assert re.search(r"^E .*assert True is False", told, re.MULTILINE), "what was compared is shown"
    assert re.search(r"\d+ failed, \d+ passed", told)


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (None, "which engine is to be tested? --layer-subject my_engine.testing:MySubject"),
        ("engines", "--layer-subject engines: it looks like --layer-subject my_engine.testing:MySubject"),
        ("nowhere:MySubject", "--layer-subject nowhere:MySubject: No module named 'nowhere'"),
        ("engines:Other", "--layer-subject engines:Other: module 'engines' has no attribute 'Other'"),
        ("engines:no_subject", "is no trunkline.layer.testing.Subject"),
    ],
)
def test_a_mistake_is_one_line(run: Run, subject: str | None, said: str) -> None:
    code, told = run(subject)
    assert code == pytest.ExitCode.USAGE_ERROR, told
    assert said in told
    assert "Traceback" not in told
    assert "passed" not in told

"""An engine of one's own in under 100 lines of code, which does all that every engine does."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.layer import open_layer

ENGINE = Path(__file__).parents[2] / "examples" / "engine"


def test_it_passes_what_every_engine_passes() -> None:
    """The command is the one that its subject names."""
    docstring = ast.get_docstring(ast.parse((ENGINE / "subject.py").read_text(encoding="utf-8")))
    assert docstring is not None
    command = " ".join(docstring.partition("\n\n")[2].replace("\\\n", " ").split())
    assert command.startswith("python -m pytest -p trunkline.layer.testing.plugin")
    told = subprocess.run(
        [sys.executable, *command.split()[1:], "-q", "-p", "no:cacheprovider"],
        cwd=ENGINE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.search(r"\d{3} passed", told.stdout)
    assert "skipped" not in told.stdout


def test_it_is_short() -> None:
    """Lines that are neither blank, nor a comment, a docstring or an import."""
    text = (ENGINE / "shelf.py").read_text(encoding="utf-8")
    without: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (words or isinstance(node, ast.Import | ast.ImportFrom)):
            without.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in without]
    assert sum(bool(line) and not line.startswith("#") for line in lines) < 100


def test_an_installed_package_tells_of_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "shelf-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    with pytest.raises(ValueError, match="no layer engine is called 'shelf'"):
        open_layer("shelf://")
    (facts / "entry_points.txt").write_text("[trunkline.engines]\nshelf = shelf:ShelfLayer\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ENGINE)
    importlib.invalidate_caches()
    with open_layer("shelf://?expiry=5") as layer:
        assert layer.expiry == 5
        layer.send("a", {"n": 1})
        assert layer.receive(["a"]) == ("a", {"n": 1})

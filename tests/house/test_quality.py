"""The tools that read the code: ruff, mypy and import-linter, and the rules they do not know."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("message_formats", "layer", "operations", "protocol_servers", "workers", "trunkline")
LINKS = {ROOT / "trunkline" / room for room in ROOMS}


def tracked() -> list[Path]:
    """Return the files under version control; of a source package without it, all of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [path for path in ROOT.rglob("*") if not any(part.startswith(".venv") for part in path.parts)]
    return [path for path in files if path.is_file() and not path.is_symlink()]


def modules(*folders: str) -> Iterator[Path]:
    """Yield the Python files of some rooms, each under its real folder only."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # environments, for one
            if not hidden and not any(link in path.parents for link in LINKS):
                yield path


def passes(*command: str) -> None:
    told = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_ruff() -> None:
    passes("ruff", "check")


@pytest.mark.timeout(1200)
def test_mypy() -> None:
    """The packages, their tests and the examples are typed, strictly."""
    passes("mypy")


def test_imports_follow_the_arrows() -> None:
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    told = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Arrows only point down KEPT" in told.stdout


def test_only_the_command_line_installs_the_reactor() -> None:
    """`twisted.internet.reactor` is imported nowhere at module level, and only `install_reactor` imports it at all."""
    found = []
    for path in modules(*ROOMS):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = getattr(node, "module", None)
            if "twisted.internet.reactor" in names or (module == "twisted.internet" and "reactor" in names):
                found.append(path.relative_to(ROOT).as_posix())
    assert found == ["operations/event_loop.py"]


def test_modules_stay_readable() -> None:
    """A module is one idea, under about 500 lines."""
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in modules(*ROOMS)}
    assert len(sizes) > 30
    assert {name: size for name, size in sizes.items() if size > 550} == {}


def test_nothing_is_left_unfinished() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|NotImplemented" r"Error)\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in modules(*ROOMS, "tests", "examples", "benchmarks", "docs")
        for match in words.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_possessive_groups() -> None:
    """Python before 3.11.5, Debian 12's too, matches `(?:…)*+` wrongly: it keeps half of a round (gh-106052)."""
    group = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules(*ROOMS)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if group.search(line)
    ]
    assert found == []


def test_no_path_of_one_machine() -> None:
    """What stands in a file works on every machine."""
    machine = re.compile(rb"/(work|farm|root|home)/[a-z.]")
    found = {path.relative_to(ROOT).as_posix() for path in tracked() if machine.search(path.read_bytes())}
    assert found == set()


def test_rooms_are_linked_under_one_name() -> None:
    for link in LINKS - {ROOT / "trunkline" / "trunkline"}:
        assert link.is_symlink()
        assert link.readlink() == Path("..") / link.name

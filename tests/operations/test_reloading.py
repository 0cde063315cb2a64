"""Which files are watched, and what counts as a change."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from trunkline.operations.reloading import Watch, blamed_files, imported_files


def test_imported_files_are_those_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imported_files() == set()
    (tmp_path / "reloaded_here.py").touch()
    importlib.import_module("reloaded_here")
    assert imported_files() == {str(tmp_path / "reloaded_here.py")}
    del sys.modules["reloaded_here"]


def test_what_is_installed_below_the_working_directory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a virtual environment is, inside a project."""
    monkeypatch.chdir("/")
    found = imported_files()
    assert pytest.__file__ not in found
    assert os.__file__ not in found
    assert any(path.endswith("/operations/reloading.py") for path in found)


def test_what_an_error_came_through_is_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "blamed_outer.py").write_text("import blamed_inner\n", encoding="utf-8")
    (tmp_path / "blamed_inner.py").write_text("1 +\n", encoding="utf-8")
    with pytest.raises(ValueError, match="wrong") as caught:
        try:
            importlib.import_module("blamed_outer")
        except SyntaxError:
            raise ValueError("wrong") from None
    blamed = blamed_files(caught.value)
    assert {str(tmp_path / "blamed_outer.py"), str(tmp_path / "blamed_inner.py"), __file__} <= blamed


def test_a_change_is_told_once(tmp_path: Path) -> None:
    watch = Watch()
    files = [tmp_path / name for name in ("a.py", "b.py", "gone.py")]
    for path in files[:2]:
        path.touch()
    watch.add(map(str, files))
    assert watch.changed() == []
    os.utime(files[0], (1, 1))
    watch.add(map(str, files))
    assert watch.changed() == [str(files[0])]
    assert watch.changed() == []
    files[1].unlink()
    files[2].touch()
    assert watch.changed() == [str(files[1]), str(files[2])]

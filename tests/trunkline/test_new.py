"""`trunkline new`: what it makes works as it is."""

from __future__ import annotations

import configparser
import http.client
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkline import __version__
from trunkline.command_line import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_it_makes_passes_its_test_and_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "shop"]) == 0
    assert "cd shop\n" in capsys.readouterr().out
    monkeypatch.chdir("shop")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    assert main(["check"]) == 0
    program = subprocess.Popen(
        [sys.executable, "-m", "trunkline", "run"],
        env=os.environ | {"TRUNKLINE_HTTP_ENDPOINTS": "tcp:0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout
    try:
        port = next(
            int(found[1]) for line in program.stdout if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line))
        )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/Ada")
        assert connection.getresponse().read() == b"Hello, Ada!\n"
        connection.close()
        program.terminate()
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()


def test_what_deploys_it_names_it(here: Path) -> None:
    assert main(["new", "shop"]) == 0
    made = {path.relative_to("shop").as_posix() for path in Path("shop").rglob("*") if path.is_file()}
    assert made == {
        ".dockerignore", ".gitignore", "Dockerfile", "Procfile", "README.md", "compose.yaml", "pyproject.toml",
        "requirements.txt", "shop/__init__.py", "shop/consumers.py", "shop/routing.py", "systemd/shop-http.service",
        "systemd/shop-work.service", "tests/test_routing.py", "trunkline.toml",
    }  # fmt: skip
    assert not [path for path in made if re.search("@[a-z]+@", Path("shop", path).read_text("utf-8"))]
    assert f"trunkline[http,redis] ~= {__version__}\n" in Path("shop/requirements.txt").read_text("utf-8")
    for what in ("serve http", "work"):
        unit = configparser.ConfigParser(interpolation=None, strict=False)
        unit.optionxform = str  # type: ignore[method-assign, assignment]
        unit.read(f"shop/systemd/shop-{what.split()[-1]}.service")
        assert unit["Service"]["ExecStart"].startswith(f"/srv/shop/.venv/bin/trunkline {what} ")


@pytest.mark.parametrize("name", ["Shop", "my-shop", "7shop", "../shop", "class", "email", "tests", "trunkline", ""])
def test_a_name_that_would_not_do_is_2(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["new", name]) == 2
    assert capsys.readouterr().err.startswith(f"trunkline: {name}: ".replace("  ", " "))
    assert list(here.iterdir()) == []


def test_what_is_there_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "shop").mkdir()
    assert main(["new", "shop"]) == 2
    assert capsys.readouterr().err == "trunkline: shop is there already; name another folder, or remove it\n"
    assert list((here / "shop").iterdir()) == []


def test_a_folder_that_takes_nothing_is_1(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "shop")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["new", "shop"]) == 1
    assert capsys.readouterr().err == "trunkline: shop: Permission denied\n"

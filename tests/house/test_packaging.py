"""What others install: the wheel and the source package, each in an environment that has nothing else."""

import stat
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import trunkline

ROOT = Path(__file__).parents[2]
ROOMS = ("message_formats", "layer", "operations", "protocol_servers", "workers")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    told = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the wheel and the source package with the tools that are installed here."""
    folder = tmp_path_factory.mktemp("dist")
    # setuptools writes trunkline.egg-info and build/ beside the sources: not into the working tree, but into a copy.
    tree = tmp_path_factory.mktemp("tree")
    names = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "trunkline", *ROOMS]
    run("cp", "-a", *(ROOT / name for name in names), tree)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree)
    (wheel,) = folder.glob("*.whl")
    (source,) = folder.glob("*.tar.gz")
    return wheel, source


def test_wheel_holds_plain_files(packages: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(packages[0]) as wheel:
        names = wheel.namelist()
        assert not [info.filename for info in wheel.infolist() if stat.S_ISLNK(info.external_attr >> 16)]
    assert modules("trunkline/") - set(names) == set()
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert not [name for name in names if name.partition("/")[0] in (*ROOMS, "tests", "examples")]


def test_source_package_holds_plain_files(packages: tuple[Path, Path]) -> None:
    with tarfile.open(packages[1]) as source:
        members = source.getmembers()
    assert not [member.name for member in members if not (member.isfile() or member.isdir())]
    folder = f"trunkline-{trunkline.__version__}/"
    names = {member.name for member in members}
    assert {*modules(f"{folder}trunkline/"), f"{folder}LICENSE"} - names == set()


def modules(prefix: str) -> set[str]:
    """Every module of every room, and the mark that they are typed."""
    found = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found |= {"py.typed", "__init__.py", "__main__.py", "command_line/__init__.py"}
    assert len(found) > 30
    return {f"{prefix}{name}" for name in found}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("which", [0, 1], ids=["wheel", "source"])
def test_installs_by_itself(packages: tuple[Path, Path], which: int, tmp_path: Path) -> None:
    """What setup.cfg asks for is enough: the layer imports, and the command answers."""
    venv.create(tmp_path / "venv", with_pip=False)
    programs = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", packages[which], cwd=tmp_path)
    found = run(programs / "python", "-c", "import trunkline.layer; print(trunkline.layer.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(tmp_path)
    assert run(programs / "trunkline", "--version", cwd=tmp_path) == f"trunkline {trunkline.__version__}\n"
    assert "run" in run(programs / "python", "-m", "trunkline", "--help", cwd=tmp_path)

"""`trunkline new`: a small working project to begin from."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from .. import __version__
from ..operations.errors import ExitError, UsageError
from .terminal import say

SUMMARY = "Make a folder with a small working project: routing, consumers, a test, settings, and what deploys it."
EXAMPLES = ("trunkline new helpdesk",)

_NEXT = """\
{name}/ is made. Try:

  cd {name}
  trunkline run --reload      # then open http://127.0.0.1:8000/you
  pytest

README.md there says what each file is for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="what the folder and its Python package are called")


def execute(arguments: argparse.Namespace) -> int:
    """Make the project, and return the exit code."""
    name: str = arguments.name
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name}: a project is named like a Python package: lower-case letters, digits and _")
    if name in sys.stdlib_module_names or name in ("tests", "trunkline"):
        raise UsageError(f"{name}: there is a module of this name already, which the project would hide")
    try:
        Path(name).mkdir()
        _copy(files(__package__) / "template", Path(name), {"@name@": name, "@version@": __version__, "@dot@": "."})
    except FileExistsError:
        raise UsageError(f"{name} is there already; name another folder, or remove it") from None
    except OSError as error:
        raise ExitError(f"{error.filename}: {error.strerror}") from error
    say(_NEXT.format(name=name))
    return 0


def _copy(template: Traversable, place: Path, words: dict[str, str]) -> None:
    """Copy what is in a folder of the template, with its words replaced; `.in` keeps tools from reading it as ours."""
    for each in template.iterdir():
        target = place / _filled(each.name.removesuffix(".in"), words)
        if each.is_dir():
            target.mkdir()
            _copy(each, target, words)
        else:
            target.write_text(_filled(each.read_text("utf-8"), words), encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text

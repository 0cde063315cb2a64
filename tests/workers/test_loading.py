"""Routings by name, with errors that say file and line in one line (workers.md, cli.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.workers import Message, RoutingError, load_routing

GOOD = "from trunkline import route\ndef hello(message): ...\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write modules into the working directory; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('_PACKAGE_', '/__init__').replace('_IN_', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def error_of(name: str) -> str:
    with pytest.raises(RoutingError) as raised:
        load_routing(name)
    text = str(raised.value)
    assert "\n" not in text
    assert raised.value.code == 2
    return text


def test_the_working_directory_comes_first(project: Callable[..., None]) -> None:
    project(json5000=GOOD + "routing = [route('x', hello)]\n", wave=GOOD + "mine = {'y': hello}\n")
    sys.path.append(sys.path.pop(0))
    assert load_routing("json5000").channel_names() == {"x"}
    assert sys.path[0] == str(Path.cwd())
    assert load_routing("wave:mine").channel_names() == {"y"}
    assert sys.path.count(str(Path.cwd())) == 1


def test_packages_and_included_names(project: Callable[..., None]) -> None:
    project(
        app_PACKAGE_="",
        app_IN_routing="from trunkline import include\nrouting = [include('app.shop:inner', path='^/shop')]\n",
        app_IN_shop=GOOD + "inner = [route('http.request', 'app.shop.hello', path='^/cart')]\n",
    )
    routing = load_routing("app.routing")
    found = routing.match(Message({"path": "/shop/cart"}, "http.request"))
    assert found is not None
    assert found[0].__qualname__ == "hello"
    assert [str(leaf.route) for leaf in routing.leaves()] == ["http.request path=^/cart -> app.shop.hello"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nonesuch\n", "bad.py:1: ModuleNotFoundError: No module named 'nonesuch'"),
        ("\nimport other\n", "other.py:2: ZeroDivisionError: division by zero"),
        ("x = (\n", "bad.py:1: SyntaxError: '(' was never closed"),
        ("raise SystemExit('bye')", "bad.py:1: SystemExit: bye"),
        (
            GOOD + "routing = [route('x', hello, path='(')]\n",
            "bad.py:3: filter path='(' is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        (GOOD + "routing = 5\n", "bad.py: 5 is no route: use route(…), include(…), a dictionary {channel: consumer}"),
        (GOOD + "routes = []\n", "bad.py: 'bad' has no attribute 'routing'; did you mean 'route'?"),
        (GOOD + "\nrouting = [route('x', 'bad.bye')]\n", "bad.py:4: 'bad' has no attribute 'bye'"),
        (
            "from trunkline import include\nrouting = [include('nonesuch.routing')]",
            "bad.py:2: no routing module 'nonesuch.routing' (looked in ",
        ),
        ("from trunkline import include\nrouting = [include('other')]", "other.py:2: ZeroDivisionError"),
        ("from trunkline import include\nrouting = [include('bad')]", "bad.py:2: bad includes itself"),
        (
            "from trunkline import route_class\nrouting = [route_class('json.loads')]",
            "bad.py:2: json.loads is no subclass of BaseConsumer",
        ),
        ("from wrong import x", "wrong.py:2: filter a='*' is no regular expression"),
        ("class Odd(BaseException): ...\n\nraise Odd('x')", "bad.py:3: Odd: x"),
        (GOOD + "routing = {'x y': hello}\n", "bad.py: 'x y' is no channel name"),
        ("import json\njson.loads('{')", "bad.py:2: JSONDecodeError: Expecting property name"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(project: Callable[..., None], text: str, error: str) -> None:
    project(
        bad=text,
        other="\n1 / 0\n",
        wrong="from trunkline import route\nx = route('x', print, a='*')",
    )
    assert error_of("bad").startswith(error)


def test_a_file_that_is_no_text_of_python(project: Callable[..., None]) -> None:
    """Python 3.11.2 calls it a ValueError, and neither says which file it was."""
    project(bad="\0")
    assert error_of("bad").partition("Error: ")[2] == "source code string cannot contain null bytes"
    assert error_of("bad").startswith("bad.py: ")
    project(app_PACKAGE_="\0", app_IN_routing="")
    assert error_of("app.routing").startswith("app/__init__.py: ")


def test_ctrl_c_while_a_routing_is_imported_is_none_of_its_errors(project: Callable[..., None]) -> None:
    project(
        bad="raise KeyboardInterrupt",
        app_PACKAGE_="raise KeyboardInterrupt",
        consumers="from trunkline import route\nrouting = [route('x', 'app.hello.world')]",
    )
    for name in ("bad", "consumers"):
        with pytest.raises(KeyboardInterrupt):
            load_routing(name)


def test_a_working_directory_that_was_removed(project: Callable[..., None], tmp_path: Path) -> None:
    project(good=GOOD + "routing = [route('x', hello)]\n")
    sys.path.insert(0, str(tmp_path))
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert load_routing("good").channel_names() == {"x"}
    assert error_of("nonesuch") == "no routing module 'nonesuch' (looked in sys.path first)"


def test_routes_of_a_dictionary_stand_in_its_file(project: Callable[..., None]) -> None:
    """Nobody knows the line; it is not that of whoever loads the routing."""
    project(
        good=GOOD + "routing = {'x': hello}\n",
        outer="from trunkline import include\n\nrouting = [include('good'), include({'x': 'good.hello'})]\n",
    )
    assert [getattr(leaf.route, "where", None) for leaf in load_routing("good").leaves()] == ["good.py"]
    assert [getattr(leaf.route, "where", None) for leaf in load_routing("outer").leaves()] == ["good.py", "outer.py:3"]


def test_a_routing_that_is_not_there(project: Callable[..., None]) -> None:
    project(app_PACKAGE_="")
    assert error_of("nonesuch").startswith("no routing module 'nonesuch' (looked in ")
    assert error_of("app.nonesuch").startswith("no routing module 'app.nonesuch' (looked in ")
    assert error_of("") == "'' is no name of a routing: package.module or package.module:attribute"
    assert error_of(".x").startswith("'.x' is no name of a routing")


def test_a_consumer_in_a_package_that_fails(project: Callable[..., None]) -> None:
    project(
        broken_PACKAGE_="1 / 0",
        bad="from trunkline import route\nrouting = [route('x', 'broken.consumers.hello')]",
    )
    assert error_of("bad") == "broken/__init__.py:1: ZeroDivisionError: division by zero"

"""The page on the layout in Redis says what the code does: every script, every family of keys, and nothing else."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer.redis import keys, scripts
from trunkline.layer.redis.commands import Commands
from trunkline.layer.redis.elements import HEARD
from trunkline.layer.store.element import CREDIT, GROUP, MESSAGE, PART

DOCS = Path(__file__).parents[2] / "docs"
PREFIX = "P"

# Arguments of each call of the store: which scripts they come to, and with how many keys.
SAMPLES: dict[str, list[tuple[Any, ...]]] = {
    "put": [("a", "", b"", 60, 10, None), ("a", "", b"", 60, 10, None, 5, "k", "o", 600, None, False)],
    "cancel": [("a", "k")],
    "take": [([("a", "", ""), ("x!", 10, 100)], 1, 60, "h")],
    "put_back": [("a", [(2.0, 1.0, 0, "", b"", None)])],
    "peek": [("a", 10)],
    "purge": [("a",)],
    "channel_statistics": [("a",)],
    "statistics": [()],
    "channels": [()],
    "group_add": [("g", "x!", "1", None, 60, 10, 100)],
    "group_discard": [("g", "x!", "1")],
    "group_leave": [("g", "x!", "1", 7)],
    "group_members": [("g",)],
    "send_group": [("g", b"", 60, {"x!": ["1"]})],
    "lease": [("x!", "h", 15, False, 60, 10, 100)],
    "restore": [("x!", "h", 15, False, 60, 10, 100, [("g", "1", None)])],
    "renew": [("x!", "h", 15)],
    "release": [("x!", "h")],
    "snapshot": [("x!",)],
    "get_state": [("k",)],
    "put_state": [("k", b"", 60, None)],
    "delete_state": [("k",)],
    "increment_state": [("k", 60)],
    "announce": [("l", b"", {"a": False})],
    "listeners": [()],
    "dead_letter": [("i", "a", b"", "r", "t", 1, ())],
    "dead_letters": [()],
    "dead_letter_of": [("i",)],
    "dead_letter_drop": [("i", True)],
    "agree": [({"a*": 30},)],
    "put_durable": [("a", "", b"", 60, 10, None, 5, "k", "o", 600, 30, ("blob.1", "blob.2"))],
    "ack": [("a", 1, 1)],
    "nack": [("a", 1, 1, 5)],
    "extend": [("a", 1, 1, 5)],
    "put_back_durable": [("a", [(1, 1)])],
    "kept": [("a", "", 20)],
    "hasten": [("a", "1")],
    "discard": [("a", "1")],
    "append_blob": [("blob.1", 0, b"", 0, 10)],
    "read_blob": [("blob.1", 0)],
    "blob_size": [("blob.1",)],
    "drop_blob": [("blob.1",)],
    "flush": [()],
    "account": [("x!", 1, 10)],
    "promote": [()],
    "creditor": [("a?",)],
    "credit": [("x!", "1", "a?", 2, 60)],
}


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    yield __import__("redis_layout")
    del sys.modules["redis_layout"]


@pytest.fixture
def page(layout: Any) -> str:
    """The whole page, with what is generated."""
    text = (DOCS / "reference" / "redis-layout.md").read_text(encoding="utf-8")
    for name, part in layout.pages().items():
        marker = f"```{{include}} generated/{name}\n```"
        assert marker in text
        text = text.replace(marker, part)
    return text


def families() -> Iterator[str]:
    """The families of keys that `Keys` makes."""
    made = keys.Keys(PREFIX)
    values = [value for value in vars(made).values() if isinstance(value, bytes)]
    for name, method in inspect.getmembers(keys.Keys, inspect.isfunction):
        if not name.startswith("_") and inspect.signature(method).return_annotation is not str:
            arguments = ["name"] * (len(inspect.signature(method).parameters) - 1)
            key = method(made, *arguments)
            values += [key] if isinstance(key, bytes) else key
    for value in values:
        family = re.fullmatch(rf"{PREFIX}:([a-z]+)(:.+)?", value.decode())
        if family is not None:
            yield family[1]
        else:
            assert value == made.prefix or value == made.pattern, value


def test_every_family_of_keys_is_in_the_page_and_no_other(layout: Any, page: str) -> None:
    heads = layout.every()
    defined = set().union(*(script.families for script in heads))
    named = set(families()).union(*(script.named for script in heads))
    assert len(named) > 20
    assert named == defined
    assert {"q", "m", "z", "d", "o", "s", "g", "wake", "listeners", "durable"} <= named
    for family in named:
        assert re.search(rf"^{family}\b|[;,] +{family}\b", page, re.MULTILINE), family
    in_prose = set(re.findall(r"trunkline:([a-z]+)", (DOCS / "reference" / "redis-layout.md").read_text("utf-8")))
    assert in_prose - defined == set()


def test_every_script_is_in_the_page_and_no_other(layout: Any, page: str) -> None:
    assert set(re.findall(r"^### (\w+)\.lua$", page, re.MULTILINE)) == set(scripts.SHA)
    files = {path.name for path in layout.FOLDER.glob("*.lua")}
    assert set(re.findall(r"\b\w+\.lua\b", page.replace("\\", ""))) - files == set()
    for script in layout.every():
        assert script.purpose, script.name
        if script.name in scripts.SHA:
            assert script.keys, f"{script.name}: its head tells no KEYS"
            assert script.arguments, f"{script.name}: its head tells no ARGV"
            returns = re.search(r"^return\b|^  return [^\n]", script.code, re.MULTILINE)
            assert not returns or script.returns, f"{script.name}: its head does not tell what it returns"


def test_scripts_are_called_with_the_keys_that_they_name(layout: Any) -> None:
    """A call of the store that is new has to be told here, and its script what its keys are."""
    commands = Commands(keys.Keys(PREFIX))
    assert set(commands._makers) - set(SAMPLES) == set()
    named = {script.name: script.keys for script in layout.every()}
    names = {sha: name for name, sha in scripts.SHA.items()}
    called = set()
    for name, samples in SAMPLES.items():
        for sample in samples:
            for command in commands.plan([(name, sample)]).commands:
                if command[0] in ("EVALSHA", b"EVALSHA"):
                    script = names[command[1]]
                    called.add(script)
                    said = named[script]
                    count = 0 if said.startswith("none") else said.partition(";")[0].count(",") + 1
                    assert int(command[2]) == count, f"{script}: {said}"
    assert called == set(scripts.SHA)


def test_elements_are_described(page: str) -> None:
    assert f"In numbers: MESSAGE {MESSAGE}, GROUP {GROUP}, PART {PART}, " in page
    assert f" CREDIT {CREDIT}, HEARD {HEARD}." in page
    assert "deadline   8 bytes" in page
    assert "CREDIT    local part" in page


def test_a_script_is_what_its_files_make_by_the_rule_of_the_page(layout: Any) -> None:
    """`-- uses A B` stands for the text of these files: what another language does comes to the same digest."""
    for path in layout.FOLDER.glob("[a-z]*.lua"):
        source = scripts.SCRIPTS[scripts.SHA[path.stem]].decode()
        assert "-- uses " not in source
        for used in layout.read(path).uses:
            assert (layout.FOLDER / used).read_text("utf-8") in source

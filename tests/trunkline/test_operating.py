"""`trunkline send`, `peek`, `purge` and `dead`: what an operator does with a layer that others use."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main
from trunkline.layer import Layer, open_layer
from trunkline.operations import reaching

Start = Callable[..., Any]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["redis", "ipc"])
def url(request: pytest.FixtureRequest, start: Start, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a layer is that several processes share."""
    if request.param == "redis":
        named: str = request.getfixturevalue("layer")
        return named
    folder = tmp_path_factory.mktemp("b")
    start("bus", f"unix:{folder}/bus.sock").until("the bus runs")
    return f"ipc://{folder}/bus.sock"


@pytest.fixture
def bus(url: str) -> Iterator[Layer]:
    """The layer, as another process sees it."""
    with open_layer(url) as opened:
        yield opened


@pytest.fixture
def command(here: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Execute a command on that layer; return the exit code, what it said, and what it complained of."""
    monkeypatch.setenv("TRUNKLINE_LAYER", url)

    def command(*arguments: str) -> tuple[int, str, str]:
        return main(arguments), *capsys.readouterr()

    return command


def on_terminal(url: str, *arguments: str, input: bytes = b"") -> tuple[int, str]:
    """Execute a command at a terminal of its own; return the exit code and what was seen there."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"TRUNKLINE_LAYER": url, "NO_COLOR": "1"}
    process = subprocess.Popen([sys.executable, "-m", "trunkline", *arguments], stdout=theirs, env=environ)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    return process.wait(30), seen.decode().replace("\r\n", "\n")


class TestSend:
    def test_a_message_of_ones_own(self, command: Command, bus: Layer) -> None:
        told = command("send", "my.work", '{"n": 7, "raw": {"$bytes": "AP8="}, "$$key": null}')
        assert told == (0, "sent to my.work; no worker listens there now\n", "")
        assert bus.receive(["my.work"]) == ("my.work", {"n": 7, "raw": b"\x00\xff", "$key": None})

    def test_it_says_nothing_more_where_somebody_listens(self, command: Command, bus: Layer) -> None:
        bus.announce("worker.1", {"channels": {"my.work": False}})
        assert command("send", "my.work", "{}")[1] == "sent to my.work\n"
        assert command("send", "an.inbox!me", "{}")[1] == "sent to an.inbox!me\n"

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("my.work", "{"), "argument JSON: Expecting property name"),
            (("my.work", "[1]"), "argument JSON: a message is a JSON object, {…}"),
            (("my.work", '{"n": 1e999}'), "argument JSON: n: expected"),
            (("my.work", '{"n": {"$bytes": "!"}}'), "argument JSON: n: expected"),
            (("my.work", "[" * 100_000), "argument JSON: "),
            (("my work", "{}"), "'my work' is no channel name"),
            (("asgi.delay", '{"channel": "my.work"}'), "asgi.delay: "),
            (("my.work", '{"n": {"$bytes": "' + "AAAA" * (1 << 20) + '"}}'), "max_size is 2097152"),
        ],
        ids=["no-json", "no-object", "no-number", "no-base64", "too-deep", "no-name", "no-format", "too-large"],
    )
    def test_what_cannot_be_sent_is_2(
        self, command: Command, bus: Layer, arguments: tuple[str, str], text: str
    ) -> None:
        code, out, err = command("send", *arguments)
        assert (code, out) == (2, "")
        assert text in err
        assert err.count("\n") == 1
        assert bus.global_statistics()["messages_count"] == 0

    def test_a_full_channel_is_1(self, command: Command, url: str) -> None:
        sign = "&" if "?" in url else "?"
        small = f"{url}{sign}capacity=1"
        assert command("send", "my.work", "{}", "--layer", small)[0] == 0
        code, out, err = command("send", "my.work", "{}", "--layer", small)
        assert (code, out) == (1, "")
        assert err == "trunkline: my.work is full: 1 messages wait there, its capacity is 1\n"


class TestPeekAndPurge:
    def test_peek_shows_what_waits_and_leaves_it(self, command: Command, bus: Layer) -> None:
        for n in range(12):
            bus.send("my.work", {"n": n, "bytes": b"\xff", "text": "\x1b[31m\x9b\n\u202eü😀\U000e0001"})
        code, out, _ = command("peek", "my.work")
        assert code == 0
        lines = [json.loads(line) for line in out.splitlines()]
        assert [line["n"] for line in lines] == list(range(10))
        assert lines[0]["bytes"] == {"$bytes": "/w=="}
        assert lines[0]["text"] == "\x1b[31m\x9b\n\u202eü😀\U000e0001"
        assert "ü😀" in out
        assert not [sign for sign in out if not sign.isprintable() and sign != "\n"], "no terminal obeys a message"
        assert len(command("peek", "my.work", "--limit", "100")[1].splitlines()) == 12
        assert command("peek", "nothing.there") == (0, "", "")

    def test_purge_drops_them_and_says_how_many(self, command: Command, bus: Layer) -> None:
        for n in range(3):
            bus.send("my.work", {"n": n}, delay=n)
        assert command("purge", "my.work") == (0, "3 messages of my.work dropped\n", "")
        assert command("purge", "my.work") == (0, "0 messages of my.work dropped\n", "")
        bus.send("my.work", {})
        assert command("purge", "my.work") == (0, "1 message of my.work dropped\n", "")

    def test_no_name_is_2(self, command: Command) -> None:
        for name in ("peek", "purge"):
            code, _, err = command(name, "my work")
            assert code == 2
            assert "'my work' is no channel name" in err
        assert command("peek", "my.work", "--limit", "0")[0] == 2


class TestDead:
    def test_list_and_show(self, command: Command, bus: Layer, url: str) -> None:
        why = "broke\x1b[2J"
        id = bus.dead_letter("my.work", {"n": 1, "b": b"\0"}, reason=why, traceback="Trace\n  b\x07", tries=3)
        code, out, _ = command("dead", "list")
        assert code == 0
        [listed] = [json.loads(line) for line in out.splitlines()]
        assert listed.pop("time") > 0
        assert listed == {"id": id, "channel": "my.work", "tries": 3, "reason": why}

        code, out, _ = command("dead", "show", id)
        assert code == 0
        assert "reason   broke\\x1b[2J\n" in out
        assert 'message\n{\n  "n": 1,\n  "b": {\n    "$bytes": "AA=="\n  }\n}\ntraceback\nTrace\n  b\\x07\n' in out
        assert "\x1b" not in out
        letter = json.loads(command("dead", "show", id, "--json")[1])
        assert (letter["message"], letter["traceback"]) == ({"n": 1, "b": {"$bytes": "AA=="}}, "Trace\n  b\x07")

        code, seen = on_terminal(url, "dead", "list")
        heading, row = seen.splitlines()
        assert code == 0
        assert heading.split() == ["id", "time", "channel", "tries", "reason"]
        assert row.split()[0] == id
        assert row.endswith("my.work  3      broke\\x1b[2J")
        assert json.loads(on_terminal(url, "dead", "list", "--json")[1])["id"] == id

    def test_without_any(self, command: Command, url: str) -> None:
        assert command("dead", "list") == (0, "", "")
        assert on_terminal(url, "dead", "list") == (0, "there are no dead letters\n")
        assert command("dead", "drop", "--all") == (0, "", "")

    def test_retry_sends_them_again(self, command: Command, bus: Layer) -> None:
        one, two, three = (bus.dead_letter("my.work", {"n": n}, reason="broke") for n in range(3))
        assert command("dead", "retry", two) == (0, f"{two} was sent again\n", "")
        assert bus.receive(["my.work"]) == ("my.work", {"n": 1})
        assert command("dead", "retry", "--all") == (0, f"{one} was sent again\n{three} was sent again\n", "")
        assert bus.dead_letters() == []
        assert [message["n"] for message in bus.peek("my.work")] == [0, 2]

    def test_drop(self, command: Command, bus: Layer) -> None:
        one, two = (bus.dead_letter("my.work", {"n": n}, reason="broke") for n in range(2))
        assert command("dead", "drop", one) == (0, f"{one} was dropped\n", "")
        assert [letter["id"] for letter in bus.dead_letters()] == [two]
        assert bus.peek("my.work") == []

    def test_one_that_is_unknown_is_1_and_keeps_no_other(self, command: Command, bus: Layer) -> None:
        id = bus.dead_letter("my.work", {}, reason="broke")
        said = "trunkline: there is no dead letter 'gone'; trunkline dead list names them\n"
        assert command("dead", "show", "gone") == (1, "", said)
        assert command("dead", "retry", "gone", id) == (1, f"{id} was sent again\n", said)

    def test_one_whose_channel_is_full_stays(self, command: Command, bus: Layer, url: str) -> None:
        id = bus.dead_letter("my.work", {}, reason="broke")
        bus.send("my.work", {})
        small = f"{url}{'&' if '?' in url else '?'}capacity=1"
        code, out, err = command("dead", "retry", id, "--layer", small)
        assert (code, out) == (1, "")
        assert err == f"trunkline: {id} stays: my.work is full: 1 messages wait there, its capacity is 1\n"
        assert [letter["id"] for letter in bus.dead_letters()] == [id]

    @pytest.mark.parametrize("arguments", [("retry",), ("drop",), ("retry", "an-id", "--all")])
    def test_which_ones_has_to_be_said(self, command: Command, arguments: tuple[str, ...]) -> None:
        code, _, err = command("dead", *arguments)
        assert (code, err) == (2, f"trunkline: dead {arguments[0]} needs the IDs of dead letters, or --all\n")


COMMANDS = [("send", "a", "{}"), ("peek", "a"), ("purge", "a"), ("dead", "list"), ("top",)]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_layer_is_needed(here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2
    assert "needs a layer: --layer redis://localhost:6379/0" in capsys.readouterr().err
    assert main([*arguments, "--layer", "memory://shared"]) == 2
    assert "cannot use memory://shared: no other process reaches it" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_layer_that_is_away_is_3(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(reaching.reach, "__defaults__", (0.0,))
    assert main([*arguments, "--layer", f"ipc://{here}/gone.sock"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("trunkline: the layer is away: ")
    assert err.count("\n") == 1

"""Log lines for people and for machines."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
from twisted.logger import Logger

from trunkline.operations.logging import has_colours, setup


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Give the root logger back as it was."""
    logger = logging.getLogger()
    before = logger.level, logger.handlers[:]
    yield
    logger.handlers[:] = before[1]
    logger.setLevel(before[0])
    logging.captureWarnings(False)
    logging.getLogger("twisted").setLevel(logging.NOTSET)


def written(format: str = "text", level: str = "info", message: str = "hello %s", **options: object) -> str:
    stream = io.StringIO()
    setup(format, level, stream)
    logging.getLogger("trunkline.test").warning(message, "you", **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_text() -> None:
    line = written()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING  trunkline\.test: hello you\n", line)


def test_text_keeps_what_peers_send_in_its_line() -> None:
    assert written(message="a\nb\x1b[31m\tc\x9b%s").endswith(r"test: a\x0ab\x1b[31m" + "\tc" + r"\x9byou" + "\n")


def test_a_line_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer closed stdout and stderr."""
    stream = io.StringIO()
    setup(stream=stream)
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    logging.getLogger("trunkline.test").error("nobody reads this")


def test_text_with_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        lines = written(exc_info=True).splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: broken"


def test_text_with_stack() -> None:
    assert "Stack (most recent call last):" in written(stack_info=True)


def test_json() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        line = json.loads(written("json", message="ä\n%s", exc_info=True))
    assert line.keys() == {"time", "level", "logger", "message", "traceback"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["logger"], line["message"]) == ("warning", "trunkline.test", "ä\nyou")
    assert line["traceback"].endswith("ValueError: broken")


def test_json_without_traceback_is_one_line() -> None:
    text = written("json", message="a\nb %s")
    assert text.count("\n") == 1
    assert "traceback" not in json.loads(text)


def test_level() -> None:
    assert written(level="error") == ""


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_only_where_they_are_wanted(environ: dict[str, str], expected: bool) -> None:
    assert has_colours(Terminal(), environ) is expected
    stream = Terminal()
    setup("text", "info", stream, environ)
    logging.getLogger("trunkline.test").error("red")
    logging.getLogger("trunkline.test").info("plain")
    assert ("\x1b[31mERROR   \x1b[0m" in stream.getvalue()) is expected
    assert " INFO     trunkline.test: plain\n" in stream.getvalue()


def test_no_colours_without_a_terminal() -> None:
    assert has_colours(io.StringIO(), {}) is False


def test_twisted_and_warnings_are_led_here() -> None:
    stream = io.StringIO()
    setup("text", "info", stream)
    Logger(namespace="elsewhere").error("an error nobody handled")
    Logger(namespace="elsewhere").info("starting factory")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "an error nobody handled" in stream.getvalue()
    assert "starting factory" not in stream.getvalue()
    assert "DeprecationWarning: old" in stream.getvalue()


def test_debug_shows_what_twisted_says() -> None:
    stream = io.StringIO()
    setup("text", "debug", stream)
    Logger(namespace="elsewhere").info("starting factory")
    assert "starting factory" in stream.getvalue()


def test_lines_of_one_of_several_processes_say_which() -> None:
    stream = io.StringIO()
    setup("text", stream=stream, process=2)
    logging.getLogger("trunkline.test").warning("hello")
    assert stream.getvalue().endswith(" WARNING  [2] trunkline.test: hello\n")
    stream = io.StringIO()
    setup("json", stream=stream, process=2)
    logging.getLogger("trunkline.test").warning("hello")
    assert json.loads(stream.getvalue())["process"] == 2


def test_twisted_is_not_loaded_for_its_log() -> None:
    code = "import sys; from trunkline.operations.logging import setup; setup(twisted=False); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "trunkline.operations.logging" in loaded
    assert "twisted.logger" not in loaded

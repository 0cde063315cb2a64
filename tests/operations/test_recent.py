"""The last warnings and errors of a process."""

import logging
from collections.abc import Iterator

import pytest

from trunkline.operations.recent import KEPT, Recent, keep_recent


@pytest.fixture
def recent() -> Iterator[Recent]:
    recent = keep_recent()
    yield recent
    logging.getLogger().removeHandler(recent)


def test_warnings_and_errors_are_kept_without_their_tracebacks(recent: Recent) -> None:
    log = logging.getLogger("trunkline.test")
    log.info("nothing to look at")
    log.warning("%s is slow", "it")
    try:
        raise ValueError("a text with a secret")
    except ValueError:
        log.exception("it failed")
    log.critical("the end")
    found = [(line["level"], line["logger"], line["text"]) for line in recent.lines()]
    assert found == [
        ("warning", "trunkline.test", "it is slow"),
        ("error", "trunkline.test", "it failed (ValueError)"),
        ("error", "trunkline.test", "the end"),
    ]
    assert recent.counts == {"warning": 1, "error": 2}


def test_only_the_newest_are_kept_and_all_are_counted(recent: Recent) -> None:
    for number in range(KEPT + 30):
        logging.getLogger("trunkline.test").error("%d %s", number, "x" * 1000)
    lines = recent.lines()
    assert len(lines) == KEPT
    assert lines[-1]["text"].startswith(f"{KEPT + 29} xxx")
    assert max(len(line["text"]) for line in lines) == 300
    assert recent.counts["error"] == KEPT + 30


def test_a_line_that_cannot_be_made_out_stops_nobody(recent: Recent) -> None:
    recent.emit(logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d", ("no number",), None))
    assert recent.lines()[-1]["text"] == "a line that cannot be written: TypeError"

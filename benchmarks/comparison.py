"""Rounds in which what is compared takes turns, and the table that comes of them."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Round(NamedTuple):
    """What one subject did in one round."""

    values: Mapping[str, float]  # by column
    units: float = 0  # requests, messages … that were done meanwhile
    seconds: float = 0  # how long it took
    cpu: Mapping[str, float] = {}  # CPU seconds of each process meanwhile


class Goal(NamedTuple):
    """A column of one subject, divided by that of a peer in the same round if there is one, and what it should be."""

    column: str
    ours: str
    peer: str | None = None
    least: float | None = None
    most: float | None = None
    word: str = "goal"


def arguments(documentation: str | None, *, rounds: int = 5, seconds: float | None = 3.0) -> argparse.ArgumentParser:
    """Return a parser of what every comparison takes."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these subjects, by the names in the table")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help="length of a measurement")
    return parser


def compare(
    title: str,
    subjects: Mapping[str, Callable[[], Round]],
    options: argparse.Namespace,
    goals: Sequence[Goal] = (),
    unit: str = "",
) -> None:
    """Measure every subject once a round, every other round in the opposite order, and print what came of it.

    Args:
        title: What is measured.
        subjects: What measures a subject, by the subject's name.
        options: Of `arguments`: how many rounds, and which subjects.
        goals: What to look at, and to divide by what.
        unit: What the CPU of a process is divided by: "request"; where it is "" none is printed.
    """
    names = [name for name in subjects if options.only is None or name in options.only]
    found: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            _progress(f"round {number + 1} of {options.rounds}: {name}")
            found[name].append(subjects[name]())
    _progress("")
    print(f"\n{title}; median (least – most) of {options.rounds} rounds")
    _print_columns(found)
    if unit:
        _print_cpu(found, unit)
    for goal in goals:
        if goal.ours in found and (goal.peer is None or goal.peer in found):
            print(_judge(found, goal))
    sys.stdout.flush()


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def shown(value: float) -> str:
    """Return a figure with as many digits as are worth something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(values: Sequence[float]) -> str:
    median, least, most = (shown(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} – {most})"


def _print_columns(found: Mapping[str, Sequence[Round]]) -> None:
    columns = list(next(iter(found.values()))[0].values)
    rows = [["", *columns]]
    for name, rounds in found.items():
        rows.append([name, *(_cell([each.values[column] for each in rounds]) for column in columns)])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells]))


def _print_cpu(found: Mapping[str, Sequence[Round]], unit: str) -> None:
    print(f"CPU, % of one core and µs a {unit}")
    width = max(map(len, found))
    for name, rounds in found.items():
        parts = []
        for process in rounds[0].cpu:
            share = statistics.median(100 * each.cpu[process] / each.seconds for each in rounds)
            each_unit = statistics.median(1e6 * each.cpu[process] / each.units for each in rounds)
            parts.append(f"{process} {share:.0f} % {shown(each_unit)} µs")
        print(f"{name.ljust(width)}  {' · '.join(parts)}")


def _judge(found: Mapping[str, Sequence[Round]], goal: Goal) -> str:
    values = [each.values[goal.column] for each in found[goal.ours]]
    text = f"{goal.column}: {goal.ours}"
    if goal.peer is not None:
        text += f" / {goal.peer}"
        values = [ours / each.values[goal.column] for ours, each in zip(values, found[goal.peer], strict=True)]
    text += f" = {_cell(values)}"
    median = statistics.median(values)
    if goal.least is not None:
        return f"{text}, {goal.word} at least {shown(goal.least)}: {'met' if median >= goal.least else 'NOT met'}"
    if goal.most is not None:
        return f"{text}, {goal.word} at most {shown(goal.most)}: {'met' if median <= goal.most else 'NOT met'}"
    return text

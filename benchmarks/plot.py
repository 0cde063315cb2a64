"""Curves as SVG, on two logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 130, 40, 52  # around the curves; names of curves stand on the right
COLOURS = ("#0b62c4", "#c2570c", "#3f7d20", "#7d3fa8")


class Point(NamedTuple):
    """A median and what it was between."""

    x: float
    y: float
    least: float
    most: float


class Scale:
    """From a value to a place on an axis that has these marks.

    Attributes:
        marks: Values that are written at the axis, from the least to the most.
    """

    def __init__(self, marks: Sequence[float], start: float, end: float) -> None:
        self.marks = marks
        self._low, self._span = math.log10(marks[0]), math.log10(marks[-1] / marks[0]) or 1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / self._span
        return round(self._start + share * (self._end - self._start), 1)


def _decades(values: Sequence[float]) -> list[float]:
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    return [10.0**power for power in range(low, high + 1)]


def draw(title: str, across: str, up: str, curves: Mapping[str, Sequence[Point]]) -> str:
    """Return an SVG document.

    Args:
        title: Stands above.
        across: What the horizontal axis is.
        up: The unit of the vertical axis.
        curves: Points from left to right, by name.
    """
    points = [point for curve in curves.values() for point in curve]
    x = Scale(sorted({point.x for point in points}), LEFT, WIDTH - RIGHT)
    y = Scale(_decades([value for point in points for value in (point.least, point.most)]), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 22, title, "start", 'font-size="15"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"),
    ]
    for mark in x.marks:
        parts.append(_line(x(mark), TOP, x(mark), HEIGHT - BOTTOM))
        parts.append(_text(x(mark), HEIGHT - BOTTOM + 18, _number(mark), "middle"))
    for mark in y.marks:
        parts.append(_line(LEFT, y(mark), WIDTH - RIGHT, y(mark)))
        parts.append(_text(LEFT - 8, y(mark) + 4, f"{_number(mark)} {up}", "end"))
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        parts += _curve(name, [(x(each.x), y(each.y), y(each.least), y(each.most)) for each in curve], colour)
    return "\n".join([*parts, "</svg>", ""])


def _curve(name: str, places: Sequence[tuple[float, float, float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x},{y}" for x, y, *_ in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, least, most in places:
        parts.append(_line(x, least, x, most, colour))
        parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    x, y, *_ = places[-1]
    return [*parts, _text(x + 10, y + 4, name, "start", f'fill="{colour}"')]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#ddd") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, rest: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {rest}>{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"

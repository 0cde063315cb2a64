"""When a crontab line is next due: five fields, as crontab(5) has them, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:(\*)|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]{1,3}))?", re.ASCII)
_FARTHEST = timedelta(days=8 * 366)  # 29 February is at most eight years away


class Cron:
    """A crontab line: minute, hour, day of the month, month, day of the week.

    Args:
        line: Each field `*`, numbers or names, ranges `a-b`, steps `/n` and lists of them by comma. Where both days
            are restricted, either is enough (crontab(5)).

    Raises:
        ValueError: the line is none, or names a day that never comes.
    """

    def __init__(self, line: str) -> None:
        fields = line.lower().split()
        if len(fields) != 5:
            raise ValueError(f"cron {line!r}: five fields are needed: minute hour day month weekday")
        sets = [_values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
        self._minutes, self._hours = sorted(sets[0]), sorted(sets[1])
        self._days, self._months = sets[2], sets[3]
        self._weekdays = {day % 7 for day in sets[4]}
        self._either = fields[2][0] != "*" and fields[4][0] != "*"
        self._line = line
        self.after(0.0)

    def after(self, moment: float) -> float:
        """Return the first due time after `moment`, both in Unix seconds."""
        start = datetime.fromtimestamp(moment, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.replace(hour=0, minute=0)
        while day - start < _FARTHEST:
            if self._fits(day):
                for hour in self._hours:
                    for minute in self._minutes:
                        due = day.replace(hour=hour, minute=minute)
                        if due >= start:
                            return due.timestamp()
            day += timedelta(days=1)
        raise ValueError(f"cron {self._line!r}: that day never comes")

    def _fits(self, day: datetime) -> bool:
        in_month, in_week = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        return day.month in self._months and ((in_month or in_week) if self._either else (in_month and in_week))


def _values(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        wrong = ValueError(f"cron field {name} {part!r}: {low} to {high}, `*`, a-b, /n and lists of them are allowed")
        if match is None:
            raise wrong
        star, first, last, step = match.groups()
        try:
            begin = low if star else _number(first, low, names)
            end = high if star or (step and not last) else _number(last or first, low, names)
        except ValueError:
            raise wrong from None
        if not low <= begin <= end <= high or step == "0" * len(step or "-"):
            raise wrong
        found.update(range(begin, end + 1, int(step or 1)))
    return found


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    return names.index(text) + low if text in names else int(text)

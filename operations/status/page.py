"""The status page: everything at a glance, read-only, in one HTML page without a script and without any other file.

It loads itself anew every few seconds. All that comes from elsewhere, names of channels included, is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

from ...message_formats import to_json
from ..buckets import BUCKETS
from ..overview import Seen
from .readiness import Trip, Verdict
from .view import View

TYPE = "text/html; charset=utf-8"

PEEKED = 10
"""Messages of a channel that are shown."""

_REFRESH = 5  # seconds
_MOST_ROWS = 200
_LINES = 20  # of the log
_MAX_CONTENT = 4000  # characters of a message

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; --good: #1a7f37; --fair: #9a6700; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --fair: #d29922; --bad: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
header { align-items: baseline; display: flex; flex-wrap: wrap; gap: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.state { border: 1px solid; border-radius: 1rem; font-weight: 600; padding: 0 .7rem; }
.good { color: var(--good); } .fair { color: var(--fair); } .bad { color: var(--bad); }
.dim, caption { color: var(--dim); } .wide { overflow-x: auto; }
ul { margin: .5rem 0; padding-left: 1.2rem; }
table { border-collapse: collapse; min-width: 50%; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td { overflow-wrap: anywhere; }
.n { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
pre { background: #8881; margin: .4rem 0; overflow-wrap: anywhere; padding: .5rem; white-space: pre-wrap; }
a { color: inherit; }
""".strip()

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Frame-Options": "DENY",
}

_COLOURS = {"ready": "good", "degraded": "fair", "not ready": "bad"}


class Html(str):
    """Text that is HTML already; any other is escaped."""

    __slots__ = ()


def render(
    version: str,
    command: str,
    now: float,
    seen: Seen,
    view: View,
    trip: Trip,
    verdict: Verdict,
    peeked: Peeked | None = None,
) -> str:
    """Return the page.

    Args:
        version: Trunkline's.
        command: What runs.
        now: Unix seconds.
        seen: The command's processes.
        view: The layer.
        trip: A message through it.
        verdict: What to think of it all.
        peeked: A channel that somebody looks into.
    """
    state = Html(f'<span class="state {_COLOURS[verdict.state]}" id="state">{verdict.state}</span>')
    parts = [
        f"<header><h1>{escape(command)}</h1>{state}"
        f'<span class="dim">Trunkline {escape(version)}, {_clock(now)} UTC</span></header>',
        _listed(verdict.problems),
        *([] if peeked is None else [_peeked(peeked)]),
        _servers(seen),
        _processes(seen, now),
        *_layer(seen, view, trip),
        _errors(seen),
        _letters(view, now),
    ]
    body = "\n".join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(command)}: {verdict.state}</title>"
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{_REFRESH}">'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


class Peeked:
    """Samples of what waits in a channel.

    Args:
        channel: Its name.
        messages: The first ones.
        shown: Whether people may see what they hold.
    """

    def __init__(self, channel: str, messages: Sequence[Mapping[str, Any]], shown: bool) -> None:
        self.channel = channel
        self.shown = shown
        self.texts = [_content(message) if shown else _outline(message) for message in messages]


def _content(message: Mapping[str, Any]) -> str:
    text = json.dumps(to_json(message), ensure_ascii=False, indent=1)
    return text if len(text) <= _MAX_CONTENT else f"{text[:_MAX_CONTENT]}…"


def _outline(message: Mapping[str, Any]) -> str:
    """Return which keys a message has, and of what kind and size they are."""
    return ", ".join(f"{key}: {_kind(value)}" for key, value in message.items())[:_MAX_CONTENT]


def _kind(value: Any) -> str:
    names: dict[type, str] = {str: "text", bytes: "bytes", list: "list", tuple: "list", dict: "table"}
    name = names.get(type(value))
    return type(value).__name__ if name is None else f"{name} of {len(value)}"


def _peeked(peeked: Peeked) -> str:
    texts = (
        "".join(f"<pre>{escape(_visible(text, breaks=True))}</pre>" for text in peeked.texts)
        or '<p class="dim">Nothing waits there.</p>'
    )
    hint = "" if peeked.shown else '<p class="dim">What they hold is shown where the command has --show-content.</p>'
    return (
        f'<section id="peeked"><h2>The first messages in {escape(peeked.channel)}</h2>{texts}{hint}'
        '<p><a href="/">close</a></p></section>'
    )


def _servers(seen: Seen) -> str:
    rows = []
    for told in seen.processes:
        for server in (told.report or {}).get("servers", ()):
            where = [*server["ports"], *server["peers"]]
            state = ("serves", "good") if server["serves"] else ("does not serve", "bad")
            numbers = [server[what] for what in ("sockets", "waiting", "groups", "members")]
            counts = ", ".join(f"{event} {number}" for event, number in sorted(server["counts"].items()) if number)
            rows.append([server["title"], ", ".join(where), _coloured(*state), *numbers, counts or "-"])
    headings = ["server", "where", "state", "sockets", "waiting", "groups", "members", "counted"]
    return _table("servers", "Servers", headings, rows)


def _processes(seen: Seen, now: float) -> str:
    rows = []
    for told in seen.processes:
        report = told.report
        if report is None:
            rows.append([told.name, _coloured("has told nothing yet", "fair"), "", "", "", "", ""])
            continue
        counts = (report["worker"] or {}).get("counts", {})
        state = _coloured("runs", "good") if told.silent < 1 else _coloured(f"silent for {told.silent:.0f} s", "bad")
        memory, age = f"{report['memory'] / 1_048_576:.0f} MiB", _span(now - report["started"])
        work = [str(counts.get(what, 0)) if report["worker"] else "-" for what in ("messages", "failures")]
        rows.append([told.name, state, age, memory, f"{report['cpu']:.1f} s", *work])
    crews = ", ".join(f"{each.running} of {each.wanted} {each.kind}, {each.restarts} replaced" for each in seen.crews)
    headings = ["process", "state", "age", "memory", "processor", "messages", "failures"]
    return _table("processes", "Processes", headings, rows, crews)


def _layer(seen: Seen, view: View, trip: Trip) -> Iterable[str]:
    if view.failure:
        yield f'<section id="channels"><h2>Channels</h2><p class="bad">The layer: {escape(view.failure)}</p></section>'
        return
    whole = view.whole
    facts = {
        "there and back": f"{trip.seconds * 1000:.1f} ms" if not trip.failure else "-",
        "waiting": whole["messages_pending"],
        "sent": f"{whole['messages_count']} ({whole['messages_count_per_second']:.1f}/s)",
        "refused": whole["channel_full_count"],
        "dropped for groups": whole["group_dropped_count"],
        "workers": view.workers,
        "dead letters": whole["dead_letters_count"],
        "blobs": whole["blobs_count"],
    }
    lags = _lags(seen)
    figures = view.channels
    names = sorted(figures, key=lambda name: (-figures[name]["messages_pending"], name not in view.listeners, name))
    rows = [
        [_link(name), *_figures(figures[name]), lags.get(name, "-"), view.listeners.get(name) or "-"] for name in names
    ]
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    if len(rows) > _MOST_ROWS:
        said += f"; {len(rows) - _MOST_ROWS} channels more than are shown"
    headings = ["channel", "waiting", "oldest", "sent/s", "sent", "refused", "lag (half, most)", "workers"]
    yield _table("channels", "Channels", headings, rows[:_MOST_ROWS], said)


def _figures(figures: Mapping[str, Any]) -> list[object]:
    return [
        figures["messages_pending"],
        _span(figures["messages_max_age"]) if figures["messages_max_age"] else "-",
        f"{figures['messages_count_per_second']:.1f}",
        figures["messages_count"],
        figures["channel_full_count"],
    ]


def _lags(seen: Seen) -> dict[str, str]:
    """Return by channel within which times half of the messages were taken, and all but one of a hundred."""
    rows: dict[str, dict[int, float]] = {}
    for key, number in seen.counts.items():
        if key[0] == "lag" and key[2] != "sum":
            rows.setdefault(key[1], {})[int(key[2])] = number
    return {channel: f"{_within(row, 0.5)}, {_within(row, 0.99)}" for channel, row in rows.items()}


def _within(row: Mapping[int, float], share: float) -> str:
    wanted, had = share * sum(row.values()), 0.0
    for number, bound in enumerate(BUCKETS):
        had += row.get(number, 0.0)
        if had >= wanted:
            return f"≤ {_span(bound)}"
    return f"> {_span(BUCKETS[-1])}"


def _errors(seen: Seen) -> str:
    reports = [(told.name, told.report) for told in seen.processes if told.report is not None]
    lines = [(line, name) for name, report in reports for line in report["log"]["lines"]]
    lines.sort(key=lambda each: each[0]["time"], reverse=True)
    colours = {"error": "bad", "warning": "fair"}
    rows = [
        [_clock(line["time"]), _coloured(line["level"], colours[line["level"]]), name, line["text"]]
        for line, name in lines[:_LINES]
    ]
    return _table("errors", "Lately in the log", ["time (UTC)", "level", "process", "line"], rows)


def _letters(view: View, now: float) -> str:
    rows = [
        [_span(now - letter["time"]), letter["channel"], letter["reason"], letter["tries"], letter["id"]]
        for letter in view.letters
    ]
    headings = ["age", "channel", "reason", "tries", "id (trunkline dead show ID)"]
    return _table("letters", "The newest dead letters", headings, rows)


def _table(id: str, title: str, headings: Sequence[str], rows: Sequence[Sequence[object]], said: str = "") -> str:
    """Return a section with a table; nothing where there is nothing to show."""
    if not rows and not said:
        return ""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    note = f'<p class="dim">{escape(_visible(said))}</p>' if said else ""
    table = (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if rows else ""
    )
    return f'<section id="{id}"><h2>{escape(title)}</h2>{note}{table}</section>'


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    if isinstance(value, int | float):
        return f'<td class="n">{value}</td>'
    return f"<td>{escape(_visible(str(value)))}</td>"


def _visible(text: str, breaks: bool = False) -> str:
    """Write as an escape what a page cannot show, or what turns a line's direction; line breaks may stay."""
    return "".join(
        sign if sign.isprintable() or (breaks and sign == "\n") else sign.encode("unicode_escape").decode()
        for sign in text
    )


def _link(channel: str) -> Html:
    return Html(f'<a href="/?channel={quote(channel, safe="")}">{escape(_visible(channel))}</a>')


def _coloured(text: str, colour: str) -> Html:
    return Html(f'<span class="{colour}">{escape(text)}</span>')


def _listed(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(_visible(line))}</li>" for line in lines)
    return f'<ul id="problems">{items}</ul>' if items else ""


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    """Say how long something takes, or took."""
    if seconds < 0.1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for most, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"

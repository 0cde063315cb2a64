"""The page for people: what it shows, that it shows what is hostile as text, and that it hides what messages hold."""

import base64
import hashlib
import html
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from trunkline.layer import MemoryLayer
from trunkline.operations.overview import Crew, Seen
from trunkline.operations.status import page
from trunkline.operations.status.page import Peeked, render
from trunkline.operations.status.readiness import Trip, Verdict
from trunkline.operations.status.view import View, look

from .conftest import report, seen, server

EVIL = "<script>alert(1)</script>&\"'\u202e\x00"
NOW = 1_700_000_100.0


class Elements(HTMLParser):
    """Counts elements, and notes attributes that would act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.acting: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.acting += [name for name, _ in attrs if name.startswith("on") or name in ("src", "style", "action")]


def shown(it: Seen, view: View | None = None, verdict: Verdict | None = None, peeked: Peeked | None = None) -> str:
    return render(
        "1.2", "trunkline run x", NOW, it, view or View("away"), Trip(0.002), verdict or Verdict("ready", []), peeked
    )


@pytest.fixture
def view() -> View:
    with MemoryLayer(capacity=5) as layer:
        layer.announce("worker.1.a", {"channels": {"jobs": False}})
        for _ in range(3):
            layer.send("busy", {"password": "hunter2"})
        layer.dead_letter("jobs", {"password": "hunter2"}, reason=EVIL, traceback="hunter2")
        return look(layer)


def hostile() -> Seen:
    servers = [server(EVIL, ports=[EVIL], peers=[EVIL], problems=[EVIL], counts={EVIL: 1})]
    worker = {
        "name": EVIL,
        "channels": [EVIL],
        "counts": {"messages": 12, EVIL: 2},
        "lags": {"jobs": [99] + [0] * 7 + [1, 90.0]},
    }
    line = {"time": NOW, "level": "error", "logger": EVIL, "text": EVIL}
    return seen(report(servers=servers), report(EVIL, worker=worker, lines=[line]), None, crews=[Crew(EVIL, 1, 2, 3)])


def test_everything_is_shown(view: View) -> None:
    text = html.unescape(shown(hostile(), view))
    for section in ("servers", "processes", "channels", "errors", "letters"):
        assert f'<section id="{section}">' in text
    words = re.sub(r"<[^>]*>", " ", text)
    assert re.search(r"busy +3 +\d+ ms +", words)
    assert re.search(r"jobs .* ≤ 1 ms, ≤ 1 ms +1 ", words)
    assert "1.7 min" in words, "how long a process runs"


def test_what_is_hostile_is_text(view: View) -> None:
    with MemoryLayer() as layer:
        layer.send("x", {EVIL: EVIL})
        messages = layer.peek("x")
    harmless = Elements(shown(seen(report(servers=[server()])), view))
    text = shown(hostile(), view, Verdict("not ready", [EVIL]), Peeked("x", messages, shown=True))
    elements = Elements(text)
    assert elements.found.keys() <= harmless.found.keys() | {"pre", "ul", "li"}
    assert (elements.found["script"], elements.acting) == (0, [])
    assert "\u202e" not in text
    assert "\x00" not in text


def test_what_messages_hold_is_shown_only_where_that_is_wanted(view: View) -> None:
    message = {"password": "hunter2", "content": b"hunter2", "list": ["hunter2"], "table": {"a": 1}, "n": 5, "no": None}
    hidden = shown(seen(), view, peeked=Peeked("x", [message], shown=False))
    assert "hunter2" not in hidden
    assert (
        "password: text of 7, content: bytes of 7, list: list of 1, table: table of 1, n: int, no: NoneType" in hidden
    )
    assert "--show-content" in hidden
    assert "hunter2" in shown(seen(), view, peeked=Peeked("x", [message], shown=True))
    assert "Nothing waits there." in shown(seen(), view, peeked=Peeked("x", [], shown=False))


def test_it_does_not_grow_without_end() -> None:
    with MemoryLayer() as layer:
        for number in range(250):
            layer.send(f"user.{number}", {})
        view = look(layer)
    text = shown(seen(), view, peeked=Peeked("x", [{"a": "b" * 100_000}], shown=True))
    assert Elements(text).found["tr"] == 201
    assert "50 channels more than are shown" in text
    assert len(text) < 100_000


def test_a_layer_that_is_away() -> None:
    text = shown(seen(report(servers=[server()])), View("redis is <away>"), Verdict("not ready", ["layer: away"]))
    assert "The layer: redis is &lt;away&gt;" in text
    assert 'class="state bad" id="state">not ready<' in text


def test_its_style_is_the_only_thing_that_its_policy_allows() -> None:
    style = re.search("<style>(.*?)</style>", shown(seen()), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = page.HEADERS["Content-Security-Policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert not any(word in " ".join(policy) for word in ("unsafe", "http:", "https:", "*"))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1.0, "0 ms"),
        (0.0123, "12 ms"),
        (0.5, "0.5 s"),
        (59.0, "59.0 s"),
        (90.0, "1.5 min"),
        (5400, "1.5 h"),
        (129600, "1.5 d"),
    ],
)
def test_times(seconds: float, expected: str) -> None:
    assert page._span(seconds) == expected

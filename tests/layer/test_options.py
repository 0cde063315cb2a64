"""Options, URLs and engines: what is wrong is told in one line."""

import re
from typing import Any

import pytest

from trunkline.layer import MemoryLayer, engines, open_layer, register_engine


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("memory://", {}, {"expiry": 60, "group_expiry": 86_400, "capacity": None, "max_size": 2 * 1024 * 1024}),
        ("memory://name?expiry=1&capacity=5", {}, {"expiry": 1.0, "capacity": 5}),
        (
            "MEMORY://?group_expiry=2.5&max_size=100&drop_rate=0.5",
            {},
            {"group_expiry": 2.5, "max_size": 100, "drop_rate": 0.5},
        ),
        ("memory://?expiry=1", {"expiry": 2}, {"expiry": 2}),
        (
            "memory://?channel_capacity=email.*:5000,http.body?*:3",
            {},
            {"channel_capacity": [("email.*", 5000), ("http.body?*", 3)]},
        ),
        ("memory://?channel_expiry=email.*:1.5", {}, {"channel_expiry": [("email.*", 1.5)]}),
    ],
)
def test_options_in_urls_and_keywords(url: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    layer = open_layer(url, **options)
    assert isinstance(layer, MemoryLayer)
    assert {name: getattr(layer.options, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("", {}, "no layer URL"),
        ("memory", {}, "no layer URL"),
        ("://x", {}, "no layer URL"),
        ("carrier-pigeon://x", {}, "no layer engine is called 'carrier-pigeon'; there is ipc://, memory://, redis://"),
        ("redis+odd://a,b", {}, "no layer engine is called 'redis+odd'"),
        ("memory://a/b", {}, "a name has letters"),
        ("memory://a#b", {}, "no '#' part"),
        ("memory://?expirey=1", {}, "unknown option 'expirey'; did you mean expiry?"),
        ("memory://?xyz=1", {}, "unknown option 'xyz'; known options: blob_capacity,"),
        ("memory://", {"encryption_keys": ["k"]}, "encryption_keys: key 1 is no text of at least 16 characters"),
        ("memory://?expiry=soon", {}, "expiry=soon cannot be read"),
        ("memory://?expiry=", {}, "expiry= cannot be read"),
        ("memory://?expiry=1&expiry=2", {}, "'expiry' stands twice"),
        ("memory://?capacity=1.5", {}, "capacity=1.5 cannot be read"),
        ("memory://?channel_capacity=email.*", {}, "channel_capacity=email.* cannot be read; expected email.*:5000"),
        ("memory://?expiry=0", {}, "expiry must be above 0"),
        ("memory://?expiry=nan", {}, "expiry must be a number"),
        ("memory://?expiry=inf", {}, "expiry must be a number"),
        ("memory://?drop_rate=2", {}, "drop_rate must be between 0 and 1"),
        ("memory://?capacity=-1", {}, "capacity must be above 0"),
        ("memory://", {"capacity": "5"}, "capacity must be a whole number, not '5'"),
        ("memory://", {"capacity": True}, "capacity must be a whole number"),
        ("memory://", {"max_size": 1.5}, "max_size must be a whole number"),
        ("memory://", {"expiry": None}, "expiry must be a number"),
        ("memory://", {"channel_capacity": {"a": 0}}, "channel_capacity: 'a' needs a number above 0"),
        ("memory://", {"channel_capacity": {"a": "5"}}, "channel_capacity: 'a' needs a number above 0"),
        ("memory://", {"channel_capacity": {5: 5}}, "a pattern is a str or a compiled regular expression"),
        ("memory://", {"channel_expiry": [("a", True)]}, "channel_expiry: 'a' needs a number"),
    ],
)
def test_mistakes_are_told_in_one_line(url: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        open_layer(url, **options)
    assert "\n" not in str(caught.value)


def test_patterns_may_be_regular_expressions() -> None:
    layer = MemoryLayer(channel_capacity=[(re.compile(r"a\d+$"), 1), ("*", 2)])
    layer.send("a1", {})
    with pytest.raises(layer.ChannelFull):
        layer.send("a1", {})
    layer.send("ab", {})
    layer.send("ab", {})


def test_engines_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_engines", dict(engines._engines))
    made: list[tuple[str, dict[str, Any]]] = []

    def opener(place: str, **options: Any) -> MemoryLayer:
        made.append((place, options))
        return MemoryLayer()

    register_engine("mine", opener)
    open_layer("mine://some/where?expiry=5", capacity=3)
    assert made == [("some/where", {"expiry": 5.0, "capacity": 3})]
    register_engine("other", "trunkline.layer.memory:open_memory")
    assert isinstance(open_layer("other://name"), MemoryLayer)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:geheim@h/0#x",
        "redis://u:geheim@h?expiry=1&expiry=2",
        "redis://u:geheim@h?expiry=x",
        "reds://u:geheim@h",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_layer(url)
    assert "geheim" not in str(caught.value)

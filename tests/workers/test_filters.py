"""Filters: every sentence of messages.md, "Routing on them", that is about one field."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.workers import RoutingError
from trunkline.workers.filters import Filter


def captures(key: str, expected: Any, content: dict[str, Any]) -> Any:
    """What a filter finds: None for no match, else the captures."""
    found = Filter(key, expected).search(content)
    if found is False:
        return None
    return {} if found is True else found.groupdict()


@pytest.mark.parametrize(
    ("key", "expected", "content", "found"),
    [
        # matched as `re.match`: at the beginning, not to the end
        ("path", "/a", {"path": "/abc"}, {}),
        ("path", "b", {"path": "/abc"}, None),
        ("path", r"^/(?P<word>\w+)", {"path": "/abc/d"}, {"word": "abc"}),
        ("path", re.compile(r"/(?P<x>.)", re.IGNORECASE), {"path": "/Z"}, {"x": "Z"}),
        # only `address` is matched without regard to case
        ("address", r"^support@example\.com$", {"address": "SUPPORT@example.com"}, {}),
        ("path", "^/a", {"path": "/A"}, None),
        # a trailing underscore is cut
        ("from_", "^a@", {"from": "a@b.c"}, {}),
        # `__` reaches inside; `_` also matches `-` there, and only there
        ("headers__subject", r"^Re: (?P<rest>.*)", {"headers": {"subject": "Re: x"}}, {"rest": "x"}),
        ("headers__message_id", "<1>", {"headers": {"message-id": "<1>"}}, {}),
        ("headers__x_a_b", "1", {"headers": {"x-a_b": "1"}}, {}),
        ("headers__Subject", "x", {"headers": {"subject": "x"}}, {}),
        ("content__content_type", "text/", {"content": {"content-type": "text/plain"}}, {}),
        ("user_id", "U1", {"user-id": "U1"}, None),
        ("a__b__c", "x", {"a": {"b": {"c": "x"}}}, {}),
        # equality for what is no string
        ("mention", True, {"mention": True}, {}),
        ("mention", True, {"mention": False}, None),
        ("mention", True, {"mention": 1}, None),
        ("code", 1000, {"code": 1000}, {}),
        ("code", 1, {"code": True}, None),
        ("body", b"x", {"body": b"x"}, {}),
        ("client", ["h", 1], {"client": ["h", 1]}, {}),
        # a list matches when any element does
        ("to", r"^b@", {"to": ["a@x", "b@x"]}, {}),
        ("to", r"^c@", {"to": ["a@x", "b@x"]}, None),
        ("client", "192", {"client": ["192.0.2.1", 5]}, {}),
        ("client", 5, {"client": ["192.0.2.1", 5]}, {}),
        ("files__name", r".*\.png$", {"files": [{"name": "a.txt"}, {"name": "b.png"}]}, {}),
        # [name, value] pairs are looked up by name, bytes as Latin-1, duplicates included
        ("headers__host", r"^(?P<h>.+)$", {"headers": [[b"host", b"b\xe9"]]}, {"h": "bé"}),
        ("headers__user_agent", "curl", {"headers": [[b"accept", b"*"], [b"user-agent", b"curl/8"]]}, {}),
        ("headers__cookie", "b=", {"headers": [[b"cookie", b"a=1"], [b"cookie", b"b=2"]]}, {}),
        ("header_list__received", "from y", {"header_list": [["received", "from x"], ["received", "from y"]]}, {}),
        ("headers__host", b"x", {"headers": [[b"host", b"x"]]}, {}),
        ("headers__host", "x", {"headers": [[b"hosts", b"x"]]}, None),
        # any other bytes never match a string
        ("query_string", "a", {"query_string": b"a"}, None),
        ("parts", "a", {"parts": [b"a"]}, None),
        # missing, or of another type: no match
        ("path", ".*", {}, None),
        ("path", ".*", {"path": None}, None),
        ("path", ".*", {"path": 5}, None),
        ("path", ".*", {"path": {"x": "y"}}, None),
        ("path__x", ".*", {"path": "y"}, None),
        ("headers__host", ".*", {"headers": [["host"], "host", 5, ["host", 5], [5, "x"], [b"host", None]]}, None),
        ("mention", False, {}, None),
    ],
)
def test_matching(key: str, expected: Any, content: dict[str, Any], found: Any) -> None:
    assert captures(key, expected, content) == found


@pytest.mark.parametrize(
    ("key", "expected", "error"),
    [
        ("path", "(", "filter path='(' is no regular expression: missing )"),
        ("path", None, "filter path=None can never match: None is the same as absent"),
        ("path", re.compile(b"x"), "filter path: a pattern of bytes can never match"),
        ("__path", "x", "filter '__path' names no field"),
        ("_", "x", "filter '_' names no field"),
    ],
)
def test_filters_that_cannot_be(key: str, expected: Any, error: str) -> None:
    with pytest.raises(RoutingError, match=re.escape(error)):
        Filter(key, expected)


def test_repr_is_what_was_written() -> None:
    assert repr(Filter("path", "^/x$")) == "path=^/x$"
    assert repr(Filter("mention", True)) == "mention=True"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from(["a", "a__b", "a__b_c", "headers", "headers__x"]), st.sampled_from(["x", ".*", True, 5]))
def test_nothing_in_a_message_makes_a_filter_raise(value: Any, key: str, expected: Any) -> None:
    found = Filter(key, expected).search({"a": value, "headers": value})
    assert found is False or found is True or isinstance(found, re.Match)


@pytest.mark.parametrize("key", ["text", "nested__text", "headers__text"])
def test_matching_copies_no_text(key: str) -> None:
    text = "x" * 4_000_000
    content = {"text": text, "nested": {"text": text}, "headers": [["text", text]], "body": b"y" * 4_000_000}
    one = Filter(key, "^xx")
    tracemalloc.start()
    try:
        assert one.search(content)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_what_an_include_left_is_cut_once() -> None:
    one, inner = Filter("path", "^/shop"), Filter("path", "^/cart")
    rest: dict[str, Any] = {}
    one.leave(one.search({"path": "/shop/cart"}), rest)
    assert inner.search({"path": "/shop/cart"}, rest)
    assert rest == {"path": "/cart"}
    assert Filter("path", "/shop").search({"path": "/shop/cart"}, rest) is False

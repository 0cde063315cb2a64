"""What `trunkline check` and `trunkline routes` ask a routing (cli.md, workers.md)."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.workers import Message, Routing, include, route


def one(message: Message, **captures: Any) -> None: ...
def two(message: Message, **captures: Any) -> None: ...


def problems(*routes: Any) -> list[str]:
    return [problem.text for problem in Routing(list(routes)).problems()]


def test_a_sound_routing_has_no_problems() -> None:
    assert (
        problems(
            route("chat.message", one, text=r"^!say (?P<text>.+)$"),
            route("chat.message", one, text=r"^!do"),
            route("chat.message", one),
            route("email.receive", one, address=r"^support\+(?P<ticket>\d+)@example\.com$"),
            route("email.receive", one, address=r"^[a-z.]+@.*\.example\.com.?$"),
            route("http.*", one, method="GET"),
            route("http.request", one, path="^/a$"),
            route("jobs.resize", one, anything=5),
            route("inbox!", one),
            include([route("http.request", two, path="^/a")], path="^/b"),
            route("http.disconnect", one, path="^/b"),
        )
        == []
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({}, {"path": "^/x"}),
        ({"path": "^/x"}, {"path": "^/x"}),
        ({"path": "^/x"}, {"path": "^/x", "method": "GET"}),
        ({"path": ".*"}, {"path": "^/x"}),
        ({"path": "^"}, {"path": "[ab]"}),
        ({"path": "^/shop"}, {"path": "^/shop/cart$"}),
        ({"path": r"^/a\.b"}, {"path": r"^/a\.b/(?P<x>.*)"}),
        ({"body": b"x"}, {"body": b"x", "path": "/"}),
    ],
)
def test_a_route_behind_one_that_takes_everything_of_it(first: dict[str, Any], second: dict[str, Any]) -> None:
    found = Routing([route("http.request", one, **first), route("http.request", two, **second)]).problems()
    assert [problem.text.partition(" at ")[0] for problem in found] == [
        f"{__name__}.two can never match: {__name__}.one"
    ]
    assert found[0].text.endswith(" takes all its messages")
    assert "test_checking.py:" in str(found[0])
    assert found[0].where in str(found[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"path": "^/x"}, {}),
        ({"path": ".*"}, {"method": "GET"}),
        ({"path": "^/x", "method": "GET"}, {"path": "^/x"}),
        ({"path": "^/shop/cart"}, {"path": "^/shop"}),
        ({"path": "^/shop"}, {"path": "^/shops?|/x"}),
        ({"path": "^/shopx"}, {"path": "^/shopx?"}),
        ({"path": "^/shop$"}, {"path": "^/shop/cart"}),
        ({"path": "^/[a]"}, {"path": "^/a"}),
        ({"path": "(?i)^/a"}, {"path": "^/a"}),
        ({"body": b"x"}, {"body": b"y"}),
        ({"body": b"x"}, {"body": "x"}),
    ],
)
def test_routes_that_may_match(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert problems(route("http.request", one, **first), route("http.request", two, **second)) == []


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        (r"^.*@example\.com$", r"^support@example\.com$", True),
        (r"^(?P<name>[^@+]+)@example\.com$", r"^support@example\.com$", True),
        (r"^(?P<name>.+)@example\.com$", r"^support\+(?P<ticket>\d+)@example\.com$", True),
        (r".*@EXAMPLE\.com\Z", r"^SUPPORT@example\.com$", True),
        (r"^.+@example\.com$", r"^\w+@example\.com$", False),  # plain to people, not to this check
        (r"^[^@+]+@example\.com$", r"^support\+1@example\.com$", False),
        (r"^.+@example\.com$", r"^support@example\.org$", False),
        (r"^.+@example\.com$", r"^a@b\.example\.com$", False),
        (r"^.+\.example\.com$", r"^a@b\.example\.com$", True),
        (r"^.+@example\.com$", r"^a@example\.com", False),
        (r"^.+@example\.com$", r"^a@x|b@example\.com$", False),
        (r"^.+$", r"^\.\$$", True),
    ],
)
def test_addresses_behind_others(first: str, second: str, shadowed: bool) -> None:
    found = problems(route("email.receive", one, address=first), route("email.receive", two, address=second))
    assert [text.endswith("takes all its messages") for text in found] == [True] * shadowed


def test_shadows_are_found_for_every_channel_and_through_includes() -> None:
    assert problems(route("chat.join", one), route(["chat.join", "chat.leave"], two)) == []
    assert problems(route("chat.join", one), route("chat.leave", one), route(["chat.join", "chat.leave"], two)) != []
    inner = [route("http.request", two, path="^/cart")]
    assert problems(include(inner, path="^/shop"), include(inner, path="^/shop")) != []
    assert problems(include(inner, path="^/shop"), include(inner, path="^/store")) == []
    assert problems(include([route("http.request", one)], path="^/shop"), include(inner, path="^/shop")) != []
    assert problems(include([route("http.request", one, path=".*")], path="^/s"), route("http.request", two)) == []
    trivial = include([include([route("http.request", one, path="")], path="^/s")])
    assert problems(trivial, route("http.request", two, path="^/s")) != []
    assert problems(trivial, include([route("http.request", two, path="^/x")], path="^/sa")) == []


class Foreign:
    def match(self, message: Message) -> None: ...

    def channel_names(self) -> list[str]:
        return ["http.request"]


def test_foreign_routes_shadow_nothing_and_are_shadowed() -> None:
    assert problems(Foreign(), route("http.request", one)) == []
    assert "can never match" in problems(route("http.request", one), Foreign())[0]


def test_fields_that_no_message_of_the_channel_has() -> None:
    assert problems(route("http.request", one, pth="^/x")) == [
        f"{__name__}.one can never match: http.request has no field 'pth'; did you mean 'path'?"
    ]
    assert problems(route("websocket.receive", one, headers__host="x")) == [
        f"{__name__}.one can never match: websocket.receive has no field 'headers'"
    ]
    assert problems(route(["chat.join", "chat.message"], one, text="x")) == []
    assert len(problems(route(["chat.join", "chat.leave"], one, text="x"))) == 1


@pytest.mark.parametrize("pattern", ["^a@example.com", "a.b@example\\.com$", "[a-z.]+.com"])
def test_unescaped_dots_in_addresses(pattern: str) -> None:
    assert problems(route("email.receive", one, address=pattern)) == [
        f"address={pattern}: an unescaped dot matches any character; write \\."
    ]


def test_channels_that_nobody_knows() -> None:
    assert problems(route("http.requests", one)) == [
        "channel 'http.requests' is not known; did you mean 'http.request'?"
    ]
    assert problems(route("chat.whisper", one)) == ["channel 'chat.whisper' is not known"]
    assert problems(route("nobody.*", one)) == ["channel 'nobody.*' stands for nothing that servers publish"]


def test_arguments_that_do_not_fit_the_captures() -> None:
    def plain(message: Message) -> None: ...
    def wanting(message: Message, ticket: str) -> None: ...

    name = f"{__name__}.test_arguments_that_do_not_fit_the_captures.<locals>"
    assert problems(route("x", plain, a="(?P<b>.)")) == [
        f"{name}.plain(message, b=…): got an unexpected keyword argument 'b'"
    ]
    assert problems(route("x", wanting)) == [f"{name}.wanting(message): missing a required argument: 'ticket'"]
    assert problems(include([route("x", wanting)], a="(?P<ticket>.)")) == []
    assert problems(route("x", dict.fromkeys), route("y", dict)) == [], "nothing is known of their arguments"


def test_find_says_consumer_arguments_and_place() -> None:
    routing = Routing(
        [
            route("email.receive", one, address=r"^support\+(?P<ticket>\d+)@"),
            include([route("http.request", two, path="^/cart/(?P<n>.)")], path="^/(?P<shop>s)"),
        ]
    )
    found = routing.find("email.receive", {"address": "support+42@example.com"})
    assert found is not None
    assert found.takes
    assert found.consumer == f"{__name__}.one"
    assert found.captures == {"ticket": "42"}
    assert str(found) == f"{__name__}.one(message, ticket='42'): takes it [{found.where}]"
    found = routing.find("http.request", {"path": "/s/cart/5"})
    assert found is not None
    assert found.captures == {"shop": "s", "n": "5"}
    assert routing.find("email.receive", {"address": "x@example.com"}) is None
    assert routing.find("chat.message", {}) is None


def test_explain_says_why_not() -> None:
    class Broken(Foreign):
        def match(self, message: Message) -> None:
            raise ValueError("oh")

    class Junk(Foreign):
        def match(self, message: Message) -> Any:
            return 7

    class Yes(Foreign):
        def match(self, message: Message) -> Any:
            return two, {"a": message["path"]}

    routing = Routing(
        [
            route("http.request", one, path="^/a", method="PUT"),
            include([route("http.request", one, path="^x" * 40)], path="^/s"),
            Foreign(),
            Broken(),
            Junk(),
            Yes(),
            route("http.request", two),
            route("chat.message", two),
        ]
    )
    told = routing.explain("http.request", {"path": "/s" + "y" * 100})
    assert [one.reason for one in told] == [
        "path=^/a does not match: path is '/s" + "y" * 54 + "...",
        f"path={'^x' * 40} does not match: path is '" + "y" * 56 + "...",
        "its match() says no",
        "its match() fails: ValueError: oh",
        "its match() fails: TypeError: cannot unpack non-iterable int object",
        "takes it",
        "an earlier route takes it",
    ]
    assert [one.takes for one in told] == [False, False, False, False, False, True, False]
    assert told[5].captures == {"a": told[5].captures["a"]}
    assert told[2].consumer == f"{__name__}.Foreign"
    missing = routing.explain("http.request", {"method": "GET"})
    assert missing[0].reason == "path=^/a does not match: the message has no path"
    assert str(missing[0]).startswith(f"{__name__}.one: path=^/a does not match")

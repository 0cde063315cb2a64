"""Routing: which consumer takes a message, and with what arguments (messages.md, workers.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.workers import BaseConsumer, Message, Routing, RoutingError, include, route, route_class


def one(message: Message, **captures: Any) -> None: ...
def two(message: Message, **captures: Any) -> None: ...
def three(message: Message, **captures: Any) -> None: ...


def taken(routes: Any, channel: str, /, **content: Any) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    routing = routes if isinstance(routes, Routing) else Routing(routes)
    return routing.match(Message(content, channel))


def test_all_filters_must_match_and_the_first_route_wins() -> None:
    routes = [
        route("x", one, a="^1$", b=r"^(?P<b>\d)"),
        route("x", two, a="^1$"),
        route("x", three),
        route("x", one),
    ]
    assert taken(routes, "x", a="1", b="2") == (one, {"b": "2"})
    assert taken(routes, "x", a="1", b="z") == (two, {})
    assert taken(routes, "x", a="2") == (three, {})
    assert taken(routes, "y", a="1") is None
    assert taken([], "x") is None


def test_named_groups_of_all_filters_become_arguments() -> None:
    routes = [route("x", one, a=r"(?P<n>\d+)", b=r"(?P<m>\d+)?(?P<rest>.*)")]
    assert taken(routes, "x", a="1", b="z") == (one, {"n": "1", "m": None, "rest": "z"})


def test_channels_lists_dictionaries_and_routings() -> None:
    routing = Routing([{"a": one, "b": two}, [route(["c", "d"], three)], Routing(route("e", one))])
    assert [taken(routing, name) for name in "abcde"] == [(one, {}), (two, {}), (three, {}), (three, {}), (one, {})]
    assert routing.channel_names() == set("abcde")
    assert taken({"a": one}, "a") == (one, {})


def test_a_star_stands_for_what_servers_publish() -> None:
    assert Routing([route("http.*", one)]).channel_names() == {"http.request", "http.disconnect"}
    assert "email.receive" in Routing([route("email.*", one)]).channel_names()
    everything = Routing([route("*", one)]).channel_names()
    assert {"websocket.connect", "chat.message", "udp.receive", "email.delivered"} <= everything
    assert not {"email.recipient", "email.send", "asgi.delay", "http.request.body?", "email.body?"} & everything
    assert Routing([route("nobody.*", one)]).channel_names() == set()


def test_reply_channels_are_routed_by_what_stands_before_the_mark() -> None:
    assert taken([route("inbox.1!", one)], "inbox.1!abc") == (one, {})
    assert taken([route("inbox.1!", one)], "inbox.2!abc") is None


@pytest.mark.parametrize("name", ["", "a b", "a?", "a*b", "*.request", "x" * 100, "ä", "a!b", 5, None])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(RoutingError, match="is no channel name"):
        route([name], one)


def test_routes_that_cannot_be() -> None:
    with pytest.raises(RoutingError, match="needs a channel"):
        route([], one)
    with pytest.raises(RoutingError, match="5 is no consumer"):
        route("x", 5)  # type: ignore[arg-type]
    with pytest.raises(RoutingError, match="7 is no route: use route"):
        Routing([7])
    with pytest.raises(RoutingError, match="'shop' is no route"):
        Routing("shop")


def test_include_strips_what_it_matched() -> None:
    shop = [route("http.request", one, path=r"^/cart/(?P<number>\d+)$"), route("http.request", two, path="^$")]
    routes = [include(shop, path="^/(?P<name>shop|store)"), route("http.request", three)]
    assert taken(routes, "http.request", path="/shop/cart/7") == (one, {"name": "shop", "number": "7"})
    assert taken(routes, "http.request", path="/store") == (two, {"name": "store"})
    assert taken(routes, "http.request", path="/shop/other") == (three, {})
    assert taken(routes, "http.request", path="/cart/7") == (three, {})


def test_includes_nest_and_the_message_stays_whole() -> None:
    inner = include([route("x", one, path="^c(?P<tail>.*)", user="^ann$")], path="^b(?P<level>.)")
    routes = [include([inner], path="^a", host="^h")]
    message = Message({"path": "ab2cd", "host": "h", "user": "ann"}, "x")
    assert Routing(routes).match(message) == (one, {"level": "2", "tail": "d"})
    assert message["path"] == "ab2cd"
    assert taken(routes, "x", path="ab2cd", host="h", user="bob") is None


def test_include_without_filters_and_of_a_single_route() -> None:
    assert taken([include(route("x", one, path="^/a"))], "x", path="/a") == (one, {})
    assert include([route("x", one)]).match(Message({}, "x")) == (one, {})
    assert repr(include([], path="^/a")) == "include […] path=^/a"


def test_a_header_of_a_list_of_pairs_is_stripped_too() -> None:
    routes = [include([route("x", one, headers__host="^b")], headers__host="^a")]
    assert taken(routes, "x", headers=[[b"host", b"ab"]]) == (one, {})
    assert taken(routes, "x", headers=[[b"host", b"aa"]]) is None


class Foreign:
    """A route of somebody else's."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    def match(self, message: Message) -> tuple[Callable[..., Any], dict[str, Any]] | None:
        self.seen.append(message)
        return (two, {"path": message["path"]}) if message.get("path") else None

    def channel_names(self) -> list[str]:
        return ["x"]


def test_anything_with_match_and_channel_names_is_a_route() -> None:
    foreign = Foreign()
    message = Message({"path": "/a"}, "x")
    assert Routing([foreign, route("x", one)]).match(message) == (two, {"path": "/a"})
    assert foreign.seen == [message]
    assert taken([foreign, route("x", one)], "x") == (one, {})
    assert Routing(foreign).channel_names() == {"x"}


def test_channels_of_foreign_routes_are_looked_at_before_anybody_listens() -> None:
    foreign = Foreign()
    for names in (["a b"], [None], ["x" * 99 + "!"], 5):
        foreign.channel_names = lambda names=names: names  # type: ignore[method-assign, misc]
        with pytest.raises(RoutingError, match=r"is no channel name|TypeError"):
            Routing([foreign]).channel_names()


def test_a_foreign_route_in_an_include_sees_what_is_left() -> None:
    foreign = Foreign()
    routes = [include([include([foreign], path="^b")], path="^a")]
    message = Message({"path": "abc", "body": b"x"}, "x")
    assert Routing(routes).match(message) == (two, {"path": "c"})
    assert foreign.seen[0]["body"] is message["body"]
    assert message["path"] == "abc"


def test_single_routes_match_by_themselves() -> None:
    assert route(["x", "y"], one, a="(?P<a>.)").match(Message({"a": "1"}, "y")) == (one, {"a": "1"})
    assert route("x", one).match(Message({}, "y")) is None


def test_consumers_by_dotted_name() -> None:
    assert taken([route("x", "json.loads")], "x") == (__import__("json").loads, {})
    assert taken([route("x", "json:JSONEncoder.encode")], "x") == (__import__("json").JSONEncoder.encode, {})
    assert taken([route("x", "json.decoder.JSONDecoder.decode")], "x") is not None


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("json.load5", "has no attribute 'load5'; did you mean 'load'?"),
        ("nonesuch.consumer", "no consumer 'nonesuch.consumer': no such module"),
        ("consumer", "no consumer 'consumer': no such module"),
        ("json.decoder.scanner.NUMBER_RE", "is no consumer: it cannot be called"),
        ("nonesuch:consumer", "no consumer module 'nonesuch'"),
    ],
)
def test_names_that_lead_nowhere_say_where_they_stand(name: str, error: str) -> None:
    with pytest.raises(RoutingError, match=r"test_routing\.py:\d+: ") as raised:
        Routing([route("x", name)]).channel_names()
    assert error in str(raised.value)


class Counter(BaseConsumer):
    method_mapping = {"chat.message": "said", "chat.join": "joined"}
    filters = {"channel": "^#dev$"}

    def said(self, message: Message, **captures: Any) -> Any:
        return "said", message, captures, self.kwargs

    def joined(self, message: Message, **captures: Any) -> Any:
        return "joined"


def test_consumer_classes() -> None:
    routing = Routing([route_class(Counter, user="^(?P<who>.*)$")])
    assert routing.channel_names() == {"chat.message", "chat.join"}
    message = Message({"channel": "#dev", "user": "ann"}, "chat.message")
    found = routing.match(message)
    assert found is not None
    consumer, captures = found
    assert captures == {"who": "ann"}
    assert consumer(message, **captures) == ("said", message, captures, captures)
    assert consumer.__qualname__ == "Counter"
    assert consumer(Message({}, "chat.join")) == "joined"
    assert taken(routing, "chat.message", channel="#ops", user="ann") is None


def test_consumer_classes_that_cannot_consume() -> None:
    with pytest.raises(RoutingError, match=r"test_routing\.py:\d+: Counter has no method 'gone' for chat\.leave"):
        Routing([Counter.as_route({"method_mapping": {"chat.leave": "gone"}})]).channel_names()
    with pytest.raises(RoutingError, match="'chat leave' is no channel name"):
        Routing([Counter.as_route({"method_mapping": {"chat leave": "joined"}})]).channel_names()


def test_consumer_classes_by_name_as_route_and_in_route() -> None:
    assert Routing([Counter.as_route()]).channel_names() == {"chat.message", "chat.join"}
    renamed = Counter.as_route({"method_mapping": {"chat.leave": "joined"}})
    found = taken([renamed], "chat.leave", channel="#dev")
    assert found is not None
    assert found[0](Message({}, "chat.leave")) == "joined"
    found = taken([route("chat.join", Counter)], "chat.join")
    assert found is not None
    assert found[0](Message({}, "chat.join")) == "joined"
    by_name = route_class(f"{BaseConsumer.__module__}.BaseConsumer")
    assert Routing([by_name]).channel_names() == set()
    with pytest.raises(RoutingError, match="is no subclass of BaseConsumer"):
        Routing([route_class("json.loads")]).channel_names()


# Whether a route may match a message that is not known yet


KNOWN = frozenset(("address", "from", "reply_channel"))


@pytest.mark.parametrize(
    ("routes", "content", "may"),
    [
        ([route("m", one, address="^a@")], {"address": "a@x"}, True),
        ([route("m", one, address="^a@")], {"address": "b@x"}, False),
        ([route("m", one, address="^a@", subject="^Re:")], {"address": "a@x"}, True),
        ([route("m", one, address="^a@", subject="^Re:")], {"address": "b@x"}, False),
        ([route("m", one, headers__x="1")], {"address": "b@x"}, True),
        ([route("m", one, from_="^x")], {"address": "b@x"}, False),
        ([route("other", one)], {"address": "b@x"}, False),
        ([include([route("m", one, address="^@")], address="^a")], {"address": "a@x"}, True),
        ([include([route("m", one, address="^@")], address="^b")], {"address": "a@x"}, False),
        ([include([route("m", one, subject="^@")], subject="^b")], {"address": "a@x"}, True),
        ([], {"address": "a@x"}, False),
    ],
)
def test_may_match(routes: list[Any], content: dict[str, Any], may: bool) -> None:
    assert Routing(routes).may_take("m", content, KNOWN) is may


def test_a_foreign_route_may_always_match() -> None:
    assert Routing([Foreign()]).may_take("x", {}, KNOWN)

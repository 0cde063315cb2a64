"""Who a consumer takes messages from: `@rate_limit` and `@requires_origin`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.workers import BaseConsumer, TooMany, rate_limit, requires_origin, route, route_class
from trunkline.workers.testing import Client, Closed, Refused

MakeBench = Callable[..., Any]


def hello(message: Any) -> None:
    message.reply("hello")


def statuses(made: Any) -> list[int]:
    return [reply["status"] for reply in made.replies()]


# Not too many


def test_too_many_requests_are_told_when_to_come_again(bench: MakeBench) -> None:
    made = bench(route("http.request", rate_limit(2, 9.5)(hello)))
    for _ in range(3):
        made.request(client=["192.0.2.1", 5])
    made.run()
    *answers, refusal = made.replies()
    assert [answer["status"] for answer in answers] == [200, 200]
    assert refusal["status"] == 429
    assert [b"retry-after", b"10"] in refusal["headers"]
    assert made.stats["limited"] == 1
    assert "failures" not in made.stats
    made.clock.advance(9.6)
    made.request(client=["192.0.2.1", 6])
    made.run()
    assert statuses(made) == [200]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("unix", "unix", True),
    ],
)
def test_clients_are_told_apart_by_their_address(bench: MakeBench, one: str, other: str, same: bool) -> None:
    made = bench(route("http.request", rate_limit(1, 60)(hello)))
    for host in (one, other):
        made.request(client=[host, 5])
        made.run()
    assert statuses(made) == [200, 429 if same else 200]


def test_senders_are_told_apart_as_they_are_told_to_be(bench: MakeBench) -> None:
    made = bench(
        route("http.request", rate_limit(1, 60, by="method")(hello), path="^/method$"),
        route("http.request", rate_limit(1, 60, by=lambda message: dict(message["headers"])[b"key"])(hello)),
    )
    for method in ("GET", "POST", "GET"):
        made.request("/method", method=method)
        made.run()
    for key in (b"a", b"b", b"a"):
        made.request("/key", headers=[[b"key", key]])
        made.run()
    assert statuses(made) == [200, 200, 429] * 2


def test_consumers_count_each_for_itself_or_together_by_name(bench: MakeBench) -> None:
    def other(message: Any) -> None:
        message.reply("other")

    made = bench(
        route("http.request", rate_limit(1, 60)(hello), path="^/1$"),
        route("http.request", rate_limit(1, 60)(other), path="^/2$"),
        route("http.request", rate_limit(1, 60, name="both")(hello), path="^/3$"),
        route("http.request", rate_limit(1, 60, name="both")(other), path="^/4$"),
    )
    for path in ("/1", "/2", "/3", "/4"):
        made.request(path)
        made.run()
    assert statuses(made) == [200, 200, 200, 429]


def test_a_websocket_is_refused_or_closed() -> None:
    routes = [
        route("websocket.connect", rate_limit(2, 60, name="all", by=lambda message: "")(lambda message: None)),
        route("websocket.receive", rate_limit(1, 60)(hello)),
    ]
    client = Client(routes)
    one, two = client.websocket("/"), client.websocket("/")
    with pytest.raises(Refused, match="403"):
        client.websocket("/")
    one.send("x")
    two.send("x")
    assert one.receive() == "hello"
    one.send("x")
    with pytest.raises(Closed, match="1008"):
        one.receive()
    assert two.receive() == "hello"


def test_a_mail_is_to_come_again() -> None:
    consumed: list[str] = []
    client = Client([route("email.receive", rate_limit(1, 60)(lambda message: consumed.append(message["address"])))])
    assert client.email("a@example.com")[0] == 250
    code, text, _ = client.email("a@example.com")
    assert (code, text) == (451, "4.7.1 Too many mails, please try again later")
    client.advance(61)
    assert client.email("a@example.com")[0] == 250
    assert len(consumed) == 2


def test_in_a_chat_nothing_is_said_to_a_person_who_says_too_much() -> None:
    client = Client([route("chat.message", rate_limit(1, 60)(hello))])
    assert [client.chat("x", user=user) for user in ("ann", "ann", "bob")] == [["hello"], [], ["hello"]]
    assert client.worker.stats["limited"] == 1


def test_a_channel_without_a_format_drops_what_is_too_much(bench: MakeBench) -> None:
    taken: list[Any] = []
    made = bench(route("jobs", rate_limit(1, 60)(taken.append)))
    for _ in range(2):
        made.send("jobs")
    made.run()
    assert len(taken) == 1
    assert made.stats["limited"] == 1
    assert "failures" not in made.stats


def test_consumers_may_refuse_so_themselves(bench: MakeBench) -> None:
    def consume(message: Any) -> None:
        raise TooMany(5)

    made = bench(route("http.request", consume))
    made.request()
    made.run()
    assert made.replies()[0]["status"] == 429


def test_methods_are_limited_too(bench: MakeBench) -> None:
    class Page(BaseConsumer):
        method_mapping = {"http.request": "get"}

        @rate_limit(1, 60)
        def get(self, message: Any) -> None:
            message.reply("page")

    made = bench(route_class(Page))
    for _ in range(2):
        made.request()
    made.run()
    assert statuses(made) == [200, 429]


@pytest.mark.parametrize("wrong", [(0, 60), (1, 0), (1, float("nan"))])
def test_a_rate_that_lets_nothing_through_is_refused(wrong: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="count and seconds"):
        rate_limit(*wrong)


# Only from pages that may ask


def ask(bench: MakeBench, decorator: Any, *headers: tuple[bytes, bytes], **keys: Any) -> int:
    made = bench(route("http.request", decorator(hello)))
    made.request(headers=[list(pair) for pair in ((b"host", b"example.com"), *headers)], **keys)
    made.run()
    (status,) = statuses(made)
    return status


OWN, OTHER = (b"origin", b"http://example.com"), (b"origin", b"https://app.example.org")


def test_only_pages_of_the_same_host_are_served(bench: MakeBench) -> None:
    assert ask(bench, requires_origin(), OWN) == 200
    assert ask(bench, requires_origin(), OTHER) == 403
    assert ask(bench, requires_origin(), (b"origin", b"http://example.com"), scheme="https") == 403
    assert ask(bench, requires_origin(), (b"origin", b"https://example.com"), scheme="https") == 200


def test_and_those_that_are_named(bench: MakeBench) -> None:
    assert ask(bench, requires_origin("https://app.example.org"), OTHER) == 200
    assert ask(bench, requires_origin("*"), OTHER) == 200
    assert ask(bench, requires_origin("null"), (b"origin", b"null")) == 200


def test_who_sends_no_origin_is_served_only_if_so_said(bench: MakeBench) -> None:
    assert ask(bench, requires_origin()) == 403
    assert ask(bench, requires_origin("*")) == 403
    assert ask(bench, requires_origin(missing=True)) == 200
    assert ask(bench, requires_origin(missing=True), OTHER) == 403


def test_a_websocket_is_refused_with_403() -> None:
    client = Client([route("websocket.connect", requires_origin()(lambda message: None))])
    assert client.websocket("/", headers=[("origin", "http://localhost")]).closed is None
    with pytest.raises(Refused, match="403"):
        client.websocket("/", headers=[OTHER])


def test_what_has_no_headers_has_no_origin(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    made = bench(route("websocket.receive", requires_origin()(hello)))
    made.send("websocket.receive", reply_channel="http.reply.test!1", path="/", text="x", order=1)
    made.run()
    assert made.replies() == [{"close": 1011}]
    assert "require the origin where it connects" in caplog.text


def test_an_origin_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is no origin"):
        requires_origin("example.com")

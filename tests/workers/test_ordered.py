"""`@ordered`, the worker's side: what it announces, and how it tells that a message is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.message_formats import Format, register
from trunkline.message_formats.typed import record_of
from trunkline.message_formats.udp import UdpReceive
from trunkline.workers import (
    BaseConsumer,
    ConsumeLater,
    DenyConnection,
    Routing,
    Worker,
    include,
    ordered,
    retry,
    route,
    route_class,
)
from trunkline.workers.listening import in_order
from trunkline.workers.testing import Client

MakeBench = Callable[..., Any]

WEBSOCKET = {"websocket.connect", "websocket.receive", "websocket.disconnect"}


def nothing(message: Any) -> None:
    pass


def asked(*routes: Any) -> set[str]:
    """Return where a worker of this routing asks for order, were it to listen everywhere."""
    routing = Routing(list(routes))
    return set(in_order(routing, routing.channel_names() | WEBSOCKET))


# What is announced


def test_the_channel_of_an_ordered_consumer_is_announced_as_ordered(bench: MakeBench) -> None:
    made = bench(route("udp.receive", ordered(nothing)), route("http.request", nothing))
    made.worker.announce()
    (info,) = made.layer.listeners().values()
    assert info["channels"] == {"asgi.delay": False, "http.request": False, "udp.receive": True}


def test_the_channels_of_a_websocket_are_ordered_together() -> None:
    assert asked(route("websocket.receive", ordered(nothing))) == WEBSOCKET


def test_one_ordered_route_orders_the_channel() -> None:
    assert asked(route("a", nothing, x="1"), route("a", ordered(nothing)), route("b", nothing)) == {"a"}


def test_other_decorators_hide_it_from_nobody() -> None:
    assert asked(route("a", retry(ordered(nothing))), route("b", ordered(retry(nothing)))) == {"a", "b"}


def test_it_is_found_through_includes() -> None:
    assert asked(include([include([route("a", ordered(nothing))])])) == {"a"}


def test_what_is_a_connection_of_its_own_is_in_order_anyway() -> None:
    named = ("http.request", "email.receive", "email.recipient")
    assert asked(*(route(name, ordered(nothing)) for name in named)) == set()


def test_a_route_of_somebody_elses_making_asks_for_none() -> None:
    class Mine:
        def match(self, message: Any) -> Any:
            return None

        def channel_names(self) -> set[str]:
            return {"a"}

    assert asked(Mine()) == set()


class Counting(BaseConsumer):
    method_mapping = {"a": "first", "b": "second"}

    @ordered
    def first(self, message: Any) -> None:
        self.message.reply_channel.send({"first": True})

    def second(self, message: Any) -> None:
        pass


@ordered
class Whole(BaseConsumer):
    method_mapping = {"a": "first", "b": "first"}

    def first(self, message: Any) -> None:
        pass


def test_a_method_is_ordered_by_itself_and_a_class_as_a_whole(bench: MakeBench) -> None:
    assert asked(route_class(Counting)) == {"a"}
    assert asked(route_class(Whole)) == {"a", "b"}
    made = bench(route_class(Counting))
    made.send("a", reply_channel="http.reply.test!1", id="x")
    made.run()
    assert made.replies() == [{"first": True}, {"done": "x"}]


# What is told


def frame(made: Any, number: int = 1, text: str = "hello") -> None:
    made.send("websocket.receive", reply_channel="http.reply.test!1", path="/", order=number, text=text)


def test_done_comes_behind_what_the_consumer_sent(bench: MakeBench) -> None:
    made = bench(route("websocket.receive", ordered(lambda message: message.reply(message["text"]))))
    frame(made, 7)
    made.run()
    assert made.replies() == [{"text": "hello"}, {"done": 7}]


def test_nobody_is_told_where_no_consumer_is_ordered(bench: MakeBench) -> None:
    made = bench(route("websocket.receive", nothing))
    frame(made)
    made.run()
    assert made.replies() == []


async def later(message: Any) -> None:
    message.reply("later")


def test_an_async_consumer_is_done_when_it_ended(bench: MakeBench) -> None:
    made = bench(route("websocket.receive", ordered(later)))
    frame(made)
    made.run()
    assert made.replies() == [{"text": "later"}, {"done": 1}]


def raising(error: BaseException) -> Callable[[Any], None]:
    def consume(message: Any) -> None:
        raise error

    return ordered(consume)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (DenyConnection(), [{"close": True}]),
        (ValueError("no"), [{"close": 1011}]),
        (SystemExit(3), [{"close": 1011}]),
    ],
)
def test_a_message_is_done_whatever_became_of_it(bench: MakeBench, error: BaseException, answer: list[Any]) -> None:
    made = bench(route("websocket.connect", raising(error)))
    made.send("websocket.connect", reply_channel="http.reply.test!1", path="/", headers=[], order=0)
    made.run()
    assert made.replies() == [*answer, {"done": 0}]


def test_a_message_that_no_route_takes_is_done(bench: MakeBench) -> None:
    made = bench(route("websocket.receive", ordered(nothing), path="^/other$"))
    frame(made)
    made.send("websocket.connect", reply_channel="http.reply.test!1", path="/", headers=[], order=0)
    made.run()
    assert sorted(made.replies(), key=str) == [{"close": True}, {"done": 0}, {"done": 1}]


def test_what_nothing_can_answer_is_not_told(bench: MakeBench) -> None:
    made = bench(route("websocket.disconnect", ordered(nothing)))
    made.send("websocket.disconnect", reply_channel="http.reply.test!1", path="/", code=1000, order=3)
    made.run()
    assert made.replies() == []


def test_a_message_to_be_consumed_later_is_not_done_and_says_when(bench: MakeBench) -> None:
    tries: list[int] = []

    @ordered
    def consume(message: Any) -> None:
        tries.append(message.delivery.tries)
        if len(tries) < 3:
            raise ConsumeLater(delay=1)
        message.content["order"] = "altered"

    made = bench(route("websocket.receive", consume))
    frame(made, 4)
    made.run()
    assert made.replies() == [{"done": 4, "later": 1}]
    made.advance(5)
    assert tries == [1, 2, 3]
    assert made.replies() == [{"done": 4, "later": 2}, {"done": 4}]


def test_after_its_last_try_it_is_done(bench: MakeBench) -> None:
    made = bench(route("websocket.receive", raising(ConsumeLater(tries=1))))
    frame(made)
    made.run()
    assert made.replies() == [{"close": 1011}, {"done": 1}]


def test_a_durable_message_keeps_its_place_until_it_succeeds(layer: Any, clock: Any) -> None:
    outcomes: list[BaseException | None] = [RuntimeError("first"), None]

    @ordered
    def consume(message: Any) -> None:
        error = outcomes.pop(0)
        if error is not None:
            raise error

    with MemoryLayer(clock=clock, durable={"jobs": True}) as durable:
        worker = Worker(durable, [route("jobs", consume)])
        worker.wait_with(clock.advance)
        durable.send("jobs", {"reply_channel": "http.reply.test!1", "id": "7"})
        while outcomes:
            worker.step()
            clock.advance(0.5)
        worker.close()
        told = []
        while (taken := durable.receive(["http.reply.test!"])[1]) is not None:
            told.append(taken)
    assert told == [{"done": "7", "later": 0.1}, {"done": "7"}]


def test_a_reply_channel_that_is_no_name_stops_nothing(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    made = bench(route("udp.receive", ordered(nothing)))
    made.send("udp.receive", reply_channel="no name!!", data=b"", client=["127.0.0.1", 1])
    made.run()
    assert made.stats["messages"] == 1
    assert "nobody can be told that it is done" in caplog.text


@pytest.mark.usefixtures("own_formats")
def test_a_message_without_a_number_is_told_apart_by_nothing(bench: MakeBench) -> None:
    register(Format("own.receive", record_of(UdpReceive)))
    made = bench(route("own.receive", ordered(nothing)), route("plain", ordered(nothing)))
    made.send("own.receive", reply_channel="http.reply.test!1", data=b"")
    made.send("plain", reply_channel="http.reply.test!1")
    made.send("plain", reply_channel=5)
    made.run()
    assert made.replies() == [{"done": True}]


# The testing kit


def test_the_kit_holds_frames_back_as_servers_do() -> None:
    consumed: list[Any] = []

    @ordered
    def consume(message: Any) -> None:
        if message["text"] == "1" and message.delivery.tries < 3:
            raise ConsumeLater()
        consumed.append(message["text"])
        message.reply(message["text"])

    def gone(message: Any) -> None:
        consumed.append("gone")

    client = Client([route("websocket.receive", consume), route("websocket.disconnect", gone)])
    one, two = client.websocket("/"), client.websocket("/")
    for text in ("1", "2", "3"):
        one.send(text)
    one.close()
    two.send("other")
    assert consumed == ["other"]
    client.advance(1)
    assert consumed == ["other", "1", "2", "3", "gone"]
    assert two.receive() == "other"
    two.send("again")
    assert two.receive() == "again"

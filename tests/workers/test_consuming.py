"""From a message to its outcome: answers, exceptions, retries, and that nothing stops a worker (workers.md)."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import (
    Channel,
    ConsumeLater,
    DenyConnection,
    Message,
    Reject,
    ResponseLater,
    StopConsumer,
    message_formats,
    retry,
    timeout,
)
from trunkline.layer import Delivery, MemoryLayer
from trunkline.workers import route

from .conftest import REPLIES, Bench

MakeBench = Callable[..., Bench]

FAILED = {
    "status": 500,
    "headers": [[b"content-type", b"text/plain; charset=utf-8"]],
    "content": b"Internal Server Error\n",
}
NOT_FOUND = {**FAILED, "status": 404, "content": b"Not Found\n"}


def raising(error: BaseException | type[BaseException], held: bool = True) -> Callable[..., None]:
    def consumer(message: Message, **captures: Any) -> None:
        if held:
            Channel("jobs").send({"held": True})
        raise error

    return consumer


def socket(bench: Bench, channel: str = "websocket.connect", **keys: Any) -> None:
    head: dict[str, Any] = {"path": "/chat", "order": 0}
    if channel == "websocket.connect":
        head["headers"] = []
    bench.send(channel, reply_channel=REPLIES + "1", **{**head, **keys})


# Default and unrouted answers


def test_default_only_where_the_consumer_answered_nothing(bench: MakeBench) -> None:
    def answering(message: Message) -> None:
        assert message.reply_channel is not None
        message.reply_channel.send({"accept": True, "subprotocol": "x"})

    def by_name(message: Message) -> None:
        Channel(message["reply_channel"]).send({"close": True})

    def now(message: Message) -> None:
        Channel(message["reply_channel"]).send({"text": "now"}, immediately=True)

    def elsewhere(message: Message) -> None:
        Channel(REPLIES + "2").send({"text": "not an answer"})

    worker = bench(
        route("websocket.connect", answering, path="^/a"),
        route("websocket.connect", by_name, path="^/b"),
        route("websocket.connect", now, path="^/c"),
        route("websocket.connect", elsewhere, path="^/d"),
        route("websocket.connect", lambda message: None),
    )
    answers = []
    for path in ("/a", "/b", "/c", "/d", "/e"):
        socket(worker, path=path)
        worker.run()
        answers.append(worker.replies())
    default = {"accept": True}
    assert answers == [
        [{"accept": True, "subprotocol": "x"}],
        [{"close": True}],
        [{"text": "now"}],
        [default],
        [default],
    ]
    assert worker.stats == {"messages": 5}


def test_an_unanswered_http_request_gets_nothing(bench: MakeBench) -> None:
    worker = bench(route("http.request", lambda message: None))
    worker.request()
    worker.run()
    assert worker.replies() == []


def test_unrouted(bench: MakeBench) -> None:
    worker = bench(
        route("http.request", lambda message: None, path="^/there"),
        route("websocket.disconnect", lambda message: None, path="^/there"),
        route("chat.message", lambda message: None, text="!"),
        route("jobs", lambda message: None, a="1"),
    )
    worker.request("/elsewhere")
    socket(worker)
    worker.run()
    assert sorted(worker.replies(), key=str) == [{"close": True}, NOT_FOUND]
    socket(worker, "websocket.receive", text="x", order=1)
    socket(worker, "websocket.disconnect", code=1000)
    worker.send("chat.message", reply_channel=REPLIES + "1", text="x")
    worker.send("jobs", a="2")
    worker.run()
    assert worker.replies() == []
    assert worker.stats == {"messages": 6, "unrouted": 6}


def test_each_unrouted_answer_is_its_formats(bench: MakeBench) -> None:
    worker = bench(route(["http.request", "email.receive", "websocket.disconnect"], lambda message: None, path="^/x"))
    worker.request("/")
    worker.run()
    assert worker.replies() == [NOT_FOUND]
    worker.mail()
    worker.run()
    (answer,) = worker.replies()
    assert (answer["accept"], answer["code"]) == (False, 550)
    assert answer["text"].startswith("5.1.1")
    socket(worker)
    worker.run()
    assert worker.replies() == [{"close": True}]


@pytest.mark.parametrize(("path", "answer"), [("/chat", {"accept": True}), ("/other", {"close": True})])
def test_a_connect_is_judged_by_receive_routes(bench: MakeBench, path: str, answer: dict[str, Any]) -> None:
    worker = bench(route("websocket.receive", lambda message: None, path="^/chat", text="^hi"))
    socket(worker, path=path)
    worker.run()
    assert worker.replies() == [answer]
    assert worker.stats.get("unrouted", 0) == (answer != {"accept": True})


@pytest.mark.parametrize(
    ("filters", "address", "accept"),
    [
        ({"address": r"^support\+\d+@"}, "SUPPORT+5@example.com", True),
        ({"address": r"^support\+\d+@"}, "support@example.com", False),
        ({"address": "^support@", "subject": "^Re:"}, "support@example.com", True),
        ({"from_": "^b@"}, "support@example.com", False),
    ],
)
def test_a_recipient_is_judged_by_receive_routes(
    bench: MakeBench, filters: dict[str, Any], address: str, accept: bool
) -> None:
    """Whether an address is routed is judged by the whole routing, whatever this worker listens to."""
    worker = bench(route("email.receive", lambda message: None, **filters))
    worker.send("email.recipient", reply_channel=REPLIES + "1", address=address, from_="a@example.org", helo="x")
    worker.run()
    (answer,) = worker.replies()
    assert answer["accept"] is accept
    if not accept:
        assert answer["code"] == 550


# Exceptions that say how a message ends


@pytest.mark.parametrize("error", [StopConsumer, StopConsumer()])
def test_stop_consumer_ends_as_a_return(bench: MakeBench, layer: MemoryLayer, error: Any) -> None:
    worker = bench(route("websocket.connect", raising(error)))
    socket(worker)
    worker.run()
    assert worker.replies() == [{"accept": True}]
    assert layer.receive(["jobs"])[1] == {"held": True}
    assert worker.stats == {"messages": 1}


def test_response_later_sends_no_default(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("websocket.connect", raising(ResponseLater)))
    socket(worker)
    worker.run()
    assert worker.replies() == []
    assert layer.receive(["jobs"])[1] == {"held": True}
    assert worker.stats == {"messages": 1}


@pytest.mark.parametrize(
    ("channel", "answer"), [("websocket.connect", {"close": True}), ("websocket.receive", {"close": 1011})]
)
def test_deny_connection(bench: MakeBench, layer: MemoryLayer, channel: str, answer: dict[str, Any]) -> None:
    worker = bench(route(channel, raising(DenyConnection)))
    socket(worker, channel, **({"text": "x", "order": 1} if channel.endswith("receive") else {}))
    worker.run()
    assert worker.replies() == [answer]
    assert layer.receive(["jobs"])[1] == {"held": True}
    assert worker.stats == {"messages": 1}


def test_reject(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("email.recipient", raising(Reject(550, "5.1.1 no such ticket"))))
    worker.send("email.recipient", reply_channel=REPLIES + "1", address="a@b", helo="x")
    worker.run()
    assert worker.replies() == [{"accept": False, "code": 550, "text": "5.1.1 no such ticket"}]
    assert layer.receive(["jobs"])[1] == {"held": True}
    assert (Reject().code, Reject().text) == (550, "5.7.1 rejected")


@pytest.mark.parametrize(
    ("channel", "error", "reason"),
    [
        ("http.request", Reject(550, "x"), "FormatError: http reply: accept"),
        ("chat.join", Reject(550, "x"), "FormatError: chat reply"),
        ("jobs", Reject(550, "x"), "TypeError: there is nothing to refuse in a message of jobs"),
        ("jobs", DenyConnection(), "TypeError: there is nothing to refuse in a message of jobs"),
        ("chat.join", DenyConnection(), "TypeError: there is nothing to refuse in a message of chat.join"),
    ],
)
def test_refusals_that_make_no_sense_are_failures(
    bench: MakeBench, layer: MemoryLayer, channel: str, error: Exception, reason: str
) -> None:
    worker = bench(route(channel, raising(error)))
    worker.send(channel, reply_channel=REPLIES + "1")
    worker.run()
    assert layer.dead_letters()[0]["reason"].startswith(reason)
    assert layer.receive(["held"]) == (None, None)
    assert worker.stats == {"messages": 1, "failures": 1, "dead_letters": 1}


@pytest.mark.parametrize(("code", "text"), [(200, "x"), (600, "x"), (550, "a\r\nb"), ("x", "y"), (550, 5)])
def test_a_reject_that_breaks_its_format_is_a_failure(bench: MakeBench, code: Any, text: Any) -> None:
    def consumer(message: Message) -> None:
        raise Reject(code, text)

    worker = bench(route("email.receive", consumer))
    worker.mail()
    worker.run()
    (answer,) = worker.replies()
    assert (answer["code"], worker.stats["failures"]) == (451, 1)


# Failures


def recursive(message: Message) -> None:
    recursive(message)


def generator_exit(message: Message) -> None:
    raise GeneratorExit


class Unshowable(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even its text")

    __repr__ = __str__


async def async_failing(message: Message) -> None:
    await asyncio.sleep(0)
    raise ValueError("async")


async def async_cancelled(message: Message) -> None:
    raise asyncio.CancelledError


async def async_exit(message: Message) -> None:
    raise SystemExit(1)


async def async_interrupt(message: Message) -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


def wrong_reply(message: Message) -> None:
    message.reply("x", status="200")


def wrong_arguments(message: Message, missing: str) -> None: ...


def yielding(message: Message) -> Any:
    yield b"never"


async def async_yielding(message: Message) -> Any:
    yield b"never"


FAILING: dict[str, Any] = {
    "ValueError": raising(ValueError("no")),
    "SystemExit": raising(SystemExit(3)),
    "KeyboardInterrupt": raising(KeyboardInterrupt),
    "BaseException": raising(BaseException("base")),
    "GeneratorExit": generator_exit,
    "RecursionError": recursive,
    "MemoryError": raising(MemoryError),
    "StopIteration": raising(StopIteration),
    "StopAsyncIteration": raising(StopAsyncIteration),
    "CancelledError": raising(asyncio.CancelledError),
    "TimeoutError": raising(TimeoutError),
    "Unshowable": raising(Unshowable()),
    "ExceptionGroup": raising(ExceptionGroup("many", [ValueError("a"), TypeError("b")])),
    "async ValueError": async_failing,
    "async CancelledError": async_cancelled,
    "async SystemExit": async_exit,
    "async KeyboardInterrupt": async_interrupt,
    "TypeError: a consumer that yields": yielding,
    "async TypeError: a consumer that yields": async_yielding,
    "wrong reply": wrong_reply,
    "TypeError": wrong_arguments,
}


def test_what_an_async_consumer_left_running_ends_no_other(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    left: list[asyncio.Task[None]] = []

    async def exits() -> None:
        raise SystemExit("later")

    async def leaving(message: Message) -> None:
        left.append(asyncio.get_running_loop().create_task(exits()))

    async def innocent(message: Message) -> None:
        while not left[0].done():
            await asyncio.sleep(0)
        message.reply("fine")

    worker = bench(route("http.request", leaving, path="^/leaving"), route("http.request", innocent))
    worker.request("/leaving", "1")
    worker.request("/innocent", "2")
    worker.run()
    assert worker.replies("2")[0]["content"] == b"fine"
    assert worker.stats == {"messages": 2}
    assert "what an async consumer left running did not end well" in caplog.text
    assert isinstance(left[0].exception(), SystemExit)  # seen, so that asyncio does not complain in a later test


@pytest.mark.parametrize("result", ["hello", b"x", {"status": 200}, 7])
@pytest.mark.parametrize("later", [False, True])
def test_what_a_consumer_returns_is_ignored_and_said_once(
    bench: MakeBench, caplog: pytest.LogCaptureFixture, result: object, later: bool
) -> None:
    """Who comes from a web framework returns the answer, and would look for it until the timeout."""

    def consumer(message: Message) -> object:
        return result

    async def later_consumer(message: Message) -> object:
        return result

    worker = bench(route("http.request", later_consumer if later else consumer))
    worker.request("/", "1")
    worker.request("/", "2")
    worker.run()
    assert worker.replies() == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    kind = type(result).__name__
    assert record.getMessage().endswith(f"consumer returns a {kind}, which is ignored: answer with message.reply(…)")


def test_a_sender_that_left_is_no_failure(
    bench: MakeBench, layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """Any client can leave in the middle of a body, as often as it likes: one line, no traceback, no dead letter."""

    def consumer(message: Message) -> None:
        message.stream().read()

    worker = bench(route("http.request", consumer))
    layer.send("http.request.body?1", {"content": b"", "closed": True})
    worker.request("/", "1", body_channel="http.request.body?1")
    worker.run()
    assert worker.replies("1")[0]["status"] == 500
    assert layer.dead_letters() == []
    assert worker.stats == {"messages": 1, "senders_left": 1}
    (record,) = caplog.records
    assert record.exc_info is None
    assert "went away" in record.getMessage()


@pytest.mark.parametrize("name", FAILING)
def test_nothing_a_consumer_raises_stops_the_worker(
    bench: MakeBench, layer: MemoryLayer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Logged with channel, id and traceback; counted; answered; a dead letter; what was held is dropped."""
    worker = bench(route("http.request", FAILING[name], path="^/bad"), route("http.request", lambda m: m.reply("fine")))
    worker.request("/bad", "1")
    worker.request("/good", "2")
    worker.run()
    answers = dict(worker.taken(REPLIES))
    assert answers[REPLIES + "1"] == FAILED
    assert answers[REPLIES + "2"]["content"] == b"fine"
    assert layer.receive(["jobs"]) == (None, None)
    assert worker.stats == {"messages": 2, "failures": 1, "dead_letters": 1}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith(f"http.request ['{REPLIES}1']: ")
    assert record.exc_info is not None
    assert caplog.text.count("Traceback (most recent call last)") >= 1
    (letter,) = layer.dead_letters()
    assert (letter["channel"], letter["message"]["path"], letter["tries"]) == ("http.request", "/bad", 1)
    raised = name.removeprefix("async ").replace("wrong reply", "TypeError")
    assert letter["reason"].startswith(raised)
    assert letter["reason"].partition(":")[0] in letter["traceback"]
    assert len(letter["traceback"]) <= 16 * 1024


def test_the_log_says_which_consumer_failed(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    class Callable_:
        def __call__(self, message: Message) -> None:
            raise ValueError("x")

    worker = bench(route("x", recursive, n="^a"), route("x", Callable_()))
    worker.send("x", n="a", id="id\nwith a line")
    worker.send("x", n="b")
    worker.run()
    assert [record.getMessage() for record in caplog.records] == [
        "x ['id\\nwith a line']: recursive failed",
        "x [None]: Callable_ failed",
    ]


def test_failure_answers_are_the_formats(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route(["websocket.connect", "chat.message", "email.receive"], raising(ValueError("x"))))
    socket(worker)
    worker.run()
    assert worker.replies() == [{"close": 1011}]
    worker.send("chat.message", reply_channel=REPLIES + "1", text="x")
    worker.run()
    assert worker.replies() == []
    assert len(layer.dead_letters()) == 2
    worker.mail()
    worker.run()
    (answer,) = worker.replies()
    assert (answer["accept"], answer["code"]) == (False, 451)
    assert answer["text"].startswith("4.3.0")
    assert len(layer.dead_letters()) == 2, "whoever sent a mail repeats it"


class Evil:
    """A route whose match() raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def match(self, message: Message) -> Any:
        raise self.error

    def channel_names(self) -> list[str]:
        return ["http.request"]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), RecursionError(), KeyboardInterrupt()])
def test_errors_in_routing(
    bench: MakeBench, layer: MemoryLayer, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    worker = bench(Evil(error))
    worker.request()
    worker.run()
    assert worker.replies() == [FAILED]
    assert layer.dead_letters()[0]["reason"].startswith(type(error).__name__)
    assert caplog.records[0].getMessage() == f"http.request ['{REPLIES}1']: routing failed"
    assert worker.stats == {"messages": 1, "failures": 1, "dead_letters": 1}


@pytest.mark.parametrize("found", ["a consumer", (), (None, {}), (print, None), (lambda message: None, {"x": 1})])
def test_a_match_that_returns_nonsense(bench: MakeBench, layer: MemoryLayer, found: Any) -> None:
    class Odd(Evil):
        def match(self, message: Message) -> Any:
            return found

    worker = bench(Odd(ValueError()))
    worker.request()
    worker.run()
    assert worker.replies() == [FAILED]
    assert worker.stats == {"messages": 1, "failures": 1, "dead_letters": 1}


@pytest.mark.parametrize("reply_channel", [5, None, "", [1], {"a": 1}, b"x"])
def test_a_reply_channel_of_another_type_is_none(bench: MakeBench, layer: MemoryLayer, reply_channel: Any) -> None:
    worker = bench(route("websocket.connect", lambda message: None), route("http.request", raising(ValueError("x"))))
    worker.send("websocket.connect", reply_channel=reply_channel, path="/", headers=[])
    worker.send("http.request", reply_channel=reply_channel, path="/")
    worker.send("websocket.receive", reply_channel=reply_channel, path="/")
    worker.run()
    assert worker.stats == {"messages": 3, "failures": 1, "dead_letters": 1, "unrouted": 1}


@pytest.mark.parametrize("reply_channel", ["no good", "x" * 200, "a?", "ä"])
def test_a_reply_channel_that_is_no_name(
    bench: MakeBench, layer: MemoryLayer, reply_channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = bench(route("websocket.connect", lambda message: None), route("http.request", raising(ValueError("x"))))
    worker.send("websocket.connect", reply_channel=reply_channel, path="/", headers=[])
    worker.send("http.request", reply_channel=reply_channel, path="/")
    worker.run()
    assert worker.stats == {"messages": 2, "failures": 2, "dead_letters": 2}
    assert sum("cannot be answered" in record.getMessage() for record in caplog.records) == 2


def test_a_message_that_cannot_be_unpacked(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(delivery: Delivery) -> dict[str, Any]:
        raise ValueError("corrupt")

    worker = bench(route("x", lambda message: None))
    worker.send("x", n=1)
    monkeypatch.setattr(Delivery, "message", property(broken))
    worker.worker.step()
    monkeypatch.undo()
    assert worker.stats["failures"] == 1
    assert caplog.records[0].getMessage() == "x [None]: routing failed"
    assert worker.worker.step() == 0
    assert [letter["message"] for letter in layer.dead_letters()] == [{"n": 1}]


def test_a_failure_that_cannot_even_be_recorded(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(delivery: Delivery) -> dict[str, Any]:
        raise MemoryError

    monkeypatch.setattr(Delivery, "original", broken)
    worker = bench(route("x", raising(ValueError("x"))))
    worker.send("x")
    worker.run()
    assert worker.stats == {"messages": 1, "failures": 1, "failures_lost": 1}
    assert caplog.records[-1].getMessage() == (
        "x [None]: raising.<locals>.consumer failed, and its failure could not be recorded in full"
    )
    monkeypatch.setattr(logging.Logger, "critical", broken)
    worker.send("x")
    worker.run()
    assert worker.stats["failures_unlogged"] == 1


def test_the_dead_letter_holds_what_was_sent(bench: MakeBench, layer: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        message.content["n"].append(object())
        message.content["more"] = object()
        raise ValueError("x")

    worker = bench(route("x", consumer))
    worker.send("x", n=[1])
    worker.run()
    assert layer.dead_letters()[0]["message"] == {"n": [1]}


# ConsumeLater and @retry


def test_consume_later_comes_again_with_growing_pauses(bench: MakeBench, layer: MemoryLayer, clock: Any) -> None:
    times: list[float] = []

    def consumer(message: Message) -> None:
        Channel("jobs").send({"held": True})
        assert message.delivery is not None
        assert (message.delivery.tries, message.content) == (len(times) + 1, {"n": 1})
        assert message.delivery.channel == "x"
        times.append(clock())
        message.content["n"] = 2
        raise ConsumeLater

    worker = bench(route("x", consumer))
    worker.send("x", n=1)
    worker.run()
    worker.advance(60, 0.01)
    assert len(times) == 10
    waits = [round(after - before, 1) for before, after in itertools.pairwise(times)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert layer.receive(["jobs"]) == (None, None)
    (letter,) = layer.dead_letters()
    assert (letter["message"], letter["tries"]) == ({"n": 1}, 10)
    assert letter["reason"] == "RuntimeError: not consumed in 10 tries"
    assert worker.stats == {"messages": 10, "retried": 9, "failures": 1, "dead_letters": 1}


@pytest.mark.parametrize("is_async", [False, True])
def test_retry(bench: MakeBench, layer: MemoryLayer, is_async: bool) -> None:
    tried: list[int] = []

    @retry
    def plain(message: Message, **captures: Any) -> None:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError("away")
        message.reply("at last")

    @retry
    async def waiting(message: Message, **captures: Any) -> None:
        await asyncio.sleep(0)
        plain.__wrapped__(message)  # type: ignore[attr-defined]

    worker = bench(route("http.request", waiting if is_async else plain))
    worker.request()
    worker.run()
    worker.advance(1)
    assert len(tried) == 3
    assert worker.replies()[0]["content"] == b"at last"
    assert worker.stats == {"messages": 3, "retried": 2}
    assert plain.__name__ == "plain"


def test_retry_ends_as_a_failure_with_the_last_error(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("http.request", retry(on=ConnectionError, tries=2, delay=1)(raising(ConnectionError("away")))))
    worker.request()
    worker.run()
    assert worker.replies() == []
    worker.advance(1.1)
    assert worker.replies() == [FAILED]
    (letter,) = layer.dead_letters()
    assert (letter["reason"], letter["tries"]) == ("ConnectionError: away", 2)
    assert "ConnectionError: away" in letter["traceback"]


def test_retry_leaves_other_exceptions_alone(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(
        route("x", retry(on=ConnectionError)(raising(ValueError("x"))), n="^1"),
        route("x", retry(raising(StopConsumer)), n="^2"),
        route("x", retry(raising(ConsumeLater(tries=1)))),
    )
    for n in "123":
        worker.send("x", n=n)
    worker.run()
    assert worker.stats == {"messages": 3, "failures": 2, "dead_letters": 2}
    assert layer.receive(["jobs"])[1] == {"held": True}


def test_a_sender_that_repeats_is_told_to(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("email.receive", raising(ConsumeLater)))
    worker.mail()
    worker.run()
    (answer,) = worker.replies()
    assert answer["code"] == 451
    assert layer.dead_letters() == []
    worker.advance(20)
    assert worker.stats == {"messages": 1}


def test_a_body_that_was_read_cannot_come_again(bench: MakeBench, layer: MemoryLayer) -> None:
    name = layer.new_channel("http.request.body?")
    layer.send(name, {"content": b"x"})

    def consumer(message: Message) -> None:
        if message["path"] == "/read":
            assert message.stream().read() == b"x"
        raise ConsumeLater(tries=2)

    worker = bench(route("http.request", consumer))
    worker.request("/read", body_channel=name)
    worker.run()
    assert worker.replies() == [FAILED]
    assert worker.stats == {"messages": 1}
    worker.request("/", body_channel=name)
    worker.run()
    assert worker.stats["retried"] == 1


@pytest.mark.parametrize("tries", ["x", -1, None, 2.5])
def test_a_count_of_tries_that_is_none(bench: MakeBench, tries: Any) -> None:
    seen: list[Any] = []
    worker = bench(route("x", lambda message: seen.append((message.delivery.tries, message.content))))
    worker.layer.send("x", {"trunkline.tries": tries})
    worker.run()
    assert seen == [(1, {})]


def test_a_full_channel_on_the_way_back(layer: MemoryLayer, clock: Any) -> None:
    small = MemoryLayer(clock=clock, capacity=1)
    worker = Bench(small, clock, [route("x", raising(ConsumeLater))])
    worker.send("x", n=1)
    worker.worker.wait_with(clock.advance)
    worker.run()
    assert worker.stats["retried"] == 1


# @timeout


def test_a_consumer_that_took_too_long_has_failed(bench: MakeBench, layer: MemoryLayer, clock: Any) -> None:
    @timeout(5)
    def slow(message: Message) -> None:
        Channel("jobs").send({"held": True})
        clock.advance(message["seconds"])

    worker = bench(route("x", slow))
    worker.send("x", seconds=4)
    worker.send("x", seconds=6)
    worker.run()
    assert len(worker.taken("jobs")) == 1
    (letter,) = layer.dead_letters()
    assert letter["reason"] == "TimeoutError: the consumer took longer than its timeout"
    assert worker.stats == {"messages": 2, "failures": 1, "dead_letters": 1}
    assert slow.__name__ == "slow"


def test_only_a_consumer_that_is_late_is_given_up(bench: MakeBench, clock: Any) -> None:
    given_up: list[bool] = []

    @timeout(5)
    def consumer(message: Message) -> None:
        consuming = worker.worker._places[0].consuming
        given_up.append(consuming.abandon())
        clock.advance(5)
        given_up.append(consuming.abandon())
        given_up.append(consuming.abandon())

    worker = bench(route("x", consumer))
    worker.run()
    assert worker.worker._places[0].consuming.abandon() is False
    worker.send("x")
    worker.worker.step()
    assert given_up == [False, True, False]
    assert worker.stats["failures"] == 1


def test_an_async_consumer_is_cancelled(bench: MakeBench, layer: MemoryLayer) -> None:
    cancelled: list[int] = []

    @timeout(0.01)
    async def slow(message: Message) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(1)

    worker = bench(route("x", slow), route("y", timeout(60)(retry(raising(ConsumeLater)))))
    worker.send("x")
    worker.send("y")
    worker.run()
    assert cancelled == [1]
    assert layer.dead_letters()[0]["reason"].startswith("TimeoutError")
    assert worker.stats == {"messages": 2, "failures": 1, "dead_letters": 1, "retried": 1}


def test_timeout_outside_a_worker_is_the_consumer_alone() -> None:
    async def waiting(message: Message) -> int:
        await asyncio.sleep(0)
        return 7

    assert timeout(1)(lambda message: 5)(Message({}, "x")) == 5
    assert asyncio.run(timeout(1)(waiting)(Message({}, "x"))) == 7


@pytest.mark.usefixtures("own_formats")
def test_formats_of_third_parties_are_answered_likewise(bench: MakeBench) -> None:
    """A worker knows no protocol: everything comes from the format."""
    udp = message_formats.get("udp.receive")
    assert udp is not None
    name = "ping.receive"
    message_formats.register(
        message_formats.Format(name, udp.record, reply=udp.reply, default={"data": b"d"}, failure={"data": b"f"})
    )
    worker = bench(route(name, raising(ValueError("x")), data=b"bad"), route(name, lambda message: None))
    worker.send(name, reply_channel=REPLIES + "1", data=b"good", client=["h", 1])
    worker.send(name, reply_channel=REPLIES + "1", data=b"bad", client=["h", 1])
    worker.run()
    assert worker.replies() == [{"data": b"d"}, {"data": b"f"}]

"""What is kept between messages: of a connection by `@channel_session`, of a browser by `@http_session`."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.workers import (
    BaseConsumer,
    ConsumeLater,
    DenyConnection,
    Message,
    Reject,
    Worker,
    channel_session,
    http_session,
    route,
    route_class,
)
from trunkline.workers.testing import Client, Closed

MakeBench = Callable[..., Any]
Consume = Callable[..., None]

KEY = "session.http.reply.test!1"


def told(headers: list[tuple[bytes, bytes]]) -> list[str]:
    return [value.decode() for name, value in headers if name == b"set-cookie"]


# Of a connection


@channel_session
def count(message: Any) -> None:
    session = message.channel_session
    session["frames"] = session.get("frames", 0) + 1
    message.reply(str(session["frames"]))


def test_a_session_is_kept_from_frame_to_frame_of_one_socket() -> None:
    client = Client([route("websocket.receive", count)])
    one, two = client.websocket("/"), client.websocket("/")
    for socket, number in ((one, "1"), (one, "2"), (two, "1"), (one, "3")):
        socket.send("x")
        assert socket.receive() == number


def test_a_session_ends_with_the_disconnect(bench: MakeBench) -> None:
    seen: list[int] = []

    @channel_session
    def gone(message: Any) -> None:
        seen.append(message.channel_session["frames"])
        message.channel_session["more"] = True

    made = bench(route("websocket.receive", count), route("websocket.disconnect", gone))
    made.send("websocket.receive", reply_channel="http.reply.test!1", path="/", text="x", order=1)
    made.run()
    assert made.layer.get_state(KEY)[0]["data"] == {"frames": 1}
    made.send("websocket.disconnect", reply_channel="http.reply.test!1", path="/", code=1000, order=2)
    made.run()
    assert seen == [1]
    assert made.layer.get_state(KEY) == (None, 0)


def plain(bench: MakeBench, consume: Consume, **options: Any) -> Any:
    """Make a bench whose channel `a` has one consumer with a session."""
    return bench(route("a", channel_session(**options)(consume) if options else channel_session(consume)))


def go(made: Any, **content: Any) -> None:
    made.send("a", reply_channel="http.reply.test!1", **content)
    made.run()


def test_it_is_a_dictionary(bench: MakeBench) -> None:
    shown: list[Any] = []

    def consume(message: Any) -> None:
        session = message.channel_session
        session.setdefault("a", [1])
        session["b"] = None
        del session["b"]
        shown.append((dict(session), len(session), "b" in session, repr(session)))
        with pytest.raises(TypeError, match="keys are str"):
            session[5] = 1

    made = plain(bench, consume)
    go(made)
    assert shown == [({"a": [1]}, 1, False, "<ChannelSession: a>")]


def test_what_is_altered_within_is_written_and_what_is_the_same_is_not(bench: MakeBench) -> None:
    def consume(message: Any) -> None:
        session = message.channel_session
        if message["what"] == "append":
            session.setdefault("list", []).append(1)
        elif message["what"] == "type":
            session["list"][0] = True
            session["one"] = True
        elif message["what"] == "set":
            session["list"] = list(session["list"])
            session["one"] = 1

    made = plain(bench, consume)
    versions = []
    for what in ("look", "append", "append", "set", "set", "type", "look"):
        go(made, what=what)
        versions.append(made.layer.get_state(KEY)[1])
    assert versions == [0, 1, 2, 3, 3, 4, 4]
    assert made.layer.get_state(KEY)[0]["data"]["one"] is True


@pytest.mark.parametrize("error", [ValueError("no"), ConsumeLater(), Reject(550, "5.7.1 not a mail")])
def test_a_failure_drops_what_was_changed(bench: MakeBench, error: Exception) -> None:
    def consume(message: Any) -> None:
        message.channel_session["x"] = 1
        raise error

    made = plain(bench, consume)
    go(made)
    assert made.layer.get_state(KEY) == (None, 0)


def test_what_cannot_travel_is_a_failure(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    def consume(message: Any) -> None:
        message.channel_session["x"] = object()
        message.reply_channel.send({"never": True})

    made = plain(bench, consume)
    go(made)
    assert made.replies() == []
    assert made.stats["failures"] == 1
    assert "value['data']['x']" in caplog.text


def test_changes_of_two_at_a_time_are_made_key_by_key(bench: MakeBench) -> None:
    """Of one key the last to end wins; different keys are both kept, set or removed."""
    steps: list[str] = []

    def consume(message: Any) -> None:
        session = message.channel_session
        steps.append(str(sorted(session.items())))
        if message["who"] == "outer":
            session["outer"] = session["both"] = "outer"
            session.pop("old", None)
            # another worker, in the middle of this one
            value, version = made.layer.get_state(KEY)
            data = {**(value["data"] if value else {}), "inner": "inner", "both": "inner"}
            assert made.layer.put_state(KEY, {"at": made.clock(), "data": data}, 60, if_version=version)
        else:
            session["old"] = 1

    made = plain(bench, consume)
    go(made, who="first")
    go(made, who="outer")
    assert made.layer.get_state(KEY)[0]["data"] == {"outer": "outer", "both": "outer", "inner": "inner"}
    made.layer.delete_state(KEY)
    go(made, who="outer")
    assert made.layer.get_state(KEY)[0]["data"] == {"outer": "outer", "both": "outer", "inner": "inner"}


def test_a_session_that_ended_meanwhile_stays_ended(bench: MakeBench) -> None:
    def consume(message: Any) -> None:
        message.channel_session["x"] = message["x"]
        if message["x"] == 2:
            made.layer.delete_state(KEY)

    made = plain(bench, consume)
    go(made, x=1)
    go(made, x=2)
    assert made.layer.get_state(KEY) == (None, 0)


def test_it_lives_on_as_long_as_it_is_used(bench: MakeBench) -> None:
    seen: list[Any] = []

    def consume(message: Any) -> None:
        if not seen:
            message.channel_session["x"] = 1
        seen.append(message.channel_session.get("x"))

    made = plain(bench, consume, ttl=100)
    for _ in range(5):
        go(made)
        made.advance(60, step=10)
    assert seen == [1] * 5
    made.advance(110, step=10)
    go(made)
    assert seen[-1] is None


def test_end_removes_it_and_what_follows_is_new(bench: MakeBench) -> None:
    def consume(message: Any) -> None:
        session = message.channel_session
        if message["what"] == "end":
            session.end()
        session[message["what"]] = 1

    made = plain(bench, consume)
    go(made, what="a")
    go(made, what="end")
    assert made.layer.get_state(KEY)[0]["data"] == {"end": 1}


def test_methods_have_sessions_and_two_decorators_one(bench: MakeBench) -> None:
    class Counting(BaseConsumer):
        method_mapping = {"a": "said"}

        @channel_session
        def said(self, message: Any) -> None:
            inner(message)
            message.channel_session["outer"] = 1

    @channel_session
    def inner(message: Any) -> None:
        message.channel_session["inner"] = 1

    made = bench(route_class(Counting))
    go(made)
    assert made.layer.get_state(KEY)[0]["data"] == {"inner": 1, "outer": 1}


def test_wrong_uses_are_told(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TypeError, match="methods of a class, not on BaseConsumer"):
        channel_session(BaseConsumer)
    message = Message({}, "a")
    with pytest.raises(AttributeError, match="decorated with @channel_session"):
        _ = message.channel_session
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = message.nothing
    made = plain(bench, lambda message: None)
    made.send("a")
    made.run()
    assert "belongs to no channel session" in caplog.text


def test_a_session_waits_while_the_layer_is_away(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker of steps cannot wait, so the message fails; what it sent does not leave without its session."""

    def consume(message: Any) -> None:
        message.channel_session["x"] = 1
        message.reply_channel.send({"never": True})

    made = plain(bench, consume)

    def away(*args: Any, **kwargs: Any) -> int:
        raise LayerUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryLayer, "put_state", away)
        go(made)
    assert made.replies() == []
    assert made.stats["failures"] == 1


# Of a browser


@http_session
def visit(message: Any) -> None:
    session = message.http_session
    message.reply(str(session.get("visits", 0)))
    session["visits"] = session.get("visits", 0) + 1


def look(**options: Any) -> Consume:
    @http_session(**options)
    def consume(message: Any) -> None:
        message.reply(repr(sorted(message.http_session.items())))

    return consume


def test_a_browser_is_known_by_its_cookie() -> None:
    client = Client([route("http.request", visit)])
    answers = [client.http("GET", "/") for _ in range(3)]
    assert [body for _, _, body in answers] == [b"0", b"1", b"2"]
    (cookie,), *later = (told(headers) for _, headers, _ in answers)
    assert re.fullmatch(r"session=[A-Za-z0-9_-]{43}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax", cookie)
    assert later == [[], []], "a cookie is set once"
    client.cookies.clear()
    assert client.http("GET", "/")[2] == b"0"


def test_who_changes_nothing_gets_no_cookie() -> None:
    client = Client([route("http.request", look())])
    assert told(client.http("GET", "/")[1]) == []
    assert client.cookies == {}


def test_the_layer_does_not_know_the_id() -> None:
    client = Client([route("http.request", visit)])
    client.http("GET", "/")
    id = client.cookies["session"]
    assert client.layer.get_state(f"session.http.{id}") == (None, 0)


@pytest.mark.parametrize("id", ["x" * 43, "../../etc", "", "é" * 43, "a b"])
def test_an_id_of_somebody_elses_making_is_not_taken_over(id: str) -> None:
    client = Client([route("http.request", visit)])
    cookie = f"other=1; session={id}; session".encode()
    status, _, body = client.http("GET", "/", headers=[(b"cookie", cookie)])
    assert (status, body) == (200, b"0")
    assert id not in client.cookies["session"] or not id


def test_a_cookie_says_what_it_was_told_to() -> None:
    @http_session(ttl=60, cookie="sid", path="/shop", domain="example.com", secure=True, same_site="Strict")
    def consume(message: Any) -> None:
        message.http_session["x"] = 1
        message.reply("", headers=[("x-mine", "1")])

    client = Client([route("http.request", consume)])
    headers = client.http("GET", "/")[1]
    assert (b"x-mine", b"1") in headers
    (cookie,) = told(headers)
    assert cookie.endswith("; Path=/shop; Max-Age=60; HttpOnly; SameSite=Strict; Domain=example.com; Secure")


def test_over_tls_it_is_secure(bench: MakeBench) -> None:
    made = bench(route("http.request", visit))
    made.request(scheme="https")
    made.run()
    (answer,) = made.replies()
    assert told(answer["headers"])[0].endswith("; Secure")


@pytest.mark.parametrize("wrong", [{"cookie": "a b"}, {"path": "/;x"}, {"domain": "a;b"}, {"same_site": "lax"}])
def test_what_cannot_stand_in_a_cookie_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        http_session(**wrong)(look())


def test_a_refusal_carries_the_cookie_too() -> None:
    @http_session
    def consume(message: Any) -> None:
        message.http_session["tried"] = 1
        raise DenyConnection()

    client = Client([route("http.request", consume)])
    status, headers, _ = client.http("GET", "/")
    assert status == 404
    assert len(told(headers)) == 1


def test_a_failure_sets_no_cookie() -> None:
    @http_session
    def consume(message: Any) -> None:
        message.http_session["x"] = 1
        raise ValueError("no")

    client = Client([route("http.request", consume)])
    status, headers, _ = client.http("GET", "/")
    assert (status, told(headers)) == (500, [])


def test_a_login_gives_another_id_and_a_logout_none() -> None:
    def act(message: Any) -> None:
        session = message.http_session
        if message["path"] == "/login":
            session["user"] = "ann"
            session.renew_id()
        elif message["path"] == "/logout":
            session.end()
        elif message["path"] == "/switch":
            session.end()
            session["user"] = "bob"
        else:
            session["basket"] = ["apple"]
        message.reply(repr(sorted(session.items())))

    client = Client([route("http.request", http_session(act)), route("websocket.receive", lambda message: None)])
    client.http("GET", "/")
    before = dict(client.cookies)
    assert client.http("GET", "/login")[2] == b"[('basket', ['apple']), ('user', 'ann')]"
    after = dict(client.cookies)
    assert before != after
    stolen = [(b"cookie", f"session={before['session']}".encode())]
    assert client.http("GET", "/", headers=stolen)[2] == b"[('basket', ['apple'])]", "it is a new one"
    client.cookies = dict(after)
    assert client.http("GET", "/switch")[2] == b"[('user', 'bob')]"
    assert client.cookies != after
    (cookie,) = told(client.http("GET", "/logout")[1])
    assert cookie.startswith("session=; Path=/; Max-Age=0;")
    assert client.cookies == {}
    assert told(client.http("GET", "/logout")[1]) == []


def test_a_session_that_is_used_lives_on_with_its_cookie() -> None:
    client = Client([route("http.request", visit, path="^/$"), route("http.request", look(ttl=100), path="^/look$")])
    client.http("GET", "/")
    assert told(client.http("GET", "/look")[1]) == []
    client.advance(60)
    (cookie,) = told(client.http("GET", "/look")[1])
    assert cookie.startswith(f"session={client.cookies['session']}; ")
    assert "Max-Age=100" in cookie


@pytest.mark.parametrize("how", ["stream", "immediately"])
def test_a_response_that_leaves_at_once_carries_the_cookie(how: str) -> None:
    @http_session
    def consume(message: Any) -> None:
        session = message.http_session
        session["early"] = session.get("early", 0) + 1
        if how == "stream":
            message.reply(iter([b"a", b"b"]))
        else:
            message.reply_channel.send({"status": 200, "content": b"ab"}, immediately=True)
        session["late"] = session.get("late", 0) + 1

    client = Client([route("http.request", consume, path="^/$"), route("http.request", look())])
    for times in (1, 2):
        status, headers, body = client.http("GET", "/")
        assert (status, body) == (200, b"ab")
        assert len(told(headers)) == (times == 1)
        assert client.http("GET", "/look")[2] == f"[('early', {times}), ('late', {times})]".encode()


def test_a_new_session_that_comes_too_late_for_its_cookie_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    @http_session
    def consume(message: Any) -> None:
        message.reply(iter([b"a"]))
        message.http_session["late"] = 1

    client = Client([route("http.request", consume)])
    status, headers, body = client.http("GET", "/")
    assert (status, told(headers), body) == (200, [], b"a")
    assert "no response of this consumer tells the client" in caplog.text


def test_a_websocket_has_the_session_of_its_handshake() -> None:
    @http_session
    def enter(message: Any) -> None:
        message.reply(str(message.http_session.get("visits")))

    @http_session
    def receive(message: Any) -> None:
        message.http_session["said"] = message["text"]
        message.reply(str(message.http_session.get("visits")))

    routes = [
        route("http.request", visit, path="^/$"),
        route("http.request", look(), path="^/look$"),
        route("websocket.connect", enter),
        route("websocket.receive", receive),
    ]
    client = Client(routes)
    client.http("GET", "/")
    socket = client.websocket("/")
    socket.send("hello")
    assert [socket.receive(), socket.receive()] == ["1", "1"]
    assert client.http("GET", "/look")[2] == b"[('said', 'hello'), ('visits', 1)]"
    client.cookies.clear()
    stranger = client.websocket("/")
    assert stranger.receive() == "None"
    stranger.send("hello")
    with pytest.raises(Closed, match="1011"):
        stranger.receive()


def test_no_cookie_is_lost_with_an_outage(monkeypatch: pytest.MonkeyPatch, bench: MakeBench) -> None:
    """The layer goes away while the session is written: it is tried again, and the client is told."""
    made = bench(route("http.request", visit))
    tries: list[str] = []
    put = MemoryLayer.put_state

    def once_away(layer: MemoryLayer, key: str, *args: Any, **kwargs: Any) -> int:
        tries.append(key)
        if len(tries) == 1:
            raise LayerUnavailable("away")
        return put(layer, key, *args, **kwargs)

    monkeypatch.setattr(MemoryLayer, "put_state", once_away)
    made.worker.step()
    made.worker._places[0].flusher.outage = lambda left: True
    made.request()
    made.run()
    (answer,) = made.replies()
    assert len(told(answer["headers"])) == 1
    assert len(tries) == 2


def test_threads_that_change_one_session_lose_none_of_each_others_keys() -> None:
    """Four workers at once, forty messages of one connection, each with a key of its own; one worker begins it."""

    @channel_session
    def consume(message: Any) -> None:
        message.channel_session[message["key"]] = True

    with MemoryLayer() as layer:
        for number in range(40):
            layer.send("a", {"reply_channel": "http.reply.test!1", "key": str(number)})
        workers = [Worker(layer, [route("a", consume)], prefetch=1, max_messages=10) for _ in range(4)]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(layer.get_state(KEY)[0]["data"], key=int) == [str(number) for number in range(40)]
        assert sum(worker.stats["failures"] for worker in workers) == 0

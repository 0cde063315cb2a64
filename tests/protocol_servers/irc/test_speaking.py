"""Saying things on a session: lines, limits, order, receipts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.events import Receipt
from trunkline.protocol_servers.irc.message import parse
from trunkline.protocol_servers.irc.speaking import Speaker

EPOCH = 1_700_000_000.0
LABELS = ("batch", "message-tags", "labeled-response", "echo-message")
OURS = len(":bot!~bot@our.host ")


@pytest.fixture
def there(driver: Any) -> Any:
    """We are in #a, on a server that echoes nothing."""
    driver.register()
    driver.enter("#a", "#b")
    return driver


@pytest.fixture
def labelled(driver: Any) -> Any:
    """We are in #a, on a server that answers labels."""
    driver.register(*LABELS)
    driver.enter("#a", "#b")
    return driver


def said(driver: Any, target: str, text: str, **options: Any) -> list[str]:
    driver.session.say(target, text, **options)
    return driver.sent()  # type: ignore[no-any-return]


def relayed(line: str) -> int:
    """Return the bytes of a line as others receive it."""
    command, target, text = line.split(" ", 2)
    return OURS + len(f"{command} {target} :{text.removeprefix(':')}\r\n".encode())


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("message", "PRIVMSG #a :hello there"),
        ("notice", "NOTICE #a :hello there"),
        ("action", "PRIVMSG #a :\x01ACTION hello there\x01"),
    ],
)
def test_kinds(there: Any, kind: str, line: str) -> None:
    assert said(there, "#a", "hello there", kind=kind) == [line]


@pytest.mark.parametrize("kind", ["message", "notice", "action"])
def test_a_line_is_full_to_the_last_byte(make_driver: Callable[..., Any], kind: str) -> None:
    driver = make_driver(burst=10)
    driver.register(isupport="LINELEN=600")
    driver.enter("#a")
    lines = said(driver, "#a", "x" * 1300, kind=kind)
    assert [relayed(line) for line in lines[:2]] == [600, 600]
    assert "".join(
        line.rpartition(":")[2].strip("\x01").removeprefix("ACTION ").rpartition(" ")[2] for line in lines
    ) == ("x" * 1300)


def test_before_the_server_showed_our_mask_the_longest_is_taken(driver: Any) -> None:
    assert driver.session.limit("#a") == 512 - len(":bot!~bot@ PRIVMSG #a :\r\n") - 63
    driver.register()
    assert driver.session.limit("#a") == 512 - len(":bot!~bot@ PRIVMSG #a :\r\n") - 63
    driver.enter("#a")
    assert driver.session.limit("#a") == 512 - len(":bot!~bot@our.host PRIVMSG #a :\r\n")
    driver.receive(f":bot!~bot@{'h' * 500} JOIN #b")
    assert driver.session.limit("#a") == 80


def test_a_server_that_renames_us_all_the_time_holds_nothing_up(
    make_driver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is split again once for all that came together, not for each name."""
    driver = make_driver(burst=1)
    driver.register()
    for number in range(10):
        driver.session.say("#a", f"words {number}")
    fitted: list[bytes] = []

    def fitting(_: Speaker, entry: bytes) -> list[bytes]:
        fitted.append(entry)
        return [entry]

    monkeypatch.setattr(Speaker, "_fitting", fitting)
    driver.receive(*(f":{'bot' if not number else f'b{number}'}!b@h NICK b{number + 1}" for number in range(100)))
    assert driver.session.nick == "b100"
    assert len(fitted) == 9


def test_what_waits_is_split_again_when_our_mask_grows(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=1)
    driver.register()
    driver.enter("#a")
    driver.session.say("#a", "first")
    driver.session.say("#a", "x" * 478, receipt=1)
    driver.session.say("#a", "y " * 234 + "yy", kind="action", receipt=2)
    driver.session.say("#a", "short", receipt=3)
    driver.sent()
    driver.receive(":bot!~bot@our.host NICK Guest123")
    lines = driver.advance(10)
    assert max(map(relayed, lines)) == 512 - len("Guest123") + len("bot")
    assert [line[:25] for line in lines] == [
        "PRIVMSG #a " + "x" * 14, "PRIVMSG #a xxxx", "PRIVMSG #a :\x01ACTION y y y", "PRIVMSG #a :\x01ACTION y yy\x01",
        "PRIVMSG #a short",
    ]  # fmt: skip
    assert [(each.receipt, each.status) for each in driver.only(Receipt)] == [(1, "split"), (2, "split"), (3, "sent")]


@pytest.mark.parametrize("target", ["", "#a,#b", "#a b", ":x", "$*.net", "a\r\nQUIT", "x" * 300])
def test_no_targets(there: Any, target: str) -> None:
    assert said(there, target, "hello", receipt=1) == []
    (receipt,) = there.events()
    assert (receipt.status, "is no room and no person" in receipt.error) == ("failed", True)


@pytest.mark.parametrize("overflow", ["split", "truncate", "multiline"])
def test_nothing_to_say(there: Any, overflow: str) -> None:
    assert said(there, "#a", " \r\n\x01\0\n", receipt=1, overflow=overflow) == []
    assert there.events() == [Receipt(1, "failed", (), "there is nothing to say in it")]


@given(text=st.text(max_size=300), kind=st.sampled_from(["message", "action", "notice"]), data=st.data())
def test_nothing_is_injected(make_driver: Callable[..., Any], text: str, kind: str, data: st.DataObject) -> None:
    driver = make_driver(burst=500)
    driver.register()
    driver.enter("#a")
    overflow = data.draw(st.sampled_from(["split", "truncate", "multiline"]))
    driver.session.say("#a", text, kind=kind, overflow=overflow)
    data_sent = driver.session.data_to_send()
    assert data_sent.count(b"\r") == data_sent.count(b"\n") == data_sent.count(b"\r\n")
    for line in data_sent.split(b"\r\n")[:-1]:
        assert len(line) + 2 <= 512
        message = parse(line)
        assert message is not None
        assert message.command == ("NOTICE" if kind == "notice" else "PRIVMSG")
        assert (message.params[0], len(message.params)) == ("#a", 2)
        assert message.params[1].startswith("\x01ACTION ") or "\x01" not in message.params[1]


def test_truncates(there: Any) -> None:
    (line,) = said(there, "#a", "word " * 200, overflow="truncate")
    assert line.endswith("word…")
    assert OURS + len(line.encode()) + 2 <= 512


def test_a_text_has_a_most_of_lines(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=20, max_lines=3)
    driver.register()
    driver.enter("#a")
    lines = said(driver, "#a", "\n".join("abcdef"), receipt=1)
    assert lines == ["PRIVMSG #a a", "PRIVMSG #a b", "PRIVMSG #a :c d"]
    assert driver.events() == [Receipt(1, "split", (), "cut after 3 lines")]
    assert len(said(driver, "#a", "x" * 1_000_000)) == 3


def test_what_is_said_before_we_are_there_waits(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",))
    assert said(driver, "#a", "one", receipt=1) == []
    assert said(driver, "joe", "two") == []
    assert driver.register() == ["JOIN #a", "PRIVMSG joe two"]
    assert driver.advance(5) == []
    assert driver.receive(":bot!b@h JOIN #a") == ["PRIVMSG #a one"]
    assert driver.only(Receipt) == [Receipt(1, "sent")]


def test_what_is_said_to_a_room_that_refuses_us_fails(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",))
    driver.session.say("#a", "one", receipt=1)
    driver.register()
    driver.receive(":srv 474 bot #a :Cannot join (+b)")
    assert driver.only(Receipt) == [Receipt(1, "failed", (), "we cannot come into #a: Cannot join (+b)")]


def test_what_expires_is_dropped(driver: Any) -> None:
    now = EPOCH + driver.now
    driver.session.say("#a", "one", expires=now + 10, receipt=1)
    driver.session.say("#a", "two", expires=now + 1000, receipt=2)
    driver.advance(9)
    assert driver.events() == []
    driver.advance(2.1)
    assert driver.events() == [Receipt(1, "dropped", (), "it expired before it was said")]
    assert driver.register() == ["PRIVMSG #a two"]
    assert driver.session.deadline == driver.session._alive.deadline


def test_what_expires_on_the_way_says_how_far_it_came(there: Any) -> None:
    there.session.say("#a", "\n".join("abcdefgh"), expires=EPOCH + there.now + 2.5, receipt=1)
    assert there.sent() == [f"PRIVMSG #a {each}" for each in "abcd"]
    assert there.advance(10) == ["PRIVMSG #a e", "PRIVMSG #a f"]
    assert there.events() == [Receipt(1, "dropped", (), "it expired before it was said (after 6 of 8 lines)")]


def test_too_much_is_dropped_and_counted(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(max_waiting=4, burst=1)
    driver.register()
    for number in range(7):
        driver.session.say("#a", str(number), receipt=number)
    dropped = [each for each in driver.only(Receipt) if each.status == "dropped"]
    assert [each.receipt for each in dropped] == [5, 6]
    assert dropped[0].retry_after == pytest.approx(4.0)
    assert driver.session.stats["said_dropped"] == 2


def test_labels_are_answered(labelled: Any) -> None:
    assert said(labelled, "#a", "one", receipt=1) == ["@label=t1 PRIVMSG #a one"]
    assert said(labelled, "#a", "two\nthree", receipt=2) == ["@label=t2 PRIVMSG #a two", "@label=t3 PRIVMSG #a three"]
    assert labelled.events() == []
    labelled.receive(
        "@label=t2;msgid=m2 :bot!~bot@our.host PRIVMSG #a :two", "@label=t9 :bot!~bot@our.host PRIVMSG #a :x"
    )
    assert labelled.events() == []
    labelled.receive("@label=t3;msgid=m3 :bot!~bot@our.host PRIVMSG #a :three", "@label=t1 :srv ACK")
    assert labelled.events() == [Receipt(2, "split", ("m2", "m3")), Receipt(1, "sent")]


def test_labelled_refusals(labelled: Any) -> None:
    labelled.session.say("#a", "one\ntwo", receipt=1)
    labelled.session.say("joe", "x", receipt=2)
    labelled.receive("@label=t1 :srv 404 bot #a :Cannot send to channel", "@label=t2;msgid=m2 :bot!b@h PRIVMSG #a :two")
    labelled.receive(
        "@label=t3 :srv BATCH +1 labeled-response", "@batch=1 :srv 401 bot joe :No such nick", ":srv BATCH -1"
    )
    one, two = labelled.events()
    assert one == Receipt(1, "failed", ("m2",), "404 cannotsendtochan: Cannot send to channel")
    assert two == Receipt(2, "failed", (), "401 nosuchnick: No such nick")


def test_echoes_without_labels_come_in_order(driver: Any) -> None:
    driver.register("echo-message")
    driver.enter("#a", "#b")
    assert said(driver, "#A", "one", receipt=1) == ["PRIVMSG #A one"]
    driver.session.say("#b", "two", receipt=2)
    driver.session.say("#a", "three", receipt=3)
    driver.receive(
        ":bot!b@h PRIVMSG #b :two", "@msgid=x :bot!b@h PRIVMSG #a :one", ":srv 404 bot #a :No", ":srv 404 bot #a :No"
    )
    assert driver.events() == [
        Receipt(2, "sent"), Receipt(1, "sent", ("x",)), Receipt(3, "failed", (), "404 cannotsendtochan: No"),
    ]  # fmt: skip
    driver.receive(":bot!b@h PRIVMSG #a :from elsewhere")
    assert driver.events() == []


def test_no_answer_is_not_waited_for(labelled: Any) -> None:
    labelled.session.say("#a", "one", receipt=1)
    labelled.advance(29)
    assert labelled.events() == []
    labelled.advance(1.1)
    assert labelled.events() == [Receipt(1, "failed", (), "the server did not confirm it within 30 s")]


def test_a_lost_connection_fails_what_was_not_confirmed_and_keeps_the_rest(labelled: Any) -> None:
    labelled.session.say("#a", "\n".join("abcdef"), receipt=1)
    labelled.session.say("#a", "more", receipt=2)
    labelled.sent()
    labelled.session.connection_lost("reset")
    assert labelled.only(Receipt) == []
    assert labelled.register() == ["PRIVMSG #a e", "PRIVMSG #a f", "PRIVMSG #a more"]


def test_the_receipt_of_what_was_cut_off_by_a_lost_connection(labelled: Any) -> None:
    labelled.session.say("#a", "a", receipt=1)
    labelled.session.connection_lost("reset")
    (receipt,) = labelled.only(Receipt)
    assert (receipt.status, "connection was lost" in receipt.error) == ("failed", True)


def test_more_unconfirmed_lines_than_can_be_are_taken_as_said(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=2000, max_waiting=2000)
    driver.register("echo-message")
    for number in range(1001):
        driver.session.say("joe", str(number), receipt=number)
    assert driver.only(Receipt) == [Receipt(0, "sent")]


MULTILINE = ("batch", "message-tags", "draft/multiline=max-bytes=1000,max-lines=4")


def test_one_message_of_several_lines(driver: Any) -> None:
    driver.register(*MULTILINE, "labeled-response")
    driver.enter("#a")
    text = "first\n\n" + "x" * 470 + " yyyyyyyyyy"
    assert said(driver, "#a", text, overflow="multiline", receipt=1) == [
        "@label=t2 BATCH +m1 draft/multiline #a",
        "@batch=m1 PRIVMSG #a first",
        "@batch=m1 PRIVMSG #a :",
        "@batch=m1 PRIVMSG #a :" + "x" * 470 + " ",
        "@batch=m1;draft/multiline-concat PRIVMSG #a yyyyyyyyyy",
        "BATCH -m1",
    ]
    driver.receive(
        "@label=t2;msgid=m :bot!b@h BATCH +q draft/multiline #a", "@batch=q :bot!b@h PRIVMSG #a :x", ":srv BATCH -q"
    )
    assert driver.events() == [Receipt(1, "sent", ("m",))]
    assert said(driver, "#a", "short", overflow="multiline") == []
    assert driver.advance(10) == ["@label=t3 PRIVMSG #a short"]


def test_several_batches_where_one_is_not_enough(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=100)
    driver.register(*MULTILINE)
    lines = said(driver, "#a", "\n".join("abcdefgh") + "\n" + "y" * 1500, overflow="multiline")
    batches = " ".join(lines).split("BATCH +")
    assert [batch.count("PRIVMSG") for batch in batches] == [0, 4, 4, 2, 2]
    assert said(driver, "#a", "a\nb", overflow="multiline", kind="notice") == ["NOTICE #a a", "NOTICE #a b"]


def test_a_batch_is_plain_lines_on_the_next_server(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(burst=100)
    driver.register(*MULTILINE)
    driver.session.connection_lost("x")
    driver.session._speaker.connected(driver.session._link)
    driver.session.say("#a", "a\n\nb", overflow="multiline")
    assert driver.register() == ["PRIVMSG #a a", "PRIVMSG #a b"]


@pytest.mark.parametrize("value", ["", "=", "=max-bytes=x,max-lines=-1", "=max-bytes=99999999999"])
def test_limits_that_make_no_sense(make_driver: Callable[..., Any], value: str) -> None:
    driver = make_driver(burst=100)
    driver.register("batch", "message-tags", "draft/multiline" + value)
    assert len(said(driver, "#a", "\n".join("x" * 30), overflow="multiline")) == 30 + 4

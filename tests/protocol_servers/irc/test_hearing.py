"""What is said to us: who, where, when, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.irc.batches import MAX_BYTES, MAX_LINES, MAX_OPEN
from trunkline.protocol_servers.irc.events import Heard, Person
from trunkline.protocol_servers.irc.history import History, Mark
from trunkline.protocol_servers.irc.isupport import ISupport

EPOCH = 1_700_000_000.0
HISTORY = ("batch", "message-tags", "server-time", "draft/chathistory")
JOE = Person("joe", "j", "h")


@pytest.fixture
def there(driver: Any) -> Any:
    """We are in #a."""
    driver.register(isupport="STATUSMSG=@+")
    driver.enter("#a")
    return driver


def texts(driver: Any) -> list[str]:
    return [each.text for each in driver.only(Heard)]


@pytest.mark.parametrize(
    ("line", "target", "text", "kind", "direct"),
    [
        ("PRIVMSG #a :hello", "#a", "hello", "message", False),
        ("privmsg #A :hello", "#A", "hello", "message", False),
        ("NOTICE #a hello", "#a", "hello", "notice", False),
        ("PRIVMSG @#a :ops", "#a", "ops", "message", False),
        ("PRIVMSG bot :psst", "bot", "psst", "message", True),
        ("PRIVMSG #a :\x01ACTION waves\x01", "#a", "waves", "action", False),
        ("PRIVMSG #a :\x01ACTION waves", "#a", "waves", "action", False),
        ("PRIVMSG #a :", "#a", "", "message", False),
    ],
)
def test_hears(there: Any, line: str, target: str, text: str, kind: str, direct: bool) -> None:
    assert there.receive(f":joe!j@h {line}") == []
    (heard,) = there.events()
    assert heard == Heard(JOE, target, text, kind, direct, "token-1", EPOCH + there.now)  # type: ignore[arg-type]


def test_what_is_not_heard(there: Any) -> None:
    there.receive(
        ":irc.server NOTICE bot :*** Looking up", "PRIVMSG bot :from nobody", ":joe!j@h PRIVMSG bot",
        ":joe!j@h NOTICE bot :\x01VERSION x\x01", ":joe!j@h PRIVMSG #a :\x01VERSION\x01",
        ":bot!~bot@our.host PRIVMSG #a :own",
        ":joe!j@h TAGMSG #a", ":joe!j@h NOTICE bot :\x01ACTION x\x01",
    )  # fmt: skip
    assert there.events() == []


def test_ctcp_requests_are_answered_to_persons_only(there: Any) -> None:
    assert there.receive(":joe!j@h PRIVMSG bot :\x01VERSION\x01") == ["NOTICE joe :\x01VERSION Trunkline\x01"]
    assert there.receive(":joe!j@h PRIVMSG bot :\x01PING 12 34\x01") == ["NOTICE joe :\x01PING 12 34\x01"]
    assert there.receive(":joe!j@h PRIVMSG bot :\x01TIME\x01") == ["NOTICE joe :\x01TIME 2023-11-14T22:30:00Z\x01"]
    assert there.receive(":joe!j@h PRIVMSG bot :\x01TIME\x01") == []
    assert there.receive(":a,b!j@h PRIVMSG bot :\x01TIME\x01") == []
    assert there.session.stats["ctcp_unanswered"] == 2
    assert there.events() == []


def test_who_is_ignored(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(ignore=("*!*@SPAM.example", "evil?!*@*"))
    driver.register()
    driver.receive(":x!y@spam.example PRIVMSG bot :buy", ":evil1!a@b PRIVMSG bot :x", ":evil!a@b PRIVMSG bot :y")
    assert texts(driver) == ["y"]
    assert driver.session.stats["ignored"] == 2


@pytest.mark.parametrize(
    ("caps", "tags", "account"),
    [
        (("message-tags", "account-tag"), "@account=joes ", "joes"),
        (("message-tags", "account-tag"), "", None),
        (("message-tags", "account-tag"), "@account=a!b@c ", None),
        (("message-tags",), "@account=forged ", None),
        (("extended-join", "account-notify"), "", "joined-as"),
        (("extended-join",), "", None),
    ],
)
def test_accounts(driver: Any, caps: tuple[str, ...], tags: str, account: str | None) -> None:
    """Only what the server keeps up to date counts."""
    driver.register(*caps)
    driver.enter("#a")
    driver.receive(":joe!j@h JOIN #a joined-as :Joe", f"{tags}:joe!j@h PRIVMSG #a :x")
    (heard,) = driver.only(Heard)
    assert heard.person.account == account
    assert heard.person.id == (account or "joe!j@h")


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2024-02-29T12:00:00.500Z", 1709208000.5),
        ("2024-02-29T12:00:00Z", 1709208000.0),
        ("2023-02-31T12:00:00.000Z", None),
        ("0000-00-00T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(driver: Any, time: str, expected: float | None) -> None:
    driver.register("server-time")
    driver.receive(f"@time={time} :joe!j@h PRIVMSG bot :x")
    (heard,) = driver.only(Heard)
    assert heard.time == (EPOCH + driver.now if expected is None else expected)


def test_ids(driver: Any) -> None:
    driver.register("message-tags", "server-time")
    stamp = "time=2024-02-29T12:00:00.500Z"
    driver.receive(
        "@msgid=one :joe!j@h PRIVMSG bot :x", "@msgid=one :joe!j@h PRIVMSG bot :x", f"@{stamp} :joe!j@h PRIVMSG bot :y",
        f"@{stamp} :joe!j@h PRIVMSG bot :y", ":joe!j@h PRIVMSG bot :z", f"@msgid={'i' * 999} :joe!j@h PRIVMSG bot :w",
    )  # fmt: skip
    heard = driver.only(Heard)
    assert [each.text for each in heard] == ["x", "y", "y", "z", "w"]
    assert [len(each.id) for each in heard] == [3, 32, 32, 7, 7]
    assert driver.session.stats["heard_before"] == 1


def test_tags_that_would_break_a_line_count_as_none(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",), burst=100)
    driver.register(*HISTORY, "account-tag")
    driver.enter("#a")
    driver.receive("@msgid=a\\sb;account=c\\nd :joe!j@h PRIVMSG #a :x", "@msgid=a\\nb :joe!j@h PRIVMSG #a :x")
    assert [(each.id, each.person.id) for each in driver.only(Heard)] == [
        ("token-1", "joe!j@h"),
        ("token-2", "joe!j@h"),
    ]
    driver.session.connection_lost("x")
    driver.register(*HISTORY)
    (line,) = driver.receive(":bot!b@h JOIN #a")
    assert line.startswith("CHATHISTORY AFTER #a timestamp=")


def test_a_message_of_several_lines(driver: Any) -> None:
    driver.register("batch", "message-tags", "draft/multiline=max-bytes=1000")
    driver.receive(
        "@msgid=m :joe!j@h BATCH +1 draft/multiline #a", "@batch=1 :joe!j@h PRIVMSG #a :one",
        "@batch=1 :joe!j@h PRIVMSG #a :two ", "@batch=1;draft/multiline-concat :joe!j@h PRIVMSG #a :words",
        ":srv BATCH -1", ":srv BATCH +2 draft/multiline #a", "@batch=2 :joe!j@h PRIVMSG #a", ":srv BATCH -2",
        ":srv BATCH -3", ":srv BATCH",
    )  # fmt: skip
    (heard,) = driver.only(Heard)
    assert (heard.text, heard.id) == ("one\ntwo words", "m")


def test_tags_of_lines_that_wait_are_not_kept(driver: Any) -> None:
    driver.register("batch", "message-tags", "draft/multiline=max-bytes=1000")
    line = "@batch=0;" + ";".join(map(str, range(1000))) + " :joe!j@h PRIVMSG #a :x"
    driver.receive(":srv BATCH +0 draft/multiline #a", *[line] * 3)
    _, *others = driver.session._listener.batches._open["0"].held
    assert [(dict(each.tags), each.source.mask) for each in others] == [({}, "")] * 2


def test_batches_are_bounded(driver: Any) -> None:
    driver.register("batch", "message-tags", "draft/multiline=max-bytes=1000")
    driver.receive(":srv BATCH +0 draft/multiline #a")
    driver.receive(*["@batch=0 :joe!j@h PRIVMSG #a :x"] * (MAX_LINES + 10), ":srv BATCH -0")
    assert len(texts(driver)[0].split("\n")) == MAX_LINES
    driver.receive(":srv BATCH +0 draft/multiline #a")
    driver.receive(*["@batch=0 :joe!j@h PRIVMSG #a :" + "x" * 8000] * 10, ":srv BATCH -0")
    assert len(texts(driver)[0]) < MAX_BYTES
    driver.receive(":srv BATCH +0 netjoin")
    driver.receive(*(f"@batch={number} :srv BATCH +{number + 1} netjoin" for number in range(1000)))
    batches = driver.session._listener.batches
    assert len(batches._open) == MAX_OPEN
    assert driver.session.stats["batches_over_limit"] == 10 + 2 + 1001 - MAX_OPEN
    driver.receive("@batch=1000 :joe!j@h PRIVMSG #a :still heard")
    assert texts(driver) == ["still heard"]


# History


def batch(reference: str, target: str, *lines: str, kind: str = "chathistory") -> list[str]:
    """Make what a server answers to CHATHISTORY."""
    tagged = ("@batch=" + reference + (";" + line[1:] if line.startswith("@") else " " + line) for line in lines)
    return [f":srv BATCH +{reference} {kind} {target}", *tagged, f":srv BATCH -{reference}"]


def line(number: int, who: str = "joe!j@h", target: str = "#a") -> str:
    """Make the message of one second."""
    return f"@msgid=m{number};time=2024-01-01T00:00:{number:02d}.000Z :{who} PRIVMSG {target} :{number}"


def stamp(number: int) -> float:
    return 1704067200.0 + number


def test_a_gap_is_filled_once(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",), burst=100)
    assert driver.register(*HISTORY, isupport="CHATHISTORY=3") == ["JOIN #a"]
    assert driver.receive(":bot!b@h JOIN #a") == []
    driver.receive(line(1), line(2))
    assert texts(driver) == ["1", "2"]
    driver.session.connection_lost("reset")
    assert driver.register(*HISTORY, isupport="CHATHISTORY=3")[0] == "JOIN #a"
    assert driver.receive(":bot!b@h JOIN #a") == ["CHATHISTORY AFTER #a msgid=m2 3"]
    driver.receive(line(7))
    assert [(each.text, each.replayed) for each in driver.only(Heard)] == [("7", False)]
    own = line(5, "bot!b@h")
    assert driver.receive(*batch("x", "#a", line(3), line(4), own)) == ["CHATHISTORY AFTER #a msgid=m5 3"]
    assert [(each.text, each.replayed) for each in driver.only(Heard)] == [("3", True), ("4", True)]
    assert driver.session.marks()["#a"] == Mark(stamp(5), "m5")
    assert driver.receive(*batch("y", "#a", line(6), line(7))) == []
    assert [(each.text, each.replayed) for each in driver.only(Heard)] == [("6", True)]
    assert driver.session.marks()["#a"] == Mark(stamp(7), "m7")
    driver.receive(line(8))
    assert driver.session.marks()["#a"] == Mark(stamp(8), "m8")


@pytest.mark.parametrize(("caps", "account"), [((), None), (("account-tag",), "mallory")])
def test_who_had_the_nick_then_is_not_who_has_it_now(
    make_driver: Callable[..., Any], caps: tuple[str, ...], account: str | None
) -> None:
    driver = make_driver(join=("#a",))
    driver.register(*HISTORY, "extended-join", "account-notify", *caps)
    driver.enter("#a")
    driver.receive(":joe!j@h JOIN #a joes-account :Joe")
    said = line(1).replace("@", "@account=mallory;", 1)
    driver.receive(*batch("x", "#a", said))
    (heard,) = driver.only(Heard)
    assert (heard.replayed, heard.person.account) == (True, account)


def test_the_next_process_goes_on(make_driver: Callable[..., Any]) -> None:
    marks = {"#a": Mark(stamp(2), "m2"), "joe": Mark(stamp(1), "m1")}
    driver = make_driver(join=("#a",), burst=100, marks=marks)
    assert driver.register(*HISTORY, isupport="CHATHISTORY=0 MSGREFTYPES=timestamp") == [
        "JOIN #a",
        "CHATHISTORY TARGETS timestamp=2024-01-01T00:00:02.000Z timestamp=2023-11-14T22:30:00.000Z 50",
    ]
    assert driver.receive(":bot!b@h JOIN #a") == ["CHATHISTORY AFTER #a timestamp=2024-01-01T00:00:02.000Z 100"]
    driver.receive(*batch("x", "#a", line(2), line(3)))
    assert texts(driver) == ["3"]
    targets = [f":srv CHATHISTORY TARGETS {who} 2024-01-01T00:00:09.000Z" for who in ("#a", "joe", "new", "bot", "a,b")]
    assert driver.receive(*batch("t", "", *targets, kind="draft/chathistory-targets"), ":srv CHATHISTORY") == [
        "CHATHISTORY AFTER joe timestamp=2024-01-01T00:00:01.000Z 100",
        "CHATHISTORY AFTER new timestamp=2024-01-01T00:00:02.000Z 100",
    ]
    driver.receive(*batch("x", "new", line(4, "new!n@h", "bot"), line(5, "bot!b@h", "new")))
    (heard,) = driver.only(Heard)
    assert (heard.text, heard.direct, heard.replayed, heard.person.nick) == ("4", True, True, "new")
    assert driver.session.marks()["new"] == Mark(stamp(5), "m5")


def test_a_server_that_takes_no_ids_is_asked_by_time(make_driver: Callable[..., Any]) -> None:
    driver = make_driver(join=("#a",), burst=100, marks={"#a": Mark(stamp(2), "m2")})
    driver.register(*HISTORY)
    driver.receive(":bot!b@h JOIN #a")
    fail = ":srv FAIL CHATHISTORY INVALID_MSGREFTYPE AFTER #a :No"
    assert driver.receive(fail) == ["CHATHISTORY AFTER #a timestamp=2024-01-01T00:00:02.000Z 100"]
    assert driver.receive(fail) == []
    assert driver.receive(fail) == []
    driver.receive(line(3))
    assert driver.session.marks()["#a"] == Mark(stamp(3), "m3")


def test_a_page_that_never_comes_holds_nothing_up() -> None:
    now = [0.0]
    history = History(lambda: now[0], {"#a": Mark(1, "m1")})
    isupport = ISupport()
    assert len(history.ask("#a", "#a", isupport)) == 1
    assert history.ask("#a", "#a", isupport) == []
    history.heard("#a", Mark(5, "m5"), replayed=False)
    assert history.marks()["#a"].id == "m1"
    now[0] = 61
    history.heard("#a", Mark(6, "m6"), replayed=False)
    assert history.marks()["#a"].id == "m6"
    assert history.page_ended("#b", isupport) == []
    assert history.ask("#b", "#b", isupport) == []
    assert history.ask_targets(0) == []
    assert history.target("joe", "joe", isupport) == []


def test_an_endless_history_ends() -> None:
    history = History(lambda: 0.0, {"#a": Mark(1, "m1")})
    isupport = ISupport()
    isupport.load(["CHATHISTORY=1"])
    asked = history.ask("#a", "#a", isupport)
    while asked:
        history.replayed("#a")
        pages = asked
        asked = history.page_ended("#a", isupport)
    assert pages == [b"CHATHISTORY AFTER #a msgid=m1 1\r\n"]


def test_marks_and_ids_are_bounded() -> None:
    history = History(lambda: 0.0)
    for number in range(10_000):
        history.heard(f"nick{number}", Mark(1, ""), replayed=False)
        assert history.is_new(f"id{number}")
    assert len(history.marks()) == 2000
    assert len(history._seen) == 5000
    assert not history.is_new("id9999")

"""ISUPPORT, names, modes, numerics, CTCP and formatting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.ctcp import Ctcp, CtcpReplies, make_ctcp, parse_ctcp
from trunkline.protocol_servers.irc.formatting import Formatting, plain
from trunkline.protocol_servers.irc.isupport import ISupport
from trunkline.protocol_servers.irc.modes import ModeChange, parse_modes
from trunkline.protocol_servers.irc.names import folding, is_target
from trunkline.protocol_servers.irc.numerics import numeric_name


def loaded(*tokens: str) -> ISupport:
    isupport = ISupport()
    isupport.load(tokens)
    return isupport


@pytest.mark.parametrize(
    ("casemapping", "one", "other", "same"),
    [
        ("rfc1459", "[A]\\^", "{a}|~", True),
        ("rfc1459-strict", "[A]\\", "{a}|", True),
        ("rfc1459-strict", "^", "~", False),
        ("ascii", "A", "a", True),
        ("ascii", "[", "{", False),
        ("ASCII", "Ä", "ä", False),
        ("rfc1459", "Ä", "ä", False),
        ("rfc7613", "Ä", "ä", True),
        ("nonsense", "[", "{", True),
    ],
)
def test_casemappings(casemapping: str, one: str, other: str, same: bool) -> None:
    fold = folding(casemapping)
    assert (fold(one) == fold(other)) is same


@pytest.mark.parametrize("name", ["", ":x", "a b", "a,b", "$*", "a\r", "a\n", "a\0", "a\a", "x" * 257])
def test_no_targets(name: str) -> None:
    assert not is_target(name)


def test_features_are_read() -> None:
    isupport = loaded(
        "CASEMAPPING=ascii", "PREFIX=(qaohv)~&@%+", "CHANMODES=beI,k,l,imnpst", "CHANTYPES=#", "STATUSMSG=@+",
        "NICKLEN=30", "TOPICLEN=390", "LINELEN=1024", "CHATHISTORY=50", "MSGREFTYPES=timestamp",
    )  # fmt: skip
    assert isupport.fold("[A]") == "[a]"
    assert isupport.prefixes == {"~": "q", "&": "a", "@": "o", "%": "h", "+": "v"}
    assert isupport.list_modes == frozenset("beI")
    assert (isupport.setting_modes, isupport.set_modes) == (frozenset("k"), frozenset("l"))
    assert (isupport.nick_length, isupport.topic_length, isupport.line_length) == (30, 390, 1024)
    assert (isupport.history, isupport.history_by_id) == (50, False)
    assert isupport.is_room("#x")
    assert not isupport.is_room("&x")
    assert not isupport.is_room("")
    assert isupport.room_of("@#dev") == "#dev"
    assert isupport.room_of("@nick") == "@nick"
    assert ISupport().room_of("@#dev") == "@#dev"


def test_features_are_taken_back() -> None:
    isupport = loaded("NICKLEN=30", "PREFIX=(o)@", "CASEMAPPING=ascii", "CHATHISTORY=1")
    isupport.load(["-NICKLEN", "-PREFIX", "-CASEMAPPING", "-CHATHISTORY", "-NOTHING"])
    assert (isupport.nick_length, isupport.prefixes, isupport.history) == (None, {"@": "o", "+": "v"}, None)
    assert isupport.fold("[") == "{"


def test_values_are_unescaped() -> None:
    assert loaded(r"STATUSMSG=\x40\x2B").status_prefixes == "@+"


@pytest.mark.parametrize(
    "token",
    ["", "=", "PREFIX=x", "PREFIX=(ov)@", "CHANMODES=b", "LINELEN=", "LINELEN=x", "LINELEN=0", "LOAD=1", "fold=1"],
)
def test_nonsense_changes_nothing(token: str) -> None:
    isupport, untouched = loaded(token), ISupport()
    for name in ("prefixes", "list_modes", "line_length", "room_types"):
        assert getattr(isupport, name) == getattr(untouched, name)


def test_numbers_have_bounds() -> None:
    isupport = loaded("LINELEN=99999", "NICKLEN=99999999999", "CHATHISTORY=999999")
    assert (isupport.line_length, isupport.nick_length, isupport.history) == (8192, None, 1000)
    assert loaded("PREFIX=").prefixes == {}


@given(st.lists(st.text(max_size=60)))
def test_no_tokens_raise(tokens: list[str]) -> None:
    isupport = loaded(*tokens, *(f"{key}={each}" for key in ("PREFIX", "CHANMODES", "LINELEN") for each in tokens))
    assert 512 <= isupport.line_length <= 8192


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ([], []),
        (["+o-v", "a", "b"], [(True, "o", "a"), (False, "v", "b")]),
        (["-l+o", "a"], [(False, "l", None), (True, "o", "a")]),
        (["+lk", "5", "key"], [(True, "l", "5"), (True, "k", "key")]),
        (["+nbt", "*!*@x"], [(True, "n", None), (True, "b", "*!*@x"), (True, "t", None)]),
        (["o"], [(True, "o", None)]),
    ],
)
def test_modes(params: list[str], expected: list[ModeChange]) -> None:
    assert parse_modes(params, ISupport()) == expected


def test_numerics_have_names() -> None:
    assert [numeric_name(each) for each in ("433", "005", "396", "999")] == [
        "nicknameinuse", "isupport", "visiblehost", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", None),
        ("", None),
        ("\x01", None),
        ("\x01\x01", None),
        ("\x01ACTION waves\x01", ("ACTION", "waves")),
        ("\x01action waves", ("ACTION", "waves")),
        ("\x01VERSION\x01", ("VERSION", "")),
        ("\x01PING 1 2\x01 rest", ("PING", "1 2")),
    ],
)
def test_ctcp(text: str, expected: Ctcp | None) -> None:
    assert parse_ctcp(text) == expected


def test_ctcp_answers_are_rationed() -> None:
    now = [0.0]
    replies = CtcpReplies(lambda: now[0], lambda: 86400.0, "Trunkline 1")
    assert replies.answer(Ctcp("VERSION", "")) == "\x01VERSION Trunkline 1\x01"
    assert replies.answer(Ctcp("PING", "x\x01y" + "z" * 100)) == "\x01PING xy" + "z" * 61 + "\x01"
    assert replies.answer(Ctcp("FINGER", "")) is None
    assert replies.answer(Ctcp("TIME", "")) == "\x01TIME 1970-01-02T00:00:00Z\x01"
    assert replies.answer(Ctcp("TIME", "")) is None
    now[0] = 4.9
    assert replies.answer(Ctcp("TIME", "")) is None
    now[0] = 10.0
    assert replies.answer(Ctcp("CLIENTINFO", "")) == make_ctcp("CLIENTINFO", "ACTION CLIENTINFO PING TIME VERSION")
    assert make_ctcp("PING") == "\x01PING\x01"


@pytest.mark.parametrize(
    ("codes", "opening"),
    [
        ([], ""),
        (["\x02"], "\x02"),
        (["\x02", "\x1d", "\x02"], "\x1d"),
        (["\x02", "\x0f"], ""),
        (["\x034"], "\x0304\x02\x02"),
        (["\x034,5"], "\x0304,05"),
        (["\x034,5", "\x0312"], "\x0312,05"),
        (["\x034,5", "\x03"], ""),
        (["\x02", "\x034", "\x03"], "\x02"),
        (["\x04ff0000"], "\x04ff0000\x02\x02"),
        (["\x034,5", "\x04ff0000"], "\x04ff0000\x02\x02"),
        (["\x04ff0000,00ff00", "\x0401abcd"], "\x0401abcd,00ff00"),
    ],
)
def test_formatting_is_carried(codes: list[str], opening: str) -> None:
    formatting = Formatting()
    for code in codes:
        formatting = formatting.after(code)
    assert formatting.opening() == opening


def test_formatting_is_taken_out() -> None:
    assert plain("\x02b\x02 \x0304,12c\x03 \x04ff0000h\x04 \x1di\x1eu\x1f\x11m\x16r\x0f1") == "b c h iumr1"

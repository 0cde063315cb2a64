"""Every malformed, old, replayed or foreign request is refused, and none raises."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.operations.secret import Secret
from trunkline.protocol_servers.http_core.hooks import HookRequest
from trunkline.protocol_servers.slack import signature as signature_module
from trunkline.protocol_servers.slack.signature import Signatures

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_700_000_000.0
BODY = b'{"type": "event_callback"}'


def sign(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256)
    return f"v0={digest.hexdigest()}"


def request(body: bytes = BODY, *headers: tuple[bytes, bytes]) -> HookRequest:
    return HookRequest("POST", "/slack/events", b"", list(headers), body, None)


def signed(body: bytes = BODY, at: float = NOW, secret: str = SECRET, *more: tuple[bytes, bytes]) -> HookRequest:
    timestamp = str(int(at))
    return request(
        body,
        (b"x-slack-request-timestamp", timestamp.encode()),
        (b"x-slack-signature", sign(body, timestamp, secret).encode()),
        *more,
    )


def at(wall: float = NOW, secret: str = SECRET) -> Signatures:
    return Signatures(Secret(secret), wall=lambda: wall)


def test_what_slack_signed_is_taken() -> None:
    # The example of https://docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    example = request(
        body,
        (b"x-slack-request-timestamp", b"1531420618"),
        (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    )
    assert at(1531420618.0).refusal(example) is None
    assert at().refusal(signed()) is None


@pytest.mark.parametrize("seconds", [-299, -1, 0, 1, 299])
def test_it_is_good_for_five_minutes(seconds: int) -> None:
    assert at(NOW + seconds).refusal(signed()) is None


@pytest.mark.parametrize("seconds", [-(10**9), -302, 302, 10**9])
def test_it_is_no_good_any_more(seconds: int) -> None:
    refusal = at(NOW + seconds).refusal(signed())
    assert refusal is not None
    assert refusal.status == 401


def _with(timestamp: bytes, signature: bytes, *more: tuple[bytes, bytes], body: bytes = BODY) -> HookRequest:
    return request(body, (b"x-slack-request-timestamp", timestamp), (b"x-slack-signature", signature), *more)


GOOD = sign(BODY, str(int(NOW))).encode()
STAMP = str(int(NOW)).encode()


@pytest.mark.parametrize(
    ("which", "status"),
    [
        (request(), 401),
        (request(BODY, (b"x-slack-signature", GOOD)), 401),
        (request(BODY, (b"x-slack-request-timestamp", STAMP)), 401),
        (_with(STAMP, GOOD[:-1] + (b"0" if GOOD[-1:] != b"0" else b"1")), 401),
        (_with(STAMP, GOOD, body=BODY + b" "), 401),
        (signed(secret="somebody else's"), 401),
        (_with(b"", GOOD), 400),
        (_with(b"soon", GOOD), 400),
        (_with(b"-1", GOOD), 400),
        (_with(b"1_700", GOOD), 400),
        (_with("\u0661".encode() * 10, GOOD), 400),
        (_with(b"9" * 5000, GOOD), 400),
        (_with(STAMP, b""), 400),
        (_with(STAMP, b"v0="), 400),
        (_with(STAMP, GOOD.upper()), 400),
        (_with(STAMP, b"v1" + GOOD[2:]), 400),
        (_with(STAMP, b"v0=" + "\u00e9".encode("latin-1") * 64), 400),
        (_with(STAMP, GOOD + b"\n"), 400),
        (_with(STAMP, GOOD, (b"x-slack-signature", GOOD)), 400),
        (_with(STAMP, GOOD, (b"x-slack-request-timestamp", STAMP)), 400),
        (_with(STAMP, sign(b"\xff", STAMP.decode()).encode(), body=b"\xff"), 400),
    ],
)
def test_what_slack_did_not_sign_is_refused(which: HookRequest, status: int) -> None:
    refusal = at().refusal(which)
    assert refusal is not None
    assert refusal.status == status


def test_what_was_acknowledged_cannot_be_sent_again() -> None:
    signatures = at()
    one = signed()
    assert signatures.refusal(one) is None
    assert signatures.refusal(one) is None  # it was not acknowledged: Slack tries again, perhaps in the same second
    signatures.acknowledged(one)
    refusal = signatures.refusal(one)
    assert refusal is not None
    assert refusal.status == 401
    assert signatures.refusal(signed(b"{}")) is None
    # The acknowledgement was lost, says whoever sent this: it is done once however often it comes.
    assert signatures.refusal(signed(BODY, NOW, SECRET, (b"x-slack-retry-num", b"1"))) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_module, "MOST_SEEN", 3)
    now = NOW
    signatures = Signatures(Secret(SECRET), wall=lambda: now)
    for number in range(5):
        signatures.acknowledged(signed(b"%d" % number))
    assert len(signatures._seen) == 3
    assert signatures.refusal(signed(b"4")) is not None
    now += 1000
    signatures.acknowledged(signed(b"5", now))
    assert len(signatures._seen) == 1
    signatures.acknowledged(request())
    assert len(signatures._seen) == 1


def test_a_secret_that_was_replaced_in_its_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("the old one\n")
    signatures = Signatures(Secret("the old one", path), wall=lambda: NOW)
    assert signatures.refusal(signed(secret="the old one")) is None
    path.write_text("another, new one\n")
    assert signatures.refusal(signed(secret="the old one")) is not None
    assert signatures.refusal(signed(secret="another, new one")) is None
    path.unlink()
    assert signatures.refusal(signed(secret="another, new one")) is None


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=200))
def test_nothing_that_is_sent_raises(timestamp: bytes, signature: bytes, body: bytes) -> None:
    refusal = at().refusal(_with(timestamp, signature, body=body))
    assert refusal is not None
    assert refusal.status in (400, 401)


@pytest.mark.parametrize("which", [signed(), signed(secret="somebody else's"), signed(b"{}", secret="yet another")])
def test_signatures_are_compared_in_constant_time(which: HookRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def spy(ours: str, theirs: str) -> bool:
        compared.append((ours, theirs))
        return compare(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    at().refusal(which)
    [(ours, theirs)] = compared
    assert ours == sign(which.body, STAMP.decode())
    assert (theirs == ours) is (at().refusal(which) is None)

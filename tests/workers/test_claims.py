"""Repeats of a mail (servers.md): consumed by one worker, once; a repeat gets 451 meanwhile, the outcome afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import ConsumeLater, Group, Message, Reject, ResponseLater, StopConsumer
from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import route
from trunkline.workers.claims import Claim, Claims

from .conftest import REPLIES, Bench

MakeBench = Callable[..., Bench]

DAY = 86400.0


def fresh() -> str:
    """Return what nobody else claims with."""
    return secrets.token_hex(8)


def answer(worker: Bench, **mail: Any) -> dict[str, Any]:
    worker.mail(**mail)
    worker.run()
    (found,) = worker.replies()
    return found


def test_a_mail_is_consumed_once_and_a_repeat_gets_the_outcome(bench: MakeBench) -> None:
    consumed: list[str] = []
    worker = bench(route("email.receive", lambda message: consumed.append(message["id"])))
    assert answer(worker) == {"accept": True}
    assert answer(worker) == {"accept": True}
    assert answer(worker, id="mail-2") == {"accept": True}
    assert consumed == ["mail-1", "mail-2"]
    assert worker.stats == {"messages": 3, "repeats": 1}


def test_the_outcome_is_kept_for_5_days(bench: MakeBench, clock: ManualClock) -> None:
    consumed: list[str] = []
    worker = bench(route("email.receive", lambda message: consumed.append(message["id"])))
    answer(worker)
    clock.advance(5 * DAY - 1)
    answer(worker)
    assert len(consumed) == 1
    clock.advance(2)
    answer(worker)
    assert len(consumed) == 2


def test_a_rejection_is_an_outcome(bench: MakeBench) -> None:
    tried: list[int] = []

    def consumer(message: Message) -> None:
        tried.append(1)
        raise Reject(552, "5.3.4 too much")

    worker = bench(route("email.receive", consumer))
    rejected = {"accept": False, "code": 552, "text": "5.3.4 too much"}
    assert [answer(worker), answer(worker)] == [rejected, rejected]
    assert tried == [1]


@pytest.mark.parametrize("immediately", [False, True])
def test_an_answer_of_the_consumers_own_is_an_outcome(bench: MakeBench, immediately: bool) -> None:
    def consumer(message: Message) -> None:
        own = {"accept": True, "text": "2.0.0 queued as 7"}
        assert message.reply_channel is not None
        message.reply_channel.send(own, immediately=immediately)
        own["text"] = "altered"
        raise StopConsumer

    worker = bench(route("email.receive", consumer))
    assert [answer(worker), answer(worker)] == [{"accept": True, "text": "2.0.0 queued as 7"}] * 2
    assert worker.stats == {"messages": 2, "repeats": 1}


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(), ConsumeLater(), ResponseLater()])
def test_any_other_end_releases_the_claim(bench: MakeBench, layer: MemoryLayer, error: BaseException) -> None:
    """`ResponseLater` is an error in an email consumer: its sender would wait."""
    ends: list[BaseException | None] = [error, None]

    def consumer(message: Message) -> None:
        end = ends.pop(0)
        if end is not None:
            raise end

    worker = bench(route("email.receive", consumer))
    assert [answer(worker)["accept"], answer(worker)["accept"]] == [False, True]
    assert ends == []
    assert layer.dead_letters() == []


@pytest.mark.parametrize("code", [421, 451, 499])
@pytest.mark.parametrize("own", [False, True])
def test_a_temporary_answer_is_no_outcome(bench: MakeBench, code: int, own: bool) -> None:
    """A consumer that asks the sender to come again is asked again; greylisting would end in a bounce otherwise."""
    ends = [code, None]

    def consumer(message: Message) -> None:
        code = ends.pop(0)
        if code and own:
            assert message.reply_channel is not None
            message.reply_channel.send({"accept": False, "code": code, "text": "not yet"})
        elif code:
            raise Reject(code, "not yet")

    worker = bench(route("email.receive", consumer))
    assert answer(worker) == {"accept": False, "code": code, "text": "not yet"}
    assert [answer(worker), answer(worker)] == [{"accept": True}] * 2
    assert worker.stats["repeats"] == 1


def test_the_release_is_in_the_flush_of_the_answer(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[list[str]] = []
    real = layer._run

    def run(calls: Any) -> Any:
        flushed.append([name for name, _ in calls])
        return real(calls)

    monkeypatch.setattr(layer, "_run", run)
    ends: list[type[Exception] | None] = [ValueError, None]

    def consumer(message: Message) -> None:
        Group("g").send({"n": 1})
        if end := ends.pop(0):
            raise end

    worker = bench(route("email.receive", consumer))
    answer(worker)
    answer(worker)
    assert flushed == [["put_state"], ["put_state", "put"], ["put_state"], ["send_group", "put", "put_state"]]


def test_an_outcome_leaves_with_the_next_claim(bench: MakeBench, layer: MemoryLayer) -> None:
    """In one round trip, before the next consumer begins: who is killed leaves one outcome unknown at the most."""
    answered: list[int] = []
    routes = route("email.receive", lambda message: answered.append(len(layer.peek(REPLIES, 10))))
    worker = bench(routes, prefetch=3)
    for number in "123":
        worker.mail(id=number, local=number)
    assert worker.worker.step() == 3
    assert answered == [0, 1, 2]
    assert len(layer.peek(REPLIES, 10)) == 3


def test_a_repeat_while_it_is_consumed_is_told_to_come_again(bench: MakeBench) -> None:
    codes: list[int] = []

    def consumer(message: Message) -> None:
        other.mail(local="2")
        other.run()
        codes.extend(reply["code"] for reply in other.replies("2"))

    worker, other = bench(route("email.receive", consumer)), bench(route("email.receive", consumer))
    assert answer(worker)["accept"] is True
    assert codes == [451]
    assert other.stats == {"messages": 1, "busy": 1}


def test_a_claim_lapses_with_its_worker(bench: MakeBench, layer: MemoryLayer, clock: ManualClock) -> None:
    """A worker that died holds up a repeat for 15 s."""
    worker = bench(route("email.receive", lambda message: None))
    assert isinstance(Claims(layer, print).take("email.receive", "mail-1", fresh()), Claim)
    clock.advance(14.9)
    assert answer(worker)["code"] == 451
    clock.advance(0.2)
    assert answer(worker)["accept"] is True


def test_a_mail_without_an_id_is_not_claimed(bench: MakeBench) -> None:
    worker = bench(route("email.receive", lambda message: None))
    for id in (None, 5):
        assert answer(worker, id=id)["accept"] is True
    assert worker.stats == {"messages": 2}


def test_an_outcome_of_another_kind_is_no_answer(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("email.receive", lambda message: None))
    claim = Claims(layer, print).take("email.receive", "mail-1", fresh())
    assert isinstance(claim, Claim)
    for odd in ("something else", {"answer": 5}, {}):
        layer.put_state(claim.key, odd, 60)
        assert answer(worker)["code"] == 451


# Renewal


def test_a_claim_is_renewed_each_5_s(layer: MemoryLayer, clock: ManualClock) -> None:
    claims = Claims(layer, print)
    assert claims.due() == float("inf")
    claim = claims.take("email.receive", "mail-1", fresh())
    assert isinstance(claim, Claim)
    assert claims.due() == clock() + 5
    for _ in range(10):
        clock.advance(5)
        claims.renew()
        assert claims.due() == clock() + 5
    assert Claims(layer, print).take("email.receive", "mail-1", fresh()) is None
    claims.end(claim)
    assert claims.due() == float("inf")
    claims.renew()
    clock.advance(15.1)
    assert isinstance(Claims(layer, print).take("email.receive", "mail-1", fresh()), Claim)


def test_ending_a_claim_twice_ends_no_later_one(layer: MemoryLayer) -> None:
    """A thread that was given up may end its claim long after its helper did."""
    claims = Claims(layer, print)
    first = claims.take("email.receive", "mail-1", fresh())
    assert isinstance(first, Claim)
    claims.end(first)
    layer.delete_state(first.key)
    second = claims.take("email.receive", "mail-1", fresh())
    assert isinstance(second, Claim)
    claims.end(first)
    assert claims.due() < float("inf")
    claims.end(second)
    claims.end(second)
    assert claims.due() == float("inf")


def test_a_claim_that_lapsed_is_not_renewed_over_anothers(
    layer: MemoryLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was suspended for long must not release, or renew, what another holds by now."""
    suspended, other = Claims(layer, print), Claims(layer, print)
    claim = suspended.take("email.receive", "mail-1", fresh())
    assert isinstance(claim, Claim)
    clock.advance(16)
    theirs = other.take("email.receive", "mail-1", fresh())
    assert isinstance(theirs, Claim)
    suspended.renew()
    clock.advance(5)
    suspended.renew()
    assert claim.lost
    assert [record.getMessage() for record in caplog.records] == [
        "a claim lapsed while its consumer runs; another worker may take a repeat of its message"
    ]
    batch = layer.batch()
    claim.release(batch)
    assert len(batch) == 0
    theirs.release(batch)
    assert len(batch) == 1


def test_a_release_that_comes_late_leaves_what_another_worker_stored(layer: MemoryLayer, clock: ManualClock) -> None:
    """The suspended worker does not know yet that its claim lapsed."""
    suspended, other = Claims(layer, print), Claims(layer, print)
    claim = suspended.take("email.receive", "mail-1", fresh())
    clock.advance(16)
    theirs = other.take("email.receive", "mail-1", fresh())
    assert isinstance(claim, Claim)
    assert isinstance(theirs, Claim)
    batch = layer.batch()
    theirs.settle(batch, {"accept": True})
    claim.release(batch)
    batch.run()
    assert suspended.take("email.receive", "mail-1", fresh()) == {"accept": True}


def test_a_release_lets_the_next_take_it_at_once(layer: MemoryLayer, clock: ManualClock) -> None:
    claims = Claims(layer, print)
    for wait in (0, 2):
        claim = claims.take("email.receive", "mail-1", fresh())
        assert isinstance(claim, Claim)
        batch = layer.batch()
        claims.end(claim)
        claim.release(batch)
        batch.run()
        clock.advance(wait)
    assert isinstance(claims.take("email.receive", "mail-1", fresh()), Claim)
    assert claims.take("email.receive", "mail-1", fresh()) is None


def test_a_renewal_while_the_layer_is_away(
    layer: MemoryLayer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*arguments: Any, **keys: Any) -> Any:
        raise LayerUnavailable("away")

    claims = Claims(layer, print)
    claim = claims.take("email.receive", "mail-1", fresh())
    assert isinstance(claim, Claim)
    clock.advance(5)
    with monkeypatch.context() as patched:
        patched.setattr(layer, "put_state", away)
        claims.renew()
    assert not claim.lost
    assert "could not be renewed: away" in caplog.text
    clock.advance(5)
    claims.renew()
    clock.advance(10)
    assert Claims(layer, print).take("email.receive", "mail-1", fresh()) is None


def test_claiming_while_the_layer_is_away_is_a_failure_in_steps(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = layer._run

    def away(calls: Any) -> Any:
        return [LayerUnavailable("away")] if [name for name, _ in calls] == ["put_state"] else real(calls)

    worker = bench(route("email.receive", lambda message: None))
    with monkeypatch.context() as patched:
        patched.setattr(layer, "_run", away)
        assert answer(worker)["code"] == 451
    assert answer(worker)["accept"] is True

"""Repeats of a mail among workers with several threads: each arrival gets one answer, the mail one consumer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline import Message, Reject
from trunkline.layer import MemoryLayer
from trunkline.workers import Worker, route

PATIENCE = 60  # seconds; a bound against hanging, never waited for
INBOX = "smtp.reply.test!"
TAKEN, BUSY = {"accept": True}, 451


class Post:
    """Two workers of four threads each, and what they answered."""

    def __init__(self, consumer: Callable[[Message], None]) -> None:
        self.layer = MemoryLayer()
        routing = [route("email.receive", consumer)]
        self.workers = [Worker(self.layer, routing, threads=4) for _ in range(2)]
        self._threads = [threading.Thread(target=worker.run, daemon=True) for worker in self.workers]
        for thread in self._threads:
            thread.start()

    def arrive(self, times: int, id: str = "mail") -> None:
        """Send the mail so often at once."""
        for number in range(times):
            node = {"content-type": "text/plain", "body": b"", "size": 0}
            head: dict[str, Any] = {"to": ["a@b"], "headers": {}, "header_list": [], "reply_to_text": "", "size": 0}
            envelope = {"address": "a@b", "client": ["192.0.2.1", 25], "helo": "x"}
            self.layer.send(
                "email.receive", {"reply_channel": f"{INBOX}{number}", "id": id, "content": node, **head, **envelope}
            )

    def answers(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many answers, each to another arrival."""
        found: dict[str, dict[str, Any]] = {}
        while len(found) < count:
            (delivery,) = self.layer.reader().receive_batch([INBOX], 1, PATIENCE)
            assert delivery.channel not in found, "answered twice"
            found[delivery.channel] = delivery.message
        return list(found.values())

    def end(self) -> None:
        for worker in self.workers:
            worker.stop()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture
def post() -> Iterator[Callable[..., Post]]:
    made: list[Post] = []

    def make(consumer: Callable[[Message], None]) -> Post:
        made.append(Post(consumer))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_many_arrivals_at_once_are_consumed_once(post: Any) -> None:
    gate, consumed = threading.Event(), []

    def consumer(message: Message) -> None:
        consumed.append(message["id"])
        assert gate.wait(PATIENCE)

    office = post(consumer)
    office.arrive(40)
    busy = office.answers(39)  # while the one is being consumed
    assert Counter(answer.get("code") for answer in busy) == {BUSY: 39}
    gate.set()
    assert office.answers(1) == [TAKEN]
    office.arrive(40)
    assert office.answers(40) == [TAKEN] * 40
    assert consumed == ["mail"]


def test_arrivals_while_it_is_refused_hear_of_the_refusal_afterwards(post: Any) -> None:
    gate = threading.Event()

    def consumer(message: Message) -> None:
        assert gate.wait(PATIENCE)
        raise Reject(554, "5.7.1 no")

    office = post(consumer)
    office.arrive(20)
    assert {answer["code"] for answer in office.answers(19)} == {BUSY}
    gate.set()
    refusal = {"accept": False, "code": 554, "text": "5.7.1 no"}
    assert office.answers(1) == [refusal]
    office.arrive(20)
    assert office.answers(20) == [refusal] * 20


def test_every_arrival_after_a_failure_may_be_consumed_but_no_two_at_once(post: Any) -> None:
    mutex, ends = threading.Lock(), iter([ValueError, SystemExit, RecursionError, None])
    tried: list[int] = []

    def consumer(message: Message) -> None:
        assert mutex.acquire(blocking=False), "consumed twice at once"
        try:
            tried.append(1)
            error = next(ends)
            if error is not None:
                raise error
        finally:
            mutex.release()

    office = post(consumer)
    answers: list[dict[str, Any]] = []
    while TAKEN not in answers:
        office.arrive(10)
        answers = office.answers(10)
    assert len(tried) == 4
    assert {answer.get("code") for answer in answers} <= {BUSY, None}
    office.arrive(10)
    assert office.answers(10) == [TAKEN] * 10
    assert sum(worker.stats["failures"] for worker in office.workers) == 3


def test_different_mails_do_not_wait_for_each_other(post: Any) -> None:
    together = threading.Barrier(8)

    def consumer(message: Message) -> None:
        together.wait(PATIENCE)

    office = post(consumer)
    for number in range(8):
        office.arrive(1, id=f"mail {number}")
    for _ in range(8):
        (delivery,) = office.layer.reader().receive_batch([INBOX], 1, PATIENCE)
        assert delivery.message == TAKEN

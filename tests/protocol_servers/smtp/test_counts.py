"""Mails counted, with the real worker behind the server: what was sent, what was consumed, what the senders were told.

A 250 stands for consumers that finished, each of them once, whatever happened in between.
"""

from __future__ import annotations

import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.workers import Message, Reject, Worker, route

PATIENCE = 60  # seconds; a bound against hanging, never waited for

Key = tuple[str, str]  # Message-ID and recipient


class Office:
    """A server, a worker of four threads, and consumers that do what the recipient's name says.

    Attributes:
        begun: How often each mail's consumer was called, by Message-ID and recipient.
        finished: How often it came to its end: it returned, or refused.
        gate: Consumers of "waits" go on once it is set.
    """

    def __init__(self, place: ReactorThread, rcpt: Any, capacity: dict[str, int]) -> None:
        self.place = place
        self.layer = MemoryLayer(channel_capacity=capacity)
        self.begun: Counter[Key] = Counter()
        self.finished: Counter[Key] = Counter()
        self.gate = threading.Event()
        self._mutex = threading.Lock()
        settings = SmtpSettings(endpoints=["tcp:0"], hostname="mx.example.org", rcpt=rcpt)
        self.server = place.run(lambda: SmtpServer(self.layer, settings, reactor=place.reactor))
        place.call(self.server.start())
        self.port = int(self.server.ports[0].rpartition(":")[2])
        consumers: dict[str, Callable[[Message], None]] = {
            "fine": lambda message: None,
            "slow": lambda message: time.sleep(0.02),
            "waits": lambda message: self._wait(),
            "reads": self._read,
            "looks": self._look,
            "refuses": self._refuse,
            "breaks": self._break,
            "stumbles": self._stumble,
        }
        routing = [
            route("email.receive", self._consumer(one), address=rf"^{name}\d*@") for name, one in consumers.items()
        ]
        self.worker = Worker(self.layer, routing, threads=4, prefetch=1)
        self._thread = threading.Thread(target=self.worker.run, name="worker", daemon=True)
        self._thread.start()

    def _consumer(self, consume: Callable[[Message], None]) -> Callable[[Message], None]:
        def counted(message: Message) -> None:
            key = message["message_id"], message["address"]
            with self._mutex:
                self.begun[key] += 1
            try:
                consume(message)
            except Reject:
                self._count(key)
                raise
            self._count(key)

        return counted

    def _count(self, key: Key) -> None:
        with self._mutex:
            self.finished[key] += 1

    def _wait(self) -> None:
        assert self.gate.wait(PATIENCE)

    def _read(self, message: Message) -> None:
        for attachment in message["attachments"]:
            node = message["content"]["parts"][attachment["path"][0]]
            with message.stream(node) as stream:
                assert len(stream.read()) == node["size"]

    def _look(self, message: Message) -> None:
        for attachment in message["attachments"]:
            with message.stream(message["content"]["parts"][attachment["path"][0]]) as stream:
                assert len(stream.read(10)) == min(10, attachment["size"])

    def _refuse(self, message: Message) -> None:
        raise Reject(554, "5.7.1 Not wanted")

    def _break(self, message: Message) -> None:
        raise ValueError("meant to break")

    def _stumble(self, message: Message) -> None:
        if self.begun[message["message_id"], message["address"]] < 2:
            raise ValueError("meant to break the first time")

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE)

    def end(self) -> None:
        self.gate.set()
        if not self.server.stopping:
            self.place.call(self.server.stop(1.0))
        self.worker.stop()
        self._thread.join(PATIENCE)


@pytest.fixture
def office(reactor_thread: ReactorThread) -> Iterator[Callable[..., Office]]:
    """Makes an office; its channels may be small. With `rcpt` "any" busy consumers hold up no recipient."""
    made: list[Office] = []

    def make(rcpt: str = "route", **capacity: int) -> Office:
        made.append(Office(reactor_thread, rcpt, {name.replace("_", "."): count for name, count in capacity.items()}))
        return made[-1]

    yield make
    for one in made:
        one.end()


def content(id: str, size: int) -> bytes:
    head = f"Message-ID: {id}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n"
    lines = ("x" * 98 + "\r\n") * (size // 100)
    return f"{head}Content-Type: application/x\r\n\r\n{lines}\r\n--b--\r\n".encode()


def send(client: smtplib.SMTP, id: str, recipients: list[str], size: int) -> int:
    """Send a mail; return the code it got in the end."""
    client.ehlo_or_helo_if_needed()
    client.mail("a@example.org")
    for recipient in recipients:
        client.rcpt(recipient)
    code, _ = client.data(content(id, size))
    return code


def check(office: Office, told: dict[str, list[int]], to: dict[str, list[str]]) -> None:
    """Hold what senders were told against what was consumed."""
    assert set(office.finished.values()) <= {1}
    for id, codes in told.items():
        finished = [recipient for recipient in to[id] if office.finished[id, recipient]]
        if 250 in codes:
            assert finished == to[id]
            assert not any(recipient.startswith("refuses") for recipient in to[id])
        if 554 in codes:
            assert any(recipient.startswith("refuses") for recipient in finished)
    counts = Counter(code for codes in told.values() for code in codes)
    stats = office.server.stats
    assert (counts[250], counts[451], counts[554]) == tuple(
        stats[f"mails_{one}"] for one in ("taken", "delayed", "refused")
    )
    assert stats["failures"] == 0
    assert office.server.room.memory == 0


KINDS = ["fine", "reads", "fine fine2", "slow", "refuses", "breaks", "looks", "stumbles", "reads fine", "fine refuses",
         "fine breaks", "reads reads2 looks stumbles", "refuses breaks fine"]  # fmt: skip


def test_every_mail_is_told_of_as_it_was_consumed(office: Any) -> None:
    """Senders that repeat what got a 451, as mail servers do, twenty at a time; one mail is never consumed twice."""
    house = office()
    mails = [(f"<{number}@x>", number) for number in range(130)]
    to = {id: [f"{name}@x" for name in KINDS[number % len(KINDS)].split()] for id, number in mails}
    told: dict[str, list[int]] = {id: [] for id, _ in mails}

    def deliver(share: int) -> None:
        with house.connect() as client:
            for id, number in mails[share::20]:
                while len(told[id]) < 3 and (not told[id] or told[id][-1] == 451):
                    told[id].append(send(client, id, to[id], 1000 * (number % 7) ** 3))

    with ThreadPoolExecutor(20) as senders:
        list(senders.map(deliver, range(20)))
    check(house, told, to)
    by_kind = {kind: [told[id] for id, number in mails if KINDS[number % len(KINDS)] == kind] for kind in KINDS}
    for kind, codes in by_kind.items():
        expected = [250]
        if "breaks" in kind:
            expected = [451] * 3
        elif "refuses" in kind:
            expected = [554]
        elif "stumbles" in kind:
            expected = [451, 250]
        assert codes == [expected] * 10, kind
    # Nothing ran more often than senders came with it.
    for (id, recipient), count in house.begun.items():
        assert count == (len(told[id]) if recipient.startswith(("breaks", "stumbles")) else 1)


def test_the_same_mail_many_times_at_once(office: Any) -> None:
    house = office("any")
    told: dict[str, list[int]] = {"<1@x>": []}

    def deliver(_: int) -> None:
        with house.connect() as client:
            told["<1@x>"].append(send(client, "<1@x>", ["waits@x"], 100))

    with ThreadPoolExecutor(8) as senders:
        sending = [senders.submit(deliver, number) for number in range(8)]
        while len(told["<1@x>"]) < 7:  # all but the one that is being consumed
            time.sleep(0.001)
        assert told["<1@x>"] == [451] * 7
        house.gate.set()
        for one in sending:
            one.result(PATIENCE)
    deliver(0)
    assert told["<1@x>"] == [451] * 7 + [250, 250]
    check(house, told, {"<1@x>": ["waits@x"]})
    assert house.begun.total() == 1


def test_a_full_channel(office: Any) -> None:
    """One mail may wait: of twenty at once some are told to come again, and those that got a 250 were consumed."""
    house = office("any", email_receive=1)
    ids = [f"<{number}@x>" for number in range(20)]
    told: dict[str, list[int]] = {id: [] for id in ids}

    def deliver(id: str) -> None:
        with house.connect() as client:
            told[id].append(send(client, id, ["waits@x"], 100))

    with ThreadPoolExecutor(20) as senders:
        sending = [senders.submit(deliver, id) for id in ids]
        while sum(map(len, told.values())) < 15:  # four are consumed, one waits
            time.sleep(0.001)
        house.gate.set()
        for one in sending:
            one.result(PATIENCE)
    check(house, told, {id: ["waits@x"] for id in ids})
    assert Counter(code for codes in told.values() for code in codes) == {451: 15, 250: 5}
    for id in ids:
        if told[id] == [451]:
            deliver(id)
    assert all(codes[-1] == 250 for codes in told.values())
    assert house.finished.total() == 20


def test_stopping_in_the_middle(office: Any) -> None:
    """Everybody is told something, and nobody 250 whose consumer had not finished."""
    house = office("any")
    ids = [f"<{number}@x>" for number in range(12)]
    told: dict[str, int] = {}

    def deliver(number: int) -> None:
        with house.connect() as client:
            told[ids[number]] = send(client, ids[number], ["fine@x" if number % 4 else "waits@x"], 300_000)
            client.close()

    with ThreadPoolExecutor(12) as senders:
        sending = [senders.submit(deliver, number) for number in range(12)]
        while len(told) < 9 or house.begun.total() < 12:
            time.sleep(0.001)
        assert house.place.call(house.server.stop(0.05)) is False
        for one in sending:
            one.result(PATIENCE)
    assert [told[id] for id in ids] == [421, 250, 250, 250] * 3
    assert {id for id, _ in house.finished} == {id for id in ids if told[id] == 250}

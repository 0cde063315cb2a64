"""`accept = "queued"`: 250 once the whole mail is in the durable channel, whoever consumes it, and whenever."""

from __future__ import annotations

import smtplib
import threading
from email.message import EmailMessage
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MemoryLayer
from trunkline.operations.errors import UsageError
from trunkline.protocol_servers.smtp import LmtpServer, SmtpServer, SmtpSettings
from trunkline.workers import Message, Reject, Worker, route

CONTENT = bytes(range(256)) * 20_000
PATIENCE = 60  # seconds; a bound against hanging, never waited for


def mail(content: bytes = CONTENT) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"], made["Message-ID"] = "a@example.org", "b@example.org", "Hello", "<1@x>"
    made.set_content("hi")
    made.add_attachment(content, "application", "octet-stream", filename="large.bin")
    made.set_boundary("b")  # else another one each time it is sent
    return made


@pytest.fixture
def queue(house: Any) -> Any:
    """A house whose consumer is away until the test takes what is in the channel itself."""
    home = house(accept="queued", rcpt="any")
    home._stopping = True
    home._reader.wake()
    home._thread.join(PATIENCE)
    return home


def taken(home: Any) -> list[dict[str, Any]]:
    found = []
    while deliveries := home.layer.reader().receive_batch(["email.receive"], 10, 0):
        for delivery in deliveries:
            found.append(delivery.message)
    return found


def blob(layer: MemoryLayer, key: str) -> bytes:
    pieces: list[bytes] = []
    while piece := layer.read_blob(key, len(pieces)):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_mail_is_taken_when_all_of_it_is_in_the_channel(queue: Any) -> None:
    with queue.smtp() as client:
        assert client.send_message(mail(), to_addrs=["one@example.org", "two@example.org"]) == {}
    assert queue.server.stats["mails_taken"] == 1
    assert (queue.server.room.memory, queue.server.room.disk) == (0, 0)
    queue.stop()
    one, two = taken(queue)
    assert (one["address"], two["address"]) == ("one@example.org", "two@example.org")
    keys = [message["content"]["parts"][1]["body_key"] for message in (one, two)]
    assert keys[0] == keys[1]  # stored once
    assert blob(queue.layer, keys[0]) == CONTENT
    assert "body_channel" not in one["content"]["parts"][1]


def test_a_repeat_is_queued_once(queue: Any) -> None:
    with queue.smtp() as client:
        for _ in range(3):
            client.send_message(mail(b"small"))
    assert len(taken(queue)) == 1


def test_workers_consume_what_was_queued(queue: Any) -> None:
    consumed: list[tuple[str, bytes]] = []
    done = threading.Event()

    def consume(message: Message) -> None:
        with message.stream(message["content"]["parts"][1]) as stream:
            consumed.append((message["address"], stream.read()))
        done.set()

    with queue.smtp() as client:
        client.send_message(mail())
    worker = Worker(queue.layer, [route("email.receive", consume)])
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        assert done.wait(PATIENCE)
    finally:
        worker.stop()
        thread.join(PATIENCE)
    assert consumed == [("b@example.org", CONTENT)]
    assert taken(queue) == []


def test_a_refusal_for_now_is_tried_again_by_the_channel(manual: Any) -> None:
    """Nobody is there any more who would come again for a 451."""
    layer = MemoryLayer(durable={"email.receive": True}, clock=manual.clock)
    tries: list[int] = []

    def consume(message: Message) -> None:
        tries.append(message.delivery.tries)
        if len(tries) < 3:
            raise Reject(451, "4.3.0 Not now")

    layer.send("email.receive", {"reply_channel": "smtp.reply.x!y", "id": "1", "address": "a@b", "reply_to_text": ""})
    worker = Worker(layer, [route("email.receive", consume)])
    for _ in range(20):
        worker.step()
        manual.advance(5)
    assert tries == [1, 2, 3]
    assert layer.dead_letters() == []


def test_lmtp_queues_for_each_recipient(house: Any) -> None:
    home = house(server=LmtpServer, accept="queued", rcpt="any")
    with smtplib.LMTP("127.0.0.1", home.port, timeout=PATIENCE) as client:
        client.ehlo_or_helo_if_needed()
        client.docmd("MAIL", "FROM:<a@b>")
        for name in ("one", "two"):
            client.docmd("RCPT", f"TO:<{name}@b>")
        client.docmd("DATA")
        client.send(b"Message-ID: <1>\r\n\r\nhi\r\n.\r\n")
        assert client.getreply() == (250, b"2.6.0 Mail queued")
        assert client.getreply() == (250, b"2.6.0 Mail queued")


# In memory: what the layer refuses


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (ChannelFull("x"), "451 4.3.1 The channel is full, try again later"),
        (LayerUnavailable("x"), "451 4.3.0 The channel layer is unavailable, try again later"),
        (LayerUnavailable("x", uncertain=True), "451 4.3.0 The channel layer is unavailable, try again later"),
    ],
)
def test_a_mail_that_the_channel_does_not_take_is_for_its_sender_to_repeat(
    stage: Any, refusal: Exception, reply: str
) -> None:
    play = stage(accept="queued", rcpt="any")
    play.inbox.refusals["email.receive"] = refusal
    client = play.connect()
    client.say("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert client.say("Message-ID: <1>", "", "hi", ".") == [reply]
    assert all(sent.options["once"] == sent.message["id"] for sent in play.sent("email.receive"))


def large(play: Any) -> Any:
    client = play.connect()
    client.say("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA")
    client.say("Message-ID: <1>", "Content-Type: application/x", "", *["x" * 998] * 1000, ".")
    play.loop.finish_thread()
    return client


def test_large_parts_are_stored_a_few_pieces_at_a_time(stage: Any) -> None:
    play = stage(accept="queued", rcpt="any")
    play.inbox.blobs_wait = True
    client = large(play)
    most = 0
    while play.inbox.waiting:
        most = max(most, len(play.inbox.waiting))
        assert play.inbox.take() == []
        play.inbox.waiting.pop(0)()
    assert most == 4
    first, second = play.sent("email.receive")
    (stored,) = play.inbox.blobs.values()
    assert stored == b"x" * 998 + b"\r\n" + (b"x" * 998 + b"\r\n") * 999
    assert first.message["content"]["body_key"] == second.message["content"]["body_key"]
    assert client.hear() == ["250 2.6.0 Mail queued"]


def test_a_part_that_is_not_taken_ends_the_mail(stage: Any) -> None:
    play = stage(accept="queued", rcpt="any")
    play.inbox.blob_refusal = ChannelFull("x")
    client = large(play)
    assert client.hear() == ["451 4.3.1 The channel is full, try again later"]
    assert play.inbox.take() == []
    assert play.inbox.blobs == {}
    assert (play.server.room.memory, play.server.room.disk) == (0, 0)


# Settings


@pytest.mark.parametrize(
    ("accept", "durable", "problem"),
    [
        ("queued", False, r'\[smtp\] accept = "queued" needs \[channels\."email\.receive"\] durable = true'),
        ("consumed", True, r'\[smtp\] accept = "consumed" needs a channel email.receive that is not durable'),
    ],
)
def test_the_channel_has_to_fit(house: Any, accept: Any, durable: bool, problem: str) -> None:
    home = house()
    layer = MemoryLayer(durable={"email.*": durable})
    settings = SmtpSettings(endpoints=["tcp:0"], hostname="x", accept=accept)
    server = home.place.run(lambda: SmtpServer(layer, settings, reactor=home.place.reactor))
    with pytest.raises(UsageError, match=problem):
        home.place.call(server.start())

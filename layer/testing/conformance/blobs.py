"""Blobs: large parts of durable messages. Only engines that have them are asked."""

from itertools import count, takewhile
from typing import Any

import pytest

from ...base import Layer
from ...blobs import cut
from ...delivery import Delivery
from ...errors import ChannelFull, LayerError
from ...store.blobs import CHUNK, EACH, LOOSE
from ...store.durable_queue import LAPSES
from ...store.letters import AGE
from ..subject import Subject
from .base import Open, Part

VISIBILITY = 0.4
OVER = 0.5  # seconds after which it is over
LATER = 1.0  # seconds in which some calls are done, however busy the machine
DATA = bytes(range(256)) * 640  # two chunks and a half
KEYS = ["one key of many letters", "another key of many letters"]


def make(subject: Subject, **options: Any) -> Layer:
    layer = subject.make(**{"durable": {"d*": VISIBILITY}} | options)
    if "blobs" not in layer.extensions:
        pytest.skip("this engine has no blobs")
    return layer


def write(layer: Layer, data: bytes = DATA, channel: str | None = "d") -> str:
    key = layer.new_blob(channel)
    for chunk in cut(data):
        layer.append_blob(key, chunk)
    return str(key)


def read(layer: Layer, key: str) -> bytes | None:
    """Return all of a blob; None if it is gone."""
    chunks = list(takewhile(lambda chunk: chunk is not None, (layer.read_blob(key, n) for n in count())))
    data = b"".join(chunk for chunk in chunks if chunk is not None)
    size = layer.blob_size(key)
    assert len(data) == (size or 0)
    return None if size is None else data


def take(layer: Layer, limit: int = 10) -> list[Delivery]:
    return layer.receive_batch(["d"], limit)


class Blobs(Part):
    @pytest.fixture
    def kept(self, subject: Subject) -> Layer:
        return make(subject)

    def test_a_blob_is_read_again_and_again(self, subject: Subject, kept: Layer) -> None:
        key = kept.new_blob()
        assert kept.blob_size(key) is None
        assert [kept.append_blob(key, chunk) for chunk in cut(DATA)] == [CHUNK, 2 * CHUNK, len(DATA)]
        assert read(kept, key) == read(kept, str(key)) == read(make(subject), key) == DATA
        assert kept.read_blob(key, 1) == DATA[CHUNK : 2 * CHUNK]
        assert kept.read_blob(key, 3) is None
        assert len({str(kept.new_blob("d")) for _ in range(100)}) == 100

    def test_an_empty_blob_is_one_too(self, kept: Layer) -> None:
        key = kept.new_blob()
        assert kept.append_blob(key, b"") == 0
        assert read(kept, key) == b""
        assert kept.append_blob(key, b"x") == 1
        assert kept.append_blob(key, b"") == 1
        assert read(kept, key) == b"x"

    def test_a_chunk_is_whole_unless_it_is_the_last(self, kept: Layer) -> None:
        key = kept.new_blob()
        for wrong in (bytes(CHUNK + 1), "text", bytearray(b"x")):
            with pytest.raises(TypeError):
                kept.append_blob(key, wrong)  # type: ignore[arg-type]
        kept.append_blob(key, b"end")
        with pytest.raises(TypeError, match="all chunks but the last"):
            kept.append_blob(key, b"more")
        for none in ("a.key", "blob.", "blob.a b c d e f g h i j k", "", 7, None):
            with pytest.raises(TypeError):
                kept.read_blob(none, 0)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                kept.send("d", {}, blobs=[none])  # type: ignore[list-item]
        for index in (-1, 1.0, True, 1 << 40):
            with pytest.raises(TypeError):
                kept.read_blob(key, index)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            kept.send("d", {}, blobs=str(key))
        with pytest.raises(TypeError):
            kept.new_blob("no channel!!")

    def test_the_same_chunk_once_more_changes_nothing(self, kept: Layer) -> None:
        key = kept.new_blob()
        chunks = list(cut(DATA))
        for chunk in chunks:
            size = kept.append_blob(key, chunk)
            key.appended -= len(chunk)
            assert kept.append_blob(key, chunk) == size
        assert read(kept, key) == DATA

    def test_a_blob_has_no_hole(self, kept: Layer) -> None:
        key = kept.new_blob()
        whole = bytes(CHUNK)
        kept.append_blob(key, whole)
        key.appended = 2 * CHUNK
        with pytest.raises(LayerError, match="cannot go on"):
            kept.append_blob(key, whole)
        key.appended = CHUNK
        assert kept.drop_blob(key) is True
        with pytest.raises(LayerError, match="cannot go on"):
            kept.append_blob(key, whole)
        assert read(kept, key) is None

    def test_a_message_holds_it_until_it_is_acknowledged(self, subject: Subject, kept: Layer) -> None:
        key = write(kept)
        assert kept.send("d", {"n": 1}, blobs=(key,)) is True
        assert kept.drop_blob(key) is False
        [delivery] = take(kept)
        assert read(kept, key) == DATA
        subject.advance(OVER)
        [again] = take(kept)
        again.nack()
        assert delivery.ack() is True
        assert read(kept, key) is None
        assert delivery.ack() is False

    def test_a_message_holds_what_it_names(self, kept: Layer) -> None:
        keys = [write(kept, b"%d" % n) for n in range(3)]
        parts = [{"body_key": keys[1], "size": 1}, {"body": b"x", "more": {"body_key": keys[0]}}]
        kept.send("d", {"content": {"parts": parts}, "body_key": keys[0], "other": {"body_key": "no key of a blob"}})
        assert [kept.drop_blob(key) for key in keys] == [False, False, True]
        kept.send("d", {"body_key": keys[0]}, blobs=[keys[0]])
        first, second = take(kept)
        assert first.ack()
        assert [read(kept, key) for key in keys] == [b"0", None, None]
        assert second.ack()
        assert read(kept, keys[0]) is None

    def test_what_is_not_durable_holds_nothing(self, kept: Layer) -> None:
        key = write(kept)
        kept.send("a", {"body_key": key}, blobs=[key])
        assert kept.drop_blob(key) is True
        assert kept.receive(["a"]) == ("a", {"body_key": key})

    def test_a_message_whose_blob_is_gone_is_refused(self, kept: Layer) -> None:
        key, gone = write(kept), write(kept)
        kept.drop_blob(gone)
        for unknown in (gone, str(kept.new_blob("d"))):
            with pytest.raises(LayerError, match=f"there is no {unknown}"):
                kept.send("d", {"body_key": unknown}, blobs=[key], once="o")
        assert kept.send("d", {"n": 1}, once="o") is True, "nothing was marked"
        assert len(take(kept)) == 1
        assert kept.drop_blob(key) is True

    def test_a_send_that_is_not_taken_holds_nothing(self, subject: Subject) -> None:
        layer = make(subject, capacity=1)
        key = write(layer)
        assert layer.send("d", {"n": 1}, once="o") is True
        assert layer.send("d", {"n": 2}, once="o", blobs=[key]) is False
        with pytest.raises(ChannelFull):
            layer.send("d", {"n": 3}, blobs=[key])
        assert layer.drop_blob(key) is True

    def test_delayed_messages_hold_blobs_too(self, subject: Subject, kept: Layer) -> None:
        keys = [write(kept, b"%d" % n) for n in range(4)]
        kept.send("d", {"n": 0}, delay=LATER, key="k", blobs=[keys[0]])
        kept.send("d", {"n": 1}, delay=LATER, key="k", blobs=[keys[1]])
        kept.send("d", {"n": 2}, delay=LATER, key="other", blobs=[keys[2]])
        kept.send("d", {"n": 3}, delay=LATER, expiry=0.1, blobs=[keys[3]])
        assert [read(kept, key) for key in keys] == [None, b"1", b"2", b"3"], "it was replaced"
        kept.send("d", {"n": 1}, delay=LATER, key="k", blobs=[keys[1]])
        assert kept.cancel("d", "other") is True
        assert read(kept, keys[2]) is None
        subject.advance(LATER + 0.3)
        [delivery] = take(kept)
        assert delivery.message == {"n": 1}
        assert [read(kept, key) for key in keys] == [None, b"1", None, None], "the last has expired"
        assert delivery.ack()
        assert read(kept, keys[1]) is None

    def test_what_expires_holds_nothing_any_more(self, subject: Subject, kept: Layer) -> None:
        for look in (lambda: take(kept), lambda: kept.channel_statistics("d")):
            key = write(kept)
            kept.send("d", {"n": 1}, expiry=0.1, blobs=[key])
            subject.advance(0.2)
            look()
            assert read(kept, key) is None

    def test_purge_and_flush_drop_blobs(self, subject: Subject, kept: Layer) -> None:
        keys = [write(kept, channel=channel) for channel in ("d", "d", "d", "d.2")]
        for key in keys[:2]:
            kept.send("d", {"body_key": key}, delay=10 * (key == keys[0]))
        kept.send("d.2", {"body_key": keys[3]})
        take(kept)
        assert kept.purge("d") == 2
        assert [read(kept, key) for key in keys] == [None, None, DATA, DATA]
        kept.flush()
        assert [read(kept, key) for key in keys] == [None] * 4
        assert kept.global_statistics()["blobs_count"] == 0
        assert read(kept, write(kept)) == DATA

    def test_put_back_and_many_tries_change_nothing(self, kept: Layer) -> None:
        key = write(kept)
        kept.send("d", {"n": 1}, blobs=[key])
        kept.put_back(take(kept))
        for _ in range(LAPSES):
            [delivery] = take(kept)
            delivery.nack()
        [delivery] = take(kept)
        assert read(kept, key) == DATA
        assert delivery.ack()
        assert read(kept, key) is None

    # dead letters

    def test_what_is_never_heard_of_again_keeps_its_blobs(self, subject: Subject) -> None:
        layer = make(subject, durable={"d": 0.03})
        key = write(layer)
        layer.send("d", {"body_key": key})
        for _ in range(LAPSES):
            assert len(take(layer)) == 1
            subject.advance(0.05)
        assert take(layer) == []
        [letter] = layer.dead_letters()
        assert read(layer, key) == DATA
        assert layer.dead_letter_retry(letter["id"]) is True
        [delivery] = take(layer)
        assert delivery.message == {"body_key": key}
        assert read(layer, key) == DATA
        assert delivery.ack()
        assert read(layer, key) is None

    def test_a_dead_letter_holds_what_it_names(self, kept: Layer) -> None:
        key = write(kept)
        kept.send("d", {"body_key": key})
        [delivery] = take(kept)
        batch = kept.batch()
        batch.dead_letter("d", delivery.message, reason="broken")
        batch.ack(delivery)
        batch.run()
        assert read(kept, key) == DATA
        [letter] = kept.dead_letters()
        assert kept.dead_letter_drop(letter["id"]) is True
        assert read(kept, key) is None
        gone = kept.dead_letter("d", {"body_key": key}, reason="it is a letter all the same")
        assert kept.dead_letter_of(gone) is not None

    def test_a_letter_to_a_plain_channel_leaves_its_blob_for_an_hour(self, kept: Layer) -> None:
        key = write(kept, channel="a")
        kept.dead_letter_retry(kept.dead_letter("a", {"body_key": key}, reason="r"))
        assert kept.receive(["a"]) == ("a", {"body_key": key})
        assert read(kept, key) == DATA
        assert kept.drop_blob(key) is True

    def test_old_letters_let_their_blobs_go(self, subject: Subject, kept: Layer) -> None:
        if not subject.moves_time:
            pytest.skip("it would take two weeks")
        key = write(kept)
        kept.dead_letter("d", {"body_key": key}, reason="r")
        subject.advance(AGE - 1)
        assert read(kept, key) == DATA
        subject.advance(2)
        assert kept.dead_letters() == []
        assert read(kept, key) is None

    # room and time

    def test_nobody_holds_it_for_an_hour(self, subject: Subject, kept: Layer) -> None:
        if not subject.moves_time:
            pytest.skip("it would take an hour")
        held, loose = write(kept), write(kept)
        kept.send("d", {"body_key": held})
        subject.advance(LOOSE / 2)
        late = write(kept)
        touched = kept.new_blob()
        kept.append_blob(touched, b"")
        subject.advance(LOOSE / 2 - 1)
        assert read(kept, loose) == DATA
        kept.append_blob(touched, b"")
        subject.advance(2)
        kept.append_blob(kept.new_blob(), b"")  # somebody has to come by
        assert [read(kept, key) for key in (held, loose, late)] == [DATA, None, DATA]
        subject.advance(LOOSE - 3)
        kept.append_blob(kept.new_blob(), b"")
        assert [read(kept, key) for key in (held, late, touched)] == [DATA, None, b""]
        assert kept.global_statistics()["blobs_count"] == 4

    def test_room_for_blobs_is_bounded(self, subject: Subject) -> None:
        layer = make(subject, blob_capacity=2 * CHUNK + 2 * EACH)
        key = layer.new_blob("d")
        layer.append_blob(key, bytes(CHUNK))
        layer.append_blob(key, bytes(CHUNK))
        empty = layer.new_blob("d")
        assert layer.append_blob(empty, b"") == 0
        with pytest.raises(ChannelFull, match="blob_capacity"):
            layer.append_blob(key, b"x")
        with pytest.raises(ChannelFull):
            layer.append_blob(layer.new_blob("d"), b"")
        assert layer.drop_blob(empty)
        layer.send("d", {"body_key": str(key)})
        take(layer)[0].ack()
        assert read(layer, write(layer, bytes(2 * CHUNK))) == bytes(2 * CHUNK)

    def test_blobs_are_counted(self, kept: Layer) -> None:
        one, two = write(kept), write(kept, b"two")
        kept.send("d", {"body_key": one})
        statistics = kept.global_statistics()
        assert (statistics["blobs_count"], statistics["blobs_bytes"]) == (2, len(DATA) + 3)
        kept.drop_blob(two)
        take(kept)[0].ack()
        statistics = kept.global_statistics()
        assert (statistics["blobs_count"], statistics["blobs_bytes"]) == (0, 0)

    # servers, and keys

    def test_an_inbox_appends_and_sends_in_order(self, kept: Layer, open: Open) -> None:
        instance = open(on=kept)
        inbox, told = instance.inbox, list[Any]()
        key = inbox.new_blob("d")
        for chunk in cut(DATA):
            inbox.append_blob(key, chunk, then=told.append)
        for n in range(2):
            inbox.send("d", {"n": n, "body_key": str(key)}, then=told.append)
        inbox.send("d", {"n": 2}, blobs=[key], then=told.append)
        other = inbox.new_blob("d")
        inbox.append_blob(other, b"x", then=told.append)
        inbox.drop_blob(other)
        inbox.send("d", {"n": 3}, blobs=[other], then=told.append)
        instance.wait(lambda: len(told) == 8)
        assert told[:7] == [CHUNK, 2 * CHUNK, len(DATA), True, True, True, 1]
        assert isinstance(told[7], LayerError)
        assert read(kept, key) == DATA
        deliveries = take(kept)
        assert [delivery.message["n"] for delivery in deliveries] == [0, 1, 2]
        for delivery in deliveries:
            assert read(kept, key) == DATA
            assert delivery.ack()
        assert read(kept, key) is None

    def test_keys_open_blobs(self, subject: Subject) -> None:
        layer = make(subject, encryption_keys=KEYS[:1])
        key = write(layer)
        layer.send("d", {"body_key": key})
        assert read(layer, key) == read(make(subject, encryption_keys=KEYS[::-1]), key) == DATA
        with pytest.raises(LayerError, match="none of the encryption keys"):
            make(subject, encryption_keys=KEYS[1:]).read_blob(key, 0)
        sealed = make(subject).read_blob(key, 0)
        assert sealed is not None
        assert DATA[:64] not in sealed
        assert take(layer)[0].ack()
        assert read(layer, key) is None

"""Calls on their way to the broker: what is joined, what is not, and what each of them comes to."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerError, LayerUnavailable
from trunkline.layer.calls import Call
from trunkline.layer.ipc import frames
from trunkline.layer.ipc.checks import check
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.ipc.parcels import parcels
from trunkline.layer.testing.ipc import BusThread

STATE: Call = ("get_state", ("k",))


def put(queue: str, body: bytes, local: str = "", expiry: float = 60.0, capacity: int = 10) -> Call:
    return "put", (queue, local, body, expiry, capacity, None)


def many(queue: str, *parts: Any, expiry: float = 60.0) -> Call:
    return "put_many", (queue, expiry, 10, None, list(parts))


def travelling(*calls: Call) -> list[list[Call]]:
    return [list(parcel.calls) for parcel in parcels(calls)]


def test_one_call_travels_as_it_is() -> None:
    assert travelling(put("a", b"1")) == [[put("a", b"1")]]
    assert travelling() == []


def test_sends_to_a_queue_are_joined_in_their_order() -> None:
    assert travelling(put("a", b"1"), put("b!", b"2", "x"), put("a", b"3"), put("b!", b"4", "y")) == [
        [many("a", "", b"1", "", b"3"), many("b!", "x", b"2", "y", b"4")]
    ]


def test_what_stands_between_them_parts_them() -> None:
    later: Call = ("put", ("a", "", b"2", 60.0, 10, None, 5.0, None, None, 600, None, False))
    assert travelling(put("a", b"1"), later, put("a", b"3"), STATE, put("a", b"4")) == [
        [many("a", "", b"1"), later, many("a", "", b"3"), STATE, many("a", "", b"4")]
    ]
    assert travelling(put("a", b"1"), put("a", b"2", expiry=5.0), put("a", b"3", expiry=5.0)) == [
        [many("a", "", b"1"), many("a", "", b"2", "", b"3", expiry=5.0)]
    ]


def test_what_is_joined_is_bounded() -> None:
    counts = [[len(call[1][4]) // 2 for call in parcel] for parcel in travelling(*[put("a", b"x")] * 1100)]
    assert counts == [[256, 256, 256, 256], [76]]
    sizes = [len(parcel[0][1][4]) // 2 for parcel in travelling(*[put("a", bytes(50_000))] * 5)]
    assert sizes == [2, 2, 1]
    for parcel in parcels([put("a", b"x")] * 1100):
        for name, (*rest, parts) in parcel.calls:
            check(name, (*rest, tuple(parts)))  # the broker takes them


def test_each_call_is_told_what_became_of_it() -> None:
    calls = [put("a", b"1"), STATE, put("a", b"2"), put("b", b"3"), put("a", b"4"), STATE, put("b", b"5")]
    [parcel] = parcels(calls)
    outcomes: list[Any] = [None] * len(calls)
    parcel.open(((None, "v", (9, (1,)), None, None, None), ((4, "LayerError", "no"),)), outcomes)
    assert (outcomes[:4], outcomes[6]) == ([True, "v", True, True], True)
    assert isinstance(outcomes[4], ChannelFull)
    assert str(outcomes[4]) == "a is full: 9 messages wait there, its capacity is 10"
    assert type(outcomes[5]) is LayerError
    parcel.open(((None, "v", None, None, None, None), ((2, "ChannelFull", "the bus is full"),)), outcomes)
    assert [str(outcomes[number]) for number in (2, 4)] == ["the bus is full"] * 2
    lost = LayerUnavailable()
    parcel.fail(lost, outcomes)
    assert outcomes == [lost] * 7


@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_batch_to_full_channels_says_of_each_message_whether_it_was_taken(bus: BusThread, count: int) -> None:
    with IpcLayer(bus.path, channel_capacity={"a": count, "b": 5 * count}) as layer:
        batch = layer.batch()
        for n in range(3 * count):
            batch.send("a", {"n": n})
            batch.send("b", {"n": n})
        outcomes = batch.run()
        assert outcomes[1::2] == [True] * 3 * count
        assert outcomes[: 2 * count : 2] == [True] * count
        assert all(isinstance(outcome, ChannelFull) for outcome in outcomes[2 * count :: 2])
        assert [message["n"] for message in layer.peek("a", 9 * count)] == list(range(count))
        assert layer.channel_statistics("a")["channel_full_count"] == 2 * count
        taken = layer.receive_batch(["b"], 9 * count)
        assert [delivery.message["n"] for delivery in taken] == list(range(3 * count))


def test_a_frame_may_not_join_more_than_it_should() -> None:
    parts = ("", b"x") * (frames.TOGETHER + 1)
    with pytest.raises(frames.FrameError):
        check("put_many", ("a", 60.0, 10, None, parts))

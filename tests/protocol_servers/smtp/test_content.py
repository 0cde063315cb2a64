"""The bytes of a mail: in memory, on disk, and what is said when there is no room."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from typing import Any

import pytest

from trunkline.protocol_servers.smtp.content import Content, NoRoom, Room, Share


def test_small_content_stays_in_memory() -> None:
    room = Room(100, 0)
    content = Content(room, 100)
    content.write(b"hello ")
    content.write(b"world")
    assert (content.size, room.memory, room.disk) == (11, 11, 0)
    assert content.whole() == b"hello world"
    assert content.read(6, 100) == b"world"
    content.close()
    content.close()
    assert (content.size, room.memory, room.disk) == (0, 0, 0)


def test_large_content_goes_to_disk() -> None:
    room = Room(10, 1000)
    content = Content(room, 10)
    for number in range(100):
        content.write(b"%03d" % number)
    assert (content.size, room.memory, room.disk) == (300, 0, 300)
    whole = content.whole()
    assert isinstance(whole, mmap.mmap)
    assert whole[:] == b"".join(b"%03d" % number for number in range(100))
    assert content.read(297, 10) == b"099"
    content.close()
    assert (room.memory, room.disk) == (0, 0)


@pytest.mark.parametrize(("memory", "disk", "sizes"), [(10, 0, [11]), (5, 100, [6]), (10, 15, [8, 8]), (10, 15, [20])])
def test_there_is_no_more_room(memory: int, disk: int, sizes: list[int]) -> None:
    room = Room(memory, disk)
    content = Content(room, 10)
    *first, last = sizes
    for size in first:
        content.write(b"x" * size)
    with pytest.raises(NoRoom, match="too much mail"):
        content.write(b"x" * last)
    content.close()
    assert (room.memory, room.disk) == (0, 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_no_room(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    room = Room(100, 1000)
    content = Content(room, 10)
    content.write(b"x" * 10)

    def fail(*args: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="full" if number != errno.EIO else "error") as caught:
        content.write(b"x")
    assert isinstance(caught.value, NoRoom) is (number != errno.EIO)
    content.close()
    assert (room.memory, room.disk) == (0, 0)


def test_threads_count_as_one() -> None:
    room = Room(10**9, 10**9)

    def work() -> None:
        for _ in range(2000):
            room.take_memory(3)
            room.take_disk(5)
            room.give_back(3, 5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (room.memory, room.disk) == (0, 0)


def test_a_share_is_half_of_the_room() -> None:
    room = Room(100, 1000)
    share, other = Share(room, 0), Share(room, 700)
    share.take_memory(50)
    share.take_disk(500)
    for take in (share.take_memory, share.take_disk):
        with pytest.raises(NoRoom, match="too much mail"):
            take(1)
    other.take_memory(50)
    other.take_disk(500)
    assert (room.memory, room.disk) == (100, 1000)
    with pytest.raises(NoRoom):
        other.take_disk(1)
    share.give_back(50, 500)
    other.take_disk(200)
    assert (share.memory, share.disk, other.disk, room.memory, room.disk) == (0, 0, 700, 50, 700)


def test_what_the_room_has_not_no_share_has() -> None:
    room = Room(100, 1000)
    room.take_memory(80)
    room.take_disk(800)
    share = Share(room, 5000)
    for take, count in ((share.take_memory, 21), (share.take_disk, 201)):
        with pytest.raises(NoRoom):
            take(count)
    assert (share.memory, share.disk, room.memory, room.disk) == (0, 0, 80, 800)

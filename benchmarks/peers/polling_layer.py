"""A channel layer as ASGI 1.x had for one machine: what waits in a channel is a list in a file, and who receives polls.

asgi_ipc 1.4 did so with shared memory; it does not run on a Python of today, so this is a small one of the same ways:
each send and each receive locks the file, reads the list, changes it and writes it back; a receive that finds nothing
sleeps and looks again. The file lies in memory (/dev/shm) where there is such a place.

It does less than asgi_ipc did, and is much the quicker for it: a file for each channel, where all channels were in
one; one look at the file for a send, where there was one for the capacity and one to append; MessagePack, where there
was pickle; no expiry. Capacity is 100, the default of ASGI 1.x.
"""

import fcntl
import os
import time

import msgpack

CAPACITY = 100
POLL = 0.01  # seconds


class ChannelFull(Exception):
    pass


class PollingLayer:
    """Channels in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def send(self, channel: str, message: dict[str, object]) -> None:
        file = self._lock(channel)
        try:
            waiting = self._load(file)
            if len(waiting) >= CAPACITY:
                raise ChannelFull
            self._store(file, [*waiting, msgpack.packb(message)])
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def receive(self, channel: str) -> dict[str, object]:
        """Wait for a message."""
        while True:
            file = self._lock(channel)
            try:
                waiting = self._load(file)
                if waiting:
                    self._store(file, waiting[1:])
                    message: dict[str, object] = msgpack.unpackb(waiting[0])
                    return message
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(POLL)

    def _lock(self, channel: str) -> int:
        file = self._files.get(channel)
        if file is None:
            file = self._files[channel] = os.open(os.path.join(self._folder, channel), os.O_RDWR | os.O_CREAT)
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    @staticmethod
    def _load(file: int) -> list[bytes]:
        data = os.pread(file, 1 << 20, 0)
        return list(msgpack.unpackb(data)) if data else []

    @staticmethod
    def _store(file: int, waiting: list[bytes]) -> None:
        data = msgpack.packb(waiting)
        os.pwrite(file, data, 0)
        os.ftruncate(file, len(data))

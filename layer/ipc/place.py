"""Where a bus is: a socket in a folder that only its user may enter, and a lock that dies with its broker.

    FOLDER/bus.sock         the socket; one that a killed broker left is removed by the next
    FOLDER/bus.sock.lock    locked (flock) by the living broker, whatever the file's age

The lock's file holds two numbers of 8 bytes: how many messages were lost with brokers that ended, and how many the
broker has at most. Who comes after a killed one can so tell what was lost.
"""

import fcntl
import mmap
import os
import socket
import stat
import struct
from pathlib import Path

from ..errors import LayerError

_LONGEST = 107  # bytes of a Unix socket's path (unix(7)), its end not counted
_counts = struct.Struct("=QQ")
_credentials = struct.Struct("=3i")  # struct ucred: pid, uid, gid (unix(7))
_SO_PEERCRED = getattr(socket, "SO_PEERCRED", None)  # elsewhere the folder's mode alone keeps others out


def check_path(path: str) -> str:
    """Return the path of a socket, after looking at it.

    Raises:
        ValueError: No socket can be there.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"ipc://{path}: a bus is named by its socket's absolute path, as in ipc:///run/app/bus.sock")
    size = len(os.fsencode(path))
    if size > _LONGEST:
        raise ValueError(f"ipc://{path}: the path of a socket has at most {_LONGEST} bytes, this one {size}")
    if "\0" in path:
        raise ValueError("ipc://: a path has no NUL")
    return path


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return (process id, user id) of the other end; None where the system does not tell."""
    if _SO_PEERCRED is None:
        return None
    pid, uid, _ = _credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _credentials.size))
    return pid, uid


def is_trusted(peer: tuple[int, int] | None) -> bool:
    """Tell whether the other end belongs to this process' user, or to root."""
    return peer is None or peer[1] in (os.geteuid(), 0)


class Claim:
    """The right to be the broker of a place, for as long as this process lives.

    Args:
        path: The socket's.

    Attributes:
        lost: How many messages the broker before had at most when it was killed; 0 after a clean end.
        total: How many messages, at most, were lost at this place with all brokers before.

    Raises:
        ValueError: The path cannot be that of a bus, or others may enter its folder; the text says what to do.
        LayerError: Another broker is there.
        OSError: The folder cannot be made or written to.
    """

    def __init__(self, path: str) -> None:
        self.path = check_path(path)
        _check_folder(Path(path).parent)
        self._file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LayerError(f"another bus is at {path}") from None
            if os.fstat(self._file).st_size != _counts.size:
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, bytes(_counts.size), 0)  # written, not only made longer: the disk may be full
            self._map = mmap.mmap(self._file, _counts.size)
        except BaseException:
            os.close(self._file)
            raise
        lost, self.lost = _counts.unpack_from(self._map)
        self.total = lost + self.lost
        self.note(0)
        self._bound = False

    def listen(self) -> socket.socket:
        """Return a socket that listens, in place of one that was left."""
        if os.path.lexists(self.path):
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise ValueError(f"{self.path} is there and is no socket; name another path, or remove it")
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(self.path)
            self._bound = True
            os.chmod(self.path, 0o600)
            listener.setblocking(False)
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
        return listener

    def note(self, count: int) -> None:
        """Write down how many messages there are at most."""
        _counts.pack_into(self._map, 0, self.total, count)

    def release(self, lost: int = 0) -> None:
        """Give the place up, after so many messages were lost with a clean end."""
        self.total += lost
        self.note(0)
        self._map.close()
        if self._bound and os.path.lexists(self.path):
            os.unlink(self.path)
        os.close(self._file)


def _check_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise ValueError(f"{folder} belongs to somebody else: name a socket in a folder of your own")
    if found.st_mode & 0o077:
        raise ValueError(
            f"others may enter {folder} (mode {found.st_mode & 0o7777:04o}): name a socket in a folder of mode 0700, "
            "which is made where it is missing"
        )

"""Files of a folder by the path of a request: found only where they are really inside it, and never a hidden one."""

from __future__ import annotations

import mimetypes
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

_INDEX = "index.html"
_SETTLED = 1.0  # seconds after which a file that changes again also gets another time of change
_TEXT = frozenset(("application/javascript", "application/json", "application/xml", "image/svg+xml"))
_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_OTHER = "application/octet-stream"


@dataclass(slots=True)
class File:
    """An open file, with what is told of it.

    Attributes:
        descriptor: Where to read it; to be closed.
        size: Its bytes.
        changed: When it was changed, in whole Unix seconds.
        etag: What tells this content from others (RFC 9110 section 8.8.3); weak while it may still be changing.
        content_type: What it is.
    """

    descriptor: int
    size: int
    changed: int
    etag: bytes
    content_type: bytes

    @property
    def settled(self) -> bool:
        """Whether its validators are strong."""
        return not self.etag.startswith(b"W/")

    @property
    def last_modified(self) -> bytes:
        """When it was changed, as headers say it."""
        return formatdate(self.changed, usegmt=True).encode()


class Folders:
    """Folders by the beginning of the paths that they are served under.

    Args:
        folders: URL prefix → folder.

    Raises:
        ValueError: A prefix or a folder makes no sense.
    """

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders: list[tuple[str, str]] = []
        for prefix, folder in folders.items():
            where = f'static: "{prefix}"'
            if not prefix.startswith("/") or not _is_plain(prefix.strip("/")):
                raise ValueError(f'{where}: a prefix is the beginning of a path, such as "/static/"')
            if not os.path.isdir(folder):
                raise ValueError(f"{where}: {folder} is no folder")
            self._folders.append((prefix.rstrip("/"), os.path.realpath(folder)))
        self._folders.sort(key=lambda pair: -len(pair[0]))  # the longest prefix knows best

    def serves(self, path: str) -> bool:
        """Tell whether a request's path, decoded, is under any of the prefixes."""
        return any(path == prefix or path.startswith(prefix + "/") for prefix, _ in self._folders)

    def find(self, path: str) -> File | str | None:
        """Open the file for a path.

        Returns:
            The file; or, where the path is a folder's without the slash behind it, the path to go to, percent-encoded;
            or None.
        """
        for prefix, root in self._folders:
            if path == prefix:
                return quote(path) + "/"
            if path.startswith(prefix + "/"):
                return _find(root, path, path[len(prefix) + 1 :])
        return None


def _is_plain(inner: str) -> bool:
    """Tell whether a path within a folder leads nowhere else on any system, and names nothing hidden."""
    return not inner or not any(
        not name or name.startswith(".") or "\\" in name or "\0" in name for name in inner.split("/")
    )


def _find(root: str, path: str, inner: str) -> File | str | None:
    folder = not inner or inner.endswith("/")
    if not _is_plain(inner.removesuffix("/") if folder else inner) or inner == "/":
        return None
    try:
        # What a symbolic link leads to is what counts, and that is opened under its own name.
        real = os.path.realpath(os.path.join(root, inner), strict=True)
        if not _is_inside(root, real):
            return None
        if os.path.isdir(real):
            if not folder:
                return quote(path) + "/"
            real = os.path.realpath(os.path.join(real, _INDEX), strict=True)
            if not _is_inside(root, real):
                return None
        elif folder:
            return None
        return _open(real)
    except (OSError, ValueError):  # of names that no file can have, such as text that is no Unicode
        return None


def _is_inside(root: str, real: str) -> bool:
    if real == root:
        return True
    beginning = root.rstrip("/") + "/"
    return real.startswith(beginning) and _is_plain(real[len(beginning) :])


def _open(path: str) -> File | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):  # a device, or a pipe that would keep us waiting
        os.close(descriptor)
        return None
    etag = b'"%x-%x"' % (found.st_mtime_ns, found.st_size)
    if time.time() - found.st_mtime < _SETTLED:
        etag = b"W/" + etag
    return File(descriptor, found.st_size, int(found.st_mtime), etag, _type_of(path))


def _type_of(path: str) -> bytes:
    kind, encoding = mimetypes.guess_type(path)
    if encoding is not None:
        kind = _ENCODED.get(encoding, _OTHER)  # it is sent as it is, not as a coding of what is in it
    kind = kind or _OTHER
    if kind.startswith("text/") or kind in _TEXT:
        kind += "; charset=utf-8"
    return kind.encode()

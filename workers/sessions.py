"""What is kept between messages: of one connection, and of one browser. Both live in the layer's state.

A session is read when a consumer first looks into it. What it changed is written when the consumer has ended well,
before anything it sent leaves; an exception drops it. Writing asks for the version that was read: creating one is
atomic, and where somebody else was faster, the changes are made anew on what is there now, key by key: of one key the
last to end wins, of different keys nothing is lost. A session that ended meanwhile stays ended.
"""

from __future__ import annotations

import copy
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .. import message_formats
from . import sending
from .context import wall_clock

if TYPE_CHECKING:
    from ..layer import Layer
    from .message import Message

T = TypeVar("T")

A_DAY = 86_400.0

_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_VALUE = re.compile(r"[!-:<-~]*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Session(MutableMapping[str, Any]):
    """A dictionary that outlives the message: str keys, and values that can travel on the layer.

    Args:
        layer: Where it is kept.
        key: Under what name; None: it is still to be made.
        ttl: Seconds it lives after it was last written; one that is used is written when half of them have passed.
    """

    def __init__(self, layer: Layer, key: str | None, ttl: float) -> None:
        self._layer = layer
        self._key = key
        self._ttl = ttl
        self._now = wall_clock(layer)
        self._data: dict[str, Any] | None = None
        self._original: dict[str, Any] = {}
        self._version = 0
        self._written = 0.0
        self._ended = False  # what was there is to be removed

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._read())}>"

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a session's keys are str, not {key!r:.100}")
        self._read()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def end(self) -> None:
        """Remove it with all that it holds, once the consumer ended well; what is set from now on is a new one's."""
        self._read()
        self._ended = self._ended or self._version > 0
        self._data, self._original = {}, {}

    def save(self) -> None:
        """Write what was changed; done for a consumer when it has ended.

        Raises:
            TypeError: it holds what cannot travel.
            LayerError: the layer did not take it: MessageTooLarge, LayerUnavailable. It may be called again then.
        """
        if self._data is None:
            return
        if self._ended:
            self._remove()
        changes = self._changes()
        while changes or self.stale:
            value = {"at": self._now(), "data": self._data}
            version = self._ask(partial(self._put, value))
            if version:
                self._take(value, version)
                return
            self._read_anew(changes)
            changes = self._changes()

    @property
    def stale(self) -> bool:
        """Whether it is to be written only to live on."""
        return self._version > 0 and self._now() - self._written > self._ttl / 2

    def _changes(self) -> dict[str, Any]:
        """Return the keys that were set or altered, and those that were removed, with `_REMOVED`."""
        data, original = self._read(), self._original
        changed = {key: value for key, value in data.items() if key not in original or not _same(value, original[key])}
        return changed | {key: _REMOVED for key in original if key not in data}

    def _read(self) -> dict[str, Any]:
        if self._data is None:
            self._take(*self._fetch())
        assert self._data is not None
        return self._data

    def _read_anew(self, changes: dict[str, Any]) -> None:
        """Take what somebody else has written meanwhile, and make one's own changes to it."""
        was = self._version
        value, version = self._fetch()
        self._take(value, version)
        assert self._data is not None
        if was and not version:
            return
        for key, change in changes.items():
            if change is _REMOVED:
                self._data.pop(key, None)
            else:
                self._data[key] = change

    def _fetch(self) -> tuple[Any, int]:
        key = self._key
        if key is None:
            return None, 0
        return self._ask(lambda layer: layer.get_state(key))

    def _put(self, value: dict[str, Any], layer: Layer) -> int:
        assert self._key is not None
        return layer.put_state(self._key, value, self._ttl, if_version=self._version)

    def _take(self, value: Any, version: int) -> None:
        self._version = version
        self._written = value["at"] if value is not None else 0.0
        self._data = value["data"] if value is not None else {}
        self._original = copy.deepcopy(self._data) if self._data else {}

    def _remove(self) -> None:
        key = self._key
        assert key is not None
        self._ask(lambda layer: layer.delete_state(key))
        self._ended = False
        self._version = 0

    def _ask(self, call: Callable[[Layer], T]) -> T:
        return sending.ask(self._layer, call)


_REMOVED = object()


class ChannelSession(Session):
    """What is kept of a connection; made by `@channel_session`.

    Args:
        message: A message of the connection.
        ttl: Seconds it lives after it was last written.

    Raises:
        TypeError: the message has no reply channel.
    """

    def __init__(self, message: Message, ttl: float) -> None:
        name = message.reply_channel
        if name is None:
            raise TypeError(f"a message of {message.channel} without reply_channel belongs to no channel session")
        super().__init__(message.layer, f"session.{name}", ttl)
        form = message_formats.get(message.channel)
        self._last = form is not None and bool(form.together) and form.reply is None

    def save(self) -> None:
        if self._last:  # nothing of this connection comes any more
            self.end()
        super().save()


class Cookie(NamedTuple):
    """How a browser is to keep the id of its session (RFC 6265, 5.2).

    Attributes:
        name: The cookie's name.
        path: Where it is sent back.
        domain: Other hosts that get it; None: only the one it came from.
        secure: Only by TLS; None: as the request came.
        same_site: When it goes along from pages of others: "Lax", "Strict" or "None".
    """

    name: str
    path: str
    domain: str | None
    secure: bool | None
    same_site: str

    def check(self) -> None:
        """Refuse what cannot stand in a cookie.

        Raises:
            ValueError: a name, path or domain of other characters, or SameSite that there is not.
        """
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"cookie: {self.name!r} is no name: letters, digits, dashes and underscores")
        for what, value in (("path", self.path), ("domain", self.domain or "")):
            if not _VALUE.fullmatch(value):
                raise ValueError(f"{what}: {value!r} cannot stand in a cookie")
        if self.same_site not in ("Lax", "Strict", "None"):
            raise ValueError(f'same_site: "Lax", "Strict" or "None", not {self.same_site!r}')

    def header(self, value: str, seconds: float, secure: bool) -> bytes:
        """Return the value of the `set-cookie` header."""
        parts = [f"{self.name}={value}", f"Path={self.path}", f"Max-Age={seconds:.0f}", "HttpOnly"]
        parts.append(f"SameSite={self.same_site}")
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if secure if self.secure is None else self.secure:
            parts.append("Secure")
        return "; ".join(parts).encode("ascii")


class HttpSession(Session):
    """What is kept of a browser, by a cookie that holds nothing but a random id; made by `@http_session`.

    Of an id the layer has only a hash. An id that is not known here is never taken over.

    Args:
        message: A request, or a message of a WebSocket.
        cookie: How the id is kept.
        ttl: Seconds it lives after it was last written.
    """

    def __init__(self, message: Message, cookie: Cookie, ttl: float) -> None:
        headers = message.get("headers")
        self._cookie = cookie
        self._secure = message.get("scheme") in ("https", "wss")
        self._id = _id_in(headers, cookie.name) if isinstance(headers, list) else None
        self._told = False  # the client has, or is being told, the id
        super().__init__(message.layer, _key_of(self._id), ttl)
        form = message_formats.get(message.channel)
        if form is not None and form.together and message.reply_channel is not None:
            # Only the first message of such a connection has headers: it tells the others which session is theirs.
            place = f"session.of.{message.reply_channel}"
            if self._id is not None:
                self._ask(lambda layer: layer.put_state(place, self._key, ttl))
            elif headers is None:
                self._key = self._ask(lambda layer: layer.get_state(place))[0]

    def renew_id(self) -> None:
        """Give it another id, when what it may do changes, as at a login: who knew the old one is left behind."""
        data = dict(self._read())
        self.end()
        self.update(data)

    def end(self) -> None:
        super().end()
        if self._ended:
            self._told = False

    @property
    def news(self) -> bool:
        """Whether the client is to be told something: a new id, a longer life, or the end."""
        if self._data is None or self._told:
            return False
        return self._ended or self.stale or (self._version == 0 and bool(self._changes()))

    @property
    def is_new(self) -> bool:
        """Whether nobody finds it again unless the client is told its id."""
        return bool(self._data) and (self._ended or self._version == 0)

    def tell(self) -> bytes:
        """Write what was changed; return the `set-cookie` header that tells the client."""
        gone = self._ended and not self.is_new
        if self.is_new:
            if self._ended:
                self._remove()
            self._id = secrets.token_urlsafe(32)
            self._key = _key_of(self._id)
        super().save()
        self._told = True
        return self._cookie.header("" if gone else str(self._id), 0 if gone else self._ttl, self._secure)

    def save(self) -> None:
        if self.is_new and not self._told:
            raise RuntimeError(
                "the session is new, and no response of this consumer tells the client its id: change it before "
                "a response that leaves at once, and not first on a WebSocket"
            )
        super().save()

    def _take(self, value: Any, version: int) -> None:
        super()._take(value, version)
        if not version:
            self._id = self._key = None


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _key_of(id: str | None) -> str | None:
    return None if id is None else "session.http." + hashlib.sha256(id.encode("ascii")).hexdigest()


def _id_in(headers: list[Any], name: str) -> str | None:
    """Return the id in a request's cookies (RFC 6265, 5.4), if it looks like one of ours."""
    for header, value in headers:
        if header == b"cookie":
            for pair in bytes(value).decode("latin-1").split(";"):
                found, _, id = pair.strip().partition("=")
                if found == name and _TOKEN.fullmatch(id):
                    return id
    return None


def with_cookies(response: Mapping[str, Any], sessions: Iterable[Session]) -> Mapping[str, Any]:
    """Return a response that tells the client of its sessions, which are written; anything else as it is."""
    if "status" not in response:
        return response
    told = [session.tell() for session in sessions if isinstance(session, HttpSession) and session.news]
    if not told:
        return response
    return {**response, "headers": [*response.get("headers", ()), *([b"set-cookie", header] for header in told)]}

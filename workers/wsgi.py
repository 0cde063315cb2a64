"""Any WSGI application behind the bus: Django, Flask, and what was written before them (PEP 3333)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .message import Message

_CHUNK = 65536  # bytes of content in one message
_NAME = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # a token (RFC 9110 section 5.6.2), but for the underscore
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SPECIAL = ("proxy", "content-type", "content-length", "transfer-encoding")


class WsgiConsumer:
    """Consumes `http.request` with a WSGI application::

        from shop.wsgi import application

        routing = [route("http.request", WsgiConsumer(application))]

    What the application returns whole leaves as one message; what it yields is sent piece by piece, at the server's
    pace. `environ` has the message as `trunkline.message`, and what the route captured as `wsgiorg.routing_args`.

    Args:
        application: The application.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self.__qualname__ = f"WsgiConsumer({getattr(application, '__qualname__', type(application).__name__)})"

    def __call__(self, message: Message, **captures: Any) -> None:
        """Consume a request."""
        answer = _Answer(message)
        environ = environ_of(message)
        environ["wsgiorg.routing_args"] = ((), captures)
        result = self._application(environ, answer.start)
        try:
            if type(result) in (list, tuple) and sum(map(len, result)) <= _CHUNK:
                answer.write_all(b"".join(result))
                return
            for piece in result:
                answer.write(piece)
            answer.end()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()


class _Answer:
    """The response to one request, and what an application begins it by."""

    def __init__(self, message: Message) -> None:
        self._send = message.reply_channel.send
        self._head: dict[str, Any] | None = None
        self._begun = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """Take status and headers; they leave with the first content (`start_response` of PEP 3333)."""
        if exc_info is None:
            if self._head is not None:
                raise AssertionError("start_response was called twice without exc_info")
        elif self._begun:
            raise exc_info[1].with_traceback(exc_info[2])
        pairs = [[name.encode("latin-1"), value.encode("latin-1")] for name, value in headers]
        self._head = {"status": int(status[:3]), "headers": pairs}
        return self.write

    def write(self, piece: bytes) -> None:
        """Send content now."""
        for at in range(0, len(piece), _CHUNK):
            self._send({**self._first(), "content": piece[at : at + _CHUNK], "more_content": True}, immediately=True)

    def write_all(self, content: bytes) -> None:
        """Send the only content, or the rest; it leaves with what else the consumer sent."""
        self._send({**self._first(), "content": content})

    def end(self) -> None:
        """Send that there is no more."""
        self._send({**self._first(), "content": b""}, immediately=self._begun)

    def _first(self) -> dict[str, Any]:
        """Return the head once, before anything else."""
        if self._begun:
            return {}
        if self._head is None:
            raise AssertionError("the application returned without having called start_response")
        self._begun = True
        return self._head


def environ_of(message: Message) -> dict[str, Any]:
    """Make a WSGI environment of an `http.request`.

    Whatever the headers hold, nothing of it gets a name that is not its own: names that are no tokens or have an
    underscore, and `Proxy`, are left out; `CONTENT_LENGTH` is a number or is not there.
    """
    path, root = message["path"], message["root_path"]
    method = message["method"]
    if not _METHOD.fullmatch(method):
        raise ValueError("the method is no token")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": _wsgi_text(root),
        "PATH_INFO": _wsgi_text(path[len(root) :] if root and path.startswith(root) else path),
        "QUERY_STRING": message["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + message["http_version"],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if message["scheme"] == "https" else "http",
        "wsgi.input": message.stream(),
        "wsgi.input_terminated": True,  # it ends where the body ends, whatever length was said
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "trunkline.message": message,
    }
    for key, address in (("SERVER_NAME", message.get("server")), ("REMOTE_ADDR", message.get("client"))):
        if address:
            environ[key] = str(address[0])
            environ[key.partition("_")[0] + "_PORT"] = str(address[1])
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message["headers"]]
    for name, value in headers:
        if name in _SPECIAL or not _NAME.fullmatch(name):
            continue
        key = "HTTP_" + name.upper().replace("-", "_")
        known = environ.get(key)
        # RFC 9110 section 5.3, and RFC 9113 section 8.2.3 for cookies
        environ[key] = value if known is None else f"{known}{'; ' if name == 'cookie' else ', '}{value}"
    special = dict(headers)
    if "content-type" in special:
        environ["CONTENT_TYPE"] = special["content-type"]
    if _LENGTH.fullmatch(special.get("content-length", "")):
        environ["CONTENT_LENGTH"] = special["content-length"]
    if "SERVER_NAME" not in environ:  # a Unix socket has none, and PEP 3333 wants both
        environ["SERVER_NAME"] = environ.get("HTTP_HOST", "localhost").rpartition(":")[0] or "localhost"
        environ["SERVER_PORT"] = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    return environ


def _wsgi_text(text: str) -> str:
    """Return text as WSGI has it: its bytes in UTF-8, each as a character."""
    return text.encode().decode("latin-1")

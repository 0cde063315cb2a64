"""One IRC message: parsed from a line, and made into one.

The grammar is RFC 1459 section 2.3.1 as it is spoken today (https://modern.ircdocs.horse/#message-format), with the
tags of https://ircv3.net/specs/extensions/message-tags. No bytes raise: a line without a command is no message, and
what is not UTF-8 is read as cp1252, part by part, since a nick in Latin-1 must not garble the UTF-8 beside it.

Why our own: `irc.message` keeps a backslash that ends a tag's value and splits parameters at tabs, which the public
vectors (`irc-parser-tests`) forbid, and `irctokens` raises on empty lines and on tags that are not UTF-8.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

MAX_PARAMETERS = 64  # real servers send 15; the rest goes into the last one
_LONGEST_SOURCE = 512  # bytes
_TO_NOTHING = b"\0\r\n"
_ESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}
_ESCAPED = str.maketrans({plain: "\\" + letter for letter, plain in _ESCAPES.items()})
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
# The five bytes that cp1252 leaves out are read as Latin-1 does.
_CP1252 = "".join(bytes([each]).decode("cp1252", "ignore") or chr(each) for each in range(256))


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent a message: ``nick!user@host``, parts of it, or a server's name (then `nick` is that name)."""

    nick: str = ""
    user: str = ""
    host: str = ""

    @property
    def mask(self) -> str:
        """The whole of it, as servers write it."""
        return self.nick + (f"!{self.user}" if self.user else "") + (f"@{self.host}" if self.host else "")


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        command: As it was sent; commands are compared without regard to case.
        params: The parameters, the last one without its colon.
        source: Who sent it; empty where the server did not say.
        tags: The tags, unescaped; those without a value have "".
    """

    command: str
    params: tuple[str, ...] = ()
    source: Source = Source()
    tags: Mapping[str, str] = field(default_factory=dict)


def decode(data: bytes) -> str:
    """Decode text from the network: UTF-8, or else cp1252; never fails.

    Servers cut long lines wherever 512 bytes end: where only the last character is cut, it is dropped.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        whole = data[: error.start]
        # "café" in Latin-1 ends like a cut character, too: then nothing before it is beyond ASCII.
        if error.reason == "unexpected end of data" and not whole.isascii():
            return whole.decode()
        return codecs.charmap_decode(data, "strict", _CP1252)[0]


@lru_cache(maxsize=1024)
def parse_source(text: str) -> Source:
    """Split ``nick!user@host``; whatever is missing is ""."""
    rest, _, host = text.partition("@")
    nick, _, user = rest.partition("!")
    return Source(nick, user, host)


def parse(line: bytes) -> Message | None:
    """Parse one line, without its line end.

    Returns:
        The message; None where there is no command.
    """
    line = line.translate(None, _TO_NOTHING)
    tags: dict[str, str] = {}
    if line.startswith(b"@"):
        raw_tags, _, line = line[1:].partition(b" ")
        tags = _parse_tags(decode(raw_tags))
    line = line.lstrip(b" ")
    source = Source()
    if line.startswith(b":"):
        raw_source, _, line = line[1:].partition(b" ")
        # Those that are longer than any real one are not remembered.
        source = (parse_source if len(raw_source) <= _LONGEST_SOURCE else parse_source.__wrapped__)(decode(raw_source))
    params = _split(line.lstrip(b" "))
    command = decode(params[0]) if params else ""
    if not command or command.startswith(":"):
        return None
    return Message(command, tuple(decode(each) for each in params[1:]), source, tags)


def _split(line: bytes) -> list[bytes]:
    middle, colon, trailing = line.partition(b" :")
    params = [each for each in middle.split(b" ", MAX_PARAMETERS) if each]
    if colon:
        params.append(trailing)
    return params


def _parse_tags(text: str) -> dict[str, str]:
    tags = {}
    for each in text.split(";"):
        key, _, value = each.partition("=")
        if key:
            tags[key] = _ESCAPE.sub(_unescape, value) if "\\" in value else value
    return tags


def _unescape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1])


def encode(command: str, *params: str, tags: Mapping[str, str] | None = None, source: str | None = None) -> bytes:
    r"""Make a line, with its CR LF.

    Args:
        command: The command.
        *params: Its parameters; only the last may be empty, hold spaces or begin with a colon.
        tags: The tags; an empty value is left out.
        source: Who sends it, for servers.

    Raises:
        ValueError: Something in it would end the line, or be read as something else.
    """
    parts = [command, *params]
    if params and (not params[-1] or " " in params[-1] or params[-1].startswith(":")):
        parts[-1] = ":" + params[-1]
        middle = parts[:-1]
    else:
        middle = parts
    if any(not each or " " in each or each.startswith((":", "@")) for each in middle[:1]) or any(
        not each or " " in each or each.startswith(":") for each in middle[1:]
    ):
        raise ValueError(f"{command!r}: only the last parameter may be empty, hold spaces or begin with a colon")
    if source is not None:
        parts.insert(0, ":" + source)
    if tags:
        escaped = (key + "=" + value.translate(_ESCAPED) if value else key for key, value in tags.items())
        parts.insert(0, "@" + ";".join(escaped))
    line = " ".join(parts)
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError(f"{command!r}: a line cannot hold CR, LF or NUL")
    return line.encode("utf-8", "replace") + b"\r\n"

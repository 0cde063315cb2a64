"""SMTP replies: a code, an enhanced status code and a text, on as many lines as it takes.

RFC 5321 section 4.2 (codes and lines), RFC 2034 and RFC 3463 (enhanced status codes), RFC 6531 section 3.5 (non-ASCII).
"""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from ..connections import Refusal

_STATUS = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?: |\Z)")
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MAX_TEXT = 2000
_MAX_LINE = 400  # 512 with code, status, CRLF, and room for what UTF-8 adds


class Reply(NamedTuple):
    """One reply.

    Attributes:
        code: From 200 to 599.
        text: What follows it; begins with an enhanced status code.
    """

    code: int
    text: str

    @property
    def is_good(self) -> bool:
        """Whether it accepts."""
        return self.code < 400

    @property
    def is_temporary(self) -> bool:
        """Whether the client should try again later."""
        return 400 <= self.code < 500

    def encode(self) -> bytes:
        """Return the reply as it stands on the wire; a status is repeated on each of its lines (RFC 2034)."""
        if len(self.text) <= _MAX_LINE:
            return encode_lines(self.code, [self.text])
        status = _STATUS.match(self.text)
        prefix = status[0] if status else ""
        lines = textwrap.wrap(self.text[len(prefix) :], _MAX_LINE)
        return encode_lines(self.code, [prefix + line for line in lines])


def encode_lines(code: int, lines: list[str]) -> bytes:
    """Return a reply of several lines: a hyphen follows the code of all but the last."""
    last = len(lines) - 1
    return b"".join(
        b"%d%b%b\r\n" % (code, b" " if number == last else b"-", line.encode("ascii", "replace"))
        for number, line in enumerate(lines)
    )


def made_reply(code: int, text: str, fallback: str) -> Reply:
    """Make a reply of what somebody else said, fit for one line or several.

    Args:
        code: From 200 to 599.
        text: Any text, with an enhanced status code or without.
        fallback: The text where there is none; without an enhanced status code.

    Returns:
        A reply whose status has the class of its code, and whose text is short and without control characters.
    """
    text = _NOT_PRINTABLE.sub(" ", text[:_MAX_TEXT]).strip()
    status = _STATUS.match(text)
    if status is None:
        return Reply(code, f"{code // 100}.0.0 {text or fallback}")
    if int(status[1]) != code // 100:
        return Reply(code, f"{code // 100}.0.0 {text[status.end() :].strip() or fallback}")
    return Reply(code, text if text[status.end() :].strip() else f"{status[0].strip()} {fallback}")


# What the session itself says.
GOOD = Reply(250, "2.0.0 OK")
SENDER_OK = Reply(250, "2.1.0 Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5 Recipient OK")
MAIL_TAKEN = Reply(250, "2.6.0 Mail taken")
MAIL_QUEUED = Reply(250, "2.6.0 Mail queued")
GO_AHEAD = Reply(354, "End data with <CR><LF>.<CR><LF>")
BYE = Reply(221, "2.0.0 Bye")
LOGGED_IN = Reply(235, "2.7.0 Welcome")
CANNOT_VERIFY = Reply(252, "2.5.0 Send some mail, and we shall see")
READY_FOR_TLS = Reply(220, "2.0.0 Ready to start TLS")

BARE_IN_COMMAND = Reply(500, "5.5.2 A bare CR or LF: only CR LF ends a command")
COMMAND_TOO_LONG = Reply(500, "5.5.2 The command is too long")
COMMAND_UNKNOWN = Reply(500, "5.5.1 There is no such command")
COMMAND_NOT_UTF8 = Reply(500, "5.5.2 The command is not UTF-8")
COMMAND_NOT_BUILT = Reply(502, "5.5.1 This command is not offered")
NO_ARGUMENT = Reply(501, "5.5.4 This command takes no argument")
HELO_ARGUMENT = Reply(501, "5.5.4 Say your host name")
BDAT_SYNTAX = Reply(421, "4.5.4 Syntax: BDAT size [LAST]; nobody knows where this chunk ends, closing")
AUTH_SYNTAX = Reply(501, "5.5.4 Syntax: AUTH mechanism [response]")
AUTH_RESPONSE = Reply(501, "5.5.2 This response makes no sense")
AUTH_TOO_LONG = Reply(500, "5.5.6 The response is too long")
AUTH_CANCELLED = Reply(501, "5.7.0 Cancelled")
AUTH_MECHANISM = Reply(504, "5.5.4 This mechanism is not offered")
AUTH_NEEDS_TLS = Reply(538, "5.7.11 Say STARTTLS first")
AUTH_TWICE = Reply(503, "5.5.1 You are logged in already")
AUTH_IN_MAIL = Reply(503, "5.5.1 There is an open mail")
AUTH_FAILED = Reply(535, "5.7.8 Wrong name or password")
AUTH_LATER = Reply(454, "4.7.0 Nobody can be logged in now, try again later")
AUTH_TOO_OFTEN = Reply(421, "4.7.0 Too many failed logins, closing")
MAIL_SYNTAX = Reply(501, "5.5.4 Syntax: MAIL FROM:<address> [SIZE=n] [BODY=8BITMIME] [SMTPUTF8]")
RCPT_SYNTAX = Reply(501, "5.5.4 Syntax: RCPT TO:<address>")
BAD_SENDER = Reply(501, "5.1.7 This is not an address")
BAD_RECIPIENT = Reply(501, "5.1.3 This is not an address")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7 A non-ASCII address needs MAIL with SMTPUTF8")
BAD_PARAMETER = Reply(501, "5.5.4 A parameter's value makes no sense")
UNKNOWN_PARAMETER = Reply(555, "5.5.4 A parameter is unknown")
HELO_FIRST = Reply(503, "5.5.1 Say EHLO first")
MAIL_FIRST = Reply(503, "5.5.1 Say MAIL first")
MAIL_TWICE = Reply(503, "5.5.1 There is an open mail already")
RCPT_FIRST = Reply(503, "5.5.1 Say RCPT first")
NO_RECIPIENTS = Reply(554, "5.5.1 No recipient was accepted")
NO_RECIPIENTS_NOW = Reply(451, "4.5.1 No recipient was accepted, try again later")
DATA_AFTER_CHUNK = Reply(503, "5.5.1 The mail came in chunks so far, go on with BDAT or say RSET")
RCPT_AFTER_CHUNK = Reply(503, "5.5.1 The mail has begun, say RSET first")
CHUNK_AFTER_REFUSAL = Reply(503, "5.5.1 The mail was refused, say RSET first")
BINARY_IN_DATA = Reply(503, "5.5.1 A binary mail comes by BDAT")
TLS_TWICE = Reply(503, "5.5.1 TLS is on already")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3 Too many recipients, send the mail to the others again")
TOO_LARGE = Reply(552, "5.3.4 The mail is larger than we take")
LINE_TOO_LONG = Reply(500, "5.5.2 A line of the mail is too long")
TOO_MUCH_FOR_SO_MANY = Reply(552, "5.3.4 The mail has too many large parts for so many recipients")
BARE_IN_DATA = Reply(550, "5.6.0 The mail has a bare CR or LF: only CR LF ends a line")
TOO_OFTEN = Reply(451, "4.7.1 Too many mails from your address, try again later")
TOO_MANY_COMMANDS = Reply(421, "4.7.0 Too many commands from your address, closing")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0 Too many connections, try again later")
TOO_SLOW = Reply(421, "4.4.2 The mail comes too slowly, closing")
TOO_MANY_ERRORS = Reply(421, "4.7.0 Too many errors, closing")
NOT_HTTP = Reply(421, "4.7.0 This is SMTP, closing")
TOO_MUCH_DATA = Reply(421, "4.7.0 Far too much data, closing")
IDLE = Reply(421, "4.4.2 Nothing was heard for too long, closing")
STOPPING = Reply(421, "4.3.2 The service is shutting down")
NO_ROOM = Reply(451, "4.3.1 Too much mail at once, try again later")
TRY_AGAIN = Reply(451, "4.3.0 Temporary failure, try again later")

NOT_TAKEN = {
    Refusal.FULL: Reply(451, "4.3.1 The channel is full, try again later"),
    Refusal.UNAVAILABLE: Reply(451, "4.3.0 The channel layer is unavailable, try again later"),
    Refusal.TOO_LARGE: Reply(552, "5.3.4 The mail is more than the channel layer carries"),
}
"""What the layer's refusals become."""

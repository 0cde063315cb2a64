"""From the first byte to being known to the network: password, capabilities, SASL, nick.

Where SASL is configured, being registered without it is worse than not being registered: whatever goes wrong with it
ends the attempt. So does a server that goes on to 001 before the negotiation is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from .capabilities import Capabilities
from .message import Message, encode
from .names import is_target
from .sasl import Credentials, Exchange, SaslError, make_mechanism

_MOST_NICKS = 10
_TAKEN = ("433", "436", "437")
_SASL_FAILED = ("902", "904", "905", "906", "908")
_REFUSED = {"464": "the server refuses the password", "465": "the server has banned us"}


class RegistrationFailed(Exception):
    """The attempt is over; `permanent`: trying again soon would only fail again."""

    def __init__(self, reason: str, *, permanent: bool = True) -> None:
        super().__init__(reason)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are.

    Attributes:
        nick: The nick we want.
        username: The user part of our mask; servers may put a ~ before it.
        realname: What WHOIS shows.
        password: The server's password.
        sasl: How we log in to our account.
    """

    nick: str
    username: str = "trunkline"
    realname: str = "Trunkline"
    password: str | None = field(default=None, repr=False)
    sasl: Credentials | None = None

    def __post_init__(self) -> None:
        """Check what would break a line.

        Raises:
            ValueError: One of the values makes no sense.
        """
        for name in ("nick", "username"):
            value = getattr(self, name)
            if not is_target(value) or (value[0] in "#&@+~!" and name == "nick"):
                raise ValueError(f"{name}: {value!r} is no {name}")
        for name in ("realname", "password"):
            value = getattr(self, name) or ""
            if any(each in value for each in "\r\n\0"):
                raise ValueError(f"{name}: CR, LF and NUL cannot be sent")


class Registration:
    """One attempt.

    Args:
        identity: Who we are, but for
        nick: the nick we want by now.
        secure: Whether nobody can listen: without it a password is not said.
        random: The source of nonces and of nicks when those we want are taken.
        make_nonce: Makes the nonce of SCRAM.

    Attributes:
        capabilities: What was negotiated; goes on after the registration.
        nick: The nick that was asked for last; once `done`, the one we have.
        account: The account we are logged in to, as the server says.
        done: 001 came.
    """

    def __init__(
        self, identity: Identity, *, nick: str, secure: bool, random: Random, make_nonce: Callable[[], str]
    ) -> None:
        self.capabilities = Capabilities(sasl=identity.sasl is not None)
        self.nick = nick
        self.account: str | None = None
        self.done = False
        self._identity = identity
        self._wanted = nick
        self._secure = secure
        self._random = random
        self._make_nonce = make_nonce
        self._nicks = 1
        self._exchange: Exchange | None = None
        self._authenticated = False
        self._ended = False  # the negotiation, by us

    def begin(self) -> list[bytes]:
        """Return the first lines to send.

        Raises:
            RegistrationFailed: A password would be read by others.
        """
        identity = self._identity
        sasl = identity.sasl
        if not self._secure and sasl is not None and sasl.mechanism == "PLAIN":
            raise RegistrationFailed("SASL PLAIN says the password aloud: it needs TLS")
        lines = [encode("CAP", "LS", "302")]
        if identity.password is not None:
            lines.append(encode("PASS", identity.password))
        lines.append(encode("NICK", self._wanted))
        lines.append(encode("USER", identity.username, "0", "*", identity.realname or self._wanted))
        return lines

    def handle(self, message: Message) -> list[bytes]:
        """Take a message; return the lines to send.

        Raises:
            RegistrationFailed: The attempt is over.
        """
        command = message.command.upper()
        if command == "CAP":
            return self.capabilities.handle(message.params) + self._go_on()
        if command == "900" and len(message.params) >= 3:
            self.account = message.params[2]
        if self.done:
            return []
        if command == "001":
            return self._welcome(message)
        if command in _TAKEN:
            return self._next_nick()
        if command == "432":
            raise RegistrationFailed(f"the server takes no nick like {self.nick}")
        if command in _REFUSED:
            raise RegistrationFailed(_REFUSED[command])
        return self._handle_sasl(command, message)

    def _welcome(self, message: Message) -> list[bytes]:
        if self._identity.sasl is not None and not self._authenticated:
            raise RegistrationFailed("the server did not wait for SASL")
        self.done = True
        if message.params and is_target(message.params[0]) and message.params[0] != "*":
            self.nick = message.params[0]
        return []

    def _next_nick(self) -> list[bytes]:
        if self._nicks >= _MOST_NICKS:
            raise RegistrationFailed(f"{self._wanted} and {_MOST_NICKS - 1} nicks like it are taken", permanent=False)
        # Servers cut nicks at nine characters or more: what makes it different stands within them.
        suffix = "_" * self._nicks if self._nicks < 3 else str(self._random.randrange(100, 1000))
        self.nick = self._wanted[: 9 - len(suffix)] + suffix if self._nicks > 2 else self._wanted + suffix
        self._nicks += 1
        return [encode("NICK", self.nick)]

    # The negotiation's end

    def _go_on(self) -> list[bytes]:
        """Log in once what was asked for is answered, or end the negotiation."""
        if self.done or self._ended or self._exchange is not None or not self.capabilities.settled:
            return []
        credentials = self._identity.sasl
        if credentials is None:
            return self._end()
        offered = self.capabilities.offered.get("sasl")
        if "sasl" not in self.capabilities.active or offered is None:
            raise RegistrationFailed("the server has no SASL")
        if offered and credentials.mechanism not in offered.upper().split(","):
            raise RegistrationFailed(f"the server has no SASL {credentials.mechanism}, only {offered[:100]}")
        try:
            self._exchange = Exchange(make_mechanism(credentials, self._make_nonce))
        except SaslError as error:
            raise RegistrationFailed(str(error)) from None
        return [encode("AUTHENTICATE", credentials.mechanism)]

    def _handle_sasl(self, command: str, message: Message) -> list[bytes]:
        if command in _SASL_FAILED and self._identity.sasl is not None:
            reason = message.params[-1][:200] if message.params else command
            raise RegistrationFailed(f"SASL {self._identity.sasl.mechanism} failed: {reason}")
        if self._exchange is None or self._ended:
            return []
        if command == "AUTHENTICATE" and message.params:
            try:
                return [encode("AUTHENTICATE", piece) for piece in self._exchange.receive(message.params[0])]
            except SaslError as error:
                raise RegistrationFailed(str(error)) from None
        if command == "903":
            if not self._exchange.mechanism.done:
                raise RegistrationFailed("the server says that SASL is over before it is")
            self._authenticated = True
            return self._end()
        return []

    def _end(self) -> list[bytes]:
        self._ended = True
        return [encode("CAP", "END")]

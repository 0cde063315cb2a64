"""A bot for any chat service: it is spoken to in messages of the chat format, and answers in them.

what is said ─┬► a command: after the prefix, the bot's name, or in a private chat ─► rate ─► permission ─► arguments
              ├► something it hears ─► rate
              ├► said to it, and neither ─► that it knows no such command
              └► nothing of it: the routing's next route
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..channels import Channel, Conversation
from ..context import current_layer
from ..exceptions import CommandError, RoutingError
from ..message import Message
from ..routing import Match, RouteLike, caller
from .permissions import Permission, Rules
from .rooms import Rate, Rates, Room, digest, room_channel
from .sayings import Saying, Sayings, When
from .tasks import Command, Hearing, Task

if TYPE_CHECKING:
    from ...layer import Layer

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

Where = Message | Conversation | str
"""A place to speak in: that of a message, a conversation, or a reply channel's name."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_LONGEST_HEARD = 4_096  # characters of what is said that are searched for what the bot hears
_LONGEST_WORD = 40
_MOST_LINES = 5  # of help that is said to a whole room
_KEEP = 90 * 86_400.0


class Bot:
    """Commands, and what is heard, for any chat service::

        bot = Bot(prefix="!")

        @bot.command("deploy", usage="<service> [--now]")
        def deploy(message, service, now):
            \"\"\"Bring a service to production.\"\"\"
            message.reply(f"{service} is on its way")

        @bot.hears(r"\\bticket (?P<number>\\d+)")
        def ticket(message, number):
            message.reply(f"https://tickets.example.com/{number}")

        routing = bot.routes()

    A command is given after the prefix, after the bot's name ("bot: deploy web"), or in a private chat. Functions are
    consumers, `async def` or not: what they send leaves when they return, and `CommandError` says what was wrong with
    a command. Any other exception is logged, and the room hears that it failed, without the traceback. What somebody
    edited is not obeyed again.

    Args:
        prefix: What commands begin with; None: the bot has to be addressed.
        name: Tells bots on one layer apart.
        about: What stands above the list of commands in the help.
        allow: Who may speak to the bot, as `Who` or functions of the message; None: everybody. The bot is silent to
            all others, and the routing's next routes take what they say.
        deny: Who may not, even so.
        user_rate: How often one person is answered in one room, as (times, seconds); None: always.
        room_rate: How often all in one room are.
        unknown: Whether to answer what is said to the bot and is none of its commands.
        replayed: Whether to answer what was said while the server was away.
        keep: Seconds that what is kept of a room stays after its last change.

    Raises:
        RoutingError: an argument cannot be.
    """

    def __init__(
        self,
        prefix: str | None = "!",
        *,
        name: str = "bot",
        about: str = "",
        allow: Rules | None = None,
        deny: Rules = (),
        user_rate: Rate | None = (10, 60.0),
        room_rate: Rate | None = (60, 60.0),
        unknown: bool = True,
        replayed: bool = True,
        keep: float = _KEEP,
    ) -> None:
        where = caller()
        if prefix is not None and (not prefix or prefix != prefix.strip()):
            raise RoutingError(f"prefix {prefix!r}: something like '!', without spaces, or None", where)
        if not _NAME.fullmatch(name):
            raise RoutingError(f"name {name!r}: letters, digits, dashes and underscores, at most 40", where)
        self.prefix = prefix
        self.about = about
        self._layer_name = f"bot.{name}"
        self._permission = _checked(where, Permission, allow, deny)
        self._rates = _checked(where, Rates, self._layer_name, user_rate, room_rate)
        self._unknown = unknown
        self._replayed = replayed
        self._keep = keep
        self._commands: dict[str, Command] = {}
        self._hearings: dict[str, Hearing] = {}
        self._sayings = Sayings(self._layer_name)
        self._ready: Callable[..., Any] | None = None
        self._help = Command("help", (), "[command]", None, self._tell, Permission(None, ()), Rates("", None, None))

    def __repr__(self) -> str:
        return f"Bot({self.prefix!r})"

    # what it does

    def command(
        self,
        name: str,
        *,
        usage: str = "",
        help: str | None = None,
        aliases: Iterable[str] = (),
        allow: Rules | None = None,
        deny: Rules = (),
        rate: Rate | None = None,
    ) -> Callable[[F], F]:
        """Have a function called when a command is given.

        Args:
            name: The command, in any case.
            usage: What it takes: `<needed>`, `[optional]`, `<rest...>`, `[rest...]`, `[--flag]`, `--option=<value>`,
                `[--option=<value>]`. Each becomes an argument of the function: a str, or True or False of a flag;
                what is not there is its default, or None.
            help: What help says; by default the function's docstring, of which the list shows the first line.
            aliases: Other names of it.
            allow: Who may give it, as for `Bot`.
            deny: Who may not, even so.
            rate: How often one person may give it in one room, as (times, seconds).

        Raises:
            RoutingError: there is such a command, the usage cannot be read, or the function does not take it.
        """
        where = caller()

        def decorate(function: F) -> F:
            task = self._task(f"command:{name.casefold()}", allow, deny, rate, where)
            command = _checked(where, Command, name, aliases, usage, help, function, *task)
            for one in command.names:
                if self._commands.setdefault(one.casefold(), command) is not command:
                    raise RoutingError(f"there are two commands {one!r}", where)
            return function

        return decorate

    def hears(
        self,
        pattern: str | re.Pattern[str],
        *,
        allow: Rules | None = None,
        deny: Rules = (),
        rate: Rate | None = None,
    ) -> Callable[[F], F]:
        """Have a function called when something is said that is no command.

        Args:
            pattern: A regular expression, searched in the first 4 096 characters of what is said; its named groups are
                the function's arguments. The first pattern that is found counts.
            allow: Whom it hears, as for `Bot`; it is deaf to all others.
            deny: Whom it does not, even so.
            rate: How often it hears one person in one room, as (times, seconds).

        Raises:
            RoutingError: the pattern cannot be, is there already, or the function does not take its groups.
        """
        where = caller()

        def decorate(function: F) -> F:
            text = pattern if isinstance(pattern, str) else pattern.pattern
            task = self._task(f"hears:{text}", allow, deny, rate, where)
            if text in self._hearings:
                raise RoutingError(f"{text!r} is heard twice", where)
            self._hearings[text] = _checked(where, Hearing, pattern, function, *task)
            return function

        return decorate

    def every(
        self, seconds: float | None = None, *, cron: str | None = None, allow: Rules | None = None, deny: Rules = ()
    ) -> Callable[[F], F]:
        """Have a function called again and again in every room that the bot is in, for what it says by itself.

        It begins when the bot comes into a room (`chat.ready`), or somebody there talks to it first.

        Args:
            seconds: After how many; counted from midnight UTC on 1 January 1970, so that 3600 is each full hour.
            cron: Or when, as a crontab line, in UTC: "0 9 * * 1-5".
            allow: In which rooms, as `Who` or functions of a message with `service`, `network` and `channel`.
            deny: In which it does not, even so.

        Raises:
            RoutingError: that cannot be, or there is such a function already.
        """
        where = caller()

        def decorate(function: F) -> F:
            when = _checked(where, When, seconds, cron)
            saying = Saying(function.__qualname__, function, when, _checked(where, Permission, allow, deny))
            _checked(where, self._sayings.add, saying)
            return function

        return decorate

    def ready(self, function: F) -> F:
        """Have a function called when the bot is in a room; the bot takes `chat.ready` where it has this or `every`.

        Raises:
            RoutingError: there is one already.
        """
        if self._ready is not None:
            raise RoutingError("the bot has two functions for ready", caller())
        self._ready = function
        return function

    def routes(self) -> list[RouteLike]:
        """Return its routes, for a routing: `routing = [*bot.routes(), route(…)]`."""
        return [self]

    # for its functions

    def whisper(self, message: Message, text: str, **keys: Any) -> None:
        """Answer so that only who wrote the message sees it, where the service can.

        Args:
            message: The message.
            text: What to say.
            **keys: Other keys of a chat reply.
        """
        only = {} if message["direct"] else {"user": message["user"]}
        message.reply(text, **only, **keys)

    def room(self, where: Where) -> Room:
        """Return what the bot keeps about a room, or a private chat; threads belong to their room.

        Args:
            where: A message from there, a conversation, or a reply channel.
        """
        channel, layer = _place(where)
        if isinstance(where, Message):
            channel = room_channel(where) or channel
        return Room(f"{self._layer_name}:room:{digest(channel)}", self._keep, layer)

    def later(
        self,
        where: Where,
        content: str | Mapping[str, Any],
        *,
        delay: float = 0,
        seconds: float | None = None,
        cron: str | None = None,
        id: str | None = None,
    ) -> None:
        """Say something later, or again and again; up to the capacity of `asgi.delay` may wait, 1 000 by default.

        Args:
            where: Where.
            content: The text, or a chat reply.
            delay: After how many seconds, once.
            seconds: Again and again after so many, counted as for `every`.
            cron: Again and again as a crontab line says, in UTC.
            id: A name for it there: a later one replaces it, and `cancel` takes it back. A repetition needs one.

        Raises:
            ValueError: a delay and a repetition, a repetition without an id, or a crontab line that is none.
            FormatError: the content breaks the format.
        """
        channel, layer = _place(where)
        when = None if seconds is None and cron is None else When(seconds, cron)
        content = {"text": content} if isinstance(content, str) else content
        self._sayings.later(channel, content, layer, delay=delay, when=when, id=id)

    def cancel(self, where: Where, id: str) -> None:
        """Take back what `later` was told under an id there; what is not there is no error."""
        channel, layer = _place(where)
        self._sayings.cancel(channel, layer, id)

    # a route

    def channel_names(self) -> set[str]:
        """Return the channels it listens to."""
        names = {"chat.message"}
        if self._sayings:
            names.add(self._sayings.channel)
        if self._sayings or self._ready is not None:
            names.add("chat.ready")
        return names

    def match(self, message: Message) -> Match | None:
        """Return what takes a message, or None where it is nothing for the bot."""
        if message.channel == "chat.ready":
            return self._enter, {}
        if message.channel == self._sayings.channel:
            return self._due, {}
        content = message.content
        text = content.get("text")
        if not isinstance(text, str) or content.get("edited") or (content.get("replayed") and not self._replayed):
            return None
        found = self._find(message, text)
        return found if found is not None and self._permission.allows(message) else None

    def _find(self, message: Message, text: str) -> Match | None:
        content = message.content
        line = text.strip()
        addressed = bool(content.get("mention") or content.get("direct"))
        prefixed = self.prefix is not None and line.startswith(self.prefix)
        if prefixed or addressed:
            line = line[len(self.prefix or "") :] if prefixed else line
            word, rest = _split(line)
            command = self._command(word)
            if command is None and addressed and not line:
                command = self._help
            if command is not None:
                return self._obey, {"command": command.name, "line": rest}
        for pattern, hearing in self._hearings.items():
            if hearing.pattern.search(text, 0, _LONGEST_HEARD) and hearing.permission.allows(message):
                return self._hear, {"pattern": pattern}
        if addressed and self._unknown:
            return self._wonder, {"word": word}
        return None

    # how it does it

    def _obey(self, message: Message, command: str, line: str) -> Any:
        """Do what a command says."""
        task = self._command(command) or self._help
        if not self._may_go_on(message, task):
            return None
        if not task.permission.allows(message):
            message.reply(f"{task.name}: you may not do that here.")
            return None
        try:
            arguments = task.usage.parse(line)
        except CommandError as error:
            message.reply(f"{task.name}: {error} Usage: {self._usage(task)}")
            return None
        return task.call(message, arguments, task.name)

    def _hear(self, message: Message, pattern: str) -> Any:
        """Do what was waited for."""
        task = self._hearings[pattern]
        found = task.pattern.search(message["text"], 0, _LONGEST_HEARD)
        if found is None or not self._may_go_on(message, task):
            return None
        return task.call(message, found.groupdict(), "that")

    def _wonder(self, message: Message, word: str) -> None:
        """Answer what is no command."""
        if self._may_go_on(message, self._help):
            message.reply(self._no_command(message, word))

    def _enter(self, message: Message) -> Any:
        """Begin in a room."""
        self._sayings.begin(message, anew=True)
        return None if self._ready is None else self._ready(message)

    def _due(self, message: Message) -> Any:
        """Say something by itself."""
        due = self._sayings.due(message)
        return None if due is None else due[0].function(due[1])

    def _may_go_on(self, message: Message, task: Task) -> bool:
        """Count a message; answer the first that is too much, and no other."""
        for rates in (self._rates, task.rates):
            refusal = rates.refusal(message)
            if refusal is not None:
                if refusal:
                    self.whisper(message, f"{message['user']}: {refusal}")
                return False
        self._sayings.begin(message, anew=False)
        return True

    # help

    def _tell(self, message: Message, command: str | None) -> None:
        """Say which commands there are, or all about one."""
        if command is None:
            known = [one for name, one in self._commands.items() if name == one.name.casefold()]
            lines = [
                self._usage(one) + (f" – {one.summary}" if one.summary else "")
                for one in known
                if one.permission.allows(message)
            ]
            head = self.about or "These are my commands:" if lines else self.about or "I have no commands for you."
            lines = [head, *lines, *([f"{self._usage(self._help)} says more about one."] if lines else [])]
        else:
            found = self._command(command.removeprefix(self.prefix or ""))
            if found is None or not found.permission.allows(message):
                raise CommandError(self._no_command(message, command))
            also = ", ".join(f"{self.prefix or ''}{name}" for name in found.names[1:])
            lines = [self._usage(found), *found.help.splitlines(), *([f"Also: {also}"] if also else [])]
        text = "\n".join(lines)
        if len(lines) > _MOST_LINES:
            self.whisper(message, text)
        else:
            message.reply(text)

    def _no_command(self, message: Message, word: str) -> str:
        word = word[:_LONGEST_WORD]
        known = [name for name, one in self._commands.items() if one.permission.allows(message)]
        near = difflib.get_close_matches(word.casefold(), known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"I know no command {word!r}.{hint} {self.prefix or ''}help lists those I know."

    def _usage(self, command: Command) -> str:
        return f"{self.prefix or ''}{command.name} {command.usage.text}".rstrip()

    def _command(self, name: str) -> Command | None:
        name = name.casefold()
        found = self._commands.get(name)
        return self._help if found is None and name == "help" else found

    def _task(
        self, name: str, allow: Rules | None, deny: Rules, rate: Rate | None, where: str
    ) -> tuple[Permission, Rates]:
        rates = _checked(where, Rates, f"{self._layer_name}:{digest(name)}", rate, None)
        return _checked(where, Permission, allow, deny), rates


def _split(line: str) -> tuple[str, str]:
    """Part the first word from the rest."""
    word, *rest = line.split(None, 1) or [""]
    return word, rest[0] if rest else ""


def _place(where: Where) -> tuple[str, Layer]:
    """Return the reply channel of a place, and the layer."""
    if isinstance(where, Message):
        return str(where["reply_channel"]), where.layer
    channel = where.channel if isinstance(where, Conversation) else where
    layer = channel._layer if isinstance(channel, Channel) else None
    return str(channel), layer if layer is not None else current_layer()


def _checked(where: str, make: Callable[..., T], *args: Any) -> T:
    """Make something; what is wrong with it is said in one line, with the place in the user's file."""
    try:
        return make(*args)
    except (TypeError, ValueError) as error:
        raise RoutingError(str(error), where) from None

"""What a bot does when something is said: a function of the user's, with who may ask for it, how often, and how."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from ...layer import LayerError
from ..backtracking import may_never_end
from ..exceptions import CommandError, ConsumeLater, EndOfMessage
from .permissions import Permission
from .rooms import Rates
from .usage import Usage

if TYPE_CHECKING:
    from ..message import Message

log = logging.getLogger("trunkline.workers")

Function = Callable[..., Any]

_NAME = re.compile(r"[^\s]{1,40}")


class Task:
    """A function, and who may have it called how often.

    Args:
        function: `function(message, **arguments)`, `async def` or not.
        arguments: The names of the arguments it is called with.
        permission: Who may.
        rates: How often.

    Raises:
        ValueError: the function does not take these arguments.
    """

    def __init__(self, function: Function, arguments: Iterable[str], permission: Permission, rates: Rates) -> None:
        self.function = function
        self.permission = permission
        self.rates = rates
        self._needed = _needed(function, list(arguments))

    def call(self, message: Message, arguments: dict[str, Any], what: str) -> Any:
        """Call the function; say in the room that it failed.

        Args:
            message: What was said.
            arguments: The arguments; one that is not there is its own default, or None.
            what: What it is, for people.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            result = self.function(message, **{**dict.fromkeys(self._needed), **given})
        except Exception as error:
            return _failed(message, what, error)
        return _awaited(result, message, what) if isawaitable(result) else result


class Command(Task):
    """A command.

    Args:
        name: What people write.
        aliases: What they may write instead.
        usage: What it takes.
        help: What help says; None: what the function's docstring says.
        function, permission, rates: As for `Task`.

    Raises:
        ValueError: a name holds a space, the usage cannot be read, or the function does not take its arguments.
    """

    def __init__(
        self,
        name: str,
        aliases: Iterable[str],
        usage: str,
        help: str | None,
        function: Function,
        permission: Permission,
        rates: Rates,
    ) -> None:
        self.name = name
        self.names = (name, *aliases)
        for one in self.names:
            if not _NAME.fullmatch(one):
                raise ValueError(f"{one!r} is no name of a command: one word of at most 40 characters")
        self.usage = Usage(usage)
        self.help = inspect.cleandoc(help if help is not None else function.__doc__ or "")
        super().__init__(function, self.usage.names, permission, rates)

    @property
    def summary(self) -> str:
        """The first line of its help."""
        return self.help.partition("\n")[0]


class Hearing(Task):
    """Something a bot listens for.

    Args:
        pattern: A regular expression, searched in what is said; its named groups are the arguments.
        function, permission, rates: As for `Task`.

    Raises:
        ValueError: the pattern is none, matching it may never end, or the function does not take its groups.
    """

    def __init__(
        self, pattern: str | re.Pattern[str], function: Function, permission: Permission, rates: Rates
    ) -> None:
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if may_never_end(self.pattern):
            raise ValueError(
                f"{self.pattern.pattern!r} may take for ever on what somebody says: it repeats a repetition, as (a+)+ "
                "does; write a+"
            )
        super().__init__(function, self.pattern.groupindex, permission, rates)


def _needed(function: Function, names: list[str]) -> list[str]:
    """Return the names of arguments that have no default."""
    signature = inspect.signature(function)
    try:
        signature.bind(object(), **dict.fromkeys(names))
    except TypeError as error:
        shown = "".join(f", {name}=…" for name in names)
        raise ValueError(f"{function.__name__}(message{shown}): {error}") from None
    parameters = signature.parameters
    return [name for name in names if name not in parameters or parameters[name].default is inspect.Parameter.empty]


def _failed(message: Message, what: str, error: Exception) -> None:
    """Answer what went wrong; what is no answer in itself goes on to the worker, which logs and keeps it."""
    if isinstance(error, CommandError):
        message.reply(str(error))
        return
    last = isinstance(error, ConsumeLater) and message.delivery is not None and message.delivery.tries >= error.tries
    if last or not isinstance(error, EndOfMessage):
        to = message.reply_channel
        try:
            # At once, since what is held is dropped; and once, since a durable channel brings the message again.
            to.send({"text": f"{what} failed, which is logged."}, immediately=True, once=f"failed:{message.get('id')}")
        except LayerError as lost:
            log.warning("nobody could be told in %s that a command failed: %s", to, lost)
    raise error


async def _awaited(result: Awaitable[Any], message: Message, what: str) -> Any:
    try:
        return await result
    except Exception as error:
        return _failed(message, what, error)

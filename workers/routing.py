"""Which consumer takes a message, and with what arguments: the first route of its channel whose filters all match.

A routing is a list of routes. `route` names a consumer, `include` another routing behind a prefix, a dictionary
`{channel: consumer}` is a short way to write routes without filters, and anything with `match(message)` and
`channel_names()` is a route too. Names (of consumers, of included routings, `chat.*`) are resolved once, when the
routing is first used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .. import message_formats
from . import loading
from .exceptions import RoutingError
from .filters import Filter, Rest
from .marks import ORDERED

if TYPE_CHECKING:
    from .checking import Explained, Problem
    from .message import Message

Consumer = Callable[..., Any]
Match = tuple[Consumer, dict[str, Any]]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,99}(?:!|\?[A-Za-z0-9._-]+)?|[A-Za-z0-9._-]{0,98}\*", re.ASCII)


class RouteLike(Protocol):
    """What a routing is made of."""

    def match(self, message: Message) -> Match | None:
        """Return the consumer and its keyword arguments, or None."""
        ...

    def channel_names(self) -> Iterable[str]:
        """Return the names of the channels this route listens to."""
        ...


class Leaf(NamedTuple):
    """A route as it stands after all includes: for people and for checks."""

    channels: tuple[str, ...]
    filters: tuple[Filter, ...]
    route: RouteLike

    @property
    def name(self) -> str:
        """The consumer's name, or that of a route of somebody else's making."""
        if isinstance(self.route, Route):
            return self.route.name
        cls = type(self.route)
        return f"{cls.__module__}.{cls.__qualname__}" if cls.__repr__ is object.__repr__ else repr(self.route)

    @property
    def where(self) -> str:
        """File and line that made the route, or ""."""
        return self.route.where if isinstance(self.route, Route) else ""


def route(channel: str | Iterable[str], consumer: Consumer | str, /, **filters: Any) -> Route:
    """Send the messages of a channel that match all filters to a consumer.

    Args:
        channel: A channel's name, several of them, or a name ending in `*` for all that servers publish there.
        consumer: A callable `consumer(message, **captures)`, `async def` or not, or its dotted name.
        filters: Field -> regular expression (named groups become keyword arguments) or value to be equal to.

    Raises:
        RoutingError: a channel's name or a filter is none.
    """
    return Route((channel,) if isinstance(channel, str) else tuple(channel), consumer, filters, caller())


def route_class(consumer: type | str, /, **filters: Any) -> Route:
    """Send the messages of all channels a consumer class handles to it.

    Args:
        consumer: A subclass of BaseConsumer, or its dotted name.
        filters: As for `route`; they come on top of the class's own `filters`.
    """
    return Route(None, consumer, filters, caller())


def include(routing: Any, /, **filters: Any) -> Include:
    """Use another routing for what matches all filters; it sees the matched fields without what was matched.

    Args:
        routing: A routing, a list of routes, or the name of one (`package.module` or `package.module:attribute`).
        filters: As for `route`. Captures are passed on; `path=r"^/shop"` lets the inner routes see `/cart`.
    """
    return Include(routing, filters, caller())


class Route:
    """One route; made by `route` and `route_class`."""

    def __init__(
        self, channels: tuple[str, ...] | None, consumer: Consumer | str, filters: Mapping[str, Any], where: str = ""
    ) -> None:
        _check_names(channels or ())
        if channels == ():
            raise RoutingError("a route needs a channel")
        if not callable(consumer) and not isinstance(consumer, str):
            raise RoutingError(f"{consumer!r} is no consumer: give a callable or its dotted name")
        self.channels = channels
        self.consumer = consumer
        self.filters = tuple(Filter(key, expected) for key, expected in filters.items())
        self.where = where
        self._handler: Consumer | None = None

    def __repr__(self) -> str:
        channels = "*" if self.channels is None else ", ".join(self.channels)
        return " ".join([channels, *map(repr, self.filters), "->", self.name])

    @property
    def name(self) -> str:
        """The consumer's name, for people."""
        if isinstance(self.consumer, str):
            return self.consumer
        named = getattr(self.consumer, "__qualname__", None)
        return f"{self.consumer.__module__}.{named}" if named else repr(self.consumer)

    @property
    def handler(self) -> Consumer:
        """What is called: the consumer, found by its name where one was given.

        Raises:
            RoutingError: there is no such consumer.
        """
        if self._handler is None:
            self._resolve()
        assert self._handler is not None
        return self._handler

    def channel_names(self) -> set[str]:
        """Return the channels this route listens to, names ending in `*` written out."""
        if self.channels is None:
            self._resolve()
        return {name for written in self.channels or () for name in _published(written)}

    def ordered_names(self) -> set[str]:
        """Return the channels of this route whose messages its consumer takes one at a time of each connection."""
        mark = getattr(self.handler, ORDERED, ())
        return self.channel_names() if mark is True else self.channel_names().intersection(mark)

    def match(self, message: Message) -> Match | None:
        """Return the consumer and its keyword arguments, or None."""
        if message.channel not in self.channel_names():
            return None
        return self._take(message.channel, message.content, message, None)

    def _resolve(self) -> None:
        consumer = self.consumer
        if isinstance(consumer, str):
            consumer = loading.consumer(consumer, self.where)
        made = getattr(consumer, "as_consumer", None)
        if self.channels is None:
            if made is None:
                raise RoutingError(f"{self.name} is no subclass of BaseConsumer", self.where)
            self.filters += tuple(Filter(key, expected) for key, expected in getattr(consumer, "filters", {}).items())
            self.channels = _check_names(sorted(made.__self__.channel_names()), self.where)
        try:
            self._handler = made() if made is not None else consumer
        except RoutingError as error:
            error.where = error.where or self.where
            raise

    def _take(
        self, channel: str, content: Mapping[str, Any], message: Message | None, rest: Rest | None
    ) -> Match | None:
        captures: dict[str, Any] = {}
        for one in self.filters:
            found = one.search(content, rest)
            if found is False:
                return None
            if found is not True:
                captures.update(found.groupdict())
        return self._handler or self.handler, captures

    def _may(self, channel: str, content: Mapping[str, Any], known: frozenset[str], rest: Rest) -> bool:
        return all(one.field not in known or one.search(content, rest) is not False for one in self.filters)


class Include:
    """Another routing behind filters; made by `include`."""

    def __init__(self, routing: Any, filters: Mapping[str, Any], where: str = "") -> None:
        self.filters = tuple(Filter(key, expected) for key, expected in filters.items())
        self.where = where
        self._given = routing
        self._routing: Routing | None = None
        self._busy = False

    def __repr__(self) -> str:
        return " ".join(["include", self.name, *map(repr, self.filters)])

    @property
    def name(self) -> str:
        """The included routing's name, for people."""
        return self._given if isinstance(self._given, str) else "[…]"

    @property
    def routing(self) -> Routing:
        """The included routing, found by its name where one was given.

        Raises:
            RoutingError: there is no such routing, or it includes itself.
        """
        if self._routing is None:
            if self._busy:
                raise RoutingError(f"{self.name} includes itself", self.where)
            self._busy = True
            try:
                given = self._given
                found = (
                    loading.load_routing(given, self.where) if isinstance(given, str) else Routing(given, self.where)
                )
                found.channel_names()
                self._routing = found
            finally:
                self._busy = False
        return self._routing

    def channel_names(self) -> set[str]:
        """Return the channels of the included routing."""
        return self.routing.channel_names()

    def ordered_names(self) -> set[str]:
        """Return the channels of the included routing that have `@ordered` consumers."""
        return self.routing.ordered_names()

    def match(self, message: Message) -> Match | None:
        """Return the consumer and its keyword arguments, or None."""
        return self._take(message.channel, message.content, message, None)

    def _take(
        self, channel: str, content: Mapping[str, Any], message: Message | None, rest: Rest | None
    ) -> Match | None:
        captures: dict[str, Any] = {}
        inner_rest: Rest = dict(rest) if rest else {}
        for one in self.filters:
            found = one.search(content, rest)
            if found is False:
                return None
            one.leave(found, inner_rest)
            if found is not True:
                captures.update(found.groupdict())
        taken = self.routing.take(channel, content, message, inner_rest)
        if taken is None:
            return None
        return taken[0], {**captures, **taken[1]}

    def _may(self, channel: str, content: Mapping[str, Any], known: frozenset[str], rest: Rest) -> bool:
        inner_rest = dict(rest)
        for one in self.filters:
            if one.field in known:
                found = one.search(content, rest)
                if found is False:
                    return False
                one.leave(found, inner_rest)
        return self.routing.may_take(channel, content, known, inner_rest)


class _Foreign:
    """A route of somebody else's making; inside an include it sees the message as the include left it."""

    filters: tuple[Filter, ...] = ()

    def __init__(self, route: RouteLike) -> None:
        self.route = route

    def channel_names(self) -> set[str]:
        try:
            names = set(self.route.channel_names())
        except Exception as error:
            raise loading.blame(error) from None
        return set(_check_names(names))

    def ordered_names(self) -> set[str]:
        return set()

    def _take(
        self, channel: str, content: Mapping[str, Any], message: Message | None, rest: Rest | None
    ) -> Match | None:
        from .message import Message

        if message is None or rest:
            shown = {**content, **{key: _left(value) for key, value in (rest or {}).items() if key in content}}
            message = Message(shown, channel, message._layer if message is not None else None)
        return self.route.match(message)

    def _may(self, channel: str, content: Mapping[str, Any], known: frozenset[str], rest: Rest) -> bool:
        return True


class Routing:
    """A list of routes, in the order they are asked.

    Args:
        routes: Routes, dictionaries `{channel: consumer}` and other routings, in a list or alone.
        where: File and line of the dictionaries among them; by default those of the caller.

    Raises:
        RoutingError: something in it is no route.
    """

    def __init__(self, routes: Any = (), where: str | None = None) -> None:
        self.routes: list[Route | Include | _Foreign] = []
        self._by_channel: dict[str, list[Route | Include | _Foreign]] | None = None
        self._add(routes, where)

    def _add(self, given: Any, where: str | None) -> None:
        if isinstance(given, Route | Include):
            self.routes.append(given)
        elif isinstance(given, Routing):
            self.routes += given.routes
        elif isinstance(given, Mapping):
            made_at = caller() if where is None else where
            self.routes += [Route((channel,), consumer, {}, made_at) for channel, consumer in given.items()]
        elif callable(getattr(given, "match", None)) and callable(getattr(given, "channel_names", None)):
            self.routes.append(_Foreign(given))
        elif isinstance(given, list | tuple):
            for one in given:
                self._add(one, where)
        else:
            raise RoutingError(
                f"{given!r} is no route: use route(…), include(…), a dictionary {{channel: consumer}} "
                "or anything with match(message) and channel_names()"
            )

    def _index(self) -> dict[str, list[Route | Include | _Foreign]]:
        index: dict[str, list[Route | Include | _Foreign]] = {}
        for one in self.routes:
            for name in one.channel_names():
                index.setdefault(name, []).append(one)
            if isinstance(one, Route):
                _ = one.handler
        self._by_channel = index
        return index

    def channel_names(self) -> set[str]:
        """Return the channels of all routes; names of consumers and of included routings are resolved here.

        Raises:
            RoutingError: one of these names leads nowhere.
        """
        return set(self._by_channel or self._index())

    def ordered_names(self) -> set[str]:
        """Return the channels that have `@ordered` consumers."""
        return {name for one in self.routes for name in one.ordered_names()}

    def match(self, message: Message) -> Match | None:
        """Return the consumer that takes a message and its keyword arguments, or None.

        Args:
            message: What came; nothing it holds makes a filter of ours raise.
        """
        return self.take(message.channel, message.content, message)

    def take(
        self, channel: str, content: Mapping[str, Any], message: Message | None = None, rest: Rest | None = None
    ) -> Match | None:
        """Do what `match` does, for a message in its parts.

        Args:
            channel: The channel the message came from; of a reply channel the part up to `!` decides.
            content: What it holds.
            message: The message, for routes that ask for one; made when it is needed.
            rest: What outer includes left of the fields.
        """
        index = self._by_channel or self._index()
        routes = index.get(channel)
        if routes is None:
            if "!" not in channel:
                return None
            routes = index.get(channel[: channel.index("!") + 1], [])
        for one in routes:
            taken = one._take(channel, content, message, rest)
            if taken is not None:
                return taken
        return None

    def may_take(
        self, channel: str, content: Mapping[str, Any], known: frozenset[str], rest: Rest | None = None
    ) -> bool:
        """Say whether a route of `channel` may match a message of which only some fields are known.

        Args:
            channel: The channel the message would come from.
            content: What is known of it.
            known: Names of the fields `content` would hold; a filter on any other field counts as may match.
            rest: What outer includes left of the fields.
        """
        index = self._by_channel or self._index()
        return any(one._may(channel, content, known, rest or {}) for one in index.get(channel, ()))

    def leaves(self) -> Iterator[Leaf]:
        """Yield every route with the filters of its includes in front of its own, in the order they are asked."""
        for one in self.routes:
            if isinstance(one, Include):
                for inner in one.routing.leaves():
                    yield inner._replace(filters=one.filters + inner.filters)
            else:
                channels = tuple(sorted(one.channel_names()))
                yield Leaf(channels, one.filters, one.route if isinstance(one, _Foreign) else one)

    def explain(self, channel: str, content: Mapping[str, Any]) -> list[Explained]:
        """Say of every route of a channel whether it takes a message, and why not.

        Args:
            channel: The channel the message would come from.
            content: What it would hold; fields left out do not match.
        """
        from . import checking

        return checking.explain(self, channel, content)

    def find(self, channel: str, content: Mapping[str, Any]) -> Explained | None:
        """Return the route that takes a message, with the arguments its consumer gets, or None.

        Args:
            channel: The channel the message would come from.
            content: What it would hold.
        """
        return next((one for one in self.explain(channel, content) if one.takes), None)

    def problems(self) -> list[Problem]:
        """Return what is probably wrong: routes that can never match, dots in addresses, unknown channels."""
        from . import checking

        return checking.problems(self)


def _published(name: str) -> Iterable[str]:
    """Write out a name ending in `*`; formats registered after the routing was first used are not seen."""
    if not name.endswith("*"):
        return (name,)
    formats = ((known, message_formats.get(known)) for known in message_formats.names())
    return [known for known, form in formats if form and form.published and known.startswith(name[:-1])]


def _check_names(names: Iterable[Any], where: str = "") -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 99:
            raise RoutingError(
                f"{name!r} is no channel name: letters, digits, dots, dashes and underscores, "
                "`*` only at the end, under 100 characters",
                where,
            )
    return tuple(names)


def _left(value: str | re.Match[str]) -> str:
    return value if isinstance(value, str) else value.string[value.end() :]


def caller() -> str:
    """Return the file and line outside this package that made a route."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(loading.OURS) and frame.f_back is not None:
        frame = frame.f_back
    return f"{loading.short(frame.f_code.co_filename)}:{frame.f_lineno}"

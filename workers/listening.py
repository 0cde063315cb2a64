"""Which channels a worker listens to, and on which of them it asks for order."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .. import message_formats
from ..operations.errors import UsageError
from . import delays

if TYPE_CHECKING:
    from .routing import Routing


def listened(routed: set[str], only: Iterable[str], exclude: Iterable[str]) -> list[str]:
    """Return the channels to listen to: those of the routes, what belongs to them, and delays; less by patterns.

    Args:
        routed: The channels of the routes.
        only: Patterns of which one has to match; none: all do. A str is one pattern, as for `exclude`.
        exclude: Patterns of which none may match.

    Raises:
        UsageError: none is left.
    """
    only, exclude = _patterns(only), _patterns(exclude)
    channels = {delays.CHANNEL, *routed}
    forms = {name: message_formats.get(name) for name in routed}
    for form in forms.values():
        channels.update(form.together if form is not None else ())
    kept = []
    for name in sorted(channels):
        form = message_formats.get(name)
        # What servers ask by themselves (email.recipient) goes with the channel whose routes decide about it.
        unpublished = form is not None and not form.published and form.judged_by in channels
        judged = form.judged_by if unpublished and form is not None and form.judged_by is not None else name
        if _matches(judged, only, True) and not _matches(judged, exclude, False):
            kept.append(name)
    if not kept:
        raise UsageError(f"no channel is left to listen to; the routing has {', '.join(sorted(routed)) or 'no route'}")
    return kept


def in_order(routing: Routing, listened_to: Iterable[str]) -> frozenset[str]:
    """Return the channels whose messages come one at a time of each connection: those with an `@ordered` consumer.

    The channels that belong together are one conversation with a connection, so they are ordered together.

    Args:
        routing: The routing.
        listened_to: The channels the worker listens to.
    """
    channels = set()
    for name in routing.ordered_names():
        form = message_formats.get(name)
        if form is None or not form.alone:
            channels.update({name, *(form.together if form is not None else ())})
    return frozenset(channels.intersection(listened_to))


def _patterns(given: Iterable[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else tuple(given)


def _matches(name: str, patterns: Sequence[str], otherwise: bool) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) if patterns else otherwise

"""Delay: messages for later, which every worker understands."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from .format import Format
from .kinds import Range
from .typed import record_of


class AsgiDelay(TypedDict):
    """A message to be sent later. Any worker turns it into a delayed send of the layer."""

    channel: Annotated[str, "Where `content` goes when its time has come."]
    delay: Annotated[int, Range(-1), "How long to wait, in milliseconds; -1 cancels the waiting one of that `id`."]
    content: Annotated[dict[str, Any], "The message to send."]
    id: NotRequired[Annotated[str, "A name; a later message of the same name replaces the one that waits."]]
    repeat: NotRequired[Annotated[int, Range(1), "Send it again every so many milliseconds."]]
    cron: NotRequired[Annotated[str, "Send it again at these times, five fields as in crontab."]]


FORMATS = (Format("asgi.delay", record_of(AsgiDelay), published=False),)

"""Where each conversation stands, written down in the layer for the next process."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping

from ...layer import Layer, LayerError
from .history import Mark

PAUSE = 5.0  # seconds between two notes
_LIFE = 7 * 86400.0

_log = logging.getLogger("trunkline.irc")


class Memory:
    """The marks of one network in the layer.

    Args:
        layer: The channel layer.
        network: The network's name.
        loop: The event loop; the layer is written to in a thread beside it.
        call_later: Calls a function after so many seconds.
        marks: Returns the marks of now; None: they must not be written down yet.
        stats: Counts "marks_not_saved".

    Attributes:
        changed: There is something new to be written down.
    """

    def __init__(
        self,
        layer: Layer,
        network: str,
        *,
        loop: asyncio.AbstractEventLoop,
        call_later: Callable[[float, Callable[[], None]], object],
        marks: Callable[[], Mapping[str, Mark] | None],
        stats: Counter[str],
    ) -> None:
        self.changed = False
        self._layer = layer
        self._key = f"irc.marks.{network}"
        self._loop = loop
        self._call_later = call_later
        self._marks = marks
        self._stats = stats
        self._saving: asyncio.Task[None] | None = None

    def read(self) -> dict[str, Mark]:
        """Return what the process before this one wrote; what makes no sense is left out.

        Raises:
            LayerError: The layer is away.
        """
        state = self._layer.get_state(self._key)[0]
        marks = {}
        for key, mark in state.items() if isinstance(state, dict) else ():
            match mark:
                case [int() | float() as moment, str() as id]:
                    marks[key] = Mark(float(moment), id)
        return marks

    def move(self) -> None:
        """Write the marks down in some seconds."""
        if not self.changed:
            self.changed = True
            self._call_later(PAUSE, self._begin)

    async def finish(self) -> None:
        """Write them down now."""
        if self._saving is not None:
            await self._saving
        await self._save()

    def _begin(self) -> None:
        self._saving = self._loop.create_task(self._save())

    async def _save(self) -> None:
        if not self.changed:
            return
        self.changed = False
        marks = self._marks()
        if marks is None:
            self.move()
            return
        state = {key: [mark.time, mark.id] for key, mark in marks.items()}
        try:
            await self._loop.run_in_executor(None, self._layer.put_state, self._key, state, _LIFE)
        except LayerError as error:
            self._stats["marks_not_saved"] += 1
            _log.debug("%s could not be written: %s", self._key, error)

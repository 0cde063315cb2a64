"""How `async def` consumers run in a worker's thread: each to its end, on one loop of the thread's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Any

log = logging.getLogger("trunkline.workers")

_LEFT_TASKS = 1.0  # seconds for what async consumers left running to be cancelled


class Awaiting:
    """The loop of one thread, made when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Return what an awaitable returns, or raise what it raises; nothing it leaves running ends the loop."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(_whole(awaitable))
        try:
            while not task.done():
                try:
                    self._loop.run_until_complete(task)
                except SystemExit as error:  # it ends a run of the loop, whichever task raised it
                    if not task.done() or task.cancelled() or task.exception() is not error:
                        log.error("what an async consumer left running did not end well", exc_info=error)
            return task.result()
        finally:
            task.cancel()

    def close(self) -> None:
        """Cancel what `async def` consumers left running, and close their loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        left = asyncio.all_tasks(loop)
        ending = loop.create_task(_end(left))
        for _ in range(len(left) + 1):  # SystemExit of a task ends a run of the loop, once for each task
            try:
                loop.run_until_complete(ending)
                break
            except BaseException:
                continue
        for task in left:
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None:
                log.error("what an async consumer left running did not end well", exc_info=error)
        loop.close()


async def _end(left: Iterable[asyncio.Task[Any]]) -> None:
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_LEFT_TASKS)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _whole(awaitable: Awaitable[Any]) -> Any:
    return await awaitable

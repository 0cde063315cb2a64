"""Questions that take a while, asked once however many want to know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A question that blocks: it is asked in a thread, and those who come while it is asked share the answer.

    To be used on one event loop. There is a thread only while the question is asked.

    Args:
        question: What is asked; one call at a time.
        age: Seconds for which an answer is good.
    """

    def __init__(self, question: Callable[[], T], age: float = 0.0) -> None:
        self._question = question
        self._age = age
        self._asking: asyncio.Future[T] | None = None
        self._answered: tuple[float, T] | None = None

    async def ask(self, seconds: float | None = None) -> T:
        """Return the answer.

        Args:
            seconds: How long to wait; the question goes on.

        Raises:
            TimeoutError: There was none in time.
        """
        loop = asyncio.get_running_loop()
        if self._answered is not None and loop.time() - self._answered[0] < self._age:
            return self._answered[1]
        if self._asking is None:
            asking = self._asking = loop.create_future()
            asking.add_done_callback(self._done)
            threading.Thread(target=self._ask, args=(loop, asking), name="trunkline-asking", daemon=True).start()
        return await asyncio.wait_for(asyncio.shield(self._asking), seconds)

    def _ask(self, loop: asyncio.AbstractEventLoop, asking: asyncio.Future[T]) -> None:
        try:
            answer = self._question()
        except Exception as error:
            self._tell(loop, asking.set_exception, error)
        else:
            self._tell(loop, asking.set_result, answer)

    @staticmethod
    def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], what: object) -> None:
        try:
            loop.call_soon_threadsafe(tell, what)
        except RuntimeError:
            pass  # the loop was closed meanwhile

    def _done(self, asking: asyncio.Future[T]) -> None:
        self._asking = None
        if asking.exception() is None:
            self._answered = (asking.get_loop().time(), asking.result())

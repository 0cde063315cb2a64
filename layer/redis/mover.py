"""The thread of a process that moves delayed messages when they are due.

It waits for a token on the wake list, which a delayed send leaves when it is due before all others, or until the next
one is due. Every process has one, so that none is needed in particular: the moving itself is one script.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from ..backoff import Backoff
from ..errors import LayerUnavailable
from .commands import Commands, pull_keys
from .connection import Connection

log = logging.getLogger("trunkline.layer")

# Seconds after which it looks although nobody left a token: whoever took one may have died. Servers look every five.
_LONGEST = 15.0
_GRACE = 3.0
_SHORTEST = 0.001


class Mover:
    """Moves due messages, from its start until it is stopped.

    It does not know its layer, which may be forgotten while the thread runs.

    Args:
        connect: Opens a connection.
        commands: Those of the layer.
    """

    def __init__(self, connect: Callable[[], Connection], commands: Commands) -> None:
        self._connect = connect
        self._commands = commands
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._signal, self._signalled = os.pipe()

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stopped:
                    self._thread = threading.Thread(target=self._run, name="trunkline-mover", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        """End the thread; it does not start again."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            os.close(self._signalled)
            if self._thread is None:
                os.close(self._signal)

    def _run(self) -> None:
        backoff = Backoff()
        connection: Connection | None = None
        stop = threading.Event()
        while not self._stopped:
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                self._move(connection)
                backoff.reset()
            except LayerUnavailable as error:
                log.debug("delayed messages wait: %s", error)
                stop.wait(backoff.next())
            except Exception:
                log.exception("moving delayed messages failed")
                stop.wait(backoff.longest)
        if connection is not None:
            connection.close()
        os.close(self._signal)

    def _move(self, connection: Connection) -> None:
        """Move what is due, and wait for the next."""
        plan = self._commands.plan([("promote", ())])
        due = plan.outcomes(connection.run(plan.commands))[0]
        if isinstance(due, Exception):
            raise due
        seconds = _LONGEST if due is None else max(_SHORTEST, min(due, _LONGEST))
        connection.write([pull_keys((self._commands.keys.wake,), seconds, 1)])
        if connection.wait(seconds + _GRACE, self._signal):
            connection.read(1)
        elif self._stopped:
            connection.close()
        else:
            connection.read(1, 0.001)

"""The parent of a supervised process, as the process itself sees it; `child.py` is the other end."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .child import ASK, DECIDED_BY_PARENT
from .errors import UsageError
from .reloading import imported_files

log = logging.getLogger("trunkline.process")

_CHUNK = 4096
_LOOK = 1.0  # seconds between two looks at what was imported since


class Parent:
    """What a supervised process tells its parent; when the parent dies, the process drains and ends.

    To be made in the main thread, before anything else.

    Args:
        marker: What the parent wrote after `--child`: "number:descriptor".

    Attributes:
        number: Which of the parent's processes this is, from 1 on.
        report: Makes what is told when the parent asks; None: nothing, this time.

    Raises:
        UsageError: no parent wrote that.
    """

    def __init__(self, marker: str) -> None:
        number, _, descriptor = marker.partition(":")
        try:
            self.number = int(number)
            self._socket = socket.socket(fileno=int(descriptor))
        except (ValueError, OSError):
            raise UsageError("--child is for processes that trunkline starts by itself") from None
        self._socket.set_inheritable(False)
        self.report: Callable[[], dict[str, Any] | None] = lambda: None
        # Reentrant, for what a signal handler says while its thread is saying something.
        self._saying, self._hearing = threading.RLock(), threading.RLock()
        self._dismissed = False
        for each in DECIDED_BY_PARENT:
            if signal.getsignal(each) is not signal.SIG_IGN:
                # A handler, since what is ignored stays ignored in the programs that a consumer runs.
                signal.signal(each, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DECIDED_BY_PARENT)
        threading.Thread(target=self._listen, name="trunkline-parent", daemon=True).start()

    @property
    def dismissed(self) -> bool:
        """Whether the parent told this process to end, or is gone: a SIGTERM may be of anybody."""
        if self._hear():  # in the place of the thread that listens, which need not be the one to answer
            threading.Thread(target=self.tell, name="trunkline-report", daemon=True).start()
        return self._dismissed

    def ready(self, told: Sequence[str] = ()) -> None:
        """Say that this process has started.

        Args:
            told: What people should read about it, such as the addresses it listens on.
        """
        self._say({"ready": list(told)})

    def failed(self, text: str) -> None:
        """Say, instead of printing it, why this process could not start."""
        self._say({"failed": text})

    def files(self, paths: Iterable[str]) -> None:
        """Name files that, when they change, call for new processes."""
        self._say({"files": sorted(paths)})

    def tell(self) -> None:
        """Tell how this process is doing."""
        report = self.report()
        if report is not None:
            self._say({"report": report})

    def follow_imports(self) -> None:
        """Name the files of what is imported, now and from now on."""
        known = imported_files()
        self.files(known)
        threading.Thread(target=self._follow, args=(known,), name="trunkline-imports", daemon=True).start()

    def _follow(self, known: set[str]) -> None:
        while True:
            time.sleep(_LOOK)
            new = imported_files() - known
            if new:
                self.files(new)
                known |= new

    def _say(self, what: dict[str, object]) -> None:
        line = json.dumps(what).encode() + b"\n"
        try:
            with self._saying:  # a line of one thread, then one of another
                self._socket.sendall(line)
        except OSError:
            pass  # the parent is gone, and that is acted on below

    def _hear(self) -> bool:
        """Take what the parent has said by now; return whether it asked for a report."""
        asked = False
        with self._hearing:
            try:
                while not self._dismissed:
                    said = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
                    asked = asked or ASK in said
                    self._dismissed = not said
            except BlockingIOError:
                pass
            except OSError:
                self._dismissed = True
        return asked

    def _listen(self) -> None:
        """Answer the parent; wait for its end, and end as if it had said so."""
        said = select.poll()
        said.register(self._socket, select.POLLIN)
        while not self._dismissed:
            said.poll()
            if self._hear():
                self.tell()
        gone = select.poll()
        gone.register(self._socket, 0)  # no events but that the other end is closed
        gone.poll()
        log.error("the parent is gone: this process drains and ends")
        os.kill(os.getpid(), signal.SIGTERM)

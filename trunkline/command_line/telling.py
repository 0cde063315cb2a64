"""What a command tells of itself: to its parent where it has one, else on the operations port where there is one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from ..layer import Layer
    from ..operations.overview import Overview
    from ..operations.parent import Parent
    from ..operations.reports import Reporter, ReportingServer, ReportingWorker
    from ..operations.settings import Configuration
    from ..operations.supervision import Supervisor


class Telling:
    """Whoever wants to know how this process is doing, which may be nobody.

    Args:
        kind: What people call this process.
        parent: Its parent.
        overview: The command, where the operations port shows it.

    Attributes:
        address: The URL of the operations port; "": there is none.
    """

    def __init__(self, kind: str, parent: Parent | None = None, overview: Overview | None = None) -> None:
        self.address = ""
        self._kind = kind
        self._parent = parent
        self._overview = overview
        self._reporter: Reporter | None = None

    def of(
        self,
        *,
        servers: Sequence[ReportingServer] = (),
        worker: ReportingWorker | None = None,
        crews: Sequence[Supervisor] = (),
        loop: AbstractEventLoop | None = None,
    ) -> None:
        """Say what there is to tell of.

        Args:
            servers: The servers of this process.
            worker: Its worker.
            crews: The processes that it started.
            loop: What the servers run on, and the processes are kept on.
        """
        if self._parent is None and self._overview is None:
            return
        from ..operations.recent import keep_recent
        from ..operations.reports import Reporter

        self._reporter = Reporter(self._kind, keep_recent(), servers=servers, worker=worker, loop=loop)
        if self._parent is not None:
            self._parent.report = self._reporter.report
        if self._overview is not None:
            self._overview.has(self._reporter, crews=crews, loop=loop)

    def begin(self) -> None:
        """Say that everything runs."""
        if self._overview is not None:
            self._overview.state = "running"

    def stopping(self) -> None:
        """Say that the first signal came."""
        if self._overview is not None:
            self._overview.state = "stopping"

    def end(self) -> None:
        """Tell the parent for the last time, when no event loop runs any more."""
        if self._parent is not None and self._reporter is not None:
            self._parent.report = self._reporter.make
            self._parent.tell()


@contextmanager
def telling(
    arguments: argparse.Namespace,
    configuration: Configuration,
    layer: Callable[[], Layer],
    *,
    kind: str,
    command: str,
    parent: Parent | None = None,
) -> Iterator[Telling]:
    """Listen on the operations port, if there is one, while a command runs.

    Args:
        arguments: The command's arguments.
        configuration: Its settings.
        layer: Returns the layer; called only if there is a port.
        kind: What people call this process.
        command: What runs, for people.
        parent: Its parent, which has the port then.

    Raises:
        StartError: the port is taken.
    """
    if parent is not None or configuration.operations.port is None:
        told = Telling(kind, parent)
        try:
            yield told
        finally:
            told.end()
        return
    from ..operations.overview import Overview
    from ..operations.status import StatusPort

    overview = Overview()
    port = StatusPort(
        configuration.operations,
        layer(),
        overview,
        command=command,
        version=__version__,
        show_content=arguments.show_content,
    )
    told = Telling(kind, None, overview)
    told.address = port.address
    try:
        yield told
    finally:
        port.close()

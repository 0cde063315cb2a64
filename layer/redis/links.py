"""Several commands of one run for one queue, linked so that none overtakes one before it; `scripts/_run.lua`."""

import secrets
from collections.abc import Iterable, Sequence
from itertools import count, pairwise
from typing import Any

from ..calls import Call
from ..store.queues import SENDS
from .keys import Keys


class Links:
    """Links commands by marks that each leaves in Redis for the next one.

    Args:
        keys: The names of the keys.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._self = secrets.token_hex(8)
        self._runs = count()

    def link(self, commands: list[Sequence[Any]], calls: Iterable[Call]) -> None:
        """Let no command put anything into a queue once one before it, for the same queue, was not done in full.

        Args:
            commands: Those of a run; what is linked is replaced.
            calls: Of each the first call that it stands for.
        """
        puts: dict[str, list[int]] = {}
        for index, (name, args) in enumerate(calls):
            if name in SENDS:
                puts.setdefault(args[0], []).append(index)
        for queue, indices in puts.items():
            if len(indices) > 1:
                none = self._keys.books(queue)
                mark = self._keys.run(queue, f"{self._self}.{next(self._runs)}")
                marks = [b"%b.%d" % (mark, number) for number in range(1, len(indices))]
                for index, links in zip(indices, pairwise((none, *marks, none)), strict=True):
                    command = commands[index] = list(commands[index])
                    end = 3 + int(command[2])  # of its keys
                    command[2] = end - 1
                    command[end:end] = links

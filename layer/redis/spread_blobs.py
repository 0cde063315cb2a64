"""Blobs of a layer with several places: a message holds those at its own place.

A blob's key says where it is written, and is made so that this is the place of the channel it is for
(`SpreadLayer.new_blob`). Where a message for another place is to hold it, it is copied there first; what is left behind
goes after an hour. Who reads a blob looks where its key says, then everywhere, and remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..calls import Call, held_by
from ..errors import LayerError, LayerUnavailable
from ..store.blobs import CHUNK

if TYPE_CHECKING:
    from .routing import Router
    from .spread import Place


class SpreadBlobs:
    """Finds blobs, and copies them.

    Args:
        places: All there are.
        router: Which of them a call goes to.
        capacity: Bytes that the blobs of one place may take.
    """

    def __init__(self, places: Sequence[Place], router: Router, capacity: int) -> None:
        self._places = places
        self._router = router
        self._capacity = capacity

    def elsewhere(self, call: Call) -> Any:
        """Answer a call that reads where nothing was found at first; None if nobody has the blob."""
        name, (key, *_) = call
        first = self._router.blob(key)
        if name == "read_blob" and self._places[first]._call(("blob_size", (key,))) is not None:
            return None  # it is there, and this is past its end
        others = [number for number in range(len(self._places)) if number != first]
        asked = [self._places[number].start([call]) for number in others]
        answers = [finish()[0] for finish in asked]  # all of them: each has to be taken
        found = [
            (number, answer)
            for number, answer in zip(others, answers, strict=True)
            if answer is not None and not isinstance(answer, Exception)
        ]
        if found:
            self._router.found_blob(key, found[0][0])
            return found[0][1]
        failed = [answer for answer in answers if answer is not None]
        if failed:
            raise failed[0]
        return None

    def bring(self, call: Call) -> LayerError | None:
        """Have the blobs that a message is to hold at its place; return what went wrong.

        One that is nowhere is left out: the place will say so.
        """
        held = held_by(call)
        if not held:
            return None
        place = self._router.places(call)[0]
        try:
            for key in held:
                self._copy(key, self._places[place])
        except LayerUnavailable as error:
            return LayerUnavailable(str(error))  # the message was not sent
        except LayerError as error:
            return error
        return None

    def _copy(self, key: str, to: Place) -> None:
        ask = ("blob_size", (key,))
        if to._call(ask) is not None:
            return
        home = self._places[self._router.blob(key)]
        size = home._call(ask)
        if size is None:
            size = self.elsewhere(ask)
            home = self._places[self._router.blob(key)]
        if size is None:
            return
        for at in range(0, max(size, 1), CHUNK):
            chunk = home._call(("read_blob", (key, at // CHUNK))) if size else b""
            if chunk is None:
                raise LayerError(f"{key} went while it was copied")
            length = min(CHUNK, size - at)
            try:
                to._call(("append_blob", (key, at, chunk, length, self._capacity)))
            except LayerError:
                if (to._call(ask) or 0) < at + length:  # nobody else copies it, and is ahead
                    raise

"""Files that the layer keeps, read in parts beside the loop (`body_key`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ...layer import Layer


class LayerBlobs:
    """The layer's blobs.

    Args:
        layer: The channel layer.
        loop: The event loop; the layer is read in a thread beside it.
    """

    def __init__(self, layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = layer
        self._loop = loop

    async def size(self, key: str) -> int | None:
        """Return the bytes under a key; None: there are none any more.

        Raises:
            LayerUnavailable: The layer is away.
        """
        return await self._loop.run_in_executor(None, self._layer.blob_size, key)

    async def parts(self, key: str) -> AsyncIterator[bytes]:
        """Yield what is under a key, in parts.

        Raises:
            LayerUnavailable: The layer is away.
        """
        index = 0
        while part := await self._loop.run_in_executor(None, self._layer.read_blob, key, index):
            yield part
            index += 1

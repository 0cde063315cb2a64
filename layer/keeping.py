"""What a layer keeps beside its messages: blobs, written chunk by chunk and read again and again."""

from abc import ABC, abstractmethod
from typing import Any

from .blobs import BlobKey, new_key
from .calls import Call, Calls
from .errors import LayerError


class BlobKeeping(ABC):
    """The part of a layer that is about blobs."""

    _calls: Calls

    @abstractmethod
    def _call(self, call: Call) -> Any:
        """Run one call of the store."""

    def new_blob(self, channel: str | None = None) -> BlobKey:
        """Return the key of a blob to be written. It is made here; nobody is asked.

        Args:
            channel: Where the message that names it will be sent: an engine with several places keeps it there.

        Raises:
            TypeError: The channel's name breaks the rules.
        """
        if channel is not None:
            self._calls.name(channel)
        return new_key()

    def append_blob(self, key: str, chunk: bytes) -> int:
        """Append to a blob, which is kept for an hour from now, and as long as a message holds it.

        Args:
            key: As `new_blob` made it.
            chunk: 64 KiB; less, or nothing, only at the end.

        Returns:
            Bytes in it now.

        Raises:
            ChannelFull: The blobs of this layer take `blob_capacity` bytes.
            LayerUnavailable: The layer is closed or out of reach; it does no harm to append the same once more.
            LayerError: The blob is gone: nobody held it for an hour, or it was dropped.
            TypeError: This is no key, no chunk, or one behind the last.
        """
        at = getattr(key, "appended", 0)
        size = int(self._call(self._calls.append_blob(key, at, chunk)))
        if isinstance(key, BlobKey):
            key.appended = at + len(chunk)
        return size

    def read_blob(self, key: str, index: int) -> bytes | None:
        """Return a chunk of a blob.

        Args:
            key: The blob's.
            index: Which chunk, from 0 on; all but the last have 64 KiB.

        Returns:
            The chunk; None past the end, and where there is no such blob.

        Raises:
            LayerError: None of the encryption keys opens it.
        """
        chunk: bytes | None = self._call(self._calls.read_blob(key, index))
        cipher = self._calls.cipher
        if chunk is None or cipher is None:
            return chunk
        try:
            return cipher.decrypt(chunk)
        except ValueError as error:
            raise LayerError(f"{key} cannot be read: {error}") from None

    def blob_size(self, key: str) -> int | None:
        """Return the bytes in a blob; None if there is none of this key."""
        size = self._call(self._calls.blob_size(key))
        return None if size is None else int(size)

    def drop_blob(self, key: str) -> bool:
        """Drop a blob that no message holds; False if one does, or there is none of this key."""
        return bool(self._call(self._calls.drop_blob(key)))

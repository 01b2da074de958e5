"""Bytes that can be read at any offset, as a file that can seek."""

import io
import os
from collections.abc import Callable

ReadInto = Callable[[memoryview, int], None]
"""Fills the view with the bytes from this offset on; it is never asked for bytes beyond the end."""


def seekable(size: int, read_into: ReadInto, buffer_size: int) -> io.BufferedReader:
    """The file. size and buffer_size in bytes: of the whole, and of one read. Reading raises what read_into raises."""
    return io.BufferedReader(_Seekable(size, read_into), buffer_size)


class _Seekable(io.RawIOBase):
    def __init__(self, size: int, read_into: ReadInto) -> None:
        self._size, self._read_into, self._at = size, read_into, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        self._read_into(memoryview(buffer)[:count], self._at)
        self._at += count
        return count

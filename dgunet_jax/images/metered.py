"""Picture files that are read no further than their size justifies."""

import io
from typing import Any

from dgunet_jax.images.stored import DamagedFile

_BYTES, _READS = 1 << 20, 100_000  # that any file may take
_BYTES_PER_BYTE, _BYTES_PER_READ = 4, 64


class MeteredFile(io.BufferedReader):
    """A file that may be read about as often as there are bytes in it.

    A header leads from place to place, so what it claims can be far more than the file: tags that
    share their bytes, thousands of parts of no length. All that is read counts each time, for the
    header and the pixels together, so time and memory stay in proportion to the file.

    Args:
      raw: the file without a buffer.

    Raises:
      DamagedFile: from `read`, when more is asked for.
    """

    def __init__(self, raw: io.RawIOBase):
        super().__init__(raw)
        size = self.seek(0, io.SEEK_END)
        self.seek(0)
        self._bytes = _BYTES + _BYTES_PER_BYTE * size
        self._reads = _READS + size // _BYTES_PER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._reads -= 1
        self._bytes -= len(content)
        if self._reads < 0 or self._bytes < 0:
            raise DamagedFile("it refers to more than it holds")
        return content


class Content(io.RawIOBase):
    """Bytes as a file without a buffer."""

    def __init__(self, content: bytes):
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer)

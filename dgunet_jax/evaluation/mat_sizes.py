"""What MATLAB's files of version 5 claim, compared with what they hold, before SciPy reads them."""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import read_bytes
from dgunet_jax.system.memory import total_memory

_HEADER, _TAG = 128, 8
_MATRIX, _COMPRESSED = 14, 15  # kinds of elements
_CELL, _STRUCT, _OBJECT = 1, 2, 3  # classes of arrays of arrays
_BEGINNING = 256  # bytes that hold an array's class, sides and name
_DEPTH = 32  # of arrays in arrays
_DEFLATE = 1032  # bytes that one byte packed by deflate can become, at most


def check_claim(path: Path, claimed: int, stored: int) -> None:
    """Check that an array is not larger than what is stored of it can be, or than the memory.

    Args:
      claimed: bytes that the array would take.
      stored: bytes in the file, packed by deflate or not.

    Raises:
      UserError: it is.
    """
    if claimed > stored * _DEFLATE:
        raise UserError(f"{path}: is damaged: {claimed} bytes are claimed, and {stored} stored")
    memory = total_memory()
    if memory is not None and claimed > memory:
        raise UserError(f"{path}: an array in it takes {claimed} bytes of memory; it is {memory}")


def check_old(path: Path) -> None:
    """Check that a file holds as many arrays as its cell arrays and structs claim.

    SciPy makes a list of that length before it looks for them. Of a file of version 4 there is
    nothing to check.

    Raises:
      UserError: it holds fewer, or cannot be read, or an array is too large.
    """
    content = memoryview(read_bytes(path))
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        return
    try:
        for kind, part in _elements(content[_HEADER:], order):
            if kind == _MATRIX:
                _check(part, order, _DEPTH)
            elif kind == _COMPRESSED:
                _check(_unpacked(path, part, order), order, _DEPTH)
    except UserError:
        raise
    except (struct.error, zlib.error, ValueError) as error:
        raise UserError(f"{path}: is damaged: {error}") from error


def _unpacked(path: Path, packed: memoryview, order: str) -> memoryview:
    """An array of arrays, unpacked; of one of numbers only the beginning."""
    unpacking = zlib.decompressobj()
    beginning = unpacking.decompress(packed, _BEGINNING)
    if len(beginning) < _TAG:
        raise ValueError("an array is cut off")
    _, size = struct.unpack(order + "II", beginning[:_TAG])
    check_claim(path, size, len(packed))
    if _class(memoryview(beginning)[_TAG:], order) in (_CELL, _STRUCT, _OBJECT):
        beginning += unpacking.decompress(unpacking.unconsumed_tail, size)
    return memoryview(beginning)[_TAG:]


def _class(matrix: memoryview, order: str) -> int | None:
    """The class of an array; None of an empty one."""
    flags = matrix[_TAG : _TAG + 4]
    return struct.unpack(order + "I", flags)[0] & 0xFF if len(flags) == 4 else None


def _check(matrix: memoryview, order: str, depth: int) -> None:
    """Raise a ValueError if an array, or one in it, claims more arrays than it holds."""
    if _class(matrix, order) not in (_CELL, _STRUCT, _OBJECT):
        return
    _, (_, sides), *parts = _elements(matrix, order)
    held = [part for kind, part in parts if kind == _MATRIX]
    claimed = math.prod(struct.unpack(f"{order}{len(sides) // 4}i", sides))
    if claimed > len(held):
        raise ValueError(f"an array claims {claimed} arrays and holds {len(held)}")
    if depth == 0:
        raise ValueError(f"arrays lie in arrays more than {_DEPTH} deep")
    for each in held:
        _check(each, order, depth - 1)


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The elements that lie one behind the other; what is cut off is left out."""
    start = 0
    while start + _TAG <= len(content):
        kind, size = struct.unpack(order + "II", content[start : start + _TAG])
        if kind >> 16:  # a small one, whose content is in the tag
            yield kind & 0xFFFF, content[start + 4 : start + 4 + min(4, kind >> 16)]
            start += _TAG
            continue
        start += _TAG
        yield kind, content[start : start + size]
        start += size if kind == _COMPRESSED else -(-size // 8) * 8

"""Image file directories: the lists of tags that TIFF files and EXIF blocks are made of.

Contents are kept as the bytes they are, in the byte order of the file, so whatever a camera has
written comes out as it was.

Source: TIFF 6.0, section 2. BigTIFF files differ in the widths of counts and offsets.
"""

import dataclasses
import struct
from collections.abc import Collection, Mapping
from typing import BinaryIO, Literal

ByteOrder = Literal["<", ">"]

SHORT, LONG, UNDEFINED = 3, 4, 7
"""Kinds of elements: 16 bits, 32 bits, and bytes of no stated meaning."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
"""The tags that hold the offset of another directory."""

_POINTERS = (EXIF, GPS, INTEROPERABILITY)
_SIZES = {1: 1, 2: 1, SHORT: 2, LONG: 4, 5: 8, 6: 1, UNDEFINED: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MOST_ENTRIES = 4096
_LARGEST_CONTENT = 1 << 24


@dataclasses.dataclass(frozen=True)
class Entry:
    """The value of a tag: `count` elements of the kind with the number `kind`, as bytes."""

    kind: int
    count: int
    content: bytes


@dataclasses.dataclass(frozen=True)
class Directory:
    """Entries by their tags, and other directories by the tags that lead to them."""

    entries: Mapping[int, Entry]
    children: Mapping[int, "Directory"]


def numbers(order: ByteOrder, kind: int, *values: int) -> Entry:
    """An entry of whole numbers, SHORT or LONG."""
    letter = {SHORT: "H", LONG: "I"}[kind]
    return Entry(kind, len(values), struct.pack(f"{order}{len(values)}{letter}", *values))


def read_directory(
    file: BinaryIO,
    offset: int,
    order: ByteOrder,
    big: bool = False,
    tags: Collection[int] | None = None,
    depth: int = 2,
) -> Directory:
    """The directory at an offset, and those it leads to.

    What cannot be read is left out: entries, directories it leads to, or all of it.

    Args:
      file: a TIFF file, or the TIFF structure in an EXIF block.
      offset: where the directory begins.
      order: the file's byte order.
      big: whether it is a BigTIFF file.
      tags: those to read; all of them by default.
      depth: of the directories to follow.
    """
    count_format, entry_format, pointer = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    item = struct.Struct(order + entry_format)
    file.seek(offset)
    start = file.read(struct.calcsize(order + count_format))
    table = file.read(item.size * min(int.from_bytes(start, _name(order)), _MOST_ENTRIES))
    entries, children = {}, {}
    for tag, kind, count, value in item.iter_unpack(table[: len(table) // item.size * item.size]):
        if tags is not None and tag not in tags:
            continue
        if tag in _POINTERS:
            position = int.from_bytes(value[:4] if kind == LONG else value, _name(order))
            if depth and offset != position < 1 << 63:
                children[tag] = read_directory(file, position, order, big, depth=depth - 1)
            continue
        size = _SIZES.get(kind, 0) * count
        if not 0 < size <= _LARGEST_CONTENT:
            continue
        if size > len(value):
            (position,) = struct.unpack(order + pointer, value)
            if position >= 1 << 63:
                continue
            file.seek(position)
            value = file.read(size)
        if len(value) >= size:
            entries[tag] = Entry(kind, count, value[:size])
    return Directory(entries, {tag: child for tag, child in children.items() if child.entries})


def pack_directory(directory: Directory, offset: int, order: ByteOrder) -> bytes:
    """The directory and all it leads to, as bytes to lie at an even offset of a TIFF file."""
    tags = sorted({*directory.entries, *directory.children})
    table = struct.pack(f"{order}H", len(tags))
    behind = offset + len(table) + 12 * len(tags) + 4
    contents = b""
    for tag in tags:
        position = struct.pack(f"{order}I", behind + len(contents))
        if tag in directory.children:
            kind, count, value = LONG, 1, position
            contents += pack_directory(directory.children[tag], behind + len(contents), order)
        else:
            found = directory.entries[tag]
            kind, count, value = found.kind, found.count, found.content
            if len(value) > 4:
                contents += value + b"\0" * (len(value) % 2)
                value = position
        table += struct.pack(f"{order}HHI4s", tag, kind, count, value)
    return table + b"\0\0\0\0" + contents


def _name(order: ByteOrder) -> Literal["little", "big"]:
    return "little" if order == "<" else "big"

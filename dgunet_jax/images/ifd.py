"""Image file directories: the lists of tags that TIFF files and EXIF blocks are made of.

Contents are kept as the bytes they are, in the byte order of the file, so whatever a camera has
written comes out as it was.

Source: TIFF 6.0, section 2. BigTIFF files differ in the widths of counts and offsets.
"""

import dataclasses
import io
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO, Literal

ByteOrder = Literal["<", ">"]

ASCII, SHORT, LONG, UNDEFINED = 2, 3, 4, 7
"""Kinds of elements: characters, 16 bits, 32 bits, and bytes of no stated meaning."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
"""The tags that hold the offset of another directory."""

_POINTERS = (EXIF, GPS, INTEROPERABILITY)
_SIZES = {
    1: 1,
    ASCII: 1,
    SHORT: 2,
    LONG: 4,
    5: 8,
    6: 1,
    UNDEFINED: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
}
_MOST_ENTRIES = 4096


@dataclasses.dataclass(frozen=True)
class Entry:
    """The value of a tag: `count` elements of the kind with the number `kind`, as bytes."""

    kind: int
    count: int
    content: bytes


@dataclasses.dataclass
class Room:
    """How many bytes entries may still claim."""

    left: int


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
    room: "Room | None" = None,
) -> Directory:
    """The directory at an offset, and those it leads to.

    What cannot be read is left out: entries, directories it leads to, or all of it. So is what
    follows when all entries together, those of other directories included, claim more bytes than
    the file has.

    Args:
      file: a TIFF file, or the TIFF structure in an EXIF block.
      offset: where the directory begins.
      order: the file's byte order.
      big: whether it is a BigTIFF file.
      tags: those to read; all of them by default.
      depth: of the directories to follow.
      room: what the entries may claim; as much as the file's size by default.
    """
    room = room or Room(file.seek(0, io.SEEK_END))
    entries, children = {}, {}
    for tag, kind, count, value in table(file, offset, order, big):
        if tags is not None and tag not in tags:
            continue
        if tag in _POINTERS:
            position = int.from_bytes(value[:4] if kind == LONG else value, _name(order))
            if depth and offset != position < 1 << 63:
                child = read_directory(file, position, order, big, depth=depth - 1, room=room)
                children[tag] = child
            continue
        size = _SIZES.get(kind, 0) * count
        if not 0 < size <= room.left:
            continue
        room.left -= size
        if size > len(value):
            (position,) = struct.unpack(order + ("Q" if big else "I"), value)
            if position >= 1 << 63:
                continue
            file.seek(position)
            value = file.read(size)
        if len(value) >= size:
            entries[tag] = Entry(kind, count, value[:size])
    return Directory(entries, {tag: child for tag, child in children.items() if child.entries})


def table(
    file: BinaryIO, offset: int, order: ByteOrder, big: bool
) -> Iterator[tuple[int, int, int, bytes]]:
    """The tags of a directory, with the kind and count of elements, and the bytes of the value.

    Where there are more elements than fit there, these bytes are their offset.
    """
    count_format, entry_format = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    item = struct.Struct(order + entry_format)
    file.seek(offset)
    start = file.read(struct.calcsize(order + count_format))
    rows = file.read(item.size * min(int.from_bytes(start, _name(order)), _MOST_ENTRIES))
    return item.iter_unpack(rows[: len(rows) // item.size * item.size])


def pack_directory(directory: Directory, offset: int, order: ByteOrder) -> bytes:
    """The directory and all it leads to, as bytes to lie at an even offset of a TIFF file."""
    tags = sorted({*directory.entries, *directory.children})
    rows = struct.pack(f"{order}H", len(tags))
    behind = offset + len(rows) + 12 * len(tags) + 4
    contents = bytearray()
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
        rows += struct.pack(f"{order}HHI4s", tag, kind, count, value)
    return rows + b"\0\0\0\0" + contents


def _name(order: ByteOrder) -> Literal["little", "big"]:
    return "little" if order == "<" else "big"

"""Files that are hostile or odd otherwise: names, links, headers that claim too much."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.bombs import BOMBS, embedded, grey_tags, riff, segment, tiff_file, webp_chunk
from tests.fuzz.kinds import READABLE
from tests.fuzz.pictures import Case

NAMES = {
    "not UTF-8": b"caf\xe9.png",
    "two lines": b"two\nlines.png",
    "escape codes": b"\x1b[31mred\x1b[0m.png",
    "right to left": "a\u202egnp.png".encode(),
    "markup": b"[red]y].png",
    "a link in markup": b"[link=file:x]z.png",
    "255 bytes": b"n" * 251 + b".png",
    "a dash": b"--output.png",
    "a formula": b"=cmd|'calc'!A0.png",
    "a pattern": b"[a-z]*?.png",
    "blanks": b" . .png",
}
_SIDE = 12_000
_PICTURE = "PNG 16 bits of colour type 6"


def _claims() -> Iterator[tuple[str, bytes]]:
    """Small files of pictures with 144 megapixels, or of more than they say."""
    size = struct.pack("<HH", _SIDE, _SIDE)
    yield "claim.gif", b"GIF89a" + size + b"\0\0\0," + bytes(4) + size + b"\0\2\2\x44\1\0;"
    header = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 8, 1, 0, 1, 1, 256, 0)
    rle = b"\xff\0" * 50 + b"\0\1"
    yield "claim.bmp", b"BM" + struct.pack("<IHHI", 200, 0, 0, 1078) + header + bytes(1024) + rle
    frame = b"\x08" + struct.pack(">HH", _SIDE, _SIDE) + b"\3\1\x11\0\2\x11\0\3\x11\0"
    scan = segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0")
    yield "claim.jpg", b"\xff\xd8" + segment(0xC0, frame) + scan + b"\0\xff\xd9"
    yield "claim.tif", tiff_file(grey_tags(_SIDE, length=256), bytes(256))
    corner = struct.pack("<I", _SIDE - 1)[:3]
    lossless = embedded("WEBP", 16, lossless=True)[12:]
    canvas = webp_chunk(b"VP8X", bytes(4) + 2 * corner)
    yield "claim.webp", riff(canvas + lossless)
    for form, compression in (("JPEG", 7), ("WEBP", 50001)):
        content = embedded(form, 5000)
        name = f"{form.lower()} within.tif"
        yield name, tiff_file(grey_tags(16, compression, len(content)), content)


def make_hostile(folder: Path, rng: np.random.Generator) -> list[Case]:
    """Fills a folder with pictures of odd names, links, and files that claim more than they hold.

    Returns:
      The files; links that lead nowhere and have no picture's name are not among them.
    """
    folder.mkdir(parents=True)
    cases = []

    def add(path: Path, kind: str, readable: bool | None, content: bytes | None = None) -> None:
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        cases.append(Case(path, kind, readable))

    for kind, name in NAMES.items():
        add(folder / os.fsdecode(name), kind, True, READABLE[_PICTURE](rng, (16, 24)))
    add(folder / "x[" / "y].png", "a folder in markup", True, READABLE[_PICTURE](rng, (16, 24)))
    add(folder / "large.png", "a large picture", True, READABLE[_PICTURE](rng, (300, 400)))
    for number, (kind, make) in enumerate(BOMBS.items()):
        add(folder / "bombs" / f"{number}.png", kind, None, make(100_000))
    for name, content in _claims():
        add(folder / "claims" / name, name, False, content)
    links = folder / "links"
    links.mkdir()
    for name, target in {
        "self.png": "self.png",
        "nowhere.png": "missing.png",
        "again.png": "../large.png",
    }.items():
        (links / name).symlink_to(target)
        add(links / name, f"a link to {target}", name == "again.png")
    (links / "loop").symlink_to("..")
    (links / "here").symlink_to(".")
    return cases

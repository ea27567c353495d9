"""EXIF: the eight orientations, and what is kept of a block."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps

from dgunet_jax.images.exif import turned_upright, upright
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.reading import read
from dgunet_jax.images.writing import write
from tests.images.encodings import deep, exif, photograph, png
from tests.images.expectations import check

RGBA = np.concatenate([photograph(), photograph("coffee")[..., :1]], axis=2)
LOSSLESS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".tif": {"compression": "tiff_lzw"},
    ".webp": {"lossless": True, "exact": True},
}


def seen(samples: np.ndarray, orientation: int) -> np.ndarray:
    """What Pillow makes of pixels with an orientation."""
    image = Image.fromarray(samples)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_pixels_and_alpha_are_turned(tmp_path: Path, suffix: str, orientation: int):
    path = tmp_path / f"picture{suffix}"
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(RGBA).save(path, exif=tags, **LOSSLESS[suffix])
    expected = seen(RGBA, orientation)
    assert expected.shape == ((31, 37, 4) if orientation > 4 else (37, 31, 4))
    picture = check(path, expected[..., :3], expected[..., 3])
    kept = Image.Exif()
    kept.load(picture.exif or b"")
    assert kept.get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned(tmp_path: Path, orientation: int):
    path = tmp_path / "picture.jpg"
    Image.fromarray(photograph()).save(path)
    pixels = read(path).pixels
    Image.fromarray(photograph()).save(path, exif=b"Exif\0\0" + exif(orientation))
    check(path, np.ascontiguousarray(seen(pixels, orientation)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned(tmp_path: Path, orientation: int):
    path = tmp_path / "picture.png"
    pixels = deep(photograph())
    after = [(b"eXIf", exif(orientation, ">"))]  # it may come behind the pixels
    path.write_bytes(png(pixels, 2, 16, after=after))
    low, high = (seen(part.astype(np.uint8), orientation) for part in (pixels & 255, pixels >> 8))
    picture = check(path, high.astype(np.uint16) << 8 | low)
    assert picture.exif == exif(1, ">")
    for suffix in (".png", ".tif"):
        write(tmp_path / f"again{suffix}", picture)
        assert check(tmp_path / f"again{suffix}", picture.pixels).exif is not None


def test_turning_is_a_group():
    image = photograph()
    for orientation in range(1, 9):
        back = {6: 8, 8: 6}.get(orientation, orientation)
        np.testing.assert_array_equal(upright(upright(image, orientation), back), image)
    results = {upright(image, orientation).tobytes() for orientation in range(1, 9)}
    assert len(results) == 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_only_orientation_and_thumbnail_are_taken_out(order: str, prefix: bytes):
    block = prefix + exif(6, order, thumbnail=b"\xff\xd8\xff\xd9")
    orientation, kept = turned_upright(block)
    assert orientation == 6
    assert kept is not None
    assert len(kept) == len(block) - len(prefix)
    tags = Image.Exif()
    tags.load(kept)
    assert tags[0x010F] == "Lens & Son"
    assert tags[0x0112] == 1
    assert tags.get_ifd(0x8769) == {0x829A: 1 / 250}
    assert tags.get_ifd(ExifTags.IFD.IFD1) == {}
    assert turned_upright(kept) == (1, kept)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_mean_none(value: int):
    assert turned_upright(exif(value)) == (1, exif(1))


def test_blocks_that_are_none_are_left_out():
    whole = exif(6)
    for length in range(len(whole)):
        orientation, kept = turned_upright(whole[:length])
        # The first directory ends after its three entries.
        assert (kept is None) == (length < 8 + 2 + 3 * 12 + 4)
        assert orientation == (1 if kept is None else 6)
    assert turned_upright(b"II*\0\xff\xff\xff\xff") == (1, None)
    assert turned_upright(b"") == (1, None)


@pytest.mark.parametrize("order", ["<", ">"])
def test_cameras_tags_go_through_tiff(tmp_path: Path, order: str):
    block = exif(1, order)
    write(tmp_path / "a.tif", Picture(photograph(), exif=block))
    with Image.open(tmp_path / "a.tif") as image:
        assert image.getexif()[0x010F] == "Lens & Son"
        assert image.getexif().get_ifd(0x8769) == {0x829A: 1 / 250}
    kept = read(tmp_path / "a.tif").exif
    assert kept is not None
    write(tmp_path / "b.png", Picture(photograph(), exif=kept))
    write(tmp_path / "b.tif", Picture(photograph(), exif=kept))
    for name in ("b.png", "b.tif"):
        assert read(tmp_path / name).exif == kept
        with Image.open(tmp_path / name) as image:
            assert image.getexif()[0x010F] == "Lens & Son"
            assert image.getexif().get_ifd(0x8769) == {0x829A: 1 / 250}


def test_values_lie_at_even_offsets(tmp_path: Path):
    write(tmp_path / "a.tif", Picture(photograph(), exif=exif(1)))
    with tifffile.TiffFile(tmp_path / "a.tif") as opened:
        page = opened.pages.first
        offsets = [tag.valueoffset for tag in page.tags if tag.valuebytecount > 4]
        assert page.tags["Make"].valuebytecount % 2 == 1
    assert len(offsets) >= 2
    assert all(offset % 2 == 0 for offset in [*offsets, *page.dataoffsets[:1]])


def test_blocks_that_lead_nowhere_do_not_stop_writing(tmp_path: Path):
    whole = exif(1)
    for position in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        _, kept = turned_upright(bytes(damaged))
        write(tmp_path / "a.tif", Picture(photograph(), exif=kept))
        check(tmp_path / "a.tif", photograph())


def test_directories_that_lead_to_themselves_end(tmp_path: Path):
    block = exif(1)
    position = block.index(b"\x69\x87\4\0\1\0\0\0") + 8
    for target in (8, position):
        circle = block[:position] + target.to_bytes(4, "little") + block[position + 4 :]
        write(tmp_path / "a.tif", Picture(photograph(), exif=circle))
        check(tmp_path / "a.tif", photograph())


XMP = b"<x:xmpmeta><rdf:Description %s</rdf:Description></x:xmpmeta>"
ATTRIBUTE, ELEMENT = (
    XMP % b'tiff:Orientation="6">',
    XMP % b"><tiff:Orientation>6</tiff:Orientation>",
)


def long_orientation(order: str) -> bytes:
    """A block whose orientation is a LONG."""
    short = exif(6, order)
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    assert entry in short
    return short.replace(entry, struct.pack(f"{order}HHII", 0x0112, 4, 1, 6))


@pytest.mark.parametrize("order", ["<", ">"])
def test_turned_upright_reads_an_orientation_of_four_bytes(order: str):
    orientation, block = turned_upright(long_orientation(order))
    assert orientation == 6
    assert block is not None
    assert turned_upright(block)[0] == 1


@pytest.mark.parametrize("xmp", [ATTRIBUTE, ELEMENT])
def test_turned_upright_takes_the_orientation_of_xmp_where_exif_has_none(xmp: bytes):
    assert turned_upright(b"", xmp) == (6, None)
    assert turned_upright(exif(), xmp)[0] == 6
    assert turned_upright(exif(3), xmp)[0] == 3


def raw_profile(block: bytes) -> bytes:
    digits = block.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(block), lines)


PNG_TEXTS = {
    "raw profile": (b"tEXt", raw_profile(b"Exif\0\0" + exif(6))),
    "packed raw profile": (
        b"zTXt",
        b"Raw profile type exif\0\0" + zlib.compress(raw_profile(exif(6)).partition(b"\0")[2]),
    ),
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ATTRIBUTE),
    "packed XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(ATTRIBUTE)),
}


@pytest.mark.parametrize("name", PNG_TEXTS)
def test_png_texts_that_tell_the_orientation_are_read(tmp_path: Path, name: str):
    rgb = photograph()
    path = tmp_path / "picture.png"
    path.write_bytes(png(rgb, 2, 8, before=[PNG_TEXTS[name]]))
    check(path, upright(rgb, 6))

"""Orientation, EXIF, XMP and colour profiles: found wherever viewers find them, and kept."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps

from dgunet_jax.images import Picture, read, write
from dgunet_jax.images.metadata import is_excessive, turned_upright, upright
from tests.images.encodings import cmyk_profile, deep, exif, photograph, png, profile
from tests.images.expectations import check

RGB = photograph()
RGBA = np.concatenate([RGB, photograph("coffee")[..., :1]], axis=2)
LOSSLESS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".tif": {"compression": "tiff_lzw"},
    ".webp": {"lossless": True, "exact": True},
    ".avif": {"quality": 100, "subsampling": "4:4:4"},
}


def seen(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Return what Pillow makes of pixels with an orientation."""
    image = Image.fromarray(samples)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def tags_of(block: bytes | None) -> Image.Exif:
    assert block is not None
    tags = Image.Exif()
    tags.load(block)
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_read_turns_pixels_and_alpha_upright(tmp_path: Path, suffix: str, orientation: int):
    path = tmp_path / f"picture{suffix}"
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "Lens & Son"
    Image.fromarray(RGBA).save(path, exif=tags, **LOSSLESS[suffix])
    stored = RGBA
    if suffix == ".avif":  # is never exact
        with Image.open(path) as image:
            stored = np.asarray(image)
    expected = seen(stored, orientation)
    assert expected.shape == ((31, 37, 4) if orientation > 4 else (37, 31, 4))
    picture = check(path, expected[..., :3], expected[..., 3])
    kept = tags_of(picture.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010F] == "Lens & Son"


@pytest.mark.parametrize("orientation", [1, 6])
def test_read_turns_jpeg_upright(tmp_path: Path, orientation: int):
    path = tmp_path / "picture.jpg"
    Image.fromarray(RGB).save(path)
    pixels = read(path).pixels
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0" + exif(orientation))
    picture = check(path, np.ascontiguousarray(seen(pixels, orientation)))
    assert picture.exif == exif(1)


@pytest.mark.parametrize("orientation", [1, 5, 8])
def test_read_turns_16_bits_upright(tmp_path: Path, orientation: int):
    path = tmp_path / "picture.png"
    pixels = deep(RGB)
    after = [(b"eXIf", exif(orientation, ">"))]  # it may come behind the pixels
    path.write_bytes(png(pixels, 2, 16, after=after))
    low, high = (seen(part.astype(np.uint8), orientation) for part in (pixels & 255, pixels >> 8))
    picture = check(path, high.astype(np.uint16) << 8 | low)
    assert picture.exif == exif(1, ">")


def test_upright_is_a_group_of_eight():
    for orientation in range(1, 9):
        back = {6: 8, 8: 6}.get(orientation, orientation)
        np.testing.assert_array_equal(upright(upright(RGB, orientation), back), RGB)
    assert len({upright(RGB, orientation).tobytes() for orientation in range(1, 9)}) == 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_turned_upright_takes_out_only_orientation_and_thumbnail(order: str, prefix: bytes):
    block = prefix + exif(6, order, thumbnail=b"\xff\xd8\xff\xd9")
    orientation, kept, xmp = turned_upright(block)
    assert (orientation, xmp) == (6, None)
    tags = tags_of(kept)
    assert tags[0x010F] == "Lens & Son"
    assert tags[0x0112] == 1
    assert tags.get_ifd(0x8769) == {0x829A: 1 / 250}
    assert tags.get_ifd(ExifTags.IFD.IFD1) == {}
    assert turned_upright(kept) == (1, kept, None)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_turned_upright_takes_impossible_orientations_for_none(value: int):
    assert turned_upright(exif(value)) == (1, exif(1), None)


def test_turned_upright_leaves_out_damaged_blocks():
    whole = exif(6)
    for length in range(len(whole)):
        orientation, kept, _ = turned_upright(whole[:length])
        # The first directory ends after its three entries.
        assert (kept is None) == (length < 8 + 2 + 3 * 12 + 4)
        assert orientation == (1 if kept is None else 6)
    assert turned_upright(b"II*\0\xff\xff\xff\xff") == (1, None, None)
    assert turned_upright(None) == (1, None, None)


@pytest.mark.parametrize("order", ["<", ">"])
def test_turned_upright_reads_an_orientation_of_four_bytes(order: str):
    short = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    block = exif(6, order).replace(short, struct.pack(f"{order}HHII", 0x0112, 4, 1, 6))
    orientation, kept, _ = turned_upright(block)
    assert orientation == 6
    assert turned_upright(kept)[0] == 1


XMP = b"<x:xmpmeta><rdf:Description %s</rdf:Description></x:xmpmeta>"
ATTRIBUTE, ELEMENT = (
    XMP % b'tiff:Orientation="%d">',
    XMP % b"><tiff:Orientation>%d</tiff:Orientation>",
)


@pytest.mark.parametrize("xmp", [ATTRIBUTE, ELEMENT])
def test_turned_upright_takes_the_orientation_of_xmp_where_exif_has_none(xmp: bytes):
    assert turned_upright(b"", xmp % 6) == (6, None, xmp % 1)
    assert turned_upright(exif(), xmp % 6)[0] == 6
    assert turned_upright(exif(3), xmp % 6)[0] == 3


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
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ATTRIBUTE % 6),
    "packed XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(ATTRIBUTE % 6)),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", PNG_TEXTS)
def test_read_finds_the_orientation_in_texts_of_png(tmp_path: Path, name: str, place: Any):
    path = tmp_path / "picture.png"
    path.write_bytes(png(RGB, 2, 8, **{place: [PNG_TEXTS[name]]}))
    check(path, upright(RGB, 6))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_write_keeps_xmp(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    write(path, Picture(RGB, xmp=ATTRIBUTE % 1))
    assert read(path).xmp == ATTRIBUTE % 1
    with Image.open(path) as image:
        assert image.info["xmp"] == ATTRIBUTE % 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_cameras_tags_go_through_tiff(tmp_path: Path, order: str):
    write(tmp_path / "a.tif", Picture(RGB, exif=exif(1, order)))
    kept = read(tmp_path / "a.tif").exif
    write(tmp_path / "b.png", Picture(RGB, exif=kept))
    write(tmp_path / "b.tif", Picture(RGB, exif=kept))
    for name in ("a.tif", "b.png", "b.tif"):
        assert read(tmp_path / name).exif == kept
        with Image.open(tmp_path / name) as image:
            assert image.getexif()[0x010F] == "Lens & Son"
            assert image.getexif().get_ifd(0x8769) == {0x829A: 1 / 250}


def test_tags_of_tiff_have_values_at_even_offsets(tmp_path: Path):
    write(tmp_path / "a.tif", Picture(RGB, exif=exif(1)))
    with tifffile.TiffFile(tmp_path / "a.tif") as opened:
        page = opened.pages.first
        offsets = [tag.valueoffset for tag in page.tags if tag.valuebytecount > 4]
        assert page.tags["Make"].valuebytecount % 2 == 1
    assert len(offsets) >= 2
    assert all(offset % 2 == 0 for offset in [*offsets, *page.dataoffsets[:1]])


def test_write_survives_damaged_exif(tmp_path: Path):
    whole = exif(1)
    circles = (whole.replace(b"\x69\x87\4\0\1\0\0\0\x3d", b"\x69\x87\4\0\1\0\0\0\x08"),)
    flipped = (
        whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(8, len(whole))
    )
    for block in (*circles, *flipped):
        _, kept, _ = turned_upright(block)
        write(tmp_path / "a.tif", Picture(RGB, exif=kept))
        check(tmp_path / "a.tif", RGB)


@pytest.mark.parametrize(
    ("suffix", "bits"),
    [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".jpg", 8), (".webp", 8)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_write_keeps_profile_and_exif(tmp_path: Path, suffix: str, channels: int, bits: int):
    pixels = (deep(RGB) if bits == 16 else RGB)[..., :channels]
    space = b"GRAY" if channels == 1 and suffix != ".webp" else b"RGB "
    icc_profile = profile(space, bytes(100_000))
    path = tmp_path / f"picture{suffix}"
    write(path, Picture(pixels, None, icc_profile, exif(1)))
    found = read(path)
    assert found.icc_profile == icc_profile
    assert tags_of(found.exif)[0x010F] == "Lens & Son"
    with Image.open(path) as image:
        assert image.info["icc_profile"] == icc_profile
        assert image.getexif()[0x010F] == "Lens & Son"


def test_write_leaves_a_profile_of_grey_out_of_webp(tmp_path: Path):
    path = tmp_path / "grey.webp"
    write(path, Picture(RGB[..., :1], icc_profile=profile(b"GRAY")))
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK", b"Lab ", b"XYZ ", None])
def test_read_leaves_out_profiles_that_do_not_fit(tmp_path: Path, space: bytes | None):
    cut_off = profile(b"RGB ", bytes(50))[:-1]
    icc_profile = profile(space) if space else cut_off
    Image.fromarray(RGB).save(tmp_path / "picture.jpg", icc_profile=icc_profile)
    assert read(tmp_path / "picture.jpg").icc_profile is None


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_read_converts_cmyk_through_its_profile(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    inks = np.zeros((37, 31, 4), np.uint8)
    inks[..., :3] = RGB  # which this profile ignores
    inks[:20, :, 3] = 255
    options = {"quality": 100} if suffix == ".jpg" else {}
    image = Image.frombytes("CMYK", (31, 37), inks.tobytes())
    image.save(path, icc_profile=cmyk_profile(), **options)
    expected = np.full((37, 31, 3), 255, np.uint8)
    expected[:20] = 0
    picture = read(path)
    assert picture.icc_profile is None
    np.testing.assert_allclose(picture.pixels, expected, atol=6 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("bad", [cmyk_profile()[:150] + bytes(4000), profile(b"RGB "), None])
def test_read_converts_cmyk_plainly_without_a_usable_profile(tmp_path: Path, bad: bytes | None):
    path = tmp_path / "picture.tif"
    image = Image.fromarray(RGB).convert("CMYK")
    image.save(path, icc_profile=bad)
    assert check(path, np.asarray(image.convert("RGB"))).icc_profile is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("count", "excessive"), [(60, False), (80, True)])
def test_tags_that_claim_more_bytes_than_a_camera_writes_are_told(order, count, excessive):
    """All of them the same 65,000 bytes, in the camera's own directory."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    outer = struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, 26, 0)
    entries = [struct.pack(f"{order}HHII", 37500 + i, 7, 65_000, 2000) for i in range(count)]
    inner = struct.pack(f"{order}H", count) + b"".join(entries)
    block = start + outer + inner
    assert is_excessive(block + bytes(67_000 - len(block))) == excessive

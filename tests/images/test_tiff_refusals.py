"""TIFF files that are refused: what would not come out exactly, and damage."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.fuzz.bombs import embedded, grey_tags, tiff_file
from tests.images.encodings import deep, photograph, tiff
from tests.images.expectations import check, refusal

GREY, RGB = photograph()[..., 1:2], photograph()


def patched(path: Path, tag: int, value: Any) -> None:
    """Overwrites the value of a tag in a file."""
    with tifffile.TiffFile(path, mode="r+") as opened:
        opened.pages.first.tags[tag].overwrite(value)


def test_several_pages_are_refused(tmp_path: Path):
    path = tiff(tmp_path / "picture.tif", np.stack([RGB] * 3), photometric="rgb")
    assert refusal(path) == "holds 3 frames; only single pictures are read"


def test_volumes_are_refused(tmp_path: Path):
    stack = np.zeros((16, 32, 32), np.uint8)
    path = tiff(
        tmp_path / "picture.tif",
        stack,
        photometric="minisblack",
        volumetric=True,
        tile=(16, 16, 16),
    )
    assert refusal(path) == "holds 16 frames; only single pictures are read"


def test_raw_files_that_begin_with_a_preview_are_refused(tmp_path: Path):
    path = tmp_path / "picture.dng"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, photometric="rgb", metadata=None, subfiletype=1, subifds=1)
        writer.write(deep(GREY[..., 0]), photometric="minisblack", metadata=None)
    assert refusal(path) == "begins with a preview, as camera raw files do; those are not read"


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (
            GREY[..., 0].astype(np.float32),
            {"photometric": "minisblack"},
            "its grey values are floating-point numbers of 32 bits; "
            "only whole numbers of 1, 2, 4, 8 or 16 bits are read",
        ),
        (
            RGB.astype(np.float16),
            {"photometric": "rgb"},
            "its RGB values are floating-point numbers of 16 bits; "
            "only whole numbers of 8 or 16 bits are read",
        ),
        (
            RGB.astype(np.uint32),
            {"photometric": "rgb"},
            "its RGB values are whole numbers of 32 bits; "
            "only whole numbers of 8 or 16 bits are read",
        ),
        (
            GREY[..., 0].astype(np.int16),
            {"photometric": "minisblack"},
            "its grey values are signed numbers of 16 bits; "
            "only whole numbers of 1, 2, 4, 8 or 16 bits are read",
        ),
        (
            GREY[..., 0].astype(np.uint16),
            {"photometric": "minisblack", "bitspersample": 12},
            "its grey values are whole numbers of 12 bits; "
            "only whole numbers of 1, 2, 4, 8 or 16 bits are read",
        ),
        (
            deep(np.concatenate([RGB, GREY], axis=2)),
            {"photometric": "separated"},
            "its CMYK values are whole numbers of 16 bits; only whole numbers of 8 bits are read",
        ),
        (
            RGB,
            {"photometric": "cielab"},
            "its colours are CIELAB; only grey, palette, RGB, YCbCr and CMYK are read",
        ),
        (
            np.concatenate([RGB, GREY], axis=2),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            "has channels besides its colours that are not one of alpha",
        ),
        (
            np.concatenate([RGB, GREY, GREY], axis=2),
            {"photometric": "rgb", "extrasamples": ["unassalpha", "unassalpha"]},
            "has channels besides its colours that are not one of alpha",
        ),
        (
            RGB,
            {"photometric": "rgb", "compression": "jpegxl", "compressionargs": {"lossless": True}},
            "its compression, JPEGXL, is not read",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_cannot_be_read_exactly_is_refused(
    tmp_path: Path, samples: np.ndarray, options: dict[str, Any], message: str
):
    path = tiff(
        tmp_path / "picture.tif",
        samples,
        planarconfig="contig" if samples.ndim == 3 else None,
        **options,
    )
    assert refusal(path) == message


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (530, (2, 2), "its colours are subsampled; without JPEG compression that is not read"),
        (
            532,
            (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1),
            "its YCbCr has the range [16.0, 235.0, 128.0, 240.0, 128.0, 240.0]; "
            "only the full one is read",
        ),
        (
            529,
            (2126, 10000, 7152, 10000, 722, 10000),
            "its YCbCr has the coefficients [0.2126, 0.7152, 0.0722]; only BT.601's are read",
        ),
    ],
    ids=["subsampled", "range", "coefficients"],
)
def test_other_kinds_of_ycbcr_are_refused(tmp_path: Path, tag: int, value: Any, message: str):
    extra = [(529, 5, 3, (299, 1000, 587, 1000, 114, 1000), True)]
    extra += [(532, 5, 6, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1), True)]
    extra += [(530, 3, 2, (1, 1), True)]
    path = tiff(tmp_path / "picture.tif", RGB, photometric="ycbcr", extratags=extra)
    expected = Image.frombytes("YCbCr", (31, 37), RGB.tobytes()).convert("RGB")
    check(path, np.asarray(expected))
    patched(path, tag, value)
    assert refusal(path) == message


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma", "jpeg"])
def test_every_truncation_is_noticed(tmp_path: Path, compression: str | None):
    path = tiff(
        tmp_path / "picture.tif",
        RGB,
        photometric="rgb",
        compression=compression,
        rowsperstrip=16,
    )
    content = path.read_bytes()
    for length in [*range(4, 60, 5), *range(60, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        refusal(path, by_header=False)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (279, (0, 93 * 16, 93 * 5), "is damaged: piece 0 of its pixels is missing"),
        (257, 380, "is damaged: it has 3 of 24 pieces of its pixels"),
        (256, 0, "is damaged: its size is 0×37"),
        (258, (8, 8, 9), None),
        (262, 1, None),
        (277, 2, "is damaged: 2 channels cannot be RGB"),
        (259, 6, "its compression, OJPEG, is not read"),
    ],
    ids=str,
)
def test_contradictions_are_noticed(tmp_path: Path, tag: int, value: Any, message: str | None):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", rowsperstrip=16)
    patched(path, tag, value)
    found = refusal(path, by_header=False)
    assert message in (None, found)


@pytest.mark.parametrize("value", [0, (0, 0), (16, 16)], ids=str)
def test_tiles_have_a_size(tmp_path: Path, value: Any):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", tile=(16, 16))
    patched(path, 323, value)
    message = refusal(path, by_header=False)
    assert message == "is damaged: it does not say the size of the pieces of its pixels"


def test_the_pixel_limit_is_pillows(tmp_path: Path, monkeypatch):
    path = tiff(tmp_path / "picture.tif", deep(RGB), photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 31 // 2)
    assert refusal(path).startswith("too large a picture: 31×37 is more than 1146 pixels")
    for limit in (37 * 31 // 2 + 1, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        check(path, deep(RGB))


@pytest.mark.parametrize("imagej", [True, False])
def test_scan_refuses_a_stack_that_has_one_directory(tmp_path: Path, imagej: bool):
    path = tmp_path / "stack.tif"
    stack = np.stack([GREY[..., 0]] * 5)
    if imagej:
        first = f"ImageJ=1.54f\nimages={len(stack)}\nslices={len(stack)}\n"
        tifffile.imwrite(path, stack[0], description=first, metadata=None, photometric="minisblack")
    else:
        tifffile.imwrite(path, stack, photometric="minisblack", truncate=True)
    with tifffile.TiffFile(path) as opened:
        assert len(opened.pages) == 1
    assert refusal(path) == "holds 5 frames; only single pictures are read"


OME = '<?xml version="1.0"?><OME><Image><Pixels {}><TiffData/></Pixels></Image></OME>'


@pytest.mark.parametrize(
    ("description", "pixels", "number"),
    [
        (OME.format('SizeC="1" SizeT="7" SizeZ="3"'), GREY[..., 0], 21),
        (OME.format('SizeC="2" SizeT="1" SizeZ="1"'), GREY[..., 0], 2),
        (OME.format('SizeC="3" SizeT="1" SizeZ="1"'), RGB, 1),
        ('{"shape": [2, 37, 31]}', GREY[..., 0], 2),
        ("shape=(4,37,31)", GREY[..., 0], 4),
        ("SCIFIO=1\nimages=9\n", GREY[..., 0], 9),
        ("A stack of images=9", GREY[..., 0], 1),
        ('{"shape": nonsense', GREY[..., 0], 1),
    ],
)
def test_scan_believes_what_descriptions_say_of_further_pictures(
    tmp_path: Path, description: str, pixels: np.ndarray, number: int
):
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    path = tiff(tmp_path / "picture.tif", pixels, photometric=kind, description=description)
    if number > 1:
        assert refusal(path) == f"holds {number} frames; only single pictures are read"
    else:
        check(path, pixels.reshape(*pixels.shape[:2], -1))


def test_scan_refuses_a_stack_of_metamorph(tmp_path: Path):
    tags = [(33629, "I", 6, (0,) * 6, True)]
    path = tiff(tmp_path / "a.stk", GREY[..., 0], photometric="minisblack", extratags=tags)
    assert refusal(path) == "holds 6 frames; only single pictures are read"


@pytest.mark.parametrize(("form", "compression"), [("JPEG", 7), ("WEBP", 50001)])
def test_decode_refuses_a_piece_that_is_larger_than_the_picture(
    tmp_path: Path, form: str, compression: int
):
    path = tmp_path / "picture.tif"
    content = embedded(form, 4000)
    path.write_bytes(tiff_file(grey_tags(16, compression, len(content)), content))
    assert refusal(path, by_header=False) == (
        "is damaged: piece 0 of its pixels has 4000×4000 of them instead of 16×16"
    )


def test_decode_refuses_tiles_that_are_larger_than_the_picture(tmp_path: Path):
    path = tmp_path / "picture.tif"
    tags = [*grey_tags(16)[:5], (277, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, None), (325, 4, 1, 256)]
    path.write_bytes(tiff_file([*tags, *tiles], bytes(256)))
    assert refusal(path, by_header=False) == (
        "is damaged: its tiles of 60000×60000 pixels are larger than the picture"
    )


def test_decode_refuses_strips_that_all_have_the_same_bytes(tmp_path: Path):
    path, rows, length = tmp_path / "picture.tif", 4000, 1 << 19
    tags = [*((256, 4, 1, 8), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))]
    tags += [(273, 4, rows, None), (277, 3, 1, 1), (278, 4, 1, 1)]
    lists = 8 + 2 + 12 * 9 + 4 + 4 * rows
    content = struct.pack(f"<{rows}I", *[lists] * rows) + struct.pack(f"<{rows}I", *[length] * rows)
    path.write_bytes(tiff_file([*tags, (279, 4, rows, lists)], content + bytes(length)))
    assert refusal(path, by_header=False) == "is damaged: it refers to more than it holds"

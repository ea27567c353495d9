"""TIFF files that are refused: what would not come out exactly, and damage."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

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

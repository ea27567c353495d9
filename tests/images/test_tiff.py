"""TIFF files: depths, colours, layouts and compressions; what is refused, and damage."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dgunet_jax.images import read
from tests.fuzz.bombs import embedded, grey_tags, tiff_file
from tests.images.encodings import deep, photograph, tiff
from tests.images.expectations import check, check_truncations, refusal

GREY, RGB = photograph()[..., 1:2], photograph()
ALPHA = photograph("coffee")[..., 0]
MISSING = "is damaged: it is truncated, or pieces of its pixels are missing"
LARGE = "is damaged: pieces of its pixels are larger than the picture"
COMPRESSIONS = [None, "zlib", "lzw", "packbits", "lzma", "zstd", "adobe_deflate"]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("pixels", [GREY, RGB, deep(GREY), deep(RGB)], ids=lambda p: f"{p.dtype}")
def test_read_of_depths_orders_and_compressions(
    tmp_path: Path, pixels: np.ndarray, compression: str | None, order: Any
):
    for predictor in (False, True) if compression else (False,):
        path = tiff(
            tmp_path / "picture.tif",
            np.squeeze(pixels),
            byteorder=order,
            compression=compression,
            predictor=predictor,
            rowsperstrip=10,
            photometric="rgb" if pixels.shape[2] == 3 else "minisblack",
        )
        check(path, pixels)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("size", [(1, 1), (37, 31), (3, 500)], ids=str)
@pytest.mark.parametrize("layout", ["planes", "tiles", "tiled planes", "BigTIFF"])
def test_read_of_layouts(tmp_path: Path, layout: str, size: tuple[int, int], order: Any):
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (*size, 4), np.uint16)
    options: dict[str, Any] = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    if "tile" in layout:
        options |= {"tile": (16, 32), "compression": "zlib"}
    stored = pixels
    if "plane" in layout:
        stored = np.moveaxis(pixels, 2, 0)
        options["planarconfig"] = "separate"
    path = tiff(
        tmp_path / "picture.tif", stored, byteorder=order, bigtiff=layout == "BigTIFF", **options
    )
    check(path, pixels[..., :3], pixels[..., 3])


@pytest.mark.parametrize("pixels", [GREY, deep(GREY)], ids=["8 bits", "16 bits"])
def test_read_where_white_is_zero(tmp_path: Path, pixels: np.ndarray):
    check(tiff(tmp_path / "picture.tif", ~pixels[..., 0], photometric="miniswhite"), pixels)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_read_of_grey_of_few_bits(tmp_path: Path, bits: int, photometric: Any):
    levels = GREY[..., 0] >> (8 - bits)
    stored = levels if photometric == "minisblack" else 2**bits - 1 - levels
    if bits == 1:
        path = tiff(tmp_path / "picture.tif", stored.astype(bool), photometric=photometric)
    else:
        path = tiff(tmp_path / "picture.tif", stored, bitspersample=bits, photometric=photometric)
    check(path, levels[..., None] * np.uint8(255 // (2**bits - 1)))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [10, 12])
def test_read_scales_10_and_12_bits_to_16(tmp_path: Path, photometric: Any, bits: int):
    levels = deep(GREY[..., 0]) >> (16 - bits)
    stored = levels if photometric == "minisblack" else 2**bits - 1 - levels
    path = tiff(tmp_path / "picture.tif", stored, bitspersample=bits, photometric=photometric)
    expected = np.rint(levels * (65535 / (2**bits - 1))).astype(np.uint16)
    check(path, expected[..., None])


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", None])
def test_read_of_fax_compressions(tmp_path: Path, compression: str | None):
    path = tmp_path / "picture.tif"
    image = Image.fromarray(GREY[..., 0]).convert("1")
    image.save(path, compression=compression)
    check(path, np.asarray(image.convert("L"))[..., None])


@pytest.mark.parametrize("pixels", [GREY, RGB, deep(GREY), deep(RGB)], ids=lambda p: f"{p.dtype}")
def test_read_of_alpha(tmp_path: Path, pixels: np.ndarray):
    alpha = deep(ALPHA) if pixels.dtype == np.uint16 else ALPHA
    samples = np.concatenate([pixels, alpha[..., None]], axis=2)
    photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
    path = tiff(
        tmp_path / "picture.tif",
        samples,
        photometric=photometric,
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    check(path, pixels, alpha)


def test_read_divides_colours_that_alpha_was_multiplied_into(tmp_path: Path):
    colours = deep(RGB)
    alpha = deep(ALPHA)
    alpha[:5], alpha[5:10] = 65535, 0
    stored = np.rint(colours.astype(float) * alpha[..., None] / 65535).astype(np.uint16)
    path = tiff(
        tmp_path / "picture.tif",
        np.concatenate([stored, alpha[..., None]], axis=2),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    picture = read(path)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(picture.pixels[:5], colours[:5])
    np.testing.assert_array_equal(picture.pixels[5:10], 0)
    again = np.rint(picture.pixels.astype(float) * alpha[..., None] / 65535)
    np.testing.assert_array_equal(again, stored)


@pytest.mark.parametrize("scale", [1, 256, 257])
def test_read_of_palettes_of_8_bits(tmp_path: Path, scale: int):
    palette = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    path = tiff(
        tmp_path / "picture.tif", GREY[..., 0], photometric="palette", colormap=palette * scale
    )
    check(path, palette.T.astype(np.uint8)[GREY[..., 0]])


def test_read_keeps_16_bits_of_palettes(tmp_path: Path):
    palette = np.random.default_rng(0).integers(0, 1 << 16, (3, 256), np.uint16)
    path = tiff(tmp_path / "picture.tif", GREY[..., 0], photometric="palette", colormap=palette)
    check(path, palette.T[GREY[..., 0]])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_read_of_palettes_of_pillow(tmp_path: Path, bits: int):
    path = tmp_path / "picture.tif"
    image = Image.fromarray(RGB).quantize(2**bits)
    image.save(path)
    check(path, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *itertools.product(["L", "LA", "RGB", "RGBA", "PA", "CMYK"], [None, "tiff_lzw", "jpeg"]),
        ("YCbCr", "jpeg"),  # without JPEG it is refused
    ],
)
def test_read_of_files_of_pillow(tmp_path: Path, mode: str, compression: str | None):
    if (mode, compression) == ("PA", "jpeg"):
        compression = "tiff_adobe_deflate"
    path = tmp_path / "picture.tif"
    image = Image.fromarray(RGB).convert(mode)
    image.save(path, compression=compression)
    if compression == "jpeg":
        image = Image.open(path)
    expected = np.asarray(
        image.convert({"PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}.get(mode, image.mode))
    )
    expected = expected.reshape(37, 31, -1)
    if mode.endswith("A"):
        check(path, expected[..., :-1], expected[..., -1])
    else:
        check(path, expected)


def test_read_passes_over_thumbnails_behind_the_picture(tmp_path: Path):
    path = tmp_path / "picture.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
    check(path, RGB)


def test_read_is_quiet_about_odd_tags(tmp_path: Path, capfd, caplog):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", description="a" * 30)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as opened:
        at = opened.pages.first.tags["ImageDescription"].offset
    # A type of values that does not exist: tifffile logs that.
    path.write_bytes(content[: at + 2] + struct.pack("<H", 99) + content[at + 4 :])
    check(path, RGB)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    with tifffile.TiffFile(path) as opened:  # elsewhere it still does
        assert len(opened.pages) == 1
    assert caplog.records


def patched(path: Path, tag: int, value: Any) -> None:
    """Overwrites the value of a tag in a file."""
    with tifffile.TiffFile(path, mode="r+") as opened:
        opened.pages.first.tags[tag].overwrite(value)


def test_read_refuses_several_pages(tmp_path: Path):
    path = tiff(tmp_path / "picture.tif", np.stack([RGB] * 3), photometric="rgb")
    assert refusal(path) == "holds 3 frames; only single pictures are read"


def test_read_refuses_volumes(tmp_path: Path):
    stack = np.zeros((16, 32, 32), np.uint8)
    path = tiff(
        tmp_path / "picture.tif",
        stack,
        photometric="minisblack",
        volumetric=True,
        tile=(16, 16, 16),
    )
    assert refusal(path) == "holds 16 frames; only single pictures are read"


def test_read_refuses_raw_files_that_begin_with_a_preview(tmp_path: Path):
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
            "only whole numbers of 1 to 16 bits are read",
        ),
        (
            RGB.astype(np.float16),
            {"photometric": "rgb"},
            "its RGB values are floating-point numbers of 16 bits; "
            "only whole numbers of 1 to 16 bits are read",
        ),
        (
            RGB.astype(np.uint32),
            {"photometric": "rgb"},
            "its RGB values are whole numbers of 32 bits; "
            "only whole numbers of 1 to 16 bits are read",
        ),
        (
            GREY[..., 0].astype(np.int16),
            {"photometric": "minisblack"},
            "its grey values are signed numbers of 16 bits; "
            "only whole numbers of 1 to 16 bits are read",
        ),
        (
            deep(np.concatenate([RGB, GREY], axis=2)),
            {"photometric": "separated"},
            "its CMYK values are whole numbers of 16 bits; "
            "only whole numbers of 1 to 8 bits are read",
        ),
        (
            RGB,
            {"photometric": "ycbcr"},
            "its compression, NONE of YCbCr, is not read",
        ),
        (
            RGB,
            {"photometric": "cielab"},
            "its colours are CIELAB; only grey, palette, RGB, YCbCr and CMYK are read",
        ),
        (
            np.concatenate([RGB, GREY], axis=2),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            "has 4 channels that are not RGB with or without alpha",
        ),
        (
            np.concatenate([RGB, GREY, GREY], axis=2),
            {"photometric": "rgb", "extrasamples": ["unassalpha", "unassalpha"]},
            "has 5 channels that are not RGB with or without alpha",
        ),
        (
            RGB,
            {"photometric": "rgb", "compression": "jpegxl", "compressionargs": {"lossless": True}},
            "its compression, JPEGXL of RGB, is not read",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_read_refuses_what_would_not_be_exact(
    tmp_path: Path, samples: np.ndarray, options: dict[str, Any], message: str
):
    path = tiff(
        tmp_path / "picture.tif",
        samples,
        planarconfig="contig" if samples.ndim == 3 else None,
        **options,
    )
    assert refusal(path) == message


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma", "jpeg"])
def test_read_refuses_truncated_files(tmp_path: Path, compression: str | None):
    path = tiff(
        tmp_path / "picture.tif",
        RGB,
        photometric="rgb",
        compression=compression,
        rowsperstrip=16,
    )
    check_truncations(path)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (
            279,
            (0, 93 * 16, 93 * 5),
            MISSING,
        ),
        (257, 380, MISSING),
        (256, 0, "is damaged: its size is 0×37"),
        (258, (8, 8, 9), None),
        (262, 1, None),
        (277, 2, "has 2 channels that are not RGB with or without alpha"),
        (259, 6, "its compression, OJPEG of YCbCr, is not read"),
    ],
    ids=str,
)
def test_read_refuses_contradictions(tmp_path: Path, tag: int, value: Any, message: str | None):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", rowsperstrip=16)
    patched(path, tag, value)
    found = refusal(path, by_header=False)
    assert message in (None, found)


@pytest.mark.parametrize("value", [0, (0, 0), (16, 16)], ids=str)
def test_read_refuses_tiles_without_a_size(tmp_path: Path, value: Any):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", tile=(16, 16))
    patched(path, 323, value)
    assert refusal(path, by_header=False) == "is damaged: its header makes no sense"


def test_read_refuses_more_pixels_than_pillow(tmp_path: Path, monkeypatch):
    path = tiff(tmp_path / "picture.tif", deep(RGB), photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 31 // 2)
    assert refusal(path).startswith("too large a picture: 31×37 is more than 1146 pixels")
    for limit in (37 * 31 // 2 + 1, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        check(path, deep(RGB))


@pytest.mark.parametrize("imagej", [True, False])
def test_read_refuses_a_stack_that_has_one_directory(tmp_path: Path, imagej: bool):
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
def test_read_believes_what_descriptions_say_of_further_pictures(
    tmp_path: Path, description: str, pixels: np.ndarray, number: int
):
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    path = tiff(tmp_path / "picture.tif", pixels, photometric=kind, description=description)
    if number > 1:
        assert refusal(path) == f"holds {number} frames; only single pictures are read"
    else:
        check(path, pixels.reshape(*pixels.shape[:2], -1))


def test_read_refuses_a_stack_of_metamorph(tmp_path: Path):
    tags = [(33629, "I", 6, (0,) * 6, True)]
    path = tiff(tmp_path / "a.stk", GREY[..., 0], photometric="minisblack", extratags=tags)
    assert refusal(path) == "holds 6 frames; only single pictures are read"


@pytest.mark.parametrize(("form", "compression"), [("JPEG", 7), ("WEBP", 50001)])
def test_read_refuses_a_piece_that_is_larger_than_the_picture(
    tmp_path: Path, form: str, compression: int
):
    path = tmp_path / "picture.tif"
    content = embedded(form, 4000)
    path.write_bytes(tiff_file(grey_tags(16, compression, len(content)), content))
    assert refusal(path, by_header=False) == LARGE


def test_read_refuses_tiles_that_are_larger_than_the_picture(tmp_path: Path):
    path = tmp_path / "picture.tif"
    tags = [*grey_tags(16)[:5], (277, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, None), (325, 4, 1, 256)]
    path.write_bytes(tiff_file([*tags, *tiles], bytes(256)))
    assert refusal(path, by_header=False) == LARGE


def test_read_refuses_strips_that_all_have_the_same_bytes(tmp_path: Path):
    path, rows, length = tmp_path / "picture.tif", 4000, 1 << 19
    tags = [*((256, 4, 1, 8), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))]
    tags += [(273, 4, rows, None), (277, 3, 1, 1), (278, 4, 1, 1)]
    lists = 8 + 2 + 12 * 9 + 4 + 4 * rows
    content = struct.pack(f"<{rows}I", *[lists] * rows) + struct.pack(f"<{rows}I", *[length] * rows)
    path.write_bytes(tiff_file([*tags, (279, 4, rows, lists)], content + bytes(length)))
    assert (
        refusal(path, by_header=False)
        == "is damaged: the pieces of its pixels are longer than the file"
    )

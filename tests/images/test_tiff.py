"""TIFF files: depths, colours, layouts and compressions."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dgunet_jax.images.reading import read
from tests.images.encodings import cmyk_profile, deep, photograph, profile, tiff
from tests.images.expectations import check

GREY, RGB = photograph()[..., 1:2], photograph()
ALPHA = photograph("coffee")[..., 0]
COMPRESSIONS = [None, "zlib", "lzw", "packbits", "lzma", "zstd", "adobe_deflate"]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("pixels", [GREY, RGB, deep(GREY), deep(RGB)], ids=lambda p: f"{p.dtype}")
def test_depths_orders_and_compressions(
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
def test_layouts(tmp_path: Path, layout: str, size: tuple[int, int], order: Any):
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
def test_white_may_be_zero(tmp_path: Path, pixels: np.ndarray):
    check(tiff(tmp_path / "picture.tif", ~pixels[..., 0], photometric="miniswhite"), pixels)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_of_few_bits(tmp_path: Path, bits: int, photometric: Any):
    levels = GREY[..., 0] >> (8 - bits)
    stored = levels if photometric == "minisblack" else 2**bits - 1 - levels
    if bits == 1:
        path = tiff(tmp_path / "picture.tif", stored.astype(bool), photometric=photometric)
    else:
        path = tiff(tmp_path / "picture.tif", stored, bitspersample=bits, photometric=photometric)
    check(path, levels[..., None] * np.uint8(255 // (2**bits - 1)))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", None])
def test_fax_compressions(tmp_path: Path, compression: str | None):
    path = tmp_path / "picture.tif"
    image = Image.fromarray(GREY[..., 0]).convert("1")
    image.save(path, compression=compression)
    check(path, np.asarray(image.convert("L"))[..., None])


@pytest.mark.parametrize("pixels", [GREY, RGB, deep(GREY), deep(RGB)], ids=lambda p: f"{p.dtype}")
def test_alpha(tmp_path: Path, pixels: np.ndarray):
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


def test_alpha_that_is_multiplied_into_the_colours(tmp_path: Path):
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
def test_palettes_of_8_bits(tmp_path: Path, scale: int):
    palette = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    path = tiff(
        tmp_path / "picture.tif", GREY[..., 0], photometric="palette", colormap=palette * scale
    )
    check(path, palette.T.astype(np.uint8)[GREY[..., 0]])


def test_palettes_of_16_bits_keep_them(tmp_path: Path):
    palette = np.random.default_rng(0).integers(0, 1 << 16, (3, 256), np.uint16)
    path = tiff(tmp_path / "picture.tif", GREY[..., 0], photometric="palette", colormap=palette)
    check(path, palette.T[GREY[..., 0]])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_pillow(tmp_path: Path, bits: int):
    path = tmp_path / "picture.tif"
    image = Image.fromarray(RGB).quantize(2**bits)
    image.save(path)
    check(path, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "PA", "CMYK", "YCbCr"])
def test_files_of_pillow(tmp_path: Path, mode: str, compression: str | None):
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


def test_cmyk_goes_through_its_profile(tmp_path: Path):
    inks = np.zeros((37, 31, 4), np.uint8)
    inks[:20, :, 3] = 255
    expected = np.full((37, 31, 3), 255, np.uint8)
    expected[:20] = 0
    # Without a profile for these inks the conversion is plain, which comes to the same here.
    for icc_profile in (cmyk_profile(), profile(b"RGB "), None):
        path = tmp_path / "picture.tif"
        tiff(path, inks, photometric="separated", iccprofile=icc_profile)
        assert check(path, expected).icc_profile is None
    inks[:20, :, :3] = 200  # which only the profile ignores
    inks[20:, :, :3] = 0
    inks[..., 3] = 0
    tiff(path, inks, photometric="separated", iccprofile=cmyk_profile())
    check(path, np.full((37, 31, 3), 255, np.uint8))


def test_profiles_are_kept(tmp_path: Path):
    path = tiff(tmp_path / "picture.tif", RGB, photometric="rgb", iccprofile=profile(b"RGB "))
    assert read(path).icc_profile == profile(b"RGB ")


def test_thumbnails_behind_the_picture_do_not_count(tmp_path: Path):
    path = tmp_path / "picture.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
    check(path, RGB)


def test_nothing_odd_is_told_on_stderr(tmp_path: Path, capfd, caplog):
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

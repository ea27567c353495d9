"""Writing: everything comes back exactly, nothing is silently lost, and no file is half written."""

import io
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.reading import read
from dgunet_jax.images.writing import check_writable, write
from dgunet_jax.system.errors import UserError
from tests.images.encodings import deep, exif, photograph, profile

GREY, RGB, ALPHA = photograph()[..., 1:2], photograph(), photograph("coffee")[..., 0]
PICTURES = {
    "grey": Picture(GREY),
    "RGB": Picture(RGB),
    "grey, alpha": Picture(GREY, ALPHA),
    "RGB, alpha": Picture(RGB, ALPHA),
    "16-bit grey": Picture(deep(GREY)),
    "16-bit RGB": Picture(deep(RGB)),
    "16-bit grey, alpha": Picture(deep(GREY), deep(ALPHA)),
    "16-bit RGB, alpha": Picture(deep(RGB), deep(ALPHA)),
}
HOLD_ALL = [".png", ".PNG", ".tif", ".tiff"]
REFUSED = [
    *((suffix, kind) for suffix in (".jpg", ".jpeg", ".bmp") for kind in list(PICTURES)[2:]),
    *((".webp", kind) for kind in list(PICTURES)[4:]),
]


def same(a: Picture, b: Picture) -> bool:
    alphas = (a.alpha is None) == (b.alpha is None)
    alphas &= a.alpha is None or b.alpha is None or np.array_equal(a.alpha, b.alpha)
    return alphas and a.pixels.dtype == b.pixels.dtype and np.array_equal(a.pixels, b.pixels)


def samples(picture: Picture) -> np.ndarray:
    alpha = [] if picture.alpha is None else [picture.alpha[..., None]]
    return np.squeeze(np.concatenate([picture.pixels, *alpha], axis=2))


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("suffix", HOLD_ALL)
def test_everything_comes_back(tmp_path: Path, suffix: str, kind: str):
    path = tmp_path / f"picture{suffix}"
    picture = PICTURES[kind]
    write(path, picture)
    assert same(read(path), picture)
    # Others read the same.
    if suffix.lower() == ".png":
        found = imagecodecs.png_decode(path.read_bytes())
    else:
        found = tifffile.imread(path)
    np.testing.assert_array_equal(found, samples(picture), strict=True)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_grey_pixels_may_have_any_stride(tmp_path: Path, suffix: str):
    """What lies in memory like an image is of one channel in several ways."""
    for pixels in (GREY[..., 0][..., None], GREY.transpose(2, 0, 1).copy().transpose(1, 2, 0)):
        write(tmp_path / f"picture{suffix}", Picture(pixels))
        assert read(tmp_path / f"picture{suffix}").pixels.shape[:2] == GREY.shape[:2]


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (600, 700)], ids=str)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1 << 16, (*size, 3), np.uint16)
    picture = Picture(pixels, pixels[..., 0])
    write(tmp_path / f"picture{suffix}", picture)
    assert same(read(tmp_path / f"picture{suffix}"), picture)
    if suffix == ".tif" and size == (600, 700):  # in several strips
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "picture.tif"), samples(picture))


@pytest.mark.parametrize("kind", ["grey", "RGB", "grey, alpha", "RGB, alpha"])
def test_8_bits_of_png_and_tiff_for_pillow(tmp_path: Path, kind: str):
    for suffix in (".png", ".tif"):
        write(tmp_path / f"picture{suffix}", PICTURES[kind])
        with Image.open(tmp_path / f"picture{suffix}") as image:
            np.testing.assert_array_equal(np.asarray(image), samples(PICTURES[kind]))


@pytest.mark.parametrize("kind", ["grey", "RGB", "RGB, alpha"])
def test_webp_is_lossless(tmp_path: Path, kind: str):
    picture = PICTURES[kind]
    if picture.alpha is not None:
        transparent = picture.alpha.copy()
        transparent[:9] = 0  # where the colours are to stay as well
        picture = Picture(picture.pixels, transparent)
    write(tmp_path / "picture.webp", picture)
    found = read(tmp_path / "picture.webp")
    assert same(found, Picture(np.broadcast_to(picture.pixels, RGB.shape), picture.alpha))


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_bmp_is_lossless(tmp_path: Path, kind: str):
    write(tmp_path / "picture.bmp", PICTURES[kind])
    assert same(read(tmp_path / "picture.bmp"), PICTURES[kind])


@pytest.mark.parametrize("kind", ["grey", "RGB"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_is_of_quality_95_at_full_resolution(tmp_path: Path, kind: str, suffix: str):
    path = tmp_path / f"picture{suffix}"
    write(path, PICTURES[kind])
    expected = io.BytesIO()
    image = Image.fromarray(np.squeeze(PICTURES[kind].pixels))
    image.save(expected, "JPEG", quality=95, subsampling=0)
    with Image.open(path) as found, Image.open(expected) as asked:
        assert found.layer == asked.layer
        assert found.quantization == asked.quantization
    np.testing.assert_allclose(read(path).pixels.astype(int), PICTURES[kind].pixels, atol=16)


@pytest.mark.parametrize("kind", ["grey", "RGB", "16-bit RGB, alpha"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_profile_and_exif_come_back(tmp_path: Path, suffix: str, kind: str):
    picture = PICTURES[kind]
    if picture.bits > 8 and suffix in (".jpg", ".webp"):
        picture = Picture(RGB)
    space = b"GRAY" if picture.pixels.shape[2] == 1 and suffix != ".webp" else b"RGB "
    icc_profile = profile(space, bytes(100_000))
    picture = Picture(picture.pixels, picture.alpha, icc_profile, exif(1))
    path = tmp_path / f"picture{suffix}"
    write(path, picture)
    found = read(path)
    assert found.icc_profile == icc_profile
    assert found.exif is not None
    tags = Image.Exif()
    tags.load(found.exif)
    assert tags[0x010F] == "Lens & Son"
    with Image.open(path) as image:
        assert image.info["icc_profile"] == icc_profile
        assert image.getexif()[0x010F] == "Lens & Son"


@pytest.mark.parametrize(("suffix", "kind"), REFUSED)
def test_nothing_is_silently_lost(tmp_path: Path, suffix: str, kind: str):
    name = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WebP"}[suffix]
    if kind.startswith("16-bit"):
        message = f"{name} files hold 8 bits per channel, the picture has 16"
    else:
        message = f"{name} files hold no transparency, the picture does"
    with pytest.raises(UserError) as caught:
        check_writable(suffix, PICTURES[kind])
    assert str(caught.value) == message
    path = tmp_path / f"picture{suffix}"
    with pytest.raises(UserError) as caught:
        write(path, PICTURES[kind])
    assert str(caught.value) == f"{path}: {message}"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "picture", "message"),
    [
        (
            ".gif",
            Picture(RGB),
            "pictures are written as .png, .tif, .tiff, .jpg, .jpeg, .webp, .bmp; not as '.gif'",
        ),
        (
            "",
            Picture(RGB),
            "pictures are written as .png, .tif, .tiff, .jpg, .jpeg, .webp, .bmp; not as ''",
        ),
        (
            ".webp",
            Picture(np.zeros((1, 16_384, 1), np.uint8)),
            "WebP files reach to 16383 pixels, not 16384×1",
        ),
        (
            ".jpg",
            Picture(np.zeros((65_501, 1, 1), np.uint8)),
            "JPEG files reach to 65500 pixels, not 1×65501",
        ),
        (
            ".jpg",
            Picture(RGB, exif=bytes(65_528)),
            "JPEG files hold 65527 bytes of EXIF, the picture has 65528",
        ),
    ],
    ids=["unknown", "none", "WebP size", "JPEG size", "EXIF"],
)
def test_what_formats_cannot_hold(tmp_path: Path, suffix: str, picture: Picture, message: str):
    path = tmp_path / f"picture{suffix}"
    with pytest.raises(UserError) as caught:
        write(path, picture)
    assert str(caught.value) == f"{path}: {message}"
    assert os.listdir(tmp_path) == []


def test_limits_can_be_reached(tmp_path: Path):
    for suffix, width in ((".webp", 16_383), (".jpg", 65_500)):
        write(tmp_path / f"picture{suffix}", Picture(np.zeros((1, width, 1), np.uint8)))
        assert read(tmp_path / f"picture{suffix}").pixels.shape[1] == width
    picture = Picture(RGB, exif=exif(1).ljust(65_527, b"\0"))
    write(tmp_path / "picture.jpg", picture)
    assert read(tmp_path / "picture.jpg").exif == picture.exif


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_files_appear_complete_and_make_their_folders(tmp_path: Path, suffix: str, monkeypatch):
    path = tmp_path / "new" / "deep" / f"picture{suffix}"
    write(path, Picture(RGB))
    before = path.read_bytes()
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        write(path, Picture(255 - RGB))
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert path.read_bytes() == before
    monkeypatch.undo()
    write(path, Picture(255 - RGB))
    assert path.read_bytes() != before
    assert os.listdir(path.parent) == [path.name]


def test_paths_that_cannot_be_written_are_named(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png"):
        with pytest.raises(UserError) as caught:
            write(path, Picture(RGB))
        assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_names_as_long_as_names_can_be(tmp_path: Path):
    path = tmp_path / ("n" * 251 + ".png")
    write(path, Picture(RGB))
    assert same(read(path), Picture(RGB))

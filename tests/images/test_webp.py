"""WebP files: with and without loss and alpha; damage."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.writing import write
from tests.images.encodings import exif, photograph, profile
from tests.images.expectations import check, refusal

RGB = photograph()
RGBA = np.concatenate([RGB, photograph("coffee")[..., :1]], axis=2)


def save(path: Path, samples: np.ndarray, **options: Any) -> bytes:
    Image.fromarray(samples).save(path, "WEBP", **options)
    return path.read_bytes()


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("size", [(1, 1), (37, 31), (3, 500)], ids=str)
def test_lossless(tmp_path: Path, size: tuple[int, int], extended: bool):
    path = tmp_path / "picture.webp"
    samples = np.random.default_rng(0).integers(0, 256, (*size, 4), np.uint8)
    options: dict[str, Any] = {"lossless": True, "exact": True}
    if extended:
        options |= {"icc_profile": profile(b"RGB "), "exif": exif()}
    save(path, samples, **options)
    picture = check(path, samples[..., :3], samples[..., 3])
    assert picture.icc_profile == options.get("icc_profile")
    assert picture.exif == options.get("exif")
    save(path, samples[..., :3].copy(), **options)
    check(path, samples[..., :3])


def test_a_profile_of_grey_does_not_go_to_the_colours_grey_becomes(tmp_path: Path):
    path = tmp_path / "grey.webp"
    write(path, Picture(np.full((3, 4, 1), 70, np.uint8), icc_profile=profile(b"GRAY")))
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("samples", [RGB, RGBA], ids=["RGB", "RGBA"])
def test_lossy(tmp_path: Path, samples: np.ndarray):
    path = tmp_path / "picture.webp"
    save(path, samples, quality=80)
    expected = np.asarray(Image.open(path))
    assert expected.shape == samples.shape
    check(path, expected[..., :3], expected[..., 3] if samples is RGBA else None)


def test_what_does_not_concern_pixels_may_be_wrong(tmp_path: Path):
    path = tmp_path / "picture.webp"
    save(path, RGB, lossless=True, icc_profile=b"junk", exif=b"II*\0junk", xmp=b"<")
    picture = check(path, RGB)
    assert picture.icc_profile is None
    assert picture.exif is None


def test_animations_are_refused(tmp_path: Path):
    path = tmp_path / "picture.webp"
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert refusal(path) == "holds 2 frames; only single pictures are read"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"lossless": True, "exif": exif()}])
def test_every_truncation_is_noticed(tmp_path: Path, options: dict[str, Any]):
    path = tmp_path / "picture.webp"
    content = save(path, RGBA, **options)
    for length in [*range(12, 60), *range(60, len(content), 31), len(content) - 1]:
        path.write_bytes(content[:length])
        assert refusal(path) == "is damaged: it is truncated"


def test_sizes_that_lie_are_noticed(tmp_path: Path):
    path = tmp_path / "picture.webp"
    content = bytearray(save(path, RGB, quality=80, exif=exif()))
    at = content.index(b"VP8X") + 12
    for width, message in (
        (30, None),
        (1 << 24, "too large a picture: 16777216×16777216 is more than 178956970 pixels"),
    ):
        content[at : at + 6] = (width - 1).to_bytes(3, "little") * 2
        path.write_bytes(content)
        found = refusal(path, by_header=message is not None)
        assert message is None or found.startswith(message)


def test_files_without_pixels_are_refused(tmp_path: Path):
    path = tmp_path / "picture.webp"
    path.write_bytes(b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0")
    assert refusal(path) == "is damaged: it does not say its size"

"""GIF files of one frame: palettes, transparency, frames that do not fill the picture; damage."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.images.encodings import PHOTOGRAPHS, photograph
from tests.images.expectations import check, refusal

PALETTE = Image.fromarray(photograph()).quantize(50)


def save(path: Path, image: Image.Image = PALETTE, **options: Any) -> bytes:
    image.save(path, "GIF", **options)
    return path.read_bytes()


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "passes"])
@pytest.mark.parametrize("size", [(1, 1), (37, 31), (3, 500)], ids=str)
def test_palettes_become_rgb(tmp_path: Path, size: tuple[int, int], interlaced: bool):
    path = tmp_path / "picture.gif"
    image = PALETTE.resize(size[::-1])
    save(path, image, interlace=interlaced)
    check(path, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("optimize", [False, True])
def test_grey_becomes_rgb_too(tmp_path: Path, optimize: bool):
    path = tmp_path / "picture.gif"
    save(path, Image.fromarray(photograph()[..., 0]), optimize=optimize)
    check(path, np.repeat(photograph()[..., :1], 3, axis=2))


def test_the_transparent_entry_becomes_alpha(tmp_path: Path):
    path = tmp_path / "picture.gif"
    numbers = np.asarray(PALETTE)
    save(path, transparency=int(numbers[5, 5]), optimize=False)
    alpha = np.where(numbers == numbers[5, 5], 0, 255).astype(np.uint8)
    check(path, np.asarray(PALETTE.convert("RGB")), alpha)


def test_what_the_frame_does_not_cover_is_transparent(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = bytearray(save(path))
    content[6:10] = struct.pack("<HH", 40, 50)
    at = content.index(b",\0\0\0\0" + struct.pack("<HH", 31, 37))
    content[at + 1 : at + 5] = struct.pack("<HH", 4, 9)
    path.write_bytes(content)
    pixels = np.empty((50, 40, 3), np.uint8)
    pixels[...] = (PALETTE.getpalette() or [])[:3]  # as if it were filled with the first entry
    pixels[9 : 9 + 37, 4 : 4 + 31] = np.asarray(PALETTE.convert("RGB"))
    alpha = np.zeros((50, 40), np.uint8)
    alpha[9 : 9 + 37, 4 : 4 + 31] = 255
    check(path, pixels, alpha)


def test_frames_that_reach_out_of_the_picture_enlarge_it(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = bytearray(save(path))
    content[6:10] = struct.pack("<HH", 10, 10)
    path.write_bytes(content)
    check(path, np.asarray(PALETTE.convert("RGB")))


def test_pictures_that_reach_too_far_are_refused(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = bytearray(save(path))
    content[6:10] = struct.pack("<HH", 40_000, 40_000)
    path.write_bytes(content)
    assert refusal(path).startswith("too large a picture: 40000×40000 is more than 178956970")
    at = content.index(b",\0\0\0\0" + struct.pack("<HH", 31, 37))
    content[at + 1 : at + 3] = b"\xff\xff"
    path.write_bytes(content)
    assert refusal(path) == "is damaged: its picture reaches to 65566×40000"


def test_comments_and_disposal_do_not_matter(tmp_path: Path):
    path = tmp_path / "picture.gif"
    save(path, comment=b"made by hand" * 50, disposal=2, duration=40, loop=0)
    check(path, np.asarray(PALETTE.convert("RGB")))


def test_the_end_may_be_missing_or_followed_by_anything(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = save(path)
    for changed in (content[:-1], content + b"\0", content[:-1] + b"\0;"):
        path.write_bytes(changed)
        check(path, np.asarray(PALETTE.convert("RGB")))


def test_every_truncation_is_noticed(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = save(path)
    for length in range(6, len(content) - 1):
        path.write_bytes(content[:length])
        assert refusal(path) in (
            "is damaged: it is truncated",
            "is damaged: it holds no picture",
        )


def test_image_data_that_ends_early_is_noticed(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = save(path)
    at = content.index(b",\0\0\0\0" + struct.pack("<HH", 31, 37)) + 11
    path.write_bytes(content[: at + 1 + content[at]] + b"\0;")
    refusal(path, by_header=False)


def test_animations_are_refused():
    path = PHOTOGRAPHS / "no_time_for_that_tiny.gif"
    with Image.open(path) as image:
        frames = image.n_frames
    assert refusal(path) == f"holds {frames} frames; only single pictures are read"

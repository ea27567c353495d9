"""BMP files: grey, palettes, RGB, transparency; damage."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.encodings import photograph
from tests.images.expectations import check, refusal

RGB = photograph()


def bmp(
    bits: int, rows: bytes, compression: int = 0, extra: bytes = b"", height: int = 37
) -> bytes:
    """A file of 31 columns; `extra` is what is between its header and the rows."""
    header = struct.pack("<IiiHHIIiiII", 40, 31, height, 1, bits, compression, 0, 0, 0, 0, 0)
    offset = 14 + len(header) + len(extra)
    return struct.pack("<2sIII", b"BM", offset + len(rows), 0, offset) + header + extra + rows


@pytest.mark.parametrize("size", [(1, 1), (37, 31), (3, 500)], ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_files_of_pillow(tmp_path: Path, mode: str, size: tuple[int, int]):
    path = tmp_path / "picture.bmp"
    image = Image.fromarray(RGB).resize(size[::-1]).convert(mode)
    image.save(path)
    if mode == "RGBA":  # Pillow writes four bytes a pixel and calls the fourth unused
        image = image.convert("RGB")
    expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, image.mode)))
    check(path, expected.reshape(*size, -1))


@pytest.mark.parametrize("upside_down", [False, True])
def test_alpha(tmp_path: Path, upside_down: bool):
    path = tmp_path / "picture.bmp"
    samples = np.concatenate([RGB, photograph("coffee")[..., :1]], axis=2)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = samples if upside_down else samples[::-1]
    content = bmp(
        32, rows[..., [2, 1, 0, 3]].tobytes(), 3, masks + bytes(52), -37 if upside_down else 37
    )
    path.write_bytes(content[:14] + struct.pack("<I", 108) + content[18:])
    check(path, RGB, samples[..., 3])


def test_run_lengths(tmp_path: Path):
    path = tmp_path / "picture.bmp"
    palette = np.random.default_rng(0).integers(0, 256, (256, 4), np.uint8)
    rows = b"".join(bytes([31, row, 0, 0]) for row in range(36, -1, -1)) + b"\0\1"
    path.write_bytes(bmp(8, rows, 1, palette.tobytes()))
    check(path, np.repeat(palette[:37, None, 2::-1], 31, axis=1))


def test_every_truncation_is_noticed(tmp_path: Path):
    path = tmp_path / "picture.bmp"
    Image.fromarray(RGB).save(path)
    content = path.read_bytes()  # the last three bytes only fill up the row
    for length in [*range(2, 60), *range(60, len(content) - 3, 101), len(content) - 4]:
        path.write_bytes(content[:length])
        refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bmp(24, b"", 4), "cannot read the picture: Unsupported BMP compression (4)"),
        (bmp(64, b""), "cannot read the picture: Unsupported BMP pixel depth (64)"),
        (bmp(24, b"", height=0), "cannot read the picture: not identified by this driver"),
        (
            bmp(24, b"", height=10_000_000),
            "too large a picture: 31×10000000 is more than 178956970 pixels "
            "(twice PIL.Image.MAX_IMAGE_PIXELS)",
        ),
    ],
    ids=["JPEG", "64 bits", "no rows", "large"],
)
def test_headers_that_are_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "picture.bmp").write_bytes(content)
    assert refusal(tmp_path / "picture.bmp") == message

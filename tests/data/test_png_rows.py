"""The upper rows of PNG files are those of the whole picture, or nothing."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.data.png_rows import upper_rows
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.reading import read
from dgunet_jax.images.writing import write
from dgunet_jax.system.errors import UserError
from tests.images.encodings import PNG_KINDS, PNG_SAMPLES, chunk, exif, photograph, png

SIZE = (37, 31)
PIXELS = photograph()
GREY = PIXELS[..., :1]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "picture.png"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pixels", [PIXELS, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("encoder", ["ours", "pillow", "optimized", "small pieces"])
def test_any_number_of_rows_is_the_top_of_the_picture(
    tmp_path: Path, pixels: np.ndarray, encoder: str
):
    path = tmp_path / "picture.png"
    match encoder:
        case "ours":
            write(path, Picture(pixels))
        case "small pieces":
            path.write_bytes(png(pixels, 0 if pixels.shape[2] == 1 else 2, 8, pieces=9))
        case _:
            Image.fromarray(pixels.squeeze()).save(path, optimize=encoder == "optimized")
    for rows in range(1, 38):
        np.testing.assert_array_equal(upper_rows(path, SIZE, rows), pixels[:rows])


def test_every_filter_is_undone(tmp_path: Path):
    left = np.pad(PIXELS, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    up = np.pad(PIXELS, ((1, 0), (0, 0), (0, 0)))[:-1]
    corner = np.pad(PIXELS, ((1, 0), (1, 0), (0, 0)))[:-1, :-1]
    wide = [image.astype(int) for image in (left, up, corner)]
    estimates = np.stack(wide)
    distances = np.abs(wide[0] + wide[1] - wide[2] - estimates)
    paeth = np.take_along_axis(estimates, distances.argmin(axis=0)[None], axis=0)[0]
    predictions = [np.zeros_like(PIXELS), left, up, (wide[0] + wide[1]) // 2, paeth]
    rows = []
    for y in range(37):
        residual = PIXELS[y].astype(int) - predictions[y % 5][y]
        rows.append(bytes([y % 5]) + (residual % 256).astype(np.uint8).tobytes())
    path = written(tmp_path, png(PIXELS, 2, 8, raw=b"".join(rows)))
    np.testing.assert_array_equal(read(path).pixels, PIXELS)
    for count in (1, 4, 5, 36, 37):
        np.testing.assert_array_equal(upper_rows(path, SIZE, count), PIXELS[:count])


@pytest.mark.parametrize(("colour", "depth"), PNG_KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_other_kinds_are_left_to_the_reader_of_whole_files(
    tmp_path: Path, colour: int, depth: int, interlaced: bool
):
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 2**depth, (*SIZE, PNG_SAMPLES[colour]), np.uint16)
    palette = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    path = written(tmp_path, png(samples, colour, depth, interlaced=interlaced, before=palette))
    for count in (1, 5):
        rows = upper_rows(path, SIZE, count)
        if depth == 8 and colour in (0, 2) and not interlaced:
            np.testing.assert_array_equal(rows, samples[:count])
        else:
            assert rows is None


@pytest.mark.parametrize(
    "unusual",
    [
        (b"tRNS", bytes(6)),
        (b"eXIf", exif(6)),
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"NEED", b"what nobody knows"),
        (b"a\0Ab", b"no name of a chunk"),
    ],
    ids=lambda named: named[0].decode(),
)
def test_what_changes_the_meaning_of_rows_is_left_to_the_reader(
    tmp_path: Path, unusual: tuple[bytes, bytes]
):
    path = written(tmp_path, png(PIXELS, 2, 8, before=[unusual]))
    assert upper_rows(path, SIZE, 5) is None


def test_what_does_not_is_passed_over(tmp_path: Path):
    extra = [(b"gAMA", struct.pack(">I", 30000)), (b"tEXt", b"Comment\0none")]
    path = written(tmp_path, png(PIXELS, 2, 8, before=extra, after=[(b"tIME", bytes(7))]))
    np.testing.assert_array_equal(upper_rows(path, SIZE, 7), PIXELS[:7])


def test_no_changed_byte_goes_unnoticed(tmp_path: Path):
    content = png(PIXELS[:9, :7], 2, 8, before=[(b"tEXt", b"Comment\0none")])
    path = tmp_path / "picture.png"
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x20
        path.write_bytes(damaged)
        assert upper_rows(path, (9, 7), 1) is None, position


def test_no_missing_end_goes_unnoticed(tmp_path: Path):
    content = png(PIXELS[:9, :7], 2, 8)
    path = tmp_path / "picture.png"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert upper_rows(path, (9, 7), 1) is None, length


def test_what_is_below_is_not_decompressed(tmp_path: Path):
    compressor = zlib.compressobj()
    data = compressor.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS[:20]))
    data += compressor.flush(zlib.Z_SYNC_FLUSH) + b"\xff no deflate stream"
    start = png(PIXELS, 2, 8)[:33]
    path = written(tmp_path, start + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    np.testing.assert_array_equal(upper_rows(path, SIZE, 19), PIXELS[:19])
    assert upper_rows(path, SIZE, 21) is None
    with pytest.raises(UserError):
        read(path)


@pytest.mark.parametrize("size", [(36, 31), (37, 30), (31, 37)])
def test_a_picture_of_another_size_is_not_read(tmp_path: Path, size: tuple[int, int]):
    assert upper_rows(written(tmp_path, png(PIXELS, 2, 8)), size, 5) is None


def test_impossible_image_data_is_not_read(tmp_path: Path):
    good = png(PIXELS, 2, 8)
    start, rest = good[:33], chunk(b"IEND", b"")
    no_filter = bytes([9]) + bytes(93)
    for data in (
        b"no deflate stream",
        zlib.compress(no_filter * 37),
        zlib.compress(bytes(94 * 5 - 1)),
    ):
        path = written(tmp_path, start + chunk(b"IDAT", data) + rest)
        assert upper_rows(path, SIZE, 5) is None
    assert upper_rows(written(tmp_path, start + rest), SIZE, 5) is None
    assert upper_rows(written(tmp_path, good[:8] + rest), SIZE, 5) is None
    not_first = good[:8] + chunk(b"teXt", good[16:29]) + good[8:]
    assert upper_rows(written(tmp_path, not_first), SIZE, 5) is None

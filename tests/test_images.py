"""Reading and writing pictures: every kind that is read, every kind that is refused."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dgunet_jax.errors import UserError
from dgunet_jax.images import read_rgb, to_uint8, write_png

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 31, 3), np.uint8)


def refused(path: Path) -> str:
    """The message with which reading is refused: one line that starts with the file."""
    with pytest.raises(UserError) as caught:
        read_rgb(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def save(path: Path, array: np.ndarray, mode: str, **options: Any) -> Path:
    Image.fromarray(array).convert(mode).save(path, **options)
    return path


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_of_16_bits(path: Path, array: np.ndarray) -> Path:
    """An RGB PNG of 16 bits per channel, which Pillow cannot write."""
    height, width, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_rgb_is_read_exactly(tmp_path: Path, suffix: str):
    path = save(tmp_path / f"picture{suffix}", PICTURE, "RGB")
    image = read_rgb(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, PICTURE)
    np.testing.assert_array_equal(read_rgb(str(path)), PICTURE)


def test_lossless_webp_is_read_exactly(tmp_path: Path):
    path = save(tmp_path / "picture.webp", PICTURE, "RGB", lossless=True)
    np.testing.assert_array_equal(read_rgb(path), PICTURE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grey_and_palette_become_rgb(tmp_path: Path, mode: str):
    path = save(tmp_path / "picture.png", PICTURE, mode)
    expected = np.asarray(Image.fromarray(PICTURE).convert(mode).convert("RGB"))
    np.testing.assert_array_equal(read_rgb(path), expected)


def test_opaque_alpha_is_dropped(tmp_path: Path):
    path = save(tmp_path / "picture.png", PICTURE, "RGBA")
    np.testing.assert_array_equal(read_rgb(path), PICTURE)


def test_transparent_pixels_are_refused(tmp_path: Path):
    alpha = np.full((37, 31, 1), 255, np.uint8)
    alpha[3, 4] = 254
    path = save(tmp_path / "picture.png", np.concatenate([PICTURE, alpha], axis=2), "RGBA")
    assert "transparent" in refused(path)


def test_transparent_palette_entry_is_refused(tmp_path: Path):
    path = tmp_path / "picture.png"
    palette = Image.fromarray(PICTURE).convert("P")
    palette.save(path, transparency=int(np.asarray(palette)[5, 5]))
    assert "transparent" in refused(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    flat = np.zeros((16, 24, 3), np.uint8)
    flat[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the top row of the scene is the right column of the file's turned pixels
    Image.fromarray(flat).save(path, exif=exif)
    np.testing.assert_allclose(read_rgb(path), np.rot90(flat, -1), atol=3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_refused(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257).save(path)
    assert "more than 8 bits" in refused(path)


def test_16_bit_rgb_is_refused(tmp_path: Path):
    deep = PICTURE.astype(np.uint16) * 257
    assert "more than 8 bits" in refused(png_of_16_bits(tmp_path / "picture.png", deep))
    tifffile.imwrite(tmp_path / "picture.tif", deep, photometric="rgb")
    assert "more than 8 bits" in refused(tmp_path / "picture.tif")


def test_floating_point_tiff_is_refused(tmp_path: Path):
    path = tmp_path / "picture.tif"
    Image.fromarray(PICTURE[..., 0].astype(np.float32)).save(path)
    assert "more than 8 bits" in refused(path)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused(tmp_path: Path, suffix: str):
    path = save(tmp_path / f"picture{suffix}", PICTURE, "CMYK")
    assert "CMYK" in refused(path)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_several_frames_are_refused(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "holds 2 frames" in refused(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float):
    path = save(tmp_path / f"picture{suffix}", PICTURE, "RGB")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


def test_damaged_png_data_is_refused(tmp_path: Path):
    path = save(tmp_path / "picture.png", PICTURE, "RGB")
    content = bytearray(path.read_bytes())
    for position in np.linspace(45, len(content) - 30, 20).astype(int):
        damaged = content.copy()
        damaged[position] ^= 4
        path.write_bytes(damaged)
        refused(path)


def test_what_is_not_a_picture_is_refused(tmp_path: Path):
    text = tmp_path / "picture.png"
    text.write_text("not a picture")
    assert "not a picture" in refused(text)
    assert "no such file" in refused(tmp_path / "missing.png")
    assert "folder" in refused(tmp_path)


def test_picture_of_too_many_pixels_is_refused_without_decoding(tmp_path: Path):
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + png_chunk(b"IEND", b"")
    )
    assert "too large" in refused(path)


def test_written_png_reads_back_exactly_and_makes_its_folders(tmp_path: Path):
    path = tmp_path / "new" / "deep" / "picture.png"
    write_png(path, PICTURE)
    np.testing.assert_array_equal(read_rgb(path), PICTURE)
    write_png(path, PICTURE[::-1, ::2])
    np.testing.assert_array_equal(read_rgb(path), PICTURE[::-1, ::2])
    assert os.listdir(path.parent) == ["picture.png"]


def test_written_png_has_the_permissions_of_any_new_file(tmp_path: Path):
    write_png(tmp_path / "picture.png", PICTURE)
    (tmp_path / "other").touch()
    assert (tmp_path / "picture.png").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_failed_write_leaves_the_old_picture_and_nothing_else(tmp_path: Path, monkeypatch):
    path = tmp_path / "picture.png"
    write_png(path, PICTURE)

    def fail_halfway(self, file, format):
        file.write(b"\x89PNG half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail_halfway)
    with pytest.raises(UserError, match=r"picture\.png: cannot write: No space left"):
        write_png(path, 255 - PICTURE)
    np.testing.assert_array_equal(read_rgb(path), PICTURE)
    assert os.listdir(tmp_path) == ["picture.png"]


def test_path_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png"):
        with pytest.raises(UserError) as caught:
            write_png(path, PICTURE)
        assert str(caught.value).startswith(f"{path}: cannot write: ")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.parametrize(
    "image", [PICTURE / 255, PICTURE[..., 0], PICTURE[..., :2], PICTURE[:0]], ids=str
)
def test_only_8_bit_rgb_is_written(tmp_path: Path, image: np.ndarray):
    with pytest.raises(UserError, match=r"must be uint8 \(H, W, 3\); got"):
        write_png(tmp_path / "picture.png", image)
    assert os.listdir(tmp_path) == []


def test_png_is_not_written_under_another_ending(tmp_path: Path):
    with pytest.raises(UserError, match=r"must end in \.png"):
        write_png(tmp_path / "picture.jpg", PICTURE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_8_bit_value_survives_the_round_trip(dtype: type):
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8((values / 255).astype(dtype)), values)


def test_rounding_clamps_and_breaks_ties_to_even():
    levels = np.array([-300, -0.2, 0.5, 1.5, 2.5, 126.5, 127.5, 254.5, 255.4, 999])
    expected = [0, 0, 0, 2, 2, 126, 128, 254, 255, 255]
    image = levels / 255
    exact = image * 255 == levels
    assert exact[[2, 3, 4, 6]].all()
    np.testing.assert_array_equal(to_uint8(image), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rounding_refuses_what_is_no_number(bad: float):
    image = np.zeros((37, 31, 3), np.float32)
    image[3, 4, 1] = bad
    with pytest.raises(UserError, match="has 1 values that are NaN or infinite"):
        to_uint8(image)


def test_rounding_refuses_integers():
    with pytest.raises(UserError, match="got uint8"):
        to_uint8(PICTURE)

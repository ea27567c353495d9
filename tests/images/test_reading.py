"""Reading any file: by content, failing in one line, quietly, in many threads at once."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.reading import Header, read, read_header, read_rgb
from dgunet_jax.images.writing import write
from dgunet_jax.system.errors import UserError
from tests.images.encodings import PHOTOGRAPHS, deep, exif, photograph, png
from tests.images.expectations import check, refusal

RGB = photograph()
OTHERS = {
    "text": b"not a picture",
    "one byte": b"\x89",
    "PDF": b"%PDF-1.7\n1 0 obj",
    "zip": b"PK\x03\x04\x14\0\0\0",
    "MP4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "RIFF": b"RIFF\x24\0\0\0WAVEfmt ",
    "zeros": bytes(5000),
}


def test_the_name_does_not_matter(tmp_path: Path):
    write(tmp_path / "a.png", Picture(RGB))
    content = (tmp_path / "a.png").read_bytes()
    for name in ("b.jpg", "c", "ü 図.tif", "d.txt", ".e", "f.png.gz", "g\u0301.PNG"):
        (tmp_path / name).write_bytes(content)
        assert check(tmp_path / name, RGB).file_format == "PNG"
    np.testing.assert_array_equal(read(str(tmp_path / "c")).pixels, RGB)


@pytest.mark.parametrize("name", ["astronaut", "camera", "page", "text", "horse", "logo", "color"])
def test_pictures_of_all_kinds(name: str):
    path = PHOTOGRAPHS / f"{name}.png"
    with Image.open(path) as image:
        samples = np.asarray(image)
    samples = samples.reshape(*samples.shape[:2], -1)
    with_alpha = samples.shape[2] in (2, 4)
    check(
        path, samples[..., :-1] if with_alpha else samples, samples[..., -1] if with_alpha else None
    )


def test_the_header_is_read_without_decoding(tmp_path: Path):
    path = tmp_path / "picture.png"
    after = [(b"eXIf", exif(6))]
    content = bytearray(png(deep(RGB[..., :2]), 4, 16, after=after))
    content[60] ^= 1  # in the pixels
    path.write_bytes(content)
    assert read_header(path) == Header("PNG", 31, 37, 1, 16, True)
    refusal(path, by_header=False)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_a_picture_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "picture.png"
    path.write_bytes(OTHERS[kind])
    formats = "BMP, GIF, JPEG, PNG, TIFF, WEBP"
    assert refusal(path) == f"not a picture, or damaged (formats read: {formats})"


def test_what_is_not_a_file_is_refused(tmp_path: Path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "empty.png") == "is damaged: it is empty"
    assert refusal(tmp_path / "folder.png") == "is a folder, not a picture"
    assert refusal(tmp_path / "missing.png") == "no such file"
    assert refusal(tmp_path / "nowhere.png") == "no such file"
    assert refusal(tmp_path / "pipe.png") == "is not a file that holds a picture"
    assert refusal(tmp_path / "empty.png" / "a.png") == "cannot read the picture: Not a directory"
    assert refusal(tmp_path / "circle.png").startswith("cannot read the picture: Too many levels")
    assert refusal(tmp_path / ("n" * 300)) == "cannot read the picture: File name too long"
    assert "embedded null " in refusal(tmp_path / "nul\0.png")  # which Python words otherwise


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch):
    write(tmp_path / "picture.png", Picture(RGB))

    def locked(path: Path, mode: str, buffering: int) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)  # permissions do not stop an administrator
    assert refusal(tmp_path / "picture.png") == "cannot read the picture: Permission denied"


def test_memory_that_does_not_suffice_is_told(tmp_path: Path, monkeypatch):
    def fail(*arguments: object) -> None:
        raise MemoryError

    write(tmp_path / "picture.png", Picture(RGB))
    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    message = refusal(tmp_path / "picture.png", by_header=False)
    assert message == "is too large a picture for this machine's memory"


def test_what_decodes_to_something_else_than_announced_is_refused(tmp_path: Path, monkeypatch):
    write(tmp_path / "picture.png", Picture(RGB))
    for other in (RGB[1:], RGB[..., :1], RGB.astype(np.uint16)):
        monkeypatch.setattr(imagecodecs, "png_decode", lambda content, other=other: other)
        message = refusal(tmp_path / "picture.png", by_header=False)
        assert message == f"is damaged: it decodes to {other.dtype} {other.shape}"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_training_data_is_8_bit_rgb(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    for pixels in (RGB, RGB[..., :1]):
        write(path, Picture(pixels))
        image = read_rgb(path)
        assert image.flags.writeable
        expected = np.broadcast_to(read(path).pixels, RGB.shape)
        np.testing.assert_array_equal(image, expected, strict=True)


def test_opaque_alpha_is_dropped_from_training_data_and_other_refused(tmp_path: Path):
    path = tmp_path / "picture.png"
    alpha = np.full((37, 31), 255, np.uint8)
    write(path, Picture(RGB, alpha))
    np.testing.assert_array_equal(read_rgb(path), RGB)
    alpha[3, 4] = 254
    write(path, Picture(RGB, alpha))
    with pytest.raises(UserError) as caught:
        read_rgb(path)
    message = "has transparent pixels; flatten it onto a background first"
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_refused_for_training(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    write(path, Picture(deep(RGB)))
    with pytest.raises(UserError) as caught:
        read_rgb(path)
    message = "more than 8 bits per channel; only 8-bit pictures are read"
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif"])
def test_sizes_at_which_pillow_warns_are_read_quietly(tmp_path: Path, suffix: str, monkeypatch):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(RGB).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 31 - 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read(path).pixels.shape == RGB.shape
    assert not caught
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert refusal(path) == (
        "too large a picture: 31×37 is more than 1000 pixels (twice PIL.Image.MAX_IMAGE_PIXELS)"
    )


def test_many_threads_read_and_write_at_once(tmp_path: Path):
    pictures = [Picture(RGB), Picture(deep(RGB), deep(RGB[..., 0])), Picture(RGB[..., :1])]
    jobs = [
        (tmp_path / f"{round}" / f"{number}{suffix}", picture)
        for round in range(8)
        for number, picture in enumerate(pictures)
        for suffix in (".png", ".tif")
    ]
    jobs += [(tmp_path / f"{round}.webp", pictures[0]) for round in range(8)]

    def there_and_back(job: tuple[Path, Picture]) -> bool:
        path, picture = job
        write(path, picture)
        return bool(np.array_equal(read(path).pixels, picture.pixels))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, jobs))

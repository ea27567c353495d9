"""Reading and writing files: by content, in one line if not, lossless, whole, in many threads."""

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dgunet_jax.images import (
    FORMATS,
    Header,
    NotAPicture,
    Picture,
    check_writable,
    jpeg_quality,
    must_be_read,
    read,
    read_header,
    read_rgb,
    to_uint8,
    write,
)
from dgunet_jax.system.errors import UserError
from tests.images.encodings import deep, exif, photograph, png
from tests.images.expectations import check, refusal

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


OTHERS = {
    "text": b"not a picture",
    "one byte": b"\x89",
    "PDF": b"%PDF-1.7\n1 0 obj",
    "zip": b"PK\x03\x04\x14\0\0\0",
    "MP4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "RIFF": b"RIFF\x24\0\0\0WAVEfmt ",
    "zeros": bytes(5000),
}


def test_read_goes_by_content(tmp_path: Path):
    write(tmp_path / "a.png", Picture(RGB))
    content = (tmp_path / "a.png").read_bytes()
    for name in ("b.jpg", "c", "ü 図.tif", "d.txt", ".e", "f.png.gz", "g\u0301.PNG"):
        (tmp_path / name).write_bytes(content)
        assert check(tmp_path / name, RGB).file_format == "PNG"
    np.testing.assert_array_equal(read(str(tmp_path / "c")).pixels, RGB)


def test_read_header_does_not_decode(tmp_path: Path):
    path = tmp_path / "picture.png"
    after = [(b"eXIf", exif(6))]
    content = bytearray(png(deep(RGB[..., :2]), 4, 16, after=after))
    content[60] ^= 1  # in the pixels
    path.write_bytes(content)
    assert read_header(path) == Header("PNG", 31, 37, 1, 16, True)
    refusal(path, by_header=False)


@pytest.mark.parametrize("kind", OTHERS)
def test_read_refuses_what_is_not_a_picture(tmp_path: Path, kind: str):
    path = tmp_path / "picture.png"
    path.write_bytes(OTHERS[kind])
    formats = "AVIF, BMP, GIF, HEIC, JPEG, JPEG 2000, JPEG XL, PNG, PNM, TIFF and WebP"
    assert refusal(path) == f"not a picture, or damaged (formats read: {formats})"


def test_read_refuses_what_is_not_a_file(tmp_path: Path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "empty.png") == "is damaged: it is empty"
    assert refusal(tmp_path / "folder.png") == "is a directory, not a picture"
    assert refusal(tmp_path / "missing.png") == "no such file"
    assert refusal(tmp_path / "nowhere.png") == "no such file"
    assert refusal(tmp_path / "pipe.png") == "is not a file that holds a picture"
    assert refusal(tmp_path / "empty.png" / "a.png") == "cannot read the picture: Not a directory"
    assert refusal(tmp_path / "circle.png").startswith("cannot read the picture: Too many levels")
    assert refusal(tmp_path / ("n" * 300)) == "cannot read the picture: File name too long"
    assert "embedded null " in refusal(tmp_path / "nul\0.png")  # which Python words otherwise


def test_read_names_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch):
    write(tmp_path / "picture.png", Picture(RGB))

    def locked(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)  # permissions do not stop an administrator
    assert refusal(tmp_path / "picture.png") == "cannot read the picture: Permission denied"


def test_read_reports_too_little_memory(tmp_path: Path, monkeypatch):
    def fail(*arguments: object) -> None:
        raise MemoryError

    write(tmp_path / "picture.png", Picture(RGB))
    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    message = refusal(tmp_path / "picture.png", by_header=False)
    assert message == "is too large a picture for this machine's memory"


def test_read_refuses_what_decodes_to_something_else_than_announced(tmp_path: Path, monkeypatch):
    write(tmp_path / "picture.png", Picture(RGB))
    for other in (RGB[1:], RGB[..., :1], RGB.astype(np.uint16)):
        monkeypatch.setattr(imagecodecs, "png_decode", lambda content, other=other: other)
        message = refusal(tmp_path / "picture.png", by_header=False)
        assert message == f"is damaged: it decodes to {other.dtype} {other.shape}"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_read_rgb_repeats_grey(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    for pixels in (RGB, RGB[..., :1]):
        write(path, Picture(pixels))
        image = read_rgb(path)
        assert image.flags.writeable
        expected = np.broadcast_to(read(path).pixels, RGB.shape)
        np.testing.assert_array_equal(image, expected, strict=True)


def test_read_rgb_drops_opaque_alpha_and_refuses_other(tmp_path: Path):
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
def test_read_rgb_refuses_16_bits(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture{suffix}"
    write(path, Picture(deep(RGB)))
    with pytest.raises(UserError) as caught:
        read_rgb(path)
    message = "more than 8 bits per channel; only 8-bit pictures are read"
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".gif"])
def test_read_is_quiet_about_sizes_at_which_pillow_warns(tmp_path: Path, suffix: str, monkeypatch):
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


def test_read_and_write_in_many_threads(tmp_path: Path):
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


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("suffix", HOLD_ALL)
def test_write_is_lossless(tmp_path: Path, suffix: str, kind: str):
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
def test_write_takes_grey_of_any_stride(tmp_path: Path, suffix: str):
    """What lies in memory like an image is of one channel in several ways."""
    for pixels in (GREY[..., 0][..., None], GREY.transpose(2, 0, 1).copy().transpose(1, 2, 0)):
        write(tmp_path / f"picture{suffix}", Picture(pixels))
        assert read(tmp_path / f"picture{suffix}").pixels.shape[:2] == GREY.shape[:2]


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (600, 700)], ids=str)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_write_takes_all_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1 << 16, (*size, 3), np.uint16)
    picture = Picture(pixels, pixels[..., 0])
    write(tmp_path / f"picture{suffix}", picture)
    assert same(read(tmp_path / f"picture{suffix}"), picture)
    if suffix == ".tif" and size == (600, 700):  # in several strips
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "picture.tif"), samples(picture))


@pytest.mark.parametrize("kind", ["grey", "RGB", "grey, alpha", "RGB, alpha"])
def test_write_makes_png_and_tiff_that_pillow_reads(tmp_path: Path, kind: str):
    for suffix in (".png", ".tif"):
        write(tmp_path / f"picture{suffix}", PICTURES[kind])
        with Image.open(tmp_path / f"picture{suffix}") as image:
            np.testing.assert_array_equal(np.asarray(image), samples(PICTURES[kind]))


@pytest.mark.parametrize("kind", ["grey", "RGB", "RGB, alpha"])
def test_write_makes_lossless_webp(tmp_path: Path, kind: str):
    picture = PICTURES[kind]
    if picture.alpha is not None:
        transparent = picture.alpha.copy()
        transparent[:9] = 0  # where the colours are to stay as well
        picture = Picture(picture.pixels, transparent)
    write(tmp_path / "picture.webp", picture)
    found = read(tmp_path / "picture.webp")
    assert same(found, Picture(np.broadcast_to(picture.pixels, RGB.shape), picture.alpha))


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_write_makes_lossless_bmp(tmp_path: Path, kind: str):
    write(tmp_path / "picture.bmp", PICTURES[kind])
    assert same(read(tmp_path / "picture.bmp"), PICTURES[kind])


@pytest.mark.parametrize("kind", ["grey", "RGB"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_write_makes_jpeg_of_quality_95_at_full_resolution(tmp_path: Path, kind: str, suffix: str):
    path = tmp_path / f"picture{suffix}"
    write(path, PICTURES[kind])
    expected = io.BytesIO()
    image = Image.fromarray(np.squeeze(PICTURES[kind].pixels))
    image.save(expected, "JPEG", quality=95, subsampling=0)
    with Image.open(path) as found, Image.open(expected) as asked:
        assert found.layer == asked.layer
        assert found.quantization == asked.quantization
    np.testing.assert_allclose(read(path).pixels.astype(int), PICTURES[kind].pixels, atol=16)


@pytest.mark.parametrize(("suffix", "kind"), REFUSED)
def test_write_refuses_what_would_be_lost(tmp_path: Path, suffix: str, kind: str):
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
        (
            ".jpg",
            Picture(RGB, xmp=bytes(65_505)),
            "JPEG files hold 65504 bytes of XMP, the picture has 65505",
        ),
    ],
    ids=["unknown", "none", "WebP size", "JPEG size", "EXIF", "XMP"],
)
def test_write_refuses_what_formats_cannot_hold(
    tmp_path: Path, suffix: str, picture: Picture, message: str
):
    path = tmp_path / f"picture{suffix}"
    with pytest.raises(UserError) as caught:
        write(path, picture)
    assert str(caught.value) == f"{path}: {message}"
    assert os.listdir(tmp_path) == []


def test_write_reaches_the_limits(tmp_path: Path):
    for suffix, width in ((".webp", 16_383), (".jpg", 65_500)):
        write(tmp_path / f"picture{suffix}", Picture(np.zeros((1, width, 1), np.uint8)))
        assert read(tmp_path / f"picture{suffix}").pixels.shape[1] == width
    picture = Picture(RGB, exif=exif(1).ljust(65_527, b"\0"), xmp=b" " * 65_504)
    write(tmp_path / "picture.jpg", picture)
    found = read(tmp_path / "picture.jpg")
    assert (found.exif, found.xmp) == (picture.exif, picture.xmp)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_write_is_atomic_and_makes_directories(tmp_path: Path, suffix: str, monkeypatch):
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


def test_write_names_paths_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png"):
        with pytest.raises(UserError) as caught:
            write(path, Picture(RGB))
        assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_write_takes_names_as_long_as_names_can_be(tmp_path: Path):
    path = tmp_path / ("n" * 251 + ".png")
    write(path, Picture(RGB))
    assert same(read(path), Picture(RGB))


def test_must_be_read_knows_pictures_by_content_or_ending(tmp_path: Path):
    for name, content, expected in (
        ("a.mp4", b"no picture", False),
        ("a.CR2", b"no picture", True),
        ("without", b"8BPS\0\1", True),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_header(tmp_path / name)
        assert must_be_read(tmp_path / name, caught.value) == expected
        assert isinstance(caught.value, NotAPicture) == (content == b"no picture")


def test_formats_are_those_of_messages(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"8BPS\0\1")
    formats = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
    assert refusal(tmp_path / "a") == f"is a Photoshop file; only {formats} files are read"


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7)])
def test_an_image_of_a_network_is_written(tmp_path, shape):
    image = np.random.default_rng(0).uniform(-0.2, 1.2, shape).astype(np.float32)
    write(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels.reshape(shape), to_uint8(image))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 7, 2)), r"a.png: an image to write is \(H, W\), .* not \(5, 7, 2\)"),
        (np.zeros((1, 5, 7, 3)), r"a.png: an image to write is"),
        (np.zeros((5, 7, 3), np.uint8), r"a.png: an image to round must be floating point"),
        (np.full((5, 7, 3), np.nan), r"a.png: an image to round has 105 values that are NaN"),
    ],
)
def test_what_is_not_an_image_is_not_written(tmp_path, image, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "a.png", image)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("quality", [5, 20, 49, 75, 84, 85, 95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_quality_of_a_jpeg_file_is_read_off_its_table(tmp_path, quality, mode):
    Image.new(mode, (9, 7)).save(tmp_path / "a.jpg", quality=quality)
    found = jpeg_quality(tmp_path / "a.jpg")
    assert found is not None
    # Entries of a table end at 255, so that below 20 the mean tells too much.
    assert abs(found - quality) < 0.5 if quality > 20 else quality < found < 22


def test_other_files_have_no_quality(tmp_path):
    write(tmp_path / "a.webp", Picture(photograph()))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    for name in ("a.webp", "b.jpg", "c.jpg"):
        assert jpeg_quality(tmp_path / name) is None

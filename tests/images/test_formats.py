"""Every format but PNG and TIFF: all kinds of pixels at full depth, several frames, damage."""

import io
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dgunet_jax.images import Encoded, read, read_header
from dgunet_jax.images.formats import recognise
from tests.images.encodings import deep, photograph
from tests.images.expectations import check, check_truncations, refusal

RGB = photograph()
RGBA = np.concatenate([RGB, photograph("coffee")[..., :1]], axis=2)
SIZES = [(1, 1), (37, 31), (3, 500)]


def saved(image: Image.Image | np.ndarray, form: str, **options: Any) -> bytes:
    """Return a file that Pillow writes."""
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, form, **options)
    return file.getvalue()


# JPEG


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_kind(tmp_path: Path, mode: str, progressive: bool):
    path = tmp_path / "picture.jpg"
    image = Image.fromarray(RGB).convert(mode)
    path.write_bytes(saved(image, "JPEG", progressive=progressive, subsampling=2))
    check(path, decoded(path.read_bytes()))
    check_truncations(path)


def test_jpeg_stored_as_rgb(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(RGB, "JPEG", keep_rgb=True, quality=100, subsampling=0))
    assert np.abs(read(path).pixels.astype(int) - RGB).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_without_loss(tmp_path: Path, mode: str):
    pixels = np.asarray(Image.fromarray(RGB).convert(mode)).reshape(37, 31, -1)
    content = imagecodecs.jpeg8_encode(np.squeeze(pixels), lossless=True)
    (tmp_path / "picture.jpg").write_bytes(content)
    check(tmp_path / "picture.jpg", pixels)


def test_jpeg_of_cameras_with_previews_behind_the_picture(tmp_path: Path):
    path = tmp_path / "picture.mpo"
    preview = Image.fromarray(255 - RGB).resize((9, 9))
    path.write_bytes(saved(RGB, "MPO", save_all=True, append_images=[preview]))
    assert check(path, decoded(path.read_bytes())).file_format == "JPEG"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("08002500", "0c002500", "cannot handle 12-bit layers"),
        ("08002500", "08000000", "not identified"),
        ("080025001f03", "080025001f02", "cannot handle 2-layer images"),
        ("080025001f", "08ea60ea60", "too large a picture: 60000×60000 is more than 178956970"),
        ("ffc0", "fffe", "not identified"),
    ],
    ids=["12 bits", "no height", "2 channels", "large", "no frame"],
)
def test_jpeg_with_an_impossible_frame_is_refused(tmp_path: Path, old: str, new: str, message: str):
    content = saved(RGB, "JPEG").replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    (tmp_path / "picture.jpg").write_bytes(content)
    assert message in refusal(tmp_path / "picture.jpg")


# GIF, BMP and WebP

QUANTIZED = Image.fromarray(RGB).quantize(50)


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "passes"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gif_becomes_rgb(tmp_path: Path, size: tuple[int, int], interlaced: bool):
    path = tmp_path / "picture.gif"
    image = QUANTIZED.resize(size[::-1])
    path.write_bytes(saved(image, "GIF", interlace=interlaced, comment=b"by hand" * 50, disposal=2))
    check(path, np.asarray(image.convert("RGB")))


def test_gif_with_a_transparent_entry_has_alpha(tmp_path: Path):
    path = tmp_path / "picture.gif"
    numbers = np.asarray(QUANTIZED)
    path.write_bytes(saved(QUANTIZED, "GIF", transparency=int(numbers[5, 5]), optimize=False))
    alpha = np.where(numbers == numbers[5, 5], 0, 255).astype(np.uint8)
    check(path, np.asarray(QUANTIZED.convert("RGB")), alpha)


def test_gif_that_its_frame_does_not_fill_is_refused(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = saved(QUANTIZED, "GIF")
    path.write_bytes(content[:6] + struct.pack("<HH", 40, 50) + content[10:])
    assert refusal(path) == "its frame does not fill the picture, which is not read"


def test_gif_may_lack_its_end_but_not_pixels(tmp_path: Path):
    path = tmp_path / "picture.gif"
    content = saved(QUANTIZED, "GIF")
    for changed in (content[:-1], content + b"\0", content[:-1] + b"\0;"):
        path.write_bytes(changed)
        check(path, np.asarray(QUANTIZED.convert("RGB")))
    path.write_bytes(content[:-10])
    check_truncations(path)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "AVIF"])
def test_several_frames_are_refused(tmp_path: Path, form: str):
    path = tmp_path / "picture"
    others = [Image.fromarray(255 - RGB)]
    path.write_bytes(saved(RGB, form, save_all=True, append_images=others))
    assert refusal(path) == "holds 2 frames; only single pictures are read"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_of_every_kind(tmp_path: Path, mode: str, size: tuple[int, int]):
    path = tmp_path / "picture.bmp"
    image = Image.fromarray(RGB).resize(size[::-1]).convert(mode)
    image.save(path)
    expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, image.mode)))
    check(path, expected.reshape(*size, -1))


def bmp(
    bits: int, rows: bytes, compression: int = 0, extra: bytes = b"", height: int = 37
) -> bytes:
    """Return a file of 31 columns; `extra` is what is between its header and the rows."""
    header = struct.pack("<IiiHHIIiiII", 40, 31, height, 1, bits, compression, 0, 0, 0, 0, 0)
    offset = 14 + len(header) + len(extra)
    return struct.pack("<2sIII", b"BM", offset + len(rows), 0, offset) + header + extra + rows


@pytest.mark.parametrize("upside_down", [False, True])
def test_bmp_with_alpha(tmp_path: Path, upside_down: bool):
    path = tmp_path / "picture.bmp"
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = (RGBA if upside_down else RGBA[::-1])[..., [2, 1, 0, 3]].tobytes()
    content = bmp(32, rows, 3, masks + bytes(52), -37 if upside_down else 37)
    path.write_bytes(content[:14] + struct.pack("<I", 108) + content[18:])
    check(path, RGB, RGBA[..., 3])


def test_bmp_with_run_lengths(tmp_path: Path):
    path = tmp_path / "picture.bmp"
    palette = np.random.default_rng(0).integers(0, 256, (256, 4), np.uint8)
    rows = b"".join(bytes([31, row, 0, 0]) for row in range(36, -1, -1)) + b"\0\1"
    path.write_bytes(bmp(8, rows, 1, palette.tobytes()))
    check(path, np.repeat(palette[:37, None, 2::-1], 31, axis=1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bmp(24, b"", 4), "cannot read the picture: Unsupported BMP compression (4)"),
        (bmp(64, b""), "cannot read the picture: Unsupported BMP pixel depth (64)"),
        (bmp(24, b"", height=0), "cannot read the picture: not identified by this driver"),
        (bmp(24, b"", height=10_000_000), "too large a picture: 31×10000000 is more than"),
    ],
    ids=["JPEG", "64 bits", "no rows", "large"],
)
def test_bmp_with_an_impossible_header_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "picture.bmp").write_bytes(content)
    assert refusal(tmp_path / "picture.bmp").startswith(message)


def test_bmp_is_refused_when_truncated(tmp_path: Path):
    (tmp_path / "picture.bmp").write_bytes(saved(RGB, "BMP")[:-4])
    check_truncations(tmp_path / "picture.bmp")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", [{"lossless": True, "exact": True}, {"quality": 80}], ids=str)
def test_webp_of_every_kind(tmp_path: Path, size: tuple[int, int], options: dict[str, Any]):
    path = tmp_path / "picture.webp"
    values = np.random.default_rng(0).integers(0, 256, (*size, 4), np.uint8)
    for number in (3, 4):
        path.write_bytes(saved(values[..., :number].copy(), "WEBP", **options))
        with Image.open(path) as image:
            expected = np.asarray(image)
        check(path, expected[..., :3], expected[..., 3] if number == 4 else None)
    check_truncations(path)


def test_webp_with_an_impossible_size_is_refused(tmp_path: Path):
    path = tmp_path / "picture.webp"
    content = bytearray(saved(RGB, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"))
    at = content.index(b"VP8X") + 12
    for width in (30, 1 << 24):
        content[at : at + 6] = (width - 1).to_bytes(3, "little") * 2
        path.write_bytes(content)
        refusal(path, by_header=False)


# AVIF, HEIC, JPEG 2000, JPEG XL and PNM


def heic(pixels: np.ndarray, bits: int) -> bytes:
    import pillow_heif

    deeper = bits > 8
    size, file = pixels.shape[1::-1], io.BytesIO()
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]] + (";16" if deeper else "")
    shifted = pixels << (16 - bits) if deeper else pixels
    image = pillow_heif.from_bytes(mode=mode, size=size, data=shifted.tobytes())
    options = {"matrix_coefficients": 0, "chroma": 444}
    image.save(file, quality=-1, **options)
    return file.getvalue()


def jpeg_xl(pixels: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(np.squeeze(pixels), lossless=True, bitspersample=bits))


def jpeg_2000(pixels: np.ndarray, bits: int) -> bytes:
    options = {"level": 0, "reversible": True}
    return bytes(imagecodecs.jpeg2k_encode(np.squeeze(pixels), bitspersample=bits, **options))


def avif(pixels: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits))


@pytest.mark.parametrize(
    ("encode", "bits", "channels"),
    [
        *itertools.product([jpeg_xl, jpeg_2000], [8, 10, 12, 16], [1, 3, 4]),
        *itertools.product([avif], [8, 10, 12], [3, 4]),  # which has no grey
        *itertools.product([heic], [8, 10], [1, 3, 4]),
    ],
)
def test_newer_formats_are_read_at_full_depth(
    tmp_path: Path, encode: Callable[[np.ndarray, int], bytes], bits: int, channels: int
):
    """More than 8 bits become 16: the nearest integers on the larger scale."""
    path = tmp_path / "picture"
    stored = np.concatenate([RGB[..., :1] if channels == 1 else RGBA[..., :channels]], axis=2)
    if bits > 8:
        stored = deep(stored) >> (16 - bits)
    path.write_bytes(encode(stored, bits))
    dtype = np.dtype(np.uint16 if bits > 8 else np.uint8)
    expected = np.rint(stored.astype(np.float64) * np.iinfo(dtype).max / (2**bits - 1)).astype(
        dtype
    )
    check(path, expected[..., :3], expected[..., 3] if channels == 4 else None)
    check_truncations(path, 997)


def test_heic_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    message = "is HEIC; to read it, install dgunet_jax[heif]"
    assert refusal(tmp_path / "a.heic") == message


@pytest.mark.parametrize("peak", [1, 77, 255, 1000, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_of_every_kind(tmp_path: Path, kind: int, peak: int):
    values = np.random.default_rng(0).integers(
        0, peak, (37, 31, 1 if kind in (2, 5) else 3), int, True
    )
    path = tmp_path / "picture.pnm"
    header = b"P%d # a comment\n31\n# another\n37 %d\n" % (kind, peak)
    if kind in (2, 3):
        content = " ".join(map(str, values.ravel())).encode()
    else:
        content = values.astype(">u2" if peak > 255 else ">u1").tobytes()
    path.write_bytes(header + content)
    dtype = np.dtype(np.uint16 if peak > 255 else np.uint8)
    check(path, np.rint(values * (np.iinfo(dtype).max / peak)).astype(dtype))
    check_truncations(path, 997)


def test_pnm_of_one_bit(tmp_path: Path):
    image = Image.fromarray(RGB).convert("1")
    (tmp_path / "picture.pbm").write_bytes(saved(image, "PPM"))
    check(tmp_path / "picture.pbm", np.asarray(image.convert("L"))[..., None])


def test_pnm_of_several_pictures_is_refused(tmp_path: Path):
    content = saved(RGB, "PPM")
    (tmp_path / "picture.ppm").write_bytes(content + content)
    assert refusal(tmp_path / "picture.ppm") == "holds 2 frames; only single pictures are read"


def test_jpeg_xl_is_turned_upright_by_its_decoder_alone():
    box = b"\0\0\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    container = imagecodecs.jpegxl_encode(RGB, lossless=True, usecontainer=True)
    content = container + struct.pack(">I4s", 8 + len(box), b"Exif") + box
    assert read_header(Encoded("a", content)).height == 37
    picture = read(Encoded("a", content))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.exif == box[4:].replace(b"\1\0\0\0\6", b"\1\0\0\0\1")


@pytest.mark.parametrize("animation", [True, False], ids=["animation", "floating point"])
def test_jpeg_xl_that_is_not_one_picture_of_integers_is_refused(tmp_path: Path, animation: bool):
    pixels = np.stack([RGB, RGB]) if animation else RGB.astype(np.float32) / 255
    path = tmp_path / "picture.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, photometric="rgb"))
    assert refusal(path).startswith(
        "holds a preview or an animation" if animation else "its values"
    )


def test_jpeg_xl_that_claims_too_many_pixels_is_refused(tmp_path: Path):
    size = 1_000_000 - 1  # written in 30 bits, for height and width
    bits = (3 << 1) | (size << 3) | (3 << 36) | (size << 38)
    (tmp_path / "picture.jxl").write_bytes(b"\xff\x0a" + bits.to_bytes(20, "little"))
    assert refusal(tmp_path / "picture.jxl").startswith("too large a picture: 1000000×1000000")


def test_jpeg_2000_of_mixed_or_more_bits_is_refused(tmp_path: Path):
    content = jpeg_2000(deep(RGB), 16)
    at = content.index(b"\xff\x4f\xff\x51") + 42
    for depth in (b"\x0b", b"\x8f"):  # of the first channel: 12, and 16 with a sign
        (tmp_path / "picture.jp2").write_bytes(content[:at] + depth + content[at + 1 :])
        assert refusal(tmp_path / "picture.jp2").startswith("only whole numbers of up to 16 bits")


# Everything else

OTHERS = {
    "PFM": b"PF\n31 37\n-1.0\n",
    "PAM": b"P7\nWIDTH 31\n",
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "a Photoshop file": b"8BPS\0\1",
    "a NumPy array": b"\x93NUMPY\1\0",
    "a camera raw file": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "AVIF": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf",
    "HEIC": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
}
UNKNOWN = {
    "MP4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    "QuickTime with a picture's name behind its brands": b"\0\0\0\x14ftypqt  \0\0\0\0qt  heic",
    "text": b" P5 is a number\n",
    "RIFF": b"RIFF\x24\0\0\0WAVEfmt ",
}


@pytest.mark.parametrize("name", OTHERS)
def test_recognise_names_formats(name: str):
    assert recognise(OTHERS[name]) == name


@pytest.mark.parametrize("name", UNKNOWN)
def test_recognise_does_not_take_others_for_pictures(name: str):
    assert recognise(UNKNOWN[name]) is None

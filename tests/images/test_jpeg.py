"""JPEG files: every kind of colours, cameras' files, damage."""

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dgunet_jax.images.reading import read
from tests.images.encodings import PHOTOGRAPHS, cmyk_profile, exif, photograph, profile
from tests.images.expectations import check, refusal

MODES = ["L", "RGB", "CMYK"]


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph()).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(content: bytes, *segments: bytes) -> bytes:
    """The file with segments at its start."""
    return content[:2] + b"".join(segments) + content[2:]


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_colours(tmp_path: Path, mode: str, progressive: bool):
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg(mode, progressive=progressive, subsampling=2))
    check(path, decoded(path.read_bytes()))


@pytest.mark.parametrize("name", ["retina", "rocket", "hubble_deep_field"])
def test_photographs(name: str):
    path = PHOTOGRAPHS / f"{name}.jpg"
    check(path, decoded(path.read_bytes()))


def test_colours_stored_as_rgb(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    named = jpeg(keep_rgb=True, quality=100, subsampling=0)
    # Either the channels' numbers are R, G and B, or Adobe's segment says it.
    frame, scan = b"\3R\x11\0G\x11\0B\x11\0", b"\3R\0G\0B\0"
    assert frame in named and scan in named
    numbered = named.replace(frame, b"\3\1\x11\0\2\x11\0\3\x11\0").replace(scan, b"\3\1\0\2\0\3\0")
    numbered = with_segments(numbered, segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"))
    for content in (named, numbered):
        path.write_bytes(content)
        check(path, decoded(named))
        assert np.abs(read(path).pixels.astype(int) - photograph()).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_without_loss(tmp_path: Path, mode: str):
    pixels = np.asarray(Image.fromarray(photograph()).convert(mode)).reshape(37, 31, -1)
    content = imagecodecs.jpeg8_encode(np.squeeze(pixels), lossless=True)
    (tmp_path / "picture.jpg").write_bytes(content)
    check(tmp_path / "picture.jpg", pixels)


def test_camera_files_with_previews_behind_the_picture(tmp_path: Path):
    path = tmp_path / "picture.mpo"
    frames = [Image.fromarray(photograph()), Image.fromarray(255 - photograph()).resize((9, 9))]
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        assert image.format == "MPO"
        expected = np.asarray(image)
    assert check(path, expected).file_format == "JPEG"


def test_cmyk_goes_through_its_profile(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    inks = np.zeros((37, 31, 4), np.uint8)
    inks[..., :3] = photograph()  # which this profile ignores
    inks[:20, :, 3] = 255
    Image.frombytes("CMYK", (31, 37), inks.tobytes()).save(
        path, quality=100, icc_profile=cmyk_profile()
    )
    expected = np.full((37, 31, 3), 255, np.uint8)
    expected[:20] = 0
    picture = read(path)
    assert picture.pixels.shape == (37, 31, 3)
    assert picture.icc_profile is None
    np.testing.assert_allclose(picture.pixels, expected, atol=6)


def test_cmyk_with_a_profile_that_is_damaged_or_for_rgb(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    plain = decoded(jpeg("CMYK"))
    for bad in (cmyk_profile()[:150] + bytes(4000), profile(b"RGB "), b"junk"):
        path.write_bytes(jpeg("CMYK", icc_profile=bad))
        assert check(path, plain).icc_profile is None


def test_profiles_and_exif_are_kept(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    long = profile(b"RGB ", bytes(200_000))  # more than a segment holds
    path.write_bytes(jpeg(icc_profile=long, exif=b"Exif\0\0" + exif()))
    picture = read(path)
    assert picture.icc_profile == long
    assert picture.exif == exif()


def test_profiles_in_parts_need_all_of_them(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    whole = profile(b"RGB ", bytes(300))
    parts = [b"ICC_PROFILE\0" + bytes([n, 3]) + whole[143 * n - 143 : 143 * n] for n in (1, 2, 3)]
    assert b"".join(part[14:] for part in parts) == whole[:429]
    parts[2] += whole[429:]
    one, two, three = (segment(0xE2, part) for part in parts)
    for order, expected in (
        ((one, two, three), whole),
        ((three, one, two), whole),
        ((one, three), None),
        ((one, two, two), None),
        ((one, two, three, three), None),
    ):
        path.write_bytes(with_segments(jpeg(), *order))
        assert read(path).icc_profile == expected


def test_profiles_that_are_cut_off_are_left_out(tmp_path: Path):
    (tmp_path / "picture.jpg").write_bytes(jpeg(icc_profile=profile(b"RGB ", bytes(50))[:-1]))
    assert read(tmp_path / "picture.jpg").icc_profile is None


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK", b"Lab ", b"XYZ "])
def test_profiles_of_other_colours_are_left_out(tmp_path: Path, space: bytes):
    (tmp_path / "picture.jpg").write_bytes(jpeg(icc_profile=profile(space)))
    assert read(tmp_path / "picture.jpg").icc_profile is None


def test_what_does_not_concern_pixels_may_be_wrong(tmp_path: Path, capfd, caplog):
    content = jpeg()
    junk = with_segments(
        content,
        segment(0xE0, b"JFIF\0\1"),
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='"),
        segment(0xE2, b"ICC_PROFILE\0\1\2half a profile"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0"),
        segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"),
        segment(0xEE, b"Adobe"),
        segment(0xFE, b"\xff" * 70),
        b"\xff\xff\xff",  # markers may be filled up
    )
    (tmp_path / "picture.jpg").write_bytes(junk + b"behind the end")
    picture = check(tmp_path / "picture.jpg", decoded(content))
    assert picture.icc_profile is None
    assert picture.exif is None
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_every_truncation_is_noticed(tmp_path: Path, progressive: bool):
    path = tmp_path / "picture.jpg"
    content = jpeg(progressive=progressive)
    for length in [*range(3, len(content) - 2, 7), len(content) - 1]:
        path.write_bytes(content[:length])
        refusal(path, by_header=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("08002500", "0c002500", "has 12 bits per channel; only 8 are read from JPEG files"),
        (
            "08002500",
            "08000000",
            "is damaged: its size is 31×0",
        ),
        (
            "08ea60ea60",
            "",
            "too large a picture: 60000×60000 is more than 178956970 pixels "
            "(twice PIL.Image.MAX_IMAGE_PIXELS)",
        ),
        (
            "080025001f03",
            "080025001f02",
            "has 2 channels; only grey, colour and CMYK pictures are read",
        ),
        ("ffc0", "fffe", "is damaged: it does not say its size"),
    ],
    ids=["12 bits", "no height", "large", "2 channels", "no frame"],
)
def test_frames_that_are_refused(tmp_path: Path, old: str, new: str, message: str):
    content = jpeg()
    if not new:
        content = content.replace(bytes.fromhex("080025001f"), bytes.fromhex(old))
    else:
        assert bytes.fromhex(old) in content
        content = content.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    (tmp_path / "picture.jpg").write_bytes(content)
    assert refusal(tmp_path / "picture.jpg") == message


def test_files_without_pixels_are_refused(tmp_path: Path):
    (tmp_path / "picture.jpg").write_bytes(jpeg()[:20] + b"\xff\xd9")
    assert refusal(tmp_path / "picture.jpg") == "is damaged: it ends before its pixels"

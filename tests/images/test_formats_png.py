"""PNG files: every colour type and depth, transparency, texts, frames; damage."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dgunet_jax.images import read, write
from tests.images.encodings import PHOTOGRAPHS, PNG_KINDS, PNG_SAMPLES, deep, photograph, png
from tests.images.expectations import check, refusal

RGB = photograph()
PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
SIZES = [(1, 1), (37, 31), (3, 500)]
TRUNCATED = "is damaged: it is truncated"


def samples(colour: int, depth: int, size: tuple[int, int] = (37, 31)) -> np.ndarray:
    shape = (*size, PNG_SAMPLES[colour])
    return np.random.default_rng(depth).integers(0, 2**depth, shape, np.uint16)


def meaning(values: np.ndarray, colour: int, depth: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the pixels and alpha that the samples of a file stand for."""
    if colour == 3:
        return PALETTE[values[..., 0]], None
    scaled = values * (255 // (2**depth - 1)) if depth < 8 else values
    scaled = scaled.astype(np.uint16 if depth == 16 else np.uint8)
    return (scaled[..., :-1], scaled[..., -1]) if colour in (4, 6) else (scaled, None)


def colours(colour: int, depth: int) -> list[tuple[bytes, bytes]]:
    return [(b"PLTE", PALETTE[: 2**depth].tobytes())] if colour == 3 else []


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "passes"])
@pytest.mark.parametrize("kind", PNG_KINDS, ids=str)
def test_png_of_every_kind_is_read_exactly(tmp_path: Path, kind: tuple[int, int], interlaced: bool):
    path = tmp_path / "picture.png"
    for size in SIZES:
        values = samples(*kind, size)
        path.write_bytes(png(values, *kind, interlaced=interlaced, before=colours(*kind), pieces=3))
        check(path, *meaning(values, *kind))


@pytest.mark.parametrize("kind", [kind for kind in PNG_KINDS if kind[0] in (0, 2)], ids=str)
def test_png_with_a_transparent_colour_has_alpha(tmp_path: Path, kind: tuple[int, int]):
    values = samples(*kind)
    transparent = values[5, 7]
    values[9] = transparent
    path = tmp_path / "picture.png"
    entry = (b"tRNS", transparent.astype(">u2").tobytes())
    path.write_bytes(png(values, *kind, before=[entry]))
    pixels, _ = meaning(values, *kind)
    opaque = (values != transparent).any(axis=2)
    check(path, pixels, np.where(opaque, np.iinfo(pixels.dtype).max, 0).astype(pixels.dtype))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_with_transparent_palette_entries_has_alpha(tmp_path: Path, depth: int):
    values = samples(3, depth)
    path = tmp_path / "picture.png"
    entries = np.array([0, 77], np.uint8)  # the others are opaque
    before = [*colours(3, depth), (b"tRNS", entries.tobytes())]
    path.write_bytes(png(values, 3, depth, before=before))
    alpha = np.concatenate([entries, np.full(254, 255, np.uint8)])[values[..., 0]]
    check(path, PALETTE[values[..., 0]], alpha)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_png_of_pillow_is_read_exactly(tmp_path: Path, mode: str):
    path = tmp_path / "picture.png"
    image = Image.fromarray(photograph(height=137, width=131)).convert(mode.partition(";")[0])
    if mode == "I;16":
        image = Image.fromarray(deep(photograph()[..., 0]))
    image.save(path)
    values = np.asarray(image.convert("L") if mode == "1" else image)
    values = values.reshape(*values.shape[:2], -1)
    number = 3 if mode.startswith("RGB") else 1
    check(path, values[..., :number], values[..., -1] if mode.endswith("A") else None)


def test_png_may_be_wrong_in_what_does_not_concern_pixels(tmp_path: Path, capfd, caplog):
    values = samples(6, 16)
    junk = [
        (b"gAMA", b"\1"),
        (b"cHRM", b""),
        (b"sBIT", b"too long for this chunk"),
        (b"iCCP", b"name\0\0not zlib"),
        (b"eXIf", b"MM nothing"),
        (b"tEXt", b"\xff\xff"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000))),
        (b"vpAg", b"a chunk nobody knows"),
    ]
    content = png(values, 6, 16, before=junk, after=junk)
    (tmp_path / "picture.png").write_bytes(content + b"behind the end")
    picture = check(tmp_path / "picture.png", values[..., :3], values[..., 3])
    assert (picture.icc_profile, picture.exif, picture.colour_chunks) == (None, None, ())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_png_is_refused_with_any_bit_flipped(tmp_path: Path):
    path = tmp_path / "picture.png"
    before = [(b"tRNS", b"\0\1"), (b"tEXt", b"Comment\0not damaged yet")]
    content = png(samples(0, 8), 0, 8, before=before, pieces=3)
    for position in [*range(0, 110), *np.linspace(110, len(content) - 1, 60).astype(int)]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        refusal(path, by_header=False)


def test_png_is_refused_when_truncated(tmp_path: Path):
    path = tmp_path / "picture.png"
    content = png(samples(0, 8), 0, 8)
    for length in [*range(8, 60), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        assert refusal(path) == TRUNCATED


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (bytes(37 * 31), "cannot read the picture: Not enough image data"),
        (b"\7" * 37 * 32, "cannot read the picture: bad adaptive filter value"),
    ],
    ids=["too short", "unknown filter"],
)
def test_png_is_refused_if_image_data_do_not_fit(tmp_path: Path, raw: bytes, message: str):
    (tmp_path / "picture.png").write_bytes(png(samples(0, 8), 0, 8, raw=raw))
    assert refusal(tmp_path / "picture.png", by_header=False) == message


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("separate", [False, True], ids=["first frame", "picture of its own"])
def test_png_of_several_frames_is_refused(tmp_path: Path, separate: bool, frames: int):
    path = tmp_path / "picture.png"
    first, *others = [Image.fromarray(RGB + np.uint8(40 * i)) for i in range(frames + separate)]
    first.save(path, save_all=True, append_images=others, default_image=separate)
    if others:
        message = f"holds {frames + separate} frames; only single pictures are read"
        assert refusal(path) == message
    else:
        check(path, RGB)


def test_png_keeps_what_its_colours_mean(tmp_path: Path):
    """A picture that is linear in light, or of HDR, would look different without it."""
    meaning = [
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"cHRM", bytes(range(32))),
        (b"sRGB", b"\0"),
        (b"cICP", bytes([9, 16, 0, 1])),
    ]
    values = samples(2, 16)
    before = [*meaning, (b"gAMA", struct.pack(">I", 7))]  # the first one counts
    (tmp_path / "picture.png").write_bytes(png(values, 2, 16, before=before))
    picture = check(tmp_path / "picture.png", values)
    assert dict(picture.colour_chunks) == dict(meaning)
    write(tmp_path / "other.png", picture.with_colours(picture.colours() / 2))
    assert dict(read(tmp_path / "other.png").colour_chunks) == dict(meaning)
    with Image.open(tmp_path / "other.png") as image:
        image.verify()


@pytest.mark.parametrize("name", ["astronaut", "camera", "page", "text", "horse", "logo", "color"])
def test_png_of_scikit_image(name: str):
    path = PHOTOGRAPHS / f"{name}.png"
    with Image.open(path) as image:
        values = np.asarray(image)
    values = values.reshape(*values.shape[:2], -1)
    alpha = values[..., -1] if values.shape[2] in (2, 4) else None
    check(path, values[..., :-1] if alpha is not None else values, alpha)


def test_png_text_of_any_size_is_passed_over(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 5_000_000, zip=True)  # more than Pillow itself reads
    Image.fromarray(RGB).save(tmp_path / "picture.png", pnginfo=text)
    check(tmp_path / "picture.png", RGB)

"""PNG files: every colour type and depth, at full depth; damage; what else may be in them."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dgunet_jax.images.reading import read
from dgunet_jax.images.writing import write
from tests.images.encodings import PNG_KINDS, PNG_SAMPLES, chunk, deep, photograph, png
from tests.images.expectations import check, refusal

PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
SIZES = [(1, 1), (37, 31), (3, 500)]


def samples(colour: int, depth: int, size: tuple[int, int] = (37, 31)) -> np.ndarray:
    shape = (*size, PNG_SAMPLES[colour])
    return np.random.default_rng(depth).integers(0, 2**depth, shape, np.uint16)


def meaning(values: np.ndarray, colour: int, depth: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and alpha that the samples of a file stand for."""
    if colour == 3:
        return PALETTE[values[..., 0]], None
    scaled = values * (255 // (2**depth - 1)) if depth < 8 else values
    scaled = scaled.astype(np.uint16 if depth == 16 else np.uint8)
    return (scaled[..., :-1], scaled[..., -1]) if colour in (4, 6) else (scaled, None)


def colours(colour: int, depth: int) -> list[tuple[bytes, bytes]]:
    return [(b"PLTE", PALETTE[: 2**depth].tobytes())] if colour == 3 else []


def grey(path: Path, **options) -> bytes:
    """Writes an 8-bit grey file and returns its content."""
    path.write_bytes(png(samples(0, 8), 0, 8, **options))
    return path.read_bytes()


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "passes"])
@pytest.mark.parametrize("kind", PNG_KINDS, ids=str)
def test_every_kind_is_read_exactly(tmp_path: Path, kind: tuple[int, int], interlaced: bool):
    for size in SIZES:
        values = samples(*kind, size)
        path = tmp_path / "picture.png"
        path.write_bytes(png(values, *kind, interlaced=interlaced, before=colours(*kind)))
        check(path, *meaning(values, *kind))


@pytest.mark.parametrize("kind", [kind for kind in PNG_KINDS if kind[0] in (0, 2)], ids=str)
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, kind: tuple[int, int]):
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
def test_transparent_palette_entries_become_alpha(tmp_path: Path, depth: int):
    values = samples(3, depth)
    path = tmp_path / "picture.png"
    entries = np.array([0, 77], np.uint8)  # the others are opaque
    before = [*colours(3, depth), (b"tRNS", entries.tobytes())]
    path.write_bytes(png(values, 3, depth, before=before))
    alpha = np.concatenate([entries, np.full(254, 255, np.uint8)])[values[..., 0]]
    check(path, PALETTE[values[..., 0]], alpha)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_files_of_pillow_with_all_filters(tmp_path: Path, mode: str):
    path = tmp_path / "picture.png"
    image = Image.fromarray(photograph(height=137, width=131)).convert(mode)
    image.save(path)
    values = np.asarray(image.convert("L") if mode == "1" else image)
    values = values.reshape(137, 131, -1)
    number = 3 if mode.startswith("RGB") else 1
    check(path, values[..., :number], values[..., -1] if mode.endswith("A") else None)


def test_16_bit_grey_of_pillow(tmp_path: Path):
    values = deep(photograph()[..., :1])
    Image.fromarray(values[..., 0]).save(tmp_path / "picture.png")
    check(tmp_path / "picture.png", values)


def test_image_data_may_come_in_any_pieces(tmp_path: Path):
    values = samples(2, 16)
    (tmp_path / "picture.png").write_bytes(png(values, 2, 16, pieces=500))
    check(tmp_path / "picture.png", values)


def test_what_does_not_concern_pixels_may_be_wrong(tmp_path: Path, capfd, caplog):
    values = samples(6, 16)
    junk = [
        (b"gAMA", b"\1"),
        (b"cHRM", b""),
        (b"sBIT", b"too long for this chunk"),
        (b"iCCP", b"name\0\7not zlib"),
        (b"eXIf", b"MM nothing"),
        (b"tEXt", b"\xff\xff"),
        (b"tRNS", b"not with an alpha channel"),
        (b"PLTE", b"not three bytes each"),
        (b"vpAg", b"a chunk nobody knows"),
        (b"fcTL", b"not animated"),
    ]
    content = png(values, 6, 16, before=junk, after=junk)
    (tmp_path / "picture.png").write_bytes(content + b"behind the end")
    picture = check(tmp_path / "picture.png", values[..., :3], values[..., 3])
    assert picture.icc_profile is None
    assert picture.exif is None
    assert picture.colour_chunks == ()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_every_flipped_bit_is_noticed(tmp_path: Path):
    path = tmp_path / "picture.png"
    before = [(b"tRNS", b"\0\1"), (b"tEXt", b"Comment\0not damaged yet")]
    content = grey(path, before=before, pieces=3)
    for position in [*range(0, 110), *np.linspace(110, len(content) - 1, 60).astype(int)]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        refusal(path, by_header=False)


def test_every_truncation_is_noticed(tmp_path: Path):
    path = tmp_path / "picture.png"
    content = grey(path)
    for length in [*range(0, 60), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        message = refusal(path)
        if length > 16:
            assert message in ("is damaged: it is truncated", "is damaged: it has no image data")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (bytes(37 * 31), "cannot read the picture: Not enough image data"),
        (b"\7" * 37 * 32, "cannot read the picture: bad adaptive filter value"),
    ],
    ids=["too short", "unknown filter"],
)
def test_image_data_must_fit_the_size(tmp_path: Path, raw: bytes, message: str):
    grey(tmp_path / "picture.png", raw=raw)
    assert refusal(tmp_path / "picture.png", by_header=False) == message


def test_what_decoders_find_odd_is_not_told(tmp_path: Path, capfd, caplog):
    path = tmp_path / "picture.png"
    grey(path, raw=bytes(38 * 32))
    check(path, np.zeros((37, 31, 1), np.uint8))
    palette = [(b"PLTE", PALETTE.tobytes()), (b"tRNS", bytes(256))]  # entries nobody can use
    values = samples(3, 1)
    path.write_bytes(png(values, 3, 1, before=palette))
    check(path, PALETTE[values[..., 0]], np.zeros((37, 31), np.uint8))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    imagecodecs.png_decode(png(values, 0, 1, raw=bytes(1000)))  # elsewhere it still is
    assert "Too much image data" in caplog.text


def test_the_checksum_of_the_compressed_data_is_verified(tmp_path: Path):
    data = zlib.compress(bytes(37 * 32))
    content = grey(tmp_path / "picture.png")
    damaged = content[:33] + chunk(b"IDAT", data[:-4] + b"\1\2\3\4") + chunk(b"IEND", b"")
    (tmp_path / "picture.png").write_bytes(damaged)
    message = refusal(tmp_path / "picture.png", by_header=False)
    assert message == "cannot read the picture: IDAT: incorrect data check"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ((0, 3, 8, 2, 0, 0, 0), "is damaged: its size is 0×3"),
        ((3, 0, 8, 2, 0, 0, 0), "is damaged: its size is 3×0"),
        ((3, 3, 16, 3, 0, 0, 0), "is damaged: its header says depth 16, colour type 3, [0, 0]"),
        ((3, 3, 8, 5, 0, 0, 0), "is damaged: its header says depth 8, colour type 5, [0, 0]"),
        ((3, 3, 8, 2, 1, 0, 0), "is damaged: its header says depth 8, colour type 2, [1, 0]"),
        ((3, 3, 8, 2, 0, 1, 0), "is damaged: its header says depth 8, colour type 2, [0, 1]"),
        ((3, 3, 8, 2, 0, 0, 2), "is damaged: its header says depth 8, colour type 2, [0, 0]"),
        ((3, 3, 8, 3, 0, 0, 0), "is damaged: it has no palette"),
        (
            (60_000, 60_000, 8, 2, 0, 0, 0),
            "too large a picture: 60000×60000 is more than 178956970 pixels "
            "(twice PIL.Image.MAX_IMAGE_PIXELS)",
        ),
        (
            (9_000, 9_000, 16, 6, 0, 0, 1),
            "is damaged: its image data is too short for 9000×9000 pixels",
        ),
    ],
    ids=str,
)
def test_impossible_headers_are_refused(tmp_path: Path, header: tuple[int, ...], message: str):
    path = tmp_path / "picture.png"
    content = [chunk(b"IHDR", struct.pack(">IIBBBBB", *header)), chunk(b"IDAT", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content) + chunk(b"IEND", b""))
    assert refusal(path) == message


def test_the_pixel_limit_is_pillows(tmp_path: Path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(png(samples(2, 16), 2, 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 31 // 2)
    assert refusal(path).startswith("too large a picture: 31×37 is more than 1146 pixels")
    for limit in (37 * 31 // 2 + 1, None):  # between the limit and twice, Pillow would warn
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        check(path, samples(2, 16))


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([(b"CDAT", b"")], "has a chunk of an unknown kind, CDAT, that pixels need"),
        ([(b"tRNS", b"\0")], "is damaged: its transparent colour has 1 bytes"),
        ([(b"a\0Ab", b"")], "is damaged: there is no chunk at byte 33"),
    ],
    ids=str,
)
def test_impossible_chunks_are_refused(tmp_path: Path, before: list, message: str):
    grey(tmp_path / "picture.png", before=before)
    assert refusal(tmp_path / "picture.png") == message


@pytest.mark.parametrize("length", [0, 4])
def test_palettes_consist_of_three_bytes_each(tmp_path: Path, length: int):
    values = samples(3, 1)
    (tmp_path / "picture.png").write_bytes(png(values, 3, 1, before=[(b"PLTE", bytes(length))]))
    assert refusal(tmp_path / "picture.png") == f"is damaged: its palette has {length} bytes"


def test_the_header_comes_first(tmp_path: Path):
    content = grey(tmp_path / "picture.png")
    (tmp_path / "picture.png").write_bytes(content[:8] + chunk(b"tEXt", b"a\0b") + content[8:])
    assert refusal(tmp_path / "picture.png") == "is damaged: it does not begin with a header"


@pytest.mark.parametrize("separate", [False, True], ids=["first frame", "picture of its own"])
def test_animations_are_refused(tmp_path: Path, separate: bool):
    path = tmp_path / "picture.png"
    frames = [Image.fromarray(photograph()), Image.fromarray(255 - photograph())]
    frames[0].save(path, save_all=True, append_images=frames[1:] * 2, default_image=separate)
    assert refusal(path) == "holds 3 frames; only single pictures are read"


def test_an_animation_of_one_frame_is_a_picture(tmp_path: Path):
    values = samples(2, 8)
    control = struct.pack(">IIIIIHHBB", 0, 31, 37, 0, 0, 1, 10, 0, 0)
    before = [(b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", control)]
    (tmp_path / "picture.png").write_bytes(png(values, 2, 8, before=before))
    check(tmp_path / "picture.png", values.astype(np.uint8))


def test_text_of_any_size_is_passed_over(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 5_000_000, zip=True)  # more than Pillow itself reads
    Image.fromarray(photograph()).save(tmp_path / "picture.png", pnginfo=text)
    check(tmp_path / "picture.png", photograph())


def test_what_colours_mean_is_kept(tmp_path: Path):
    """A picture that is linear in light, or of HDR, would look different without it."""
    meaning = [
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"cHRM", bytes(range(32))),
        (b"sRGB", b"\0"),
        (b"cICP", bytes([9, 16, 0, 1])),
    ]
    values = samples(2, 16)
    before = [*meaning[:2], (b"gAMA", struct.pack(">I", 7)), *meaning[2:]]  # the first one counts
    (tmp_path / "picture.png").write_bytes(png(values, 2, 16, before=before))
    picture = check(tmp_path / "picture.png", values)
    assert picture.colour_chunks == tuple(meaning)
    write(tmp_path / "other.png", picture.with_colours(picture.colours() / 2))
    assert read(tmp_path / "other.png").colour_chunks == tuple(meaning)
    Image.open(tmp_path / "other.png").verify()
    write(tmp_path / "grey.png", picture.grey(read(tmp_path / "other.png")))
    assert read(tmp_path / "grey.png").colour_chunks == ()

"""Kinds of picture files, by whether they must be read or refused.

Everything is made with real encoders or by hand from the formats' descriptions.
"""

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.images.encodings import (
    PNG_KINDS,
    PNG_SAMPLES,
    chunk,
    cmyk_profile,
    deep,
    exif,
    photograph,
    png,
    profile,
)

SIZES = ((1, 1), (3, 50), (16, 24), (37, 31), (64, 64))
"""Heights and widths; turned upright, pictures may have them the other way round."""

Make = Callable[[np.random.Generator, tuple[int, int]], bytes]
"""From a random generator and a height and width to the content of a file."""


def _colours(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """(H, W, channels) of a photograph; a fourth channel comes from another."""
    names = rng.permutation(["astronaut", "chelsea", "coffee"])
    first, second = (photograph(name, *size) for name in names[:2])
    return np.concatenate([first, second], axis=2)[..., :channels].copy()


def _metadata(rng: np.random.Generator, space: bytes = b"RGB ") -> tuple[bytes, bytes]:
    """An EXIF block and a colour profile, either of which may be missing or nonsense."""
    order = rng.choice(["<", ">"])
    blocks = [exif(int(rng.integers(0, 10)), order), exif(None, order), b"II*\0nonsense", b""]
    profiles = [profile(space), profile(b"CMYK"), b"nonsense" * 30, b""]
    return blocks[rng.integers(4)], profiles[rng.integers(4)]


def _png(
    kind: tuple[int, int], interlaced: bool, rng: np.random.Generator, size: tuple[int, int]
) -> bytes:
    colour, depth = kind
    samples = _colours(rng, size, PNG_SAMPLES[colour])
    samples = deep(samples) if depth == 16 else samples >> (8 - depth)
    block, icc = _metadata(rng)
    before = [(b"eXIf", block)] if block else []
    if icc:
        before.append((b"iCCP", b"name\0\0" + icc))  # not compressed, as it should be
    if colour == 3:
        before.append((b"PLTE", rng.bytes(3 << depth)))
    if colour in (0, 2, 3) and rng.random() < 0.3:
        clear = b"\x80\0" if colour == 3 else samples[0, 0].astype(">u2").tobytes()
        before.append((b"tRNS", clear))
    if rng.random() < 0.3:
        before.append((b"tEXt", b"Comment\0" + rng.bytes(20)))
    return png(
        samples, colour, depth, interlaced=interlaced, before=before, pieces=int(rng.integers(1, 4))
    )


def _pillow(
    form: str, mode: str, options: dict[str, Any], rng: np.random.Generator, size: tuple[int, int]
) -> bytes:
    image = Image.fromarray(_colours(rng, size, 4 if mode == "RGBA" else 3)).convert(mode)
    block, icc = _metadata(rng, b"GRAY" if mode == "L" else b"RGB ")
    if mode == "CMYK":
        icc = [cmyk_profile(), icc][rng.integers(2)]
    if form in ("AVIF", "JPEG", "MPO", "PNG", "WEBP") and block:
        options = {**options, "exif": (b"" if form == "WEBP" else b"Exif\0\0") + block}
    if form in ("JPEG", "PNG", "TIFF", "WEBP") and icc:
        options = {**options, "icc_profile": icc}
    if form == "TIFF":
        tags = Image.Exif()
        tags[0x0112], tags[0x010F] = int(rng.integers(1, 9)), "Lens & Son"
        options = {**options, "exif": tags}
    if form == "MPO":
        options = {**options, "save_all": True, "append_images": [image.resize((8, 8))]}
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _tiff(
    channels: int,
    bits: int,
    options: dict[str, Any],
    rng: np.random.Generator,
    size: tuple[int, int],
) -> bytes:
    samples = _colours(rng, size, channels)
    samples = deep(samples) if bits == 16 else samples
    _, icc = _metadata(rng)
    options = {"photometric": "minisblack" if channels < 3 else "rgb", "metadata": None, **options}
    if channels in (2, 4):
        options.setdefault("extrasamples", ["unassalpha"])
    if icc:
        options["iccprofile"] = icc
    if rng.random() < 0.5:
        options["extratags"] = [(274, "H", 1, int(rng.integers(1, 9)), True)]
    if options.get("planarconfig") == "separate":
        samples = np.moveaxis(samples, 2, 0)
    elif channels > 1:
        options["planarconfig"] = "contig"
    file = io.BytesIO()
    tifffile.imwrite(file, samples if channels > 1 else samples[..., 0], **options)
    return file.getvalue()


def _palette_tiff(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    palette = rng.integers(0, 1 << 16, (3, 256), np.uint16)
    indices = rng.integers(0, 256, size, np.uint8)
    tifffile.imwrite(file, indices, photometric="palette", colormap=palette, metadata=None)
    return file.getvalue()


def _small_gif(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    """A GIF file whose frame does not fill the picture."""
    content = bytearray(_pillow("GIF", "P", {}, rng, size))
    content[6:10] = struct.pack("<HH", 80, 80)
    return bytes(content)


def _readable() -> Iterator[tuple[str, Make]]:
    for kind in PNG_KINDS:
        for interlaced in (False, True):
            name = f"PNG {kind[1]} bits of colour type {kind[0]}{', interlaced' * interlaced}"
            yield name, partial(_png, kind, interlaced)
    for form, mode, options in [
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("JPEG", mode, {"subsampling": 2}) for mode in ("L", "RGB", "CMYK")),
        *(("JPEG", mode, {"progressive": True}) for mode in ("L", "RGB", "CMYK")),
        ("JPEG", "RGB", {"keep_rgb": True, "quality": 90}),
        ("MPO", "RGB", {}),
        *(("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")),
        *(("WEBP", mode, {"quality": 80}) for mode in ("RGB", "RGBA")),
        *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
        ("GIF", "P", {}),
        ("GIF", "L", {"interlace": False}),
        ("GIF", "P", {"transparency": 0, "comment": b"a comment"}),
        *(("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA")),
        ("TIFF", "CMYK", {}),
        *(("TIFF", "1", {"compression": fax}) for fax in ("group3", "group4")),
        *(("TIFF", mode, {"compression": "jpeg"}) for mode in ("L", "RGB", "CMYK", "YCbCr")),
    ]:  # fmt: skip
        name = {"WEBP": "WebP", "MPO": "JPEG, MPO"}.get(form, form)
        yield f"{name} {mode} of Pillow {options}", partial(_pillow, form, mode, options)
    for channels in (1, 2, 3, 4):
        for bits in (8, 16):
            for options in (
                {"byteorder": "<", "compression": "zlib", "predictor": True, "rowsperstrip": 7},
                {"byteorder": ">", "compression": "lzw"},
                {"byteorder": ">", "tile": (16, 16)},
            ):
                yield (
                    f"TIFF {channels} × {bits} bits {options}",
                    partial(_tiff, channels, bits, options),
                )
    for bits in (8, 16):
        yield f"TIFF planes of {bits} bits", partial(_tiff, 3, bits, {"planarconfig": "separate"})
        yield (
            f"TIFF white is zero, {bits} bits",
            partial(_tiff, 1, bits, {"photometric": "miniswhite"}),
        )
        premultiplied = {"extrasamples": ["assocalpha"]}
        yield f"TIFF premultiplied, {bits} bits", partial(_tiff, 4, bits, premultiplied)
    yield "TIFF BigTIFF", partial(_tiff, 3, 16, {"bigtiff": True})
    yield "TIFF palette of 16 bits", _palette_tiff
    for bits in (8, 10, 16):
        yield f"JPEG XL of {bits} bits", partial(_new, "jpegxl", bits, {"lossless": True})
        options = {"level": 0, "reversible": True}
        yield f"JPEG 2000 of {bits} bits", partial(_new, "jpeg2k", bits, options)
    for bits in (8, 10, 12):
        yield f"AVIF of {bits} bits", partial(_new, "avif", bits, {"level": 95})
    for mode in ("RGB", "RGBA"):
        yield f"AVIF {mode} of Pillow {{}}", partial(_pillow, "AVIF", mode, {"max_threads": 1})
    for kind in (2, 3, 5, 6):
        for peak in (255, 1000):
            yield f"PNM of kind {kind} to {peak}", partial(_pnm, kind, peak)
    yield "PNM of one bit", partial(_pillow, "PPM", "1", {})


def _new(
    codec: str,
    bits: int,
    options: dict[str, Any],
    rng: np.random.Generator,
    size: tuple[int, int],
) -> bytes:
    samples = _colours(rng, size, int(rng.integers(3, 5)))
    samples = deep(samples) >> (16 - bits) if bits > 8 else samples
    encode = getattr(imagecodecs, f"{codec}_encode")
    # With several threads not every run gives the same bytes.
    return encode(samples, bitspersample=bits, numthreads=1, **options)


def _pnm(kind: int, peak: int, rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    values = rng.integers(0, peak, (*size, 1 if kind in (2, 5) else 3), endpoint=True)
    header = b"P%d\n# a comment\n%d %d\n%d\n" % (kind, size[1], size[0], peak)
    if kind in (2, 3):
        return header + " ".join(map(str, values.ravel())).encode()
    return header + values.astype(">u2" if peak > 255 else ">u1").tobytes()


def _truncated(make: Make, rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    content = make(rng, SIZES[-1])
    return content[: int(len(content) * rng.uniform(0.4, 0.9))]


def _animated(form: str, rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    first = _colours(rng, size, 3)
    # Encoders leave out frames that equal the one before.
    frames = [Image.fromarray(first + np.uint8(40 * i)) for i in range(rng.integers(2, 5))]
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=40)
    return file.getvalue()


def _numbers(dtype: str, rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    samples = _colours(rng, size, 3).astype(dtype)
    tifffile.imwrite(file, samples, photometric="rgb", metadata=None)
    return file.getvalue()


def _absurd(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    width, height = (int(side) for side in rng.choice([0, 13_000, 1 << 20, (1 << 31) - 1], 2))
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rng.bytes(50)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _beginning(start: bytes, rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    return start + rng.bytes(int(rng.integers(20, 2000)))


def _refused() -> Iterator[tuple[str, Make]]:
    yield "empty", lambda rng, size: b""
    yield "text", lambda rng, size: b"This is not a picture.\n" * int(rng.integers(1, 50))
    yield "random bytes", partial(_beginning, b"\0")
    for name, start in {
        "zip": b"PK\x03\x04",
        "PDF": b"%PDF-1.7\n",
        "MP4": b"\0\0\0\x18ftypisom",
        "only a PNG signature": b"\x89PNG\r\n\x1a\n",
        "only a JPEG signature": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        "only a BMP signature": b"BM",
        "only a WebP signature": b"RIFF\xff\xff\xff\0WEBPVP8 ",
        "only a TIFF signature": b"II*\0\xff\xff\xff\x7f",
        "only an AVIF signature": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        "only a HEIC signature": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "only a JPEG XL signature": b"\xff\x0a",
        "only a JPEG 2000 signature": b"\xff\x4f\xff\x51\0",
        "only a PNM header": b"P6 300 200 65535\n",
        "only a GIF signature": b"GIF89a\1\0\1\0\0\0\0\xff",
    }.items():
        yield name, partial(_beginning, start)
    yield "PNG of an absurd size", _absurd
    yield "GIF frame that does not fill it", _small_gif
    yield "TIFF YCbCr without JPEG", partial(_pillow, "TIFF", "YCbCr", {})
    for form in ("PNG", "GIF", "WEBP", "TIFF"):
        yield f"{form.replace('WEBP', 'WebP')} of several frames", partial(_animated, form)
    for dtype in ("float32", "float16", "uint32", "int16"):
        yield f"TIFF of {dtype}", partial(_numbers, dtype)
    for kind in (
        "PNG 16 bits of colour type 6",
        "PNG 8 bits of colour type 3, interlaced",
        "JPEG RGB of Pillow {'subsampling': 2}",
        "JPEG CMYK of Pillow {'progressive': True}",
        "WebP RGBA of Pillow {'lossless': True}",
        "WebP RGB of Pillow {'quality': 80}",
        "BMP RGB of Pillow {}",
        "GIF P of Pillow {}",
        "TIFF RGB of Pillow {}",
        "TIFF planes of 16 bits",
        "AVIF of 10 bits",
        "JPEG 2000 of 16 bits",
        "JPEG XL of 8 bits",
        "PNM of kind 6 to 255",
    ):
        yield f"{kind}, truncated", partial(_truncated, READABLE[kind])


READABLE: dict[str, Make] = dict(_readable())
REFUSED: dict[str, Make] = dict(_refused())

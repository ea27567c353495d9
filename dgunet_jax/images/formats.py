"""Which format a file has by its first bytes, and the readers of every format but TIFF.

Sources: W3C, Portable Network Graphics (third edition); ISO/IEC 18181-1 and -2 (JPEG XL, the
header of its codestream and its boxes); ISO/IEC 15444-1, A.5.1 (JPEG 2000, SIZ); AV1-ISOBMFF 2.3
(AV1CodecConfigurationBox); netpbm's pgm(5) and ppm(5).
"""

import dataclasses
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dgunet_jax.images import tiff
from dgunet_jax.images.metadata import cmyk_to_srgb, turned_upright
from dgunet_jax.images.stored import DamagedFile, Stored, check_single, to_full_range
from dgunet_jax.system.errors import UserError

BEGINNING = 64
"""How many bytes of a file tell its format."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    _PNG: "PNG",
    b"\xff\xd8\xff": "JPEG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    **dict.fromkeys((b"GIF87a", b"GIF89a"), "GIF"),
    b"BM": "BMP",
    **dict.fromkeys((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), "JPEG XL"),
    **dict.fromkeys((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    **{b"P%d%c" % (n, space): "PNM" for n in range(1, 7) for space in b" \n\r\t"},
    **{b"P%c%c" % (kind, space): "PFM" for kind in b"Ff" for space in b" \n\r\t"},
    b"II\xbc\1": "JPEG XR",
    b"8BPS\0": "a Photoshop file",
    b"\x76\x2f\x31\x01": "OpenEXR",
    **dict.fromkeys((b"#?RADIANCE", b"#?RGBE"), "Radiance HDR"),
    b"P7\n": "PAM",
    b"qoif": "QOI",
    b"\x93NUMPY": "a NumPy array",
    **dict.fromkeys((b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0"), "a camera raw file"),
}
_BRANDS = {  # of files of boxes (ISO/IEC 14496-12); what comes first counts
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), "HEIC"),
    b"crx ": "a camera raw file",
}
_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "YCbCr": "RGB", "I;16": "L"}  # what they become
_PNG_MODES = {0: "L", 2: "RGB", 3: "RGB", 4: "LA", 6: "RGBA"}  # of its colour types
_PNG_READ = {b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iCCP"}
_PNG_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_PNG_COLOURS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}  # bytes
_JXL_RATIOS = (0, 1, 12 / 10, 4 / 3, 3 / 2, 16 / 9, 5 / 4, 2)  # of width to height
_PNM = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})" + rb"\s")


def recognise(start: bytes) -> str | None:
    """Return the name of a picture format, None if it is none that is known.

    Args:
      start: the first `BEGINNING` bytes of a file.
    """
    if start[4:8] == b"ftyp":
        brands = start[8 : min(len(start), int.from_bytes(start[:4], "big"))]
        return next((name for brand, name in _BRANDS.items() if brand in brands), None)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _SIGNATURES.items() if start.startswith(magic)), None)


def _stored(
    name: str,
    size: tuple[int, int],
    mode: str,
    decode: Callable[[], NDArray[Any]],
    info: Mapping[Any, Any],
    bits: int = 8,
) -> Stored:
    """Describe a picture in Pillow's terms: width and height, mode and info."""
    return Stored(
        format=name,
        height=size[1],
        width=size[0],
        channels=1 if mode in ("L", "LA") else 3,
        decode=decode,
        has_alpha=mode in ("LA", "RGBA"),
        bits=bits,
        icc_profile=info.get("icc_profile") if mode != "CMYK" else None,
        exif=info.get("exif"),
        xmp=info.get("xmp"),
    )


def _pillow(name: str, image: ImageFile.ImageFile) -> Stored:
    """Describe a picture that Pillow decodes."""
    check_single(getattr(image, "n_frames", 1))
    mode = _MODES.get(image.mode, image.mode)
    if "transparency" in image.info and not mode.endswith("A"):
        mode += "A"
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise UserError(f"its colours, Pillow's {image.mode}, are not read")

    def decode() -> NDArray[np.uint8]:
        if mode == "CMYK":
            return cmyk_to_srgb(image, image.info.get("icc_profile"))
        return np.atleast_3d(np.array(image.convert(mode)))

    return _stored(name, image.size, mode, decode, image.info)


def _deep(stored: Stored, bits: int, decode: Callable[[Any], NDArray[Any]]) -> Stored:
    """Describe a picture of more than 8 bits, of which Pillow would return 8.

    Args:
      decode: returns its samples; gets imagecodecs.
    """
    shape = stored.height, stored.width, stored.channels + stored.has_alpha

    def decoded() -> NDArray[np.uint16]:
        import imagecodecs

        samples = np.atleast_3d(to_full_range(decode(imagecodecs), (1 << bits) - 1))
        return np.broadcast_to(samples, shape)  # AVIF may store grey, which Pillow calls RGB

    return dataclasses.replace(stored, bits=16, decode=decoded)


def _png(file: BinaryIO) -> Stored:
    chunks = list(_chunks(file, pixels=False))
    split = [name for name, _ in chunks].index(b"IDAT")
    # Pillow gets what it is to read, EXIF and texts behind the pixels too. What may be wrong in
    # other chunks does not matter.
    read = [chunk for chunk in chunks[:split] if chunk[0] in _PNG_READ]
    read += [each for each in chunks if each[0] == b"eXIf" or each[1].startswith(_PNG_TEXTS)]
    parts = [_PNG, *(png_chunk(*each) for each in (*read, (b"IDAT", b"")))]
    image = PngImageFile(io.BytesIO(b"".join(parts)))
    check_single(getattr(image, "n_frames", 1))
    depth, colour = chunks[0][1][8:10]
    mode = _PNG_MODES[colour] + "A" * ("transparency" in image.info)

    def decode() -> NDArray[Any]:
        import imagecodecs

        for _ in _chunks(file):  # verifies all checksums
            pass
        file.seek(0)
        return np.atleast_3d(imagecodecs.png_decode(file.read()))

    return dataclasses.replace(
        _stored("PNG", image.size, mode, decode, image.info, bits=16 if depth == 16 else 8),
        exif=image.info.get("exif") or _raw_profile(image.info.get("Raw profile type exif", "")),
        colour_chunks=tuple(
            (name, content)
            for name, content in dict(reversed(chunks)).items()  # the first of a name counts
            if _PNG_COLOURS.get(name) == len(content)
        ),
    )


def _chunks(file: BinaryIO, pixels: bool = True) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and contents of a PNG file's chunks, the image data only if it is wanted.

    Raises:
      DamagedFile: the file is truncated, or a checksum of what is read is wrong.
    """
    end, name = file.seek(0, 2), b""
    file.seek(len(_PNG))
    while name != b"IEND":
        start = file.read(8)
        length, name = struct.unpack(">I4s", start.ljust(8, b"\0"))
        behind = file.tell() + length + 4
        if len(start) < 8 or behind > end:
            raise DamagedFile("it is truncated")
        if name == b"IDAT" and not pixels:
            file.seek(behind)
            yield name, b""
            continue
        content = file.read(length)
        if file.read(4) != struct.pack(">I", zlib.crc32(content, zlib.crc32(name))):
            raise DamagedFile(f"the checksum of its {name.decode('latin-1')} chunk is wrong")
        yield name, content


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", checksum)


def _raw_profile(text: str | bytes) -> bytes | None:
    """Return an EXIF block as ImageMagick writes it: a name, a length, hexadecimal digits."""
    try:
        digits = (text.decode("latin-1") if isinstance(text, bytes) else text).split()[2:]
        return bytes.fromhex("".join(digits)) or None
    except ValueError:
        return None


def _gif(file: BinaryIO) -> Stored:
    image = GifImageFile(file)
    if image.tile and image.tile[0].extents != (0, 0, *image.size):
        raise UserError("its frame does not fill the picture, which is not read")
    return _pillow("GIF", image)


def _avif(file: BinaryIO) -> Stored:
    image = AvifImageFile(file)
    stored = _pillow("AVIF", image)
    file.seek(0)
    content = file.read()
    flags = content[content.find(b"av1C") + 6]
    if not flags & 0x40:
        return stored
    bits = 12 if flags & 0x20 else 10
    return _deep(stored, bits, lambda codecs: codecs.avif_decode(content, numthreads=1))


def _jpeg_2000(file: BinaryIO) -> Stored:
    image = Jpeg2KImageFile(file)
    stored = _pillow("JPEG 2000", image)
    file.seek(0)
    content = file.read()
    # Behind the start of the codestream and 36 bytes: three for each component, the first of them
    # its bits less one, and whether they are signed.
    at = content.index(b"\xff\x4f\xff\x51") + 40
    (components,) = struct.unpack_from(">H", content, at)
    depths = {*content[at + 2 : at + 2 + 3 * components : 3]}
    bits = max(depths) + 1
    if bits <= 8:
        return stored
    if len(depths) > 1 or bits > 16 or components != stored.channels + stored.has_alpha:
        raise UserError("only whole numbers of up to 16 bits are read, as many in all channels")
    return _deep(stored, bits, lambda codecs: codecs.jpeg2k_decode(content, numthreads=1))


def _heic(file: BinaryIO) -> Stored:
    try:
        import pillow_heif
    except ImportError:
        raise UserError("is HEIC; to read it, install dgunet_jax[heif]") from None
    images = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
    check_single(len(images))
    mode, _, deep = images.mode.replace("I;16", "L;16").partition(";")
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise UserError(f"its colours, {images.mode}, are not read")
    bits = images.info["bit_depth"]

    def decode() -> NDArray[Any]:
        samples = np.atleast_3d(np.asarray(images))
        # Values of 10 and 12 bits lie in the upper bits.
        return to_full_range(samples >> (16 - bits), (1 << bits) - 1) if deep else samples

    # The decoder has turned it upright.
    _, exif, xmp = turned_upright(images.info.get("exif"), images.info.get("xmp"))
    info = {**images.info, "exif": exif, "xmp": xmp}
    return _stored("HEIC", images.size, mode, decode, info, bits=16 if deep else 8)


def _pnm(file: BinaryIO) -> Stored:
    start = file.read(2)
    file.seek(0)
    if start in (b"P1", b"P4"):
        return _pillow("PNM", PpmImageFile(file))
    content = file.read()
    header = _PNM.match(content)
    if header is None:
        raise DamagedFile("its header is not that of a PNM file")
    kind, width, height, peak = map(int, header.groups())
    channels = 1 if kind in (2, 5) else 3
    count, wide = height * width * channels, 1 + (peak > 255)
    if not 0 < peak < 1 << 16:
        raise DamagedFile(f"its largest value is {peak}")
    if kind in (5, 6) and _PNM.match(content, header.end() + wide * count):
        check_single(2)

    def decode() -> NDArray[Any]:
        if kind in (5, 6):
            values = np.frombuffer(content, f">u{wide}", count, header.end())
        else:
            values = np.array(content[header.end() :].split(), np.uint16)
        return to_full_range(values, peak).reshape(height, width, channels)

    return Stored("PNM", height, width, channels, 8 * wide, False, decode)


def _jpeg_xl(file: BinaryIO) -> Stored:
    """Decode at once: the library has no way to read a header alone.

    Only size and depth are looked up before, to check the one and to scale by the other.
    """
    import imagecodecs

    content = file.read()
    start = re.search(rb"^(?=\xff\x0a)|jxlc(?=\xff\x0a)|jxlp....(?=\xff\x0a)", content, re.S)
    if start is None:
        raise DamagedFile("it holds no codestream")
    bits = _Bits(content[start.end() + 2 :][:64])
    height, width = bits.size()
    depth = 8
    _stored("JPEG XL", (width, height), "RGB", lambda: np.zeros(0), {})  # is not too large
    if not bits.take(1):  # else all is as most common
        if bits.take(1):
            bits.take(3)  # the orientation: the decoder turns it upright
            if bits.take(1):
                bits.size()  # at which it is to be shown
            if bits.take(2):
                raise UserError("holds a preview or an animation; only single pictures are read")
        if bits.take(1):
            raise UserError("its values are floating-point numbers, which are not read")
        depth = bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    samples = imagecodecs.jpegxl_decode(content, numthreads=1)
    samples = np.atleast_3d(to_full_range(samples, (1 << depth) - 1))
    height, width, channels = samples.shape
    mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    at = content.find(b"Exif\0\0\0\0") if content.startswith(b"\0") else len(content)
    exif = content[at + 8 : at - 4 + int.from_bytes(content[at - 4 : at], "big")]
    info = {"exif": turned_upright(exif)[1]}
    return _stored("JPEG XL", (width, height), mode, lambda: samples, info, 8 * samples.itemsize)


class _Bits:
    """The fields of a JPEG XL header, which begin with the lowest bit of each byte."""

    def __init__(self, content: bytes):
        self._value = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """Return a number of `count` bits."""
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Return the offset that two bits choose, plus the number of as many bits as it has."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)

    def size(self) -> tuple[int, int]:
        """Return height and width."""
        small = self.take(1)
        height = self._side(small)
        ratio = _JXL_RATIOS[self.take(3)]
        return height, int(height * ratio) if ratio else self._side(small)

    def _side(self, small: int) -> int:
        return 8 * (1 + self.take(5)) if small else self.choose((1, 9), (1, 13), (1, 18), (1, 30))


READERS: dict[str, Callable[[BinaryIO], Stored]] = {
    "AVIF": _avif,
    "BMP": lambda file: _pillow("BMP", BmpImageFile(file)),
    "GIF": _gif,
    "HEIC": _heic,
    "JPEG": lambda file: _pillow("JPEG", JpegImageFile(file)),
    "JPEG 2000": _jpeg_2000,
    "JPEG XL": _jpeg_xl,
    "PNG": _png,
    "PNM": _pnm,
    "TIFF": tiff.scan,
    "WebP": lambda file: _pillow("WebP", WebPImageFile(file)),
}
"""For every format that is read: its name, and what reads all of a file but its pixels."""

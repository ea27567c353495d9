"""Which format a file has, by its first bytes, where that is not one that is read."""

from pathlib import Path

from dgunet_jax.images.stored import FORMATS, OTHER_ENDINGS, NotAPicture
from dgunet_jax.system.errors import UserError

BEGINNING = 64
"""How many bytes of a file tell its format."""

_NAMES = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II\xbc\1": "JPEG XR",
    b"8BPS\0": "a Photoshop file",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"qoif": "QOI",
    b"\x93NUMPY": "a NumPy array",
    b"FUJIFILMCCD-RAW": "a camera raw file",
    b"IIRO": "a camera raw file",
    b"IIU\0": "a camera raw file",
    **{b"P%d%c" % (n, space): "PNM" for n in range(1, 8) for space in b" \n\r\t"},
    **{b"P%c%c" % (kind, space): "PFM" for kind in b"Ff" for space in b" \n\r\t"},
}
_BRANDS = {  # of files of boxes (ISO/IEC 14496-12); what comes first counts
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), "HEIC"),
    **dict.fromkeys((b"crx ",), "a camera raw file"),
}


def refusal(start: bytes) -> UserError:
    """Return why a file is not read: it is of another picture format, or is not a picture.

    Args:
      start: its first `BEGINNING` bytes, which are not those of a format that is read.
    """
    name = next((name for magic, name in _NAMES.items() if start.startswith(magic)), None)
    if start[4:8] == b"ftyp":
        brands = start[8 : min(len(start), int.from_bytes(start[:4], "big"))]
        name = next((name for brand, name in _BRANDS.items() if brand in brands), name)
    if name is None:
        formats = ", ".join(FORMATS)
        return NotAPicture(f"not a picture, or damaged (formats read: {formats})")
    return UserError(f"is {name}; only {', '.join(FORMATS[:-1])} and {FORMATS[-1]} files are read")


def must_be_read(path: Path, why: UserError) -> bool:
    """Return whether a file that is not read is a picture, by its content or its ending.

    Args:
      why: what `reading.read_header` raised.
    """
    return not isinstance(why, NotAPicture) or path.suffix.lower() in OTHER_ENDINGS

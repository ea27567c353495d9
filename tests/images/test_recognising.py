"""Picture formats that are not read: each is named for what it is."""

from pathlib import Path

import pytest

from dgunet_jax.images.reading import read_header
from dgunet_jax.images.recognising import must_be_read, refusal
from dgunet_jax.images.stored import NotAPicture
from dgunet_jax.system.errors import UserError

FORMATS = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "PNM": b"P5\n31 37\n65535\n",
    "PFM": b"PF\n31 37\n-1.0\n",
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "a Photoshop file": b"8BPS\0\1",
    "a NumPy array": b"\x93NUMPY\1\0",
    "a camera raw file": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
}
OTHERS = {
    "MP4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    "QuickTime with a picture's name behind its brands": b"\0\0\0\x14ftypqt  \0\0\0\0qt  heic",
    "text": b"P5 is a number\n"[1:],
}


@pytest.mark.parametrize("name", FORMATS)
def test_read_header_names_formats_that_are_not_read(tmp_path: Path, name: str):
    path = tmp_path / "picture.png"
    path.write_bytes(FORMATS[name])
    with pytest.raises(UserError) as caught:
        read_header(path)
    formats = "BMP, GIF, JPEG, PNG, TIFF and WEBP"
    assert str(caught.value) == f"{path}: is {name}; only {formats} files are read"
    assert must_be_read(Path("without an ending"), caught.value)


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_refusal_knows_what_is_not_a_picture(content: bytes):
    error = refusal(content)
    assert isinstance(error, NotAPicture)
    assert not must_be_read(Path("a.mp4"), error)
    assert must_be_read(Path("a.HEIC"), error)

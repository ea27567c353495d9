"""Picture files: read at full depth and upright, written without loss."""

from dgunet_jax.images.io import (
    ENDINGS,
    FORMATS,
    OTHER_ENDINGS,
    Encoded,
    check_writable,
    encode,
    jpeg_quality,
    must_be_read,
    read,
    read_header,
    read_image,
    read_rgb,
    write,
)
from dgunet_jax.images.picture import Picture, bands, captioned, grey, luma, side_by_side, to_uint8
from dgunet_jax.images.stored import Header, NotAPicture

__all__ = [
    "ENDINGS",
    "FORMATS",
    "OTHER_ENDINGS",
    "Encoded",
    "Header",
    "NotAPicture",
    "Picture",
    "bands",
    "captioned",
    "check_writable",
    "encode",
    "grey",
    "jpeg_quality",
    "luma",
    "must_be_read",
    "read",
    "read_header",
    "read_image",
    "read_rgb",
    "side_by_side",
    "to_uint8",
    "write",
]

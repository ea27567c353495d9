"""ICC colour profiles: which ones are kept, and CMYK through its profile to sRGB.

Source: ICC.1:2022, 7.2 (the header of a profile).
"""

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_HEADER = 128
# Grey pixels of an RGB profile are RGB pixels with three equal channels.
_SPACES = {1: (b"GRAY", b"RGB "), 3: (b"RGB ",), 4: (b"CMYK",)}


def usable(profile: bytes | None, channels: int) -> bytes | None:
    """The profile if it is one and can be that of grey (1), RGB (3) or CMYK (4), else None."""
    if not profile or len(profile) < _HEADER or profile[36:40] != b"acsp":
        return None
    if int.from_bytes(profile[:4], "big") > len(profile):
        return None
    return profile if profile[16:20] in _SPACES[channels] else None


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> NDArray[np.uint8]:
    """CMYK as sRGB: through its profile, or, without a usable one, R = (1 − C) (1 − K) and so on.

    The profile is applied relative to the white of the paper and with black point compensation.

    Args:
      image: of Pillow's mode CMYK.
      profile: its colour profile, if it has one.

    Returns:
      uint8 (H, W, 3).
    """
    if (found := usable(profile, 4)) is not None:
        try:
            return np.array(_through_profile(image, io.BytesIO(found)))
        except ImageCms.PyCMSError:
            pass  # the profile is damaged behind its header
    return np.array(image.convert("RGB"))


def _through_profile(image: Image.Image, profile: BinaryIO) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        profile,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # it is only when converting in place
    return converted

"""The pictures of a report, as data that is part of the page."""

import base64

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.evaluation.restored import Restored
from dgunet_jax.evaluation.samples import to_float
from dgunet_jax.images import jpeg, png
from dgunet_jax.images.picture import Picture, to_uint8

LARGEST_ERROR = 0.1  # where the colours of an error map end
_LARGEST_SIDE = 960  # pixels; what is larger is shrunk
_LARGEST_PNG = 2**16  # pixels; what is larger becomes JPEG


def figures(restored: Restored, sampled: bool = False) -> list[tuple[str, str]]:
    """Input, restored picture, target and error map: what each is, and its data URI.

    What was `sampled` has no input that is a picture; some data sets have no targets.
    """
    shown = [] if sampled else [("input", to_uint8(restored.degraded))]
    shown += [("restored", to_uint8(restored.image))]
    if restored.target is not None:
        error = error_map(restored.image, to_float(restored.target))
        shown += [("target", restored.target), ("error", error)]
    return [(what, _data_uri(pixels)) for what, pixels in shown]


def error_map(image: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The mean absolute error of the channels, black at 0, brightest at `LARGEST_ERROR` and above.

    Args:
      image: (H, W, C), clamped to [0, 1] first.
      target: the same shape.

    Returns:
      (H, W, 3), RGB.
    """
    error = np.abs(image.clip(0, 1) - target).mean(axis=2) / LARGEST_ERROR
    return colormaps["inferno"](error.clip(0, 1), bytes=True)[..., :3]


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    height, width = pixels.shape[:2]
    shrink = max(height, width) / _LARGEST_SIDE
    if shrink > 1:
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        pixels = np.asarray(image.resize(size, Image.Resampling.BOX))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
    picture = Picture(pixels)
    small = pixels.shape[0] * pixels.shape[1] <= _LARGEST_PNG
    kind, content = ("png", png.encode(picture)) if small else ("jpeg", jpeg.encode(picture))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

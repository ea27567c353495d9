"""What degrades clean pictures: pure functions of a picture, numbers and a generator."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal

from dgunet_jax.data.kernels import (
    Kernel,
    disk_kernel,
    gaussian_kernel,
    line_kernel,
    motion_kernel,
)
from dgunet_jax.system.errors import UserError

Array = NDArray[np.float32]

_LEAN = math.radians(30)  # of rain, at most
_PATCHES = 4  # of fog that is thicker or thinner, along a side


def gaussian_noise(
    clean: NDArray[np.floating], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add white Gaussian noise: noisy = clean + σ/255 · n, n ~ N(0, 1) for every value.

    The result is not clipped to [0, 1]. Noise and sum are computed in float64 and rounded once.

    Args:
      clean: floating point in [0, 1], any shape.
      sigma: σ, standard deviation of the noise on the [0, 255] scale.
      rng: what draws n; advanced by as many normal numbers as `clean` has values.

    Returns:
      float32, the shape of `clean`.

    Raises:
      UserError: σ is negative or not finite, or `clean` is not floating point.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise UserError(f"sigma is {sigma}; it must be a finite number, at least 0")
    if not np.issubdtype(clean.dtype, np.floating):
        raise UserError(f"noise is added to floating-point images in [0, 1]; got {clean.dtype}")
    noise = rng.standard_normal(clean.shape)
    return (clean + (sigma / 255) * noise).astype(np.float32)


def camera_noise(
    clean: NDArray[np.float32], shot: float, rng: np.random.Generator, *, reduction: float = 0.0
) -> NDArray[np.float32]:
    """Add the noise of a sensor, as a camera passes it on.

    The picture is taken back to linear light and to the sensor's own gains. There every value z of
    the Bayer mosaic has noise of the variance `shot`·z + r (Poisson-Gaussian), log r = 2.18 log
    `shot` + 1.2 + 0.26 n, n ~ N(0, 1), cameras' usual read noise. The noise, not the picture, is
    demosaiced bilinearly, so that it is correlated between pixels and channels and the picture
    stays sharp; gains (red and blue 1.2 to 2.4) and the sRGB curve are applied again. Source of the
    noise's model: Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019.

    Args:
      clean: RGB (H, W, 3) in [0, 1].
      shot: variance for a unit of light, 1 being white; cameras have 0.0001 to 0.012.
      rng: what draws gains, position of the mosaic and noise.
      reduction: how far the camera has smoothed the noise, 0 to 1 (`snapshot_noise`).

    Returns:
      float32, the shape of `clean`, clipped to [0, 1].
    """
    gains = np.array([rng.uniform(1.2, 2.4), 1.0, rng.uniform(1.2, 2.4)], np.float32)
    read = math.exp(2.18 * math.log(shot) + 1.2 + 0.26 * rng.standard_normal())
    light = _light(clean) / gains
    noise = rng.standard_normal(clean.shape[:2], np.float32)
    top, left = rng.integers(2, size=2)
    spread = np.zeros_like(light, np.float32)
    for channel, places in enumerate((((0, 0),), ((0, 1), (1, 0)), ((1, 1),))):
        for row, column in places:
            where = slice((row + top) % 2, None, 2), slice((column + left) % 2, None, 2)
            variance = shot * light[*where, channel] + read
            spread[*where, channel] = noise[where] * np.sqrt(variance)
        kernel = _BILINEAR[len(places)]
        spread[..., channel] = ndimage.convolve(spread[..., channel], kernel, mode="mirror")
    if reduction:
        spread = _smoothed(spread, reduction, rng)
    return _curved(((light + spread) * gains).clip(0, 1))


# Weights of the neighbours that have a colour, by how many of four sensors do.
_BILINEAR = {
    1: np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4,
    2: np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4,
}


def snapshot_noise(
    clean: NDArray[np.float32], shot: float, reduction: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add the noise of a camera that reduces noise itself, as `camera_noise`.

    What noise reduction leaves is coarse, and coarser in colour than in brightness. Here a part of
    the demosaiced noise is replaced by the same noise blurred by a Gaussian, of 1 to 3 pixels, and
    of twice that in the differences of the channels from their mean, which also get weaker. In
    pictures of the PolyU and Nam sets noise has a correlation of 0.5 to 0.84 with that of the next
    pixel, 0.2 to 0.65 two pixels on, and 0.4 to 0.85 between channels; a `reduction` of 0.2 to 1
    gives such numbers. In the differences reduction is between that and 1, as cameras smooth colour
    more than brightness. The strength stays that of `shot`.

    Args:
      clean: RGB (H, W, 3) in [0, 1].
      shot: as that of `camera_noise`.
      reduction: 0 leaves the noise as it is; of 1, an eighth of the fine noise is left.
      rng: what draws the noise and how wide it is blurred.

    Returns:
      float32, the shape of `clean`, clipped to [0, 1].
    """
    return camera_noise(clean, shot, rng, reduction=reduction)


_FINE = 0.12  # of the noise, that the strongest reduction leaves
_COLOUR = 0.18  # and of that, in the differences of the channels


def _smoothed(noise: Array, reduction: float, rng: np.random.Generator) -> Array:
    """Replace noise (H, W, 3) by coarser noise with the same variance."""
    width, of_colour = rng.uniform(1, 3), rng.uniform(reduction, 1)
    grey = noise.mean(-1, keepdims=True)
    colour = 0.5**of_colour * _mixed(noise - grey, _COLOUR**of_colour, 2 * width)
    grey = _mixed(grey, _FINE**reduction, width)
    coarse = grey + colour
    scale = math.sqrt((noise**2).mean() / (coarse**2).mean())
    return (coarse * scale).astype(np.float32)


def _mixed(noise: Array, fine: float, width: float) -> Array:
    blurred = ndimage.gaussian_filter(noise, (width, width, 0), mode="mirror", truncate=3)
    return (fine * noise + (1 - fine) * blurred).astype(np.float32)


def jpeg(
    image: NDArray[np.float32], quality: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Store a picture as JPEG and read it again.

    Args:
      image: RGB (H, W, 3); it is clipped to [0, 1] and rounded to 8 bits.
      quality: 1 to 100, rounded to a whole number; libjpeg's, with colour at half the resolution.
      rng: draws nothing.

    Returns:
      float32 in [0, 1], the shape of `image`.
    """
    file = io.BytesIO()
    Image.fromarray(_bytes(image)).save(file, "JPEG", quality=round(quality), subsampling="4:2:0")
    with Image.open(file) as stored:
        return np.asarray(stored, np.float32) / np.float32(255)


def rounded(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Clip a picture to [0, 1] and round it to 8 bits, as a file of it is.

    Args:
      image: any shape.
      rng: draws nothing.

    Returns:
      float32, the shape of `image`.
    """
    return _bytes(image).astype(np.float32) / np.float32(255)


def left_clean(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a picture as it is: for networks that sample it themselves."""
    return image


def _bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return (image * 255).round().clip(0, 255).astype(np.uint8)


def _light(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """sRGB's values to linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _curved(light: NDArray[np.floating]) -> Array:
    """Linear light to sRGB's values."""
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return curved.astype(np.float32)


def shake(image: Array, length: float, rng: np.random.Generator) -> Array:
    """Blur a picture by a camera that moves on an arc (`kernels.motion_kernel`).

    Beyond the border the picture is mirrored. The network is not told the kernel, as it is of the
    operator `motion_blur`.

    Args:
      image: (H, W, C).
      length: of the way, in pixels.
      rng: draws direction and curvature.
    """
    return _blurred(image, motion_kernel(rng, _side(length / 2), length))


def defocus(image: Array, radius: float, rng: np.random.Generator) -> Array:
    """Blur a picture by a disk, as `shake`; `radius` in pixels, and `rng` draws nothing."""
    return _blurred(image, disk_kernel(_side(radius), radius))


def soften(image: Array, deviation: float, rng: np.random.Generator) -> Array:
    """Blur a picture by a Gaussian, as `shake`; `deviation` in pixels, and `rng` draws nothing."""
    return _blurred(image, gaussian_kernel(_side(3 * deviation), deviation))


def _side(reach: float) -> int:
    return 2 * math.ceil(reach) + 1


def _blurred(image: Array, kernel: Kernel) -> Array:
    reach = len(kernel) // 2
    # The mirror image may be shorter than the kernel reaches.
    wide = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "symmetric")
    blurred = signal.oaconvolve(wide, kernel[..., None], "valid", axes=(0, 1))
    return blurred.astype(np.float32)


def rain(image: Array, cover: float, length: float, rng: np.random.Generator) -> Array:
    """Let it rain: 1 − (1 − x)(1 − s), s streaks that lean to one side by at most 30°.

    Args:
      image: (H, W, C) in [0, 1].
      cover: the share of the pixels that streaks would cover if none met another.
      length: of a streak, in pixels.
      rng: draws the direction, the places, and how bright each streak is, 0.2 to 0.8.
    """
    angle = math.pi / 2 + rng.uniform(-_LEAN, _LEAN)
    kernel = line_kernel(_side(length / 2), length, angle)
    drops = rng.random(image.shape[:2], np.float32) < cover / length
    drops = drops * rng.uniform(0.2, 0.8, image.shape[:2])
    streaks = signal.oaconvolve(drops, kernel / kernel.max(), "same").clip(0, 1)[..., None]
    return (1 - (1 - image) * (1 - streaks)).astype(np.float32)


def haze(image: Array, thickness: float, rng: np.random.Generator) -> Array:
    """Put haze between picture and eye: x t + a (1 − t), t = exp(−`thickness` · d).

    The depth d, 0 to 1, grows towards the upper edge and changes smoothly from place to place, as
    that of the picture is not known; a, 0.7 to 1, is the grey of the air. Source of the formula:
    Koschmieder, 1924.

    Args:
      image: (H, W, C) in [0, 1].
      thickness: β of the farthest point.
      rng: draws d and a.
    """
    height, width = image.shape[:2]
    coarse = rng.random((_PATCHES, _PATCHES))
    rows = np.linspace(0, _PATCHES - 1, height)[:, None]
    columns = np.linspace(0, _PATCHES - 1, width)
    places = np.broadcast_arrays(rows, columns)
    smooth = ndimage.map_coordinates(coarse, places, order=3, mode="nearest").clip(0, 1)
    depth = 0.6 * (1 - rows / (_PATCHES - 1)) + 0.4 * smooth
    air = rng.uniform(0.7, 1)
    through = np.exp(-thickness * depth)[..., None]
    return (image * through + air * (1 - through)).astype(np.float32)


def low_light(image: Array, exposure: float, rng: np.random.Generator) -> Array:
    """Take a picture with less light: linear light times `exposure`, and sRGB's curve again.

    A camera's noise is not part of it: ``low_light(0.02..0.3) | camera(0.001..0.01)``.

    Args:
      image: (H, W, C) in [0, 1].
      exposure: above 0.
      rng: draws nothing.
    """
    return _curved(_light(image) * exposure)

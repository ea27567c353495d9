"""The input pixels that a patch of an estimate depends on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from dgunet_jax.analysis.stages import sweep
from dgunet_jax.models.unfold import Trace, Unfolded, trace
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError

Array = jax.Array


class Patch(NamedTuple):
    """A rectangle of pixels: left column, upper row, width, height."""

    x: int
    y: int
    width: int
    height: int

    def check(self, height: int, width: int) -> None:
        """Check that the patch lies within an image of this size.

        Raises:
          UserError: it is empty or does not.
        """
        inside = self.x >= 0 and self.y >= 0 and min(self.width, self.height) > 0
        if not inside or self.x + self.width > width or self.y + self.height > height:
            raise UserError(f"{self}: must lie within the {width}×{height} pixels")

    def __str__(self) -> str:
        return f"patch {self.x} {self.y} {self.width} {self.height} (X Y W H)"

    def moved(self, x: int, y: int) -> "Patch":
        return self._replace(x=self.x + x, y=self.y + y)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column; the centres of pixels are whole numbers."""
        return self.y + (self.height - 1) / 2, self.x + (self.width - 1) / 2

    def mean(self, image: Array) -> Array:
        """Return the mean of the patch over pixels, summed over channels, (N,)."""
        part = image[:, self.y : self.y + self.height, self.x : self.x + self.width]
        return part.mean(axis=(1, 2)).sum(axis=-1)


@highest
def saliency(unfolded: Unfolded, inputs: Array, trace: Trace, patch: Patch, stage: int) -> Array:
    """Return Σ_channels |∂(mean of the patch of x_k)/∂inputs|, (N, H, W); k VJPs of stages.

    Source: Simonyan, Vedaldi, Zisserman, ICLR workshop 2014, for a patch instead of a class.

    Args:
      unfolded, inputs, trace: a network, its inputs, and what `dgunet_jax.trace` returns.
      patch: of the estimate.
      stage: k, from 1 to K.
    """
    return jnp.abs(_patch_gradient(unfolded, inputs, trace, patch, stage)).sum(axis=-1)


@highest
def effective_radius(
    saliency: NDArray[np.floating], patch: Patch, parts: Sequence[float] = (0.5, 0.95)
) -> NDArray[np.float64]:
    """Return radii of the discs about the patch's centre that hold parts of a saliency map, pixels.

    This is the effective receptive field of Luo et al., NeurIPS 2016, about a patch instead of one
    pixel. It is much smaller than what an estimate could depend on. A map ends at its border, so a
    radius that reaches it could be larger.

    Args:
      saliency: (H, W), not negative.
      patch: its centre is that of the discs.
      parts: of the map's sum, in (0, 1].

    Returns:
      (len(parts),): the distance of the pixel that completes each part, from 0 to that of the
      farthest corner; NaN if the map is zero or not finite.
    """
    rows, columns = np.indices(saliency.shape)
    row, column = patch.centre
    distances = np.hypot(rows - row, columns - column).ravel()
    order = np.argsort(distances, kind="stable")
    held = np.cumsum(saliency.ravel()[order], dtype=np.float64)
    if not 0 < held[-1] < np.inf:
        return np.full(len(parts), np.nan)
    # Rounding must not push the last pixel beyond the end.
    found = np.searchsorted(held, np.asarray(parts) * held[-1] * (1 - 1e-12))
    return distances[order][found.clip(max=len(order) - 1)]


class Attribution(NamedTuple):
    """Integrated gradients of a score.

    Attributes:
      map: each pixel's part of the score, signed, summed over channels, (N, H, W).
      total: score(end) − score(start) of the path, (N,): what the map should sum to.
      error: |Σ map − total| / |total|, (N,); shrinks with more points on the path.
    """

    map: NDArray[np.float64]
    total: NDArray[np.float64]
    error: NDArray[np.float64]


def blur_path(image: NDArray[np.floating], largest: float, points: int) -> list[NDArray]:
    """Return images from the most blurred to the sharp one, for `integrated_gradients`.

    Gaussian blurs of standard deviation `largest` · (1 − j / (points − 1))² pixels, j = 0 …
    points − 1, with reflected borders: the path of Xu, Venugopalan, Sundararajan (CVPR 2020), on
    which nothing appears that is not in the image. They shrink quadratically since the last pixel
    of blur hides most of the detail.

    Args:
      image: (N, H, W, C).
      largest: in pixels.
      points: at least 2.
    """
    deviations = [largest * (1 - j / (points - 1)) ** 2 for j in range(points)]
    return [
        scipy.ndimage.gaussian_filter(image, (0, s, s, 0)) if s else np.asarray(image)
        for s in deviations
    ]


@highest
def integrated_gradients(
    score: Callable[[Array], tuple[Array, Array]], path: Sequence[NDArray]
) -> Attribution:
    """Return ∫ ∇s · dy along a path: Σ_j ½(∇s(y_j) + ∇s(y_{j+1})) ⊙ (y_{j+1} − y_j).

    Source: Sundararajan, Taly, Yan, ICML 2017; local attribution maps of restoration networks by
    blurred paths: Gu and Dong, CVPR 2021. The trapezoidal rule is exact for quadratic scores on
    straight paths.

    Args:
      score: returns the score of images, (N,), and its gradient, (N, H, W, C).
      path: images from the baseline to the one that is explained, at least two.
    """
    found = zip(*(score(jnp.asarray(image)) for image in path), strict=True)
    scores, gradients = (np.stack(each).astype(np.float64) for each in found)
    steps = np.diff(np.stack(path).astype(np.float64), axis=0)
    parts = (0.5 * (gradients[:-1] + gradients[1:]) * steps).sum(axis=-1)
    total = scores[-1] - scores[0]
    attributed = parts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(attributed.sum(axis=(1, 2)) - total) / np.abs(total)
    return Attribution(attributed, total, error)


def patch_score(unfolded: Unfolded, patch: Patch) -> Callable[[Array], tuple[Array, Array]]:
    """Return the mean of a patch of x_K as a score for `integrated_gradients`."""

    def score(inputs: Array) -> tuple[Array, Array]:
        traced = trace(unfolded, inputs)
        gradient = _patch_gradient(unfolded, inputs, traced, patch, len(traced.stages))
        return patch.mean(traced.stages[-1].x), gradient

    return score


def _patch_gradient(
    unfolded: Unfolded, inputs: Array, trace: Trace, patch: Patch, stage: int
) -> Array:
    estimate = trace.stages[stage - 1].x
    cotangent = jax.grad(lambda image: patch.mean(image).sum())(estimate)
    cotangents = [*[None] * (stage - 1), cotangent]
    return sweep(unfolded, inputs, trace, cotangents).inputs


def region(
    height: int, width: int, side: int, multiple: int, around: Patch | None, option: str = "size"
) -> Patch:
    """Return the part of an image that is analysed: of a size that the network takes whole.

    Args:
      height, width: of the image.
      side: the largest height and width, pixels.
      multiple: height and width must be multiples of it.
      around: must lie in it, as near to its centre as possible; None: the image's centre.
      option: the name of `side` in messages.

    Raises:
      UserError: the image is smaller than the multiple, or the patch too large or not within the
        image.
    """
    if min(height, width) < multiple:
        raise UserError(f"{width}×{height} pixels: must be at least {multiple}×{multiple}")
    if side < multiple:
        raise UserError(f"{option} {side}: must be at least {multiple} pixels")
    found_height, found_width = (min(side, n) // multiple * multiple for n in (height, width))
    row, column = (height - 1) / 2, (width - 1) / 2
    if around is not None:
        around.check(height, width)
        if around.width > found_width or around.height > found_height:
            raise UserError(
                f"{around}: must be at most {found_width}×{found_height} pixels large, as {option}"
                f" {side} allows"
            )
        row, column = around.centre
    # About the same centre, the larger holds the smaller, and does so when both lie in the image.
    y = min(max(round(row - (found_height - 1) / 2), 0), height - found_height)
    x = min(max(round(column - (found_width - 1) / 2), 0), width - found_width)
    return Patch(x, y, found_width, found_height)

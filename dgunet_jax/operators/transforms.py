"""Magnetic resonance imaging and tomography: samples of k-space and line integrals."""

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.operators.arrays import concrete, leaf, tracing
from dgunet_jax.operators.imaging import fractions
from dgunet_jax.operators.linear import KnownOperator, measured, unmeasured
from dgunet_jax.system.errors import UserError

Array = jax.Array


@flax.struct.dataclass
class Fourier(KnownOperator):
    """Φx = m · F(s x): samples of k-space, of one coil or of several.

    F is the two-dimensional discrete Fourier transform with the factor 1/√(HW), so that it keeps
    norms, with frequency zero at index 0, as `numpy.fft.fft2`; a mask with frequency zero in the
    middle goes through `numpy.fft.ifftshift` first. Channels are transformed one by one.
    Measurements are complex: (N, H, W, C), and with K coils (N, K, H, W, C). Images are real.

    Without coils ‖Φ‖² = max of (m(ω)² + m(−ω)²)/2 over all ω, since the transform of a real image
    has equal energy at ω and −ω. With coils it is bounded by that times max Σₖ |sₖ|² over pixels,
    with max m² in place of the first, which is attained by a full mask; `with_norm` replaces it by
    a measured norm.

    Attributes:
      mask: m, in [0, 1]: (H, W) for all images or (N, H, W) for each.
      coils: s, the complex sensitivity of each coil: (K, H, W) for all images or (N, K, H, W) for
        each. None: one coil that is 1 everywhere.

    Raises:
      UserError: another number of axes, mask and coils of unequal size, values of the mask outside
        [0, 1], or coils that are not finite.
    """

    mask: Any
    coils: Any = None

    def _check(self) -> None:
        self._set(mask=fractions("mask", self.mask, (2, 3), "(H, W) or (N, H, W)"))
        if self.coils is not None:
            shape = "(K, H, W) or (N, K, H, W)"
            coils = leaf("coils", self.coils, (3, 4), shape, real=False)
            if coils.shape[-2:] != self.mask.shape[-2:]:
                raise UserError(
                    f"coils have the shape {coils.shape} and the mask {self.mask.shape}; the last"
                    " two axes must be the same"
                )
            self._set(coils=coils)

    def forward(self, x: Array) -> Array:
        """Return samples of k-space, 0 where the mask is."""
        self._images(x, self.mask.shape[-2:])
        mask = self._batched(self.mask, 2, x)[..., None]
        kind = jnp.promote_types(x.dtype, jnp.float32)  # there is no narrower FFT
        mask, x = mask.astype(kind), x.astype(kind)
        if self.coils is None:
            return mask * jnp.fft.fft2(x, axes=(1, 2), norm="ortho")
        images = self._batched(self.coils, 3, x)[..., None] * x[:, None]
        return mask[:, None] * jnp.fft.fft2(images, axes=(2, 3), norm="ortho")

    def squared_norm(self) -> Array:
        squared = jnp.square(self.mask)
        keep = self.mask.ndim == 3
        if self.coils is None:
            # Index −ω of each axis: the first one stays, the others are reversed.
            opposite = jnp.roll(squared[..., ::-1, ::-1], 1, axis=(-2, -1))
            largest = ((squared + opposite) / 2).max((-2, -1))
            return largest.reshape(-1, 1, 1, 1) if keep else largest
        power = jnp.square(jnp.abs(self.coils)).sum(-3).max((-2, -1))
        largest = squared.max((-2, -1)) * power
        return largest.reshape(-1, 1, 1, 1) if keep or self.coils.ndim == 4 else largest

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        if self.coils is None:
            n, height, width, channels = y.shape
        else:
            n, _, height, width, channels = y.shape
        return n, height, width, channels


@flax.struct.dataclass
class Radon(KnownOperator):
    """Line integrals of an image, parallel beams: (N, H, W, C) to (N, A, D, C).

    Value j of angle θ is the integral over the line on which

        (column − (W − 1)/2) cos θ + (row − (H − 1)/2) sin θ = j − (D − 1)/2,

    in the unit of the image's values times a pixel's side. Detectors are one pixel apart; outside
    of the image is zero. A line is followed in steps of one row or one column, whichever it crosses
    more steeply, with linear interpolation between the two next pixels (Joseph, An Improved
    Algorithm for Reprojecting Rays Through Pixel Images, IEEE TMI 1982).

    ‖Φ‖² is measured once, from above and within 2 %, when the operator is made. It cannot be while
    JAX is tracing, and must be given then.

    Attributes:
      angles: θ, (A,), radians, for all images.
      shape: (H, W).
      detectors: D; None: enough for the diagonal, so that every pixel is seen at every angle.
      norm: ‖Φ‖², a scalar; None measures it. It belongs to the angles as they are when the operator
        is made.

    Raises:
      UserError: angles that are not (A,) or not finite, or sizes below 1.
    """

    angles: Any
    shape: tuple[int, int] = flax.struct.field(pytree_node=False)
    detectors: int | None = flax.struct.field(pytree_node=False, default=None)
    norm: Any = None

    def _check(self) -> None:
        angles = leaf("angles", self.angles, (1,), "(A,)")
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise UserError(f"shape is {self.shape}; it must be (H, W), both at least 1")
        height, width = map(int, self.shape)
        detectors = self.detectors
        if detectors is None:
            detectors = math.ceil(math.hypot(height, width))
        if detectors < 1:
            raise UserError(f"detectors is {detectors}; it must be at least 1")
        self._set(angles=angles, shape=(height, width), detectors=detectors)
        if self.norm is not None:
            self._set(norm=leaf("norm", self.norm, (0,)))
        elif not tracing() and concrete(angles) is not None:
            self._set(norm=measured(self, (1, height, width, 1)))

    def forward(self, x: Array) -> Array:
        self._images(x, self.shape)
        return _project(self.detectors or 1, self.angles, x)

    def squared_norm(self) -> Array:
        if self.norm is None:
            raise unmeasured(self)
        return self.norm

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, _, _, channels = y.shape
        return n, *self.shape, channels


def _project(detectors: int, angles: Array, x: Array) -> Array:
    height, width = x.shape[1:3]
    side = max(height, width)
    # Rows and columns change places for lines that run along the rows, and zeros are beyond.
    square = jnp.pad(x, ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    turned = square.swapaxes(1, 2)
    rows_first = jnp.arange(side, dtype=x.dtype)[:, None]
    place = jnp.arange(detectors, dtype=x.dtype)[None] - (detectors - 1) / 2
    middle = (height - 1) / 2, (width - 1) / 2

    def project(angle: Array) -> Array:
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        steep = jnp.abs(cos) >= jnp.abs(sin)
        image = jnp.where(steep, square, turned)
        across, along = jnp.where(steep, cos, sin), jnp.where(steep, sin, cos)
        start, centre = jnp.where(steep, middle[0], middle[1]), jnp.where(steep, *middle[::-1])
        where = centre + (place - (rows_first - start) * along) / across  # (side, D)
        before = jnp.floor(where)
        after = where - before
        padded = jnp.pad(image, ((0, 0), (0, 0), (1, 1), (0, 0)))
        values = [
            padded[:, jnp.arange(side)[:, None], jnp.clip(index, 0, side + 1)]
            for index in (before.astype(int) + 1, before.astype(int) + 2)
        ]
        weights = [(weight / jnp.abs(across))[None, ..., None] for weight in (1 - after, after)]
        return (values[0] * weights[0] + values[1] * weights[1]).sum(1)

    return jnp.moveaxis(jax.lax.map(project, angles.astype(x.dtype)), 0, 1)

"""Known degradations."""

from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

Array = jax.Array

BLOCK = 32  # pixels, side of the block that a sampling matrix measures


@flax.struct.dataclass
class Identity:
    """Φ(x) = x."""

    zero_extends: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return x

    def adjoint(self, r: Array, at: Array) -> Array:
        return r

    def start(self, y: Array) -> Array:
        return y


@flax.struct.dataclass
class Within:
    """An operator on images that fill only a part of their arrays: M Φ M and M Φᵀ M.

    What the operator makes of the picture alone, if it commutes with extending images by zeros.

    Attributes:
      operator: Φ, images to images of the same size.
      mask: M, (N, H, W, 1), which pixels belong to the pictures.
    """

    operator: Any
    mask: Array

    def forward(self, x: Array) -> Array:
        return self._inside(self.operator.forward(self._inside(x)))

    def adjoint(self, r: Array, at: Array) -> Array:
        return self._inside(self.operator.adjoint(self._inside(r), at=self._inside(at)))

    def start(self, y: Array) -> Array:
        return self._inside(self.operator.start(y))

    def _inside(self, x: Array) -> Array:
        return jnp.where(self.mask, x, 0)


@flax.struct.dataclass
class SamplingMatrix:
    """Compressive sensing: each 32×32 block of a grey image, flattened row by row, times a matrix.

    Attributes:
      matrix: Φ, (M, 1024).
    """

    matrix: Array

    def forward(self, x: Array) -> Array:
        """Φ x of each block: (N, H, W, 1) to (N, H/32, W/32, M)."""
        n, height, width, _ = x.shape
        blocks = to_blocks(x).reshape(n, height // BLOCK, width // BLOCK, BLOCK * BLOCK)
        return jnp.einsum("nhwp,mp->nhwm", blocks, self.matrix.astype(x.dtype))

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        """Φᵀ r of each block: (N, H/32, W/32, M) to (N, H, W, 1); linear, so `at` has no part."""
        n, rows, columns, _ = r.shape
        blocks = jnp.einsum("nhwm,mp->nhwp", r, self.matrix.astype(r.dtype))
        blocks = blocks.reshape(n * rows * columns, BLOCK, BLOCK, 1)
        return from_blocks(blocks, rows * BLOCK, columns * BLOCK)

    def start(self, y: Array) -> Array:
        """x₀ = Φᵀ y."""
        return self.adjoint(y)


def to_blocks(x: Array) -> Array:
    """(N, H, W, C) to (N · H/32 · W/32, 32, 32, C), blocks row by row."""
    n, height, width, c = x.shape
    x = x.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK, c).swapaxes(2, 3)
    return x.reshape(-1, BLOCK, BLOCK, c)


def from_blocks(blocks: Array, height: int, width: int) -> Array:
    """The inverse of `to_blocks` for images of this size."""
    c = blocks.shape[-1]
    x = blocks.reshape(-1, height // BLOCK, width // BLOCK, BLOCK, BLOCK, c).swapaxes(2, 3)
    return x.reshape(-1, height, width, c)

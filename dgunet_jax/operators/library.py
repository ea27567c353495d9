"""The identity and compressive sensing."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.operators.arrays import concrete, leaf, tracing
from dgunet_jax.operators.base import image_shape, method
from dgunet_jax.operators.linear import KnownOperator, measured
from dgunet_jax.system.errors import UserError

Array = jax.Array

BLOCK = 32  # pixels, side of the block that a sampling matrix measures


@flax.struct.dataclass
class Identity(KnownOperator):
    """Φ(x) = x, of norm 1."""

    zero_extends: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return x

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        return r

    def start(self, y: Array) -> Array:
        """Return x₀ = y."""
        return y

    def squared_norm(self) -> float:
        return 1.0

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, height, width, channels = y.shape
        return n, height, width, channels


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

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        at = None if at is None else self._inside(at)
        return self._inside(self.operator.adjoint(self._inside(r), at=at))

    def start(self, y: Array) -> Array:
        return self._inside(self.operator.start(y))

    def image_shape(self, y: Array) -> tuple[int, ...]:
        return y.shape

    def _inside(self, x: Array) -> Array:
        return jnp.where(self.mask, x, 0)


@flax.struct.dataclass
class Cropped:
    """An operator on the top left parts of images: y = Φ(x[:h, :w]).

    So images of any size are restored by a network whose arrays have sides that are multiples of
    something, whatever lies beyond the border for Φ.

    Attributes:
      operator: Φ, of images of `size`.
      size: (h, w).
      array: (H, W), at least as large.
    """

    operator: Any
    size: tuple[int, int] = flax.struct.field(pytree_node=False)
    array: tuple[int, int] = flax.struct.field(pytree_node=False)

    def forward(self, x: Array) -> Any:
        return self.operator.forward(self._part(x))

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        at = None if at is None else self._part(at)
        return self._padded(self.operator.adjoint(r, at=at), "constant")

    def start(self, y: Any) -> Array:
        """Return Φ's x₀, `extended`."""
        return self.extended(self.operator.start(y))

    def extended(self, x: Array) -> Array:
        """Return images of `size` reflected to those of `array`, so that they have no edge."""
        return self._padded(x, "symmetric")

    def image_shape(self, y: Any) -> tuple[int, ...]:
        n, _, _, channels = image_shape(self.operator, y)
        return n, *self.array, channels

    @property
    def squared_norm(self) -> Callable[[], Any]:
        """Φ's method, where it has one."""
        if (found := method(self.operator, "squared_norm")) is None:
            raise AttributeError("the operator has no squared_norm")
        return found

    def _part(self, x: Array) -> Array:
        return x[:, : self.size[0], : self.size[1]]

    def _padded(self, x: Array, mode: Any) -> Array:
        wider = [(0, whole - part) for whole, part in zip(self.array, self.size, strict=True)]
        return jnp.pad(x, ((0, 0), *wider, (0, 0)), mode=mode)


@flax.struct.dataclass
class BlockSampling(KnownOperator):
    """Compressive sensing: each B×B block, flattened row by row, times a matrix.

    Blocks do not overlap, and channels are measured one by one with the same matrix. Measurements
    are (N, H/B, W/B, M·C), value m of channel c at index m·C + c. ‖Φ‖² is the largest eigenvalue of
    the smaller one of ΦΦᵀ and ΦᵀΦ. No gradient flows through it.

    Attributes:
      matrix: Φ, (M, B²), for all images or, (N, M, B²), for each.
      block: B, pixels; sides of images are multiples of it.

    Source: Gan, Block Compressed Sensing of Natural Images, DSP 2007.
    """

    matrix: Any
    block: int = flax.struct.field(pytree_node=False, default=BLOCK)

    @classmethod
    def draw(cls, ratio: float, block: int, rng: np.random.Generator) -> Self:
        """Return one with a random matrix of orthonormal rows, so that ‖Φ‖ = 1.

        Args:
          ratio: measurements for each pixel, in (0, 1]; M is ratio · B², rounded, at least 1.
          block: B, pixels.
          rng: draws B² · M normal numbers, which are orthonormalised.
        """
        if not 0 < ratio <= 1:
            raise UserError(f"ratio is {ratio}; it must be in (0, 1]")
        _check_block(block)
        rows = max(1, round(ratio * block**2))
        columns, _ = np.linalg.qr(rng.standard_normal((block**2, rows)))
        return cls(columns.T.astype(np.float32), block)

    def _check(self) -> None:
        _check_block(self.block)
        matrix = leaf("matrix", self.matrix, (2, 3), "(M, B²) or (N, M, B²)")
        if matrix.shape[-1] != self.block**2:
            raise UserError(
                f"matrix has the shape {matrix.shape}; with blocks of {self.block}×{self.block}"
                f" its rows must have {self.block**2} values"
            )
        self._set(matrix=matrix)

    @property
    def size_multiple(self) -> int:
        return self.block

    def forward(self, x: Array) -> Array:
        """Return Φ of each block: (N, H, W, C) to (N, H/B, W/B, M·C)."""
        self._images(x)
        n, height, width, channels = x.shape
        rows, columns = height // self.block, width // self.block
        blocks = to_blocks(x, self.block).reshape(n, rows, columns, self.block**2, channels)
        matrix = self._batched(self.matrix, 2, x)
        if len(matrix) == 1:
            y = jnp.einsum("nhwpc,mp->nhwmc", blocks, matrix[0])
        else:
            y = jnp.einsum("nhwpc,nmp->nhwmc", blocks, matrix)
        return y.reshape(n, rows, columns, -1)

    def squared_norm(self) -> Array:
        return _largest_eigenvalue(self.matrix)

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, rows, columns, values = y.shape
        channels, rest = divmod(values, self.matrix.shape[-2])
        if rest or not channels:
            raise UserError(f"the last axis must be a multiple of {self.matrix.shape[-2]}")
        return n, rows * self.block, columns * self.block, channels


@flax.struct.dataclass
class SamplingMatrix(KnownOperator):
    """Compressive sensing: each 32×32 block of a grey image, flattened row by row, times a matrix.

    `BlockSampling` is the same for other blocks and for colour, and with another x₀.

    Attributes:
      matrix: Φ, (M, 1024).
    """

    matrix: Array

    size_multiple: ClassVar[int] = BLOCK

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

    def least_norm(self, y: Array) -> Array:
        """Return Φᵀ(ΦΦᵀ)⁻¹y, of all images with this measurement the one of least norm.

        It needs a Φ of full rank with no more rows than columns.
        """
        matrix = jax.lax.stop_gradient(jnp.asarray(self.matrix, y.dtype))
        with jax.default_matmul_precision("highest"):
            solved = jnp.linalg.solve(matrix @ matrix.T, y.reshape(-1, y.shape[-1]).T)
        return self.adjoint(solved.T.reshape(y.shape))

    def squared_norm(self) -> Array:
        return _largest_eigenvalue(self.matrix)

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, rows, columns, _ = y.shape
        return n, rows * BLOCK, columns * BLOCK, 1


@flax.struct.dataclass
class DenseSampling(KnownOperator):
    """Compressive sensing of a whole image: the image, flattened, times a matrix.

    Measurements are (N, M). ‖Φ‖² is measured once, from above and within 2 %, when the operator is
    made; while JAX is tracing it is the largest eigenvalue of ΦΦᵀ or ΦᵀΦ.

    Attributes:
      matrix: Φ, (M, H·W·C); columns in the order of rows, columns, channels.
      shape: (H, W, C).
      norm: ‖Φ‖², a scalar; None measures it.
    """

    matrix: Any
    shape: tuple[int, int, int] = flax.struct.field(pytree_node=False)
    norm: Any = None

    def _check(self) -> None:
        matrix = leaf("matrix", self.matrix, (2,), "(M, H·W·C)")
        self._set(matrix=matrix, shape=tuple(self.shape))
        if len(self.shape) != 3 or matrix.shape[1] != math.prod(self.shape):
            raise UserError(
                f"matrix has the shape {matrix.shape} and images {self.shape}; rows must have"
                " H·W·C values"
            )
        if self.norm is not None:
            self._set(norm=leaf("norm", self.norm, (0,)))
        elif not tracing() and concrete(matrix) is not None:
            self._set(norm=measured(self, (1, *self.shape)))

    def forward(self, x: Array) -> Array:
        """Return Φ of each image: (N, H, W, C) to (N, M)."""
        self._images(x, self.shape[:2], self.shape[2])
        return x.reshape(len(x), -1) @ self.matrix.T.astype(x.dtype)

    def squared_norm(self) -> Array:
        return _largest_eigenvalue(self.matrix) if self.norm is None else self.norm

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        return y.shape[0], *self.shape


def _check_block(block: int) -> None:
    if block < 1:
        raise UserError(f"block is {block}; it must be at least 1")


def _largest_eigenvalue(matrix: Array) -> Array:
    """‖Φ‖² of (M, P), a scalar, or of (N, M, P), (N, 1, 1, 1)."""
    # The derivative of equal eigenvalues, as of orthonormal rows, is not finite.
    matrix = jax.lax.stop_gradient(jnp.asarray(matrix))
    turned = jnp.swapaxes(matrix, -1, -2)
    wide = matrix.shape[-2] <= matrix.shape[-1]
    with jax.default_matmul_precision("highest"):
        product = matrix @ turned if wide else turned @ matrix
    largest = jnp.linalg.eigvalsh(product)[..., -1]
    return largest.reshape(-1, 1, 1, 1) if matrix.ndim == 3 else largest


def to_blocks(x: Array, block: int = BLOCK) -> Array:
    """(N, H, W, C) to (N · H/B · W/B, B, B, C), blocks row by row."""
    n, height, width, c = x.shape
    x = x.reshape(n, height // block, block, width // block, block, c).swapaxes(2, 3)
    return x.reshape(-1, block, block, c)


def from_blocks(blocks: Array, height: int, width: int) -> Array:
    """The inverse of `to_blocks` for images of this size."""
    block, c = blocks.shape[-2:]
    x = blocks.reshape(-1, height // block, width // block, block, block, c).swapaxes(2, 3)
    return x.reshape(-1, height, width, c)

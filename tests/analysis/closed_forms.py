"""Operators and stages whose answers are known on paper."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
SHAPE = (4, 5, 1)  # of an image
KERNEL = np.outer([1, 2, 1], [1, 3, 1]) / 20  # its mean is 1, its other frequencies are below


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@flax.struct.dataclass
class Linear:
    """Φ(x) = A x, with any matrix in place of Aᵀ, on images flattened to vectors.

    Attributes:
      matrix: A, (M, n).
      transposed: what serves as Aᵀ, (n, M).
      shape: of an image, whose size is n.
    """

    matrix: Array
    transposed: Array
    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)

    def forward(self, x: Array) -> Array:
        return x.reshape(x.shape[0], -1) @ self.matrix.T

    def adjoint(self, r: Array, at: Array) -> Array:
        return (r @ self.transposed.T).reshape(-1, *self.shape)

    def start(self, y: Array) -> Array:
        return self.adjoint(y, y)


def linear(matrix: Any, shape: tuple[int, ...], transposed: Any = None) -> Linear:
    """A with its adjoint, or with another matrix in its place."""
    matrix = jnp.asarray(matrix)
    return Linear(matrix, matrix.T if transposed is None else jnp.asarray(transposed), shape)


@flax.struct.dataclass
class Squares:
    """Φ(x) = x² and, in place of its adjoint, r ↦ r²: their Jacobians are diag(2x) and diag(2r)."""

    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)

    def forward(self, x: Array) -> Array:
        return jnp.square(x).reshape(x.shape[0], -1)

    def adjoint(self, r: Array, at: Array) -> Array:
        return jnp.square(r).reshape(-1, *self.shape)

    def start(self, y: Array) -> Array:
        return self.adjoint(y, y)


@flax.struct.dataclass
class LinearStage:
    """x ↦ s · soft threshold(x − ρ Aᵀ(A x − y), t); the memory counts stages."""

    params: Any
    operator: Any

    @property
    def step_size(self) -> Array:
        return self.params["step_size"]

    def gradient(self, x: Array, y: Array) -> Array:
        residual = self.operator.forward(x) - y
        return x - self.step_size * self.operator.adjoint(residual, at=x)

    def proximal(self, v: Array, memory: Array | None, y: Array) -> tuple[Array, Array]:
        memory = jnp.zeros(v.shape[:1]) if memory is None else memory + 1
        return self.params["scale"] * soft_threshold(v, self.params["threshold"]), memory


def stage(
    operator: Any, step_size: float, scale: float = 1.0, threshold: float = 0.0
) -> LinearStage:
    numbers = {"step_size": step_size, "scale": scale, "threshold": threshold}
    return LinearStage({name: jnp.asarray(value) for name, value in numbers.items()}, operator)


@flax.struct.dataclass
class AddingStage:
    """(x, m) ↦ (x + m, m): no gradient step, and a proximal step that adds the memory."""

    def gradient(self, x: Array, y: Array) -> Array:
        return x

    def proximal(self, v: Array, memory: Array, y: Array) -> tuple[Array, Array]:
        return v + memory, memory


@flax.struct.dataclass
class LinearNetwork:
    """Stages that start from their input, which is the measurement too."""

    stages: tuple[LinearStage, ...]
    model: Any = flax.struct.field(pytree_node=False, default=None)

    def start(self, inputs: Array) -> tuple[Array, Array]:
        return inputs, inputs.reshape(inputs.shape[0], -1)


def soft_threshold(v: Array, threshold: Any) -> Array:
    """The proximal map of t ‖·‖₁."""
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - threshold, 0)


def circular_blur(height: int, width: int, kernel: np.ndarray) -> np.ndarray:
    """The matrix of a periodic blur of (height, width) images; its eigenvalues are the FFT."""
    centred = np.zeros((height, width))
    centred[: kernel.shape[0], : kernel.shape[1]] = kernel
    centred = np.roll(centred, [-(side // 2) for side in kernel.shape], axis=(0, 1))
    columns = []
    for i in range(height * width):
        pulse = np.zeros(height * width)
        pulse[i] = 1
        spectrum = np.fft.fft2(pulse.reshape(height, width)) * np.fft.fft2(centred)
        columns.append(np.fft.ifft2(spectrum).real.ravel())
    return np.stack(columns, axis=1)


def rotation(angle: float, planes: int) -> np.ndarray:
    """The same turn in each of some planes."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.kron(np.eye(planes), turn)

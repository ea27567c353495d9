"""Known operators by name, as the command line gives them."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images import read_image
from dgunet_jax.operators import BlockSampling, Blur, Downsample, Fourier, Mask
from dgunet_jax.operators.base import image_shape
from dgunet_jax.operators.imaging import Bayer
from dgunet_jax.system.arrays import is_array_file, read_array
from dgunet_jax.system.errors import UserError, listed, one_line
from dgunet_jax.system.files import imported, user_path

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Known:
    """What has measured a picture.

    Attributes:
      operator: of the picture alone.
      corner: row and column of the image where the picture's first pixel is; None: the image is no
        larger than the picture.
    """

    operator: Any
    corner: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Named:
    """An operator as a command line gives it: KIND:VALUE.

    In VALUE, "{}" stands for the name of a picture without its ending, so that each has its own
    mask or kernel.

    Attributes:
      kind: one of `KINDS`, or a module.
      value: a file, a number, a pattern or, of a module, a function.
    """

    kind: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read KIND:VALUE.

        Raises:
          UserError: it is something else.
        """
        kind, colon, value = text.partition(":")
        if not colon or not kind or not value:
            kinds = ", ".join(f"{kind}:{value}" for kind, (value, _) in KINDS.items())
            raise UserError(f"--operator {text}: must be {kinds} or MODULE:FUNCTION")
        if kind not in KINDS and not kind.replace(".", "_").isidentifier():
            raise UserError(f"--operator {text}: there is no {kind}; there are {listed([*KINDS])}")
        return cls(kind, value)

    def of(self, y: Array, name: str) -> Known:
        """Return the operator that has measured y.

        Args:
          y: the measurement, with a leading axis of one.
          name: of the picture, without the ending.

        Raises:
          UserError: in one line, what is wrong with the operator.
        """
        value = self.value.replace("{}", name)
        try:
            if self.kind in KINDS:
                return KINDS[self.kind][1](value)
            return _of_function(imported(f"{self.kind}:{value}"), y)
        except UserError as error:
            raise UserError(f"--operator {self.kind}:{value}: {error}") from error


def _of_function(function: Callable[[Array], Any], y: Array) -> Known:
    try:
        operator = function(y)
    except Exception as error:  # the caller's own code
        raise UserError(f"fails on a measurement {y.shape}: {one_line(error)[:300]}") from error
    if not all(hasattr(operator, name) for name in ("forward", "adjoint", "start")):
        raise UserError(f"gives a {type(operator).__name__}; it must give an operator")
    return Known(operator)


def _values(text: str) -> Array:
    """The numbers of an array file, or the luma of a picture, in [0, 1]."""
    path = user_path(text)
    if is_array_file(path):
        array = read_array(path, path.stem)
        if array.ndim != 2 or array.dtype.kind == "c":
            raise UserError(f"{path}: is {array.dtype} {array.shape}; it must be real (H, W)")
        return array.astype(np.float32)
    return read_image(path, 1)[..., 0]


def _blur(value: str) -> Known:
    kernel = _values(value)
    if not kernel.sum() > 0:
        raise UserError(f"the kernel's sum is {kernel.sum():.4g}; it must be above 0")
    h, w = kernel.shape
    return Known(Blur(kernel / kernel.sum(), "valid"), (h - 1 - h // 2, w - 1 - w // 2))


def _mask(value: str) -> Known:
    return Known(Mask(_values(value)))


def _downsample(value: str) -> Known:
    if not value.isdecimal() or not 1 <= int(value) <= 16:
        raise UserError("the factor must be a whole number from 1 to 16")
    return Known(Downsample(int(value), "bicubic"))


def _bayer(value: str) -> Known:
    pattern: Any = value
    return Known(Bayer(pattern))


def _fourier(value: str) -> Known:
    return Known(Fourier(_values(value)))


def _sampling(value: str) -> Known:
    matrix = _values(value)
    return Known(BlockSampling(matrix, math.isqrt(matrix.shape[1])))


KINDS: dict[str, tuple[str, Callable[[str], Known]]] = {
    "blur": ("KERNEL", _blur),
    "mask": ("MASK", _mask),
    "downsample": ("FACTOR", _downsample),
    "bayer": ("PATTERN", _bayer),
    "fourier": ("MASK", _fourier),
    "sampling": ("MATRIX", _sampling),
}
"""By name: what the value is, and what makes the operator of it."""


def fitting(operator: Any, candidates: Sequence[Array], channels: int) -> Array:
    """Return the first of some arrays that is a measurement of an image with these channels.

    Args:
      operator: what may have measured them.
      candidates: one measurement in several forms, with a leading axis of one.
      channels: of the image.

    Raises:
      UserError: none is; as the operator tells it of the first one.
    """
    problems = []
    for y in candidates:
        try:
            shape = image_shape(operator, y)
        except UserError as error:
            problems.append(str(error))
            continue
        if len(shape) == 4 and shape[3] == channels:
            return y
        problems.append(f"is of an image {shape}; the network takes {channels} channels")
    raise UserError(problems[0])


def forms(y: Array, channels: int) -> list[Array]:
    """Return a measurement as it is, with an axis for a channel, and for as many as there are.

    A measurement of grey is that of a colour picture whose channels are equal.
    """
    y = y[None]
    known = [y, y[..., None]]
    return known + [np.repeat(each, channels, axis=-1) for each in known if channels > 1]

"""Kernels of blurs: not negative, and of sum 1."""

import math

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float32]

_STEPS = 64  # of a way
_FINER = 8  # points across a pixel


def motion_kernel(rng: np.random.Generator, side: int, length: float) -> Kernel:
    """Draw the way of a camera that moves on an arc while it looks.

    Args:
      rng: draws direction and curvature.
      side: of the kernel, in pixels.
      length: of the way, in pixels; what does not fit lies on the edge.
    """
    direction, bend = rng.uniform(0, 2 * math.pi), rng.normal(0, 1.0)
    return way_kernel(direction + bend * np.linspace(-0.5, 0.5, _STEPS), side, length)


def line_kernel(side: int, length: float, angle: float) -> Kernel:
    """Return a straight way; `angle` is from the rows to the columns, in radians."""
    return way_kernel(np.full(_STEPS, angle), side, length)


def way_kernel(angles: NDArray[np.floating], side: int, length: float) -> Kernel:
    """Return the kernel of a way of equal steps in the directions `angles`, its box in the middle.

    A point between pixels counts for its four neighbours, bilinearly.
    """
    way = length / len(angles) * np.cumsum(np.stack([np.sin(angles), np.cos(angles)]), axis=1)
    way += (side - 1) / 2 - (way.max(axis=1) + way.min(axis=1))[:, None] / 2
    kernel = np.zeros((side, side))
    corner = np.floor(way).astype(int)
    part = way - corner
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - part[0]) * np.abs(1 - column - part[1])
            places = (corner + np.array([[row], [column]])).clip(0, side - 1)
            np.add.at(kernel, tuple(places), weight)
    return _normalized(kernel)


def gaussian_kernel(side: int, deviation: float) -> Kernel:
    """Return exp(−r² / (2 · deviation²)), all in pixels."""
    line = np.exp(-0.5 * np.square((np.arange(side) - (side - 1) / 2) / deviation))
    return _normalized(np.outer(line, line))


def disk_kernel(side: int, radius: float) -> Kernel:
    """Return the disk of a lens that is out of focus: the share of each pixel that it covers."""
    line = (np.arange(side * _FINER) + 0.5) / _FINER - side / 2
    inside = np.square(line)[:, None] + np.square(line) <= max(radius, 0.5) ** 2
    return _normalized(inside.reshape(side, _FINER, side, _FINER).mean((1, 3)))


def _normalized(kernel: NDArray[np.floating]) -> Kernel:
    return (kernel / kernel.sum()).astype(np.float32)

"""Images of several sizes in one array are treated as if each were alone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.system.errors import UserError
from tests.choices import estimates, images, make, run
from tests.quick import compiler_options

SIZES = np.array([[40, 32], [8, 48]])
BLOCK_SIZES = np.array([[64, 32], [32, 96]])
# Every choice that sees more than one pixel at a time.
LOCAL = [
    "dgunet",
    "window",
    "plus",
    "tied",
    "known",
    "identity",
    "additive_memory",
    "concat",
    "gated",
]
BLOCKS = ["sensing", "sensing_plus", "sensing_blocks"]


def batch(channels: int, sizes: np.ndarray) -> tuple[Any, np.ndarray]:
    """Two images with rubbish around them in a larger array, and where they are."""
    height, width = (48, 56) if sizes is SIZES else (64, 96)
    x, inside = images(2, height, width, channels), np.zeros((2, height, width, 1), bool)
    for i, size in enumerate(sizes):
        inside[i, : size[0], : size[1]] = True
    rubbish = np.where(x < 0.3, np.float32(np.nan), 1e6 * x)
    return np.where(inside, x, rubbish), inside


def alone(sizes: np.ndarray) -> list[tuple]:
    """The index of every image by itself."""
    return [np.s_[..., i : i + 1, :h, :w, :] for i, (h, w) in enumerate(sizes)]


@pytest.mark.parametrize("name", LOCAL + BLOCKS)
def test_estimates(name: str):
    model, variables = make(name)
    sizes = BLOCK_SIZES if name in BLOCKS else SIZES
    x, inside = batch(model.config.channels, sizes)
    stages = run(model, variables, x, sizes)
    assert not np.any(np.where(inside, 0, stages))
    for image in alone(sizes):
        np.testing.assert_allclose(stages[image], run(model, variables, x[image]), 0, 1e-6)


def test_gradients():
    model, variables = make("dgunet")
    x, inside = batch(3, SIZES)
    target = np.where(inside, images(*x.shape, seed=1), 0)

    def loss(variables, x, sizes, target):
        return jnp.sum(jnp.square(estimates(model, variables, x, sizes) - target[None]))

    gradient = jax.jit(jax.grad(loss, (0, 1)), compiler_options=compiler_options())
    of_weights, of_pixels = gradient(variables, x, SIZES, target)
    assert not np.any(np.where(inside, 0, of_pixels))

    each = [gradient(variables, x[image], None, target[image]) for image in alone(SIZES)]
    for image, (_, expected) in zip(alone(SIZES), each, strict=True):
        size = np.linalg.norm(expected)
        assert np.linalg.norm(of_pixels[image] - expected) < 1e-5 * size
    total = jax.tree.map(lambda *parts: sum(parts), *(weights for weights, _ in each))
    largest = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(total))
    for found, expected in zip(jax.tree.leaves(of_weights), jax.tree.leaves(total), strict=True):
        tolerance = 1e-5 * np.linalg.norm(expected) + 1e-6 * largest
        assert np.linalg.norm(found - expected) < tolerance


def test_whole_arrays_are_as_without_sizes():
    model, variables = make("dgunet")
    x = images(2, 24, 16, 3)
    found = run(model, variables, x, np.array([[24, 16]] * 2))
    np.testing.assert_allclose(found, run(model, variables, x), rtol=0, atol=1e-6)


def test_one_compilation_serves_all_sizes():
    model, variables = make("dgunet")
    traced = 0

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def apply(variables, x, sizes):
        nonlocal traced
        traced += 1
        return estimates(model, variables, x, sizes)[-1]

    x = images(1, 48, 56, 3)
    for height, width in SIZES:
        found = apply(variables, x, jnp.array([[height, width]]))
        assert np.any(found[0, height - 1]) and np.any(found[0, :, width - 1])
        assert not np.any(found[0, height:]) and not np.any(found[0, :, width:])
    assert traced == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([[37, 31]], "size 37×31 in sizes is not a positive multiple of 8"),
        ([[0, 8]], "size 0×8 in sizes is not a positive multiple of 8"),
        ([[-8, 8]], "size -8×8 in sizes is not a positive multiple of 8"),
        ([[32, 16]], "size 32×16 in sizes exceeds the array's 24×16"),
        ([[8, 24]], "size 8×24 in sizes exceeds the array's 24×16"),
        ([8, 8], r"sizes have shape \(2,\); it must be \(1, 2\)"),
        ([[8, 8]] * 2, r"sizes have shape \(2, 2\); it must be \(1, 2\)"),
    ],
)
def test_sizes_that_do_not_fit(sizes: Any, message: str):
    model, variables = make("dgunet")
    with pytest.raises(UserError, match=message):
        model.apply(variables, images(1, 24, 16, 3), sizes)


def test_sizes_of_sampled_images_are_whole_blocks():
    model, variables = make("sensing")
    with pytest.raises(UserError, match="size 40×32 in sizes is not a positive multiple of 32"):
        model.apply(variables, images(1, 64, 32, 1), [[40, 32]])

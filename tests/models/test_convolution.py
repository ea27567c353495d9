"""The convolutions against those of XLA: values, derivatives of every kind, batches and loops."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dgunet_jax.models.convolution import convolve, kernels, upsample

Function = Callable[..., Any]

# Height, width, inputs, outputs, kernel's side, stride. The first five are the forms there are.
SHAPES = {
    "one_by_one": (37, 31, 5, 7, 1, 1),
    "few_inputs": (37, 31, 3, 7, 3, 1),
    "few_outputs": (37, 31, 7, 3, 3, 1),
    "general": (37, 31, 5, 7, 3, 1),
    "halving": (38, 30, 5, 7, 4, 2),
    "grey": (13, 11, 1, 1, 3, 1),
    "halving_few_channels": (6, 10, 3, 2, 4, 2),
    "larger_kernel": (13, 11, 4, 5, 5, 1),
    "one_pixel": (1, 1, 4, 4, 3, 1),
    # Channels that are filled up to 64: all of them, those of the kernel's gradient alone.
    "filled": (13, 11, 60, 50, 3, 1),
    "filled_in_gradient": (13, 11, 40, 44, 3, 1),
    "filled_halving": (14, 10, 56, 63, 4, 2),
}
FORMS = [*list(SHAPES)[:5], "filled"]


def arguments(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two images and a kernel, scaled so that results are of the size of one: the sine of large
    ones would show the rounding of whichever processor computes them."""
    height, width, inputs, outputs, side, _ = SHAPES[name]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, height, width, inputs)).astype(np.float32)
    kernel = rng.standard_normal((side, side, inputs, outputs)) / np.sqrt(side**2 * inputs)
    return x, kernel.astype(np.float32)


def plain(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    border = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((border, border), (border, border)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def assert_agree(name: str, transform: Callable[[Function], Function], *extra: Any):
    """`transform` of the project's convolution computes what it does of XLA's."""
    x, kernel = arguments(name)
    found, expected = (
        jax.jit(transform(functools.partial(f, stride=SHAPES[name][-1])))(x, kernel, *extra)
        for f in (convolve, plain)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * float(np.abs(b).max()))


def gradient(f: Function) -> Function:
    """Of a function whose second derivatives do not vanish."""
    return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel))), (0, 1))


def looped(f: Function) -> Function:
    """One image at a time."""

    def loop(x, kernel):
        return lax.scan(lambda _, image: (None, f(image[None], kernel)[0]), None, x)[1]

    return loop


@pytest.mark.parametrize("name", SHAPES)
def test_value(name: str):
    assert_agree(name, lambda f: f)


@pytest.mark.parametrize("name", SHAPES)
def test_gradient(name: str):
    assert_agree(name, gradient)


@pytest.mark.parametrize("name", FORMS)
def test_gradient_of_the_form_for_gpus(name: str):
    with kernels("gpu"):
        assert_agree(name, lambda f: f)
        assert_agree(name, gradient)


@pytest.mark.parametrize("name", FORMS)
def test_forward_derivative(name: str):
    def derivative(f):
        return lambda x, kernel, *tangents: jax.jvp(f, (x, kernel), tangents)

    assert_agree(name, derivative, *arguments(name, seed=1))


@pytest.mark.parametrize("name", FORMS)
def test_linearized(name: str):
    def linear(f):
        return lambda x, kernel, *tangents: jax.linearize(f, x, kernel)[1](*tangents)

    assert_agree(name, linear, *arguments(name, seed=1))


@pytest.mark.parametrize("name", FORMS)
def test_hessian_times_a_direction(name: str):
    def product(f):
        return lambda x, kernel, *tangents: jax.jvp(gradient(f), (x, kernel), tangents)

    assert_agree(name, product, *arguments(name, seed=1))


@pytest.mark.parametrize("name", FORMS)
def test_vmap_over_images_and_kernels(name: str):
    def batched(f):
        return lambda x, kernel, x2, kernel2: jax.vmap(f)(
            jnp.stack([x, x2]), jnp.stack([kernel, kernel2])
        )

    assert_agree(name, batched, *arguments(name, seed=1))


@pytest.mark.parametrize("name", FORMS)
def test_gradient_of_each_image_by_vmap(name: str):
    def each(f):
        return jax.vmap(lambda image, kernel: gradient(f)(image[None], kernel), (0, None))

    assert_agree(name, each)


@pytest.mark.parametrize("name", FORMS)
def test_gradient_through_a_loop(name: str):
    assert_agree(name, lambda f: gradient(looped(f)))


@pytest.mark.parametrize("name", FORMS)
def test_gradient_when_recomputed(name: str):
    assert_agree(name, lambda f: gradient(jax.checkpoint(f)))


@pytest.mark.parametrize("name", FORMS)
def test_bfloat16_stays(name: str):
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in arguments(name))
    found = convolve(x, kernel, SHAPES[name][-1])
    expected = plain(x, kernel, SHAPES[name][-1]).astype(jnp.float32)
    assert found.dtype == jnp.bfloat16
    error = np.linalg.norm(found.astype(jnp.float32) - expected) / np.linalg.norm(expected)
    assert error < 0.01


def upsampled() -> tuple[Any, Any]:
    """Two arrays in float64: images and a kernel."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((2, 2, 4, 6))


def test_upsampling_by_definition():
    x, kernel = upsampled()
    expected = np.zeros((2, 10, 6, 6))
    for row in range(10):
        for column in range(6):
            tap = kernel[row % 2, column % 2]
            expected[:, row, column] = x[:, row // 2, column // 2] @ tap
    with jax.enable_x64(True):
        np.testing.assert_allclose(upsample(x, kernel), expected, rtol=1e-13, atol=1e-13)


def test_upsampling_is_the_transpose_of_halving():
    x, kernel = upsampled()
    image = np.random.default_rng(1).standard_normal((2, 10, 6, 6))

    def halve(image):
        return lax.conv_general_dilated(
            image, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWOI", "NHWC")
        )

    with jax.enable_x64(True):
        forward = jnp.vdot(halve(image), x)
        assert float(jnp.vdot(image, upsample(x, kernel))) == pytest.approx(float(forward))

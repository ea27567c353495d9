"""Known operators beside what NumPy, SciPy, Pillow and a pencil compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dgunet_jax.operators import (
    Bayer,
    BlockSampling,
    Blur,
    DenseSampling,
    Downsample,
    Fourier,
    Mask,
    Radon,
    SamplingMatrix,
    Stack,
    conjugate_gradient,
    gradient_step,
    with_norm,
)
from tests.choices import images
from tests.operators.catalogue import adjoint, forward, squared_norm

X = images(2, 37, 31, 3)
RNG = np.random.default_rng(3)
KERNEL = RNG.standard_normal((4, 5)).astype(np.float32)
CLOSE = {"rtol": 0, "atol": 2e-5}


def test_mask_of_pixels_and_of_values():
    mask = RNG.random((37, 31)) < 0.4
    np.testing.assert_array_equal(forward(Mask(mask), X), X * mask[..., None])
    weights = RNG.random((37, 31, 3)).astype(np.float32)
    np.testing.assert_array_equal(forward(Mask(weights), X), X * weights)
    assert Mask(weights).squared_norm() == pytest.approx(weights.max() ** 2)


def test_circular_blur_is_a_product_of_spectra():
    wide = np.zeros((37, 31))
    wide[:4, :5] = KERNEL
    wide = np.roll(wide, (-2, -2), (0, 1))  # the centre to the origin
    spectrum = np.fft.fft2(wide)[None, ..., None]
    expected = np.fft.ifft2(np.fft.fft2(X, axes=(1, 2)) * spectrum, axes=(1, 2)).real
    np.testing.assert_allclose(forward(Blur(KERNEL, "circular"), X), expected, **CLOSE)


@pytest.mark.parametrize("sides", [(4, 5), (3, 2)])
@pytest.mark.parametrize(
    ("border", "mode"), [("zero", "constant"), ("circular", "grid-wrap"), ("reflect", "reflect")]
)
def test_blur_beside_scipy(sides, border, mode):
    kernel = KERNEL[: sides[0], : sides[1]]
    found = forward(Blur(kernel, border), X)
    for channel in range(3):
        expected = ndimage.convolve(X[1, ..., channel], kernel, mode=mode)
        np.testing.assert_allclose(found[1, ..., channel], expected, **CLOSE)


def test_blur_norm_of_a_known_response():
    # The response of (1, −2, 1) is 2 cos ω − 2, of the largest size 4 at ω = π.
    difference = np.array([[1, -2, 1]])
    for border in ("zero", "circular", "reflect"):
        assert float(squared_norm(Blur(difference, border))) == pytest.approx(16, rel=1e-5)
    # Half of a shift by one pixel at a mirror: the last but one pixel counts twice.
    shift = Blur(np.array([[1, 0, 0]]), "reflect")
    matrix = forward(shift, jnp.eye(9).reshape(9, 1, 9, 1)).reshape(9, 9)
    assert np.linalg.norm(matrix, 2) ** 2 == pytest.approx(2)
    assert 2 <= squared_norm(shift) <= 2.01


def test_norm_of_samples_that_a_mirror_counts_more_often():
    # Of rows 0, 2, …: the first is (3 x₀ + x₁)/4, of more energy than any other. The kernel is in
    # the middle of no block, so that its mirror images do not make it even.
    operator = Downsample(2, np.array([[1], [2], [1]]) / 4)
    matrix = forward(operator, jnp.eye(16).reshape(16, 8, 2, 1)).reshape(16, 4)
    exact = np.linalg.norm(matrix, 2) ** 2
    assert exact > 0.62  # and 0.5 without the border
    assert exact <= squared_norm(operator) <= 2 * exact


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", ["area", "bicubic"])
def test_downsampling_keeps_constants(factor, kernel):
    x = np.full((1, 12 * factor, 8 * factor, 2), 0.3, np.float32)
    y = forward(Downsample(factor, kernel), x)
    assert y.shape == (1, 12, 8, 2)
    np.testing.assert_allclose(y, 0.3, atol=1e-6)
    if factor == 1:
        x = images(1, 12, 8, 2)
        np.testing.assert_allclose(forward(Downsample(1, kernel), x), x, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_bicubic_beside_pillow(factor):
    image = images(16 * factor, 14 * factor)
    found = forward(Downsample(factor, "bicubic"), image[None, ..., None])
    expected = Image.fromarray(image).resize((14, 16), Image.Resampling.BICUBIC)
    # Pillow leaves out what is beyond the border.
    inside = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(found[0, ..., 0][inside], np.asarray(expected)[inside], **CLOSE)


def test_area_is_its_kernel_and_an_offset_moves_the_samples():
    x = images(1, 12, 18, 1)
    for factor in (2, 3):
        kernel = np.full((factor, factor), 1 / factor**2)
        expected = forward(Downsample(factor), x)
        np.testing.assert_allclose(forward(Downsample(factor, kernel), x), expected, **CLOSE)
        assert Downsample(factor).squared_norm() == 1 / factor**2
    blurred = forward(Blur(KERNEL, "circular"), x)
    for offset in (0, 1, 2):
        found = forward(Downsample(3, KERNEL, "circular", offset), x)
        np.testing.assert_allclose(found, blurred[:, offset::3, offset::3], **CLOSE)


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_bayer_takes_its_colours(pattern):
    y = forward(Bayer(pattern), X)
    for row, column in np.ndindex(37, 31):
        colour = "RGB".index(pattern[2 * (row % 2) + column % 2])
        np.testing.assert_array_equal(y[:, row, column, 0], X[:, row, column, colour])


def test_blocks_are_those_of_a_sampling_matrix():
    matrix = RNG.standard_normal((9, 1024)).astype(np.float32) / 32
    x = images(2, 64, 96, 2)
    found = forward(BlockSampling(matrix), x)
    assert found.shape == (2, 2, 3, 18)
    for channel in range(2):
        expected = forward(SamplingMatrix(matrix), x[..., channel : channel + 1])
        np.testing.assert_allclose(found[..., channel::2], expected, **CLOSE)


def test_drawn_blocks_have_orthonormal_rows():
    operator = BlockSampling.draw(0.25, 6, np.random.default_rng(0))
    assert operator.matrix.shape == (9, 36)
    np.testing.assert_allclose(operator.matrix @ operator.matrix.T, np.eye(9), **CLOSE)
    again = BlockSampling.draw(0.25, 6, np.random.default_rng(0))
    np.testing.assert_array_equal(operator.matrix, again.matrix)
    gradient = jax.grad(lambda each: each.squared_norm())(operator)
    assert not np.any(gradient.matrix)  # and not NaN, though all eigenvalues are equal


def test_dense_sampling_is_a_matrix():
    x, matrix = images(2, 5, 4, 2), RNG.standard_normal((7, 40)).astype(np.float32)
    operator = DenseSampling(matrix, (5, 4, 2))
    np.testing.assert_allclose(forward(operator, x), x.reshape(2, 40) @ matrix.T, **CLOSE)
    exact = np.linalg.norm(matrix, 2) ** 2
    assert exact * (1 - 1e-5) <= operator.squared_norm() <= 1.021 * exact
    traced = jax.jit(lambda m: DenseSampling(m, (5, 4, 2)).squared_norm())(matrix)
    assert float(traced) == pytest.approx(exact, rel=1e-5)


def test_fourier_beside_numpy():
    mask = RNG.random((37, 31)).astype(np.float32)
    coils = (RNG.standard_normal((3, 37, 31)) + 1j * RNG.standard_normal((3, 37, 31))) / 2
    expected = mask[..., None] * np.fft.fft2(X, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(forward(Fourier(mask), X), expected, **CLOSE)
    found = forward(Fourier(mask, coils.astype(np.complex64)), X)
    assert found.shape == (2, 3, 37, 31, 3)
    for coil in range(3):
        seen = coils[coil][..., None] * X
        expected = mask[..., None] * np.fft.fft2(seen, axes=(1, 2), norm="ortho")
        np.testing.assert_allclose(found[:, coil], expected, rtol=0, atol=1e-4)


def test_fourier_norm_counts_both_signs_of_a_frequency():
    mask = np.zeros((6, 5), np.float32)
    mask[1, 2] = 1  # its opposite, (5, 3), is lost, and with it half of a real wave's energy
    assert Fourier(mask).squared_norm() == 0.5
    mask[5, 3] = 1
    assert Fourier(mask).squared_norm() == 1


def test_radon_of_a_disk_is_its_chord():
    side, radius = 65, 20.0
    fine = (np.arange(side * 4) + 0.5) / 4 - side / 2
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float32)
    disk = inside.reshape(side, 4, side, 4).mean((1, 3))
    operator = Radon(np.linspace(0, np.pi, 7), (side, side), detectors=51, norm=1)
    lines = forward(operator, disk[None, ..., None])[0, ..., 0]
    t = np.arange(51) - 25
    chords = 2 * np.sqrt(np.maximum(radius**2 - t**2, 0))
    error = np.linalg.norm(lines - chords[None], axis=1) / np.linalg.norm(chords)
    assert np.all(error < 0.03), error
    np.testing.assert_allclose(lines[:, np.abs(t) < 15], [chords[np.abs(t) < 15]] * 7, rtol=0.03)


def test_radon_along_rows_and_columns_is_their_sum():
    x = images(1, 9, 6, 2)
    lines = forward(Radon(np.array([0, np.pi / 2]), (9, 6), detectors=6, norm=1), x)
    np.testing.assert_allclose(lines[0, 0], x[0].sum(0), **CLOSE)
    across = forward(Radon(np.array([np.pi / 2]), (9, 6), detectors=9, norm=1), x)
    np.testing.assert_allclose(across[0, 0], x[0].sum(1), **CLOSE)


def test_radon_by_default_sees_every_pixel():
    operator = Radon(np.array([0.3, 0.8, 2.0]), (9, 6), norm=1)
    assert operator.detectors == 11
    assert np.all(adjoint(operator, np.ones((1, 3, 11, 1), np.float32)) > 2)


def test_algebra():
    a, b = Blur(KERNEL), Blur(KERNEL.T)
    fa, fb = forward(a, X), forward(b, X)
    np.testing.assert_allclose(forward(a @ b, X), forward(a, fb), **CLOSE)
    np.testing.assert_allclose(forward(a - 2 * b, X), fa - 2 * fb, **CLOSE)
    np.testing.assert_allclose(forward(np.float32(0.5) * -a, X), -0.5 * fa, **CLOSE)
    first, second = forward(Stack((a, b)), X)
    np.testing.assert_array_equal(first, fa)
    np.testing.assert_array_equal(second, fb)


def test_gradient_step_of_a_stack():
    operator = Stack((Blur(KERNEL), Bayer()))
    x, y = images(1, 9, 7, 3), forward(operator, images(1, 9, 7, 3, seed=1))

    gaps = tuple(a - b for a, b in zip(forward(operator, x), y, strict=True))
    found = gradient_step(lambda x: forward(operator, x), lambda r: adjoint(operator, r), 0.3, x, y)
    np.testing.assert_allclose(found, x - 0.3 * adjoint(operator, gaps), **CLOSE)


def test_measured_norm_is_closer_than_the_bound():
    operator = Mask(np.eye(9)[:, :7]) @ Blur(np.ones((3, 3)) / 9)
    measured = with_norm(operator, (1, 9, 7, 1), tolerance=1e-3)
    matrix = forward(operator, jnp.eye(63).reshape(63, 9, 7, 1)).reshape(63, 63)
    exact = np.linalg.norm(matrix, 2) ** 2
    assert exact * (1 - 1e-5) <= measured.squared_norm() <= 1.003 * exact
    assert operator.squared_norm() > 1.5 * exact


def test_conjugate_gradients_reach_the_least_norm_solution_and_stay_there():
    matrix = RNG.standard_normal((6, 20)).astype(np.float32)
    y = RNG.standard_normal((3, 6)).astype(np.float32)
    y[1] = 0
    operator = DenseSampling(matrix, (5, 4, 1), norm=1)
    expected = y @ np.linalg.pinv(matrix).T
    solve = jax.jit(conjugate_gradient, static_argnums=2)
    for steps in (8, 200):
        found = solve(operator, y, steps).reshape(3, 20)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert not np.any(found[1])
    assert not np.any(solve(operator, y, 0))

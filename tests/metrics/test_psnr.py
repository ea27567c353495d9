"""PSNR by its definition, on images and on batches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from dgunet_jax.metrics._psnr import psnr, psnr_jax
from dgunet_jax.system.errors import UserError


def noisy_batch(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.random((3, 37, 31, 3))
    deviations = np.array([0.01, 0.1, 0.5]).reshape(3, 1, 1, 1)
    images = targets + deviations * rng.standard_normal(targets.shape)
    return images.astype(dtype), targets.astype(dtype)


def test_constant_difference_has_the_closed_form():
    target = np.full((37, 31, 3), 0.25)
    assert psnr(target + 0.1, target) == pytest.approx(20, abs=1e-10)
    assert psnr(target * 255 + 25.5, target * 255, peak=255) == pytest.approx(20, abs=1e-10)


def test_agrees_with_scikit_image():
    for image, target in zip(*noisy_batch(np.float64), strict=True):
        expected = peak_signal_noise_ratio(target, image, data_range=1.0)
        assert psnr(image, target) == pytest.approx(expected, rel=1e-12)


def test_difference_of_8_bit_images_does_not_wrap_around():
    dark, light = np.zeros((5, 7, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)
    assert psnr(dark, light, peak=255) == psnr(light, dark, peak=255) == 0


def test_small_errors_keep_float64_precision():
    target = np.full((64, 64, 3), 1.0)
    assert psnr(target + 1e-9, target) == pytest.approx(180, abs=1e-4)


def test_equal_images_are_infinitely_close():
    image = noisy_batch()[0]
    assert psnr(image, image) == math.inf


def test_nan_is_not_hidden():
    image, target = noisy_batch()
    image[0, 3, 3, 1] = np.nan
    assert math.isnan(psnr(image, target))
    values = psnr_jax(jnp.asarray(image), jnp.asarray(target))
    assert np.isnan(values).tolist() == [True, False, False]


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_batch_equals_each_image(peak: float):
    images, targets = noisy_batch()
    images, targets = images * np.float32(peak), targets * np.float32(peak)
    values = jax.jit(psnr_jax, static_argnames="peak")(images, targets, peak=peak)
    assert values.shape == (3,)
    assert values.dtype == jnp.float32
    expected = [psnr(image, target, peak) for image, target in zip(images, targets, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)


def test_batch_of_equal_images_is_infinite_inside_jit():
    images, targets = (jnp.asarray(array) for array in noisy_batch())
    values = jax.jit(psnr_jax)(images.at[1].set(targets[1]), targets)
    assert np.isinf(values).tolist() == [False, True, False]
    assert values[1] > 0


def test_bfloat16_batch_is_summed_in_float32():
    images, targets = (jnp.asarray(array, jnp.bfloat16) for array in noisy_batch())
    values = psnr_jax(images, targets)
    assert values.dtype == jnp.float32
    expected = [
        psnr(np.asarray(image, np.float64), np.asarray(target, np.float64))
        for image, target in zip(images, targets, strict=True)
    ]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)


def test_shapes_must_be_equal_even_where_they_would_broadcast():
    images, targets = noisy_batch()
    with pytest.raises(UserError, match=r"\(3, 37, 31, 3\) and \(1, 37, 31, 3\): they must be"):
        psnr(images, targets[:1])
    with pytest.raises(UserError, match="they must be equal"):
        jax.jit(psnr_jax)(images, targets[:, :, :1])
    with pytest.raises(UserError, match=r"needs \(N, H, W, C\)"):
        psnr_jax(jnp.asarray(images[0]), jnp.asarray(targets[0]))


def test_senseless_input_is_refused():
    image = np.zeros((2, 3, 3))
    with pytest.raises(UserError, match="at least one element"):
        psnr(image[:0], image[:0])
    with pytest.raises(UserError, match="uint8 and float64: both must be on one scale"):
        psnr(image.astype(np.uint8), image)
    for peak in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match=r"PSNR with peak .*: it must be finite"):
            psnr(image, image, peak)

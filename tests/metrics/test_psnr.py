"""PSNR by its definition, on images and on batches; luma as MATLAB and OpenCV round it."""

import math
from fractions import Fraction

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio

from dgunet_jax.images import luma
from dgunet_jax.metrics import psnr, psnr_jax, studio_luma
from tests.metrics.degraded import recorded, small_pair

COLOURS = np.random.default_rng(0).integers(0, 256, (370, 310, 3), dtype=np.uint8)
RECORDED = recorded("rgb_psnr_uint8")


def noisy_batch(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.random((3, 37, 31, 3))
    deviations = np.array([0.01, 0.1, 0.5]).reshape(3, 1, 1, 1)
    images = targets + deviations * rng.standard_normal(targets.shape)
    return images.astype(dtype), targets.astype(dtype)


def test_psnr_of_a_constant_difference_has_the_closed_form():
    target = np.full((37, 31, 3), 0.25)
    assert psnr(target + 0.1, target) == pytest.approx(20, abs=1e-10)
    assert psnr(target * 255 + 25.5, target * 255, peak=255) == pytest.approx(20, abs=1e-10)


def test_psnr_agrees_with_scikit_image():
    for image, target in zip(*noisy_batch(np.float64), strict=True):
        expected = peak_signal_noise_ratio(target, image, data_range=1.0)
        assert psnr(image, target) == pytest.approx(expected, rel=1e-12)


def test_psnr_of_8_bit_images_does_not_wrap_around():
    dark, light = np.zeros((5, 7, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)
    assert psnr(dark, light, peak=255) == psnr(light, dark, peak=255) == 0


def test_psnr_of_small_errors_keeps_float64_precision():
    target = np.full((64, 64, 3), 1.0)
    assert psnr(target + 1e-9, target) == pytest.approx(180, abs=1e-4)


def test_psnr_of_equal_images_is_infinite():
    image = noisy_batch()[0]
    assert psnr(image, image) == math.inf


def test_psnr_of_nan_is_nan():
    image, target = noisy_batch()
    image[0, 3, 3, 1] = np.nan
    assert math.isnan(psnr(image, target))
    values = psnr_jax(jnp.asarray(image), jnp.asarray(target))
    assert np.isnan(values).tolist() == [True, False, False]


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_psnr_jax_of_a_batch_equals_psnr_of_each_image(peak: float):
    images, targets = noisy_batch()
    images, targets = images * np.float32(peak), targets * np.float32(peak)
    values = jax.jit(psnr_jax, static_argnames="peak")(images, targets, peak=peak)
    assert values.shape == (3,)
    assert values.dtype == jnp.float32
    expected = [psnr(image, target, peak) for image, target in zip(images, targets, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)


def test_psnr_jax_of_equal_images_is_infinite_inside_jit():
    images, targets = (jnp.asarray(array) for array in noisy_batch())
    values = jax.jit(psnr_jax)(images.at[1].set(targets[1]), targets)
    assert np.isinf(values).tolist() == [False, True, False]
    assert values[1] > 0


def test_psnr_jax_sums_bfloat16_in_float32():
    images, targets = (jnp.asarray(array, jnp.bfloat16) for array in noisy_batch())
    values = psnr_jax(images, targets)
    assert values.dtype == jnp.float32
    expected = [
        psnr(np.asarray(image, np.float64), np.asarray(target, np.float64))
        for image, target in zip(images, targets, strict=True)
    ]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)


def test_psnr_requires_equal_shapes_even_where_they_would_broadcast():
    images, targets = noisy_batch()
    with pytest.raises(ValueError, match=r"\(3, 37, 31, 3\) and \(1, 37, 31, 3\): they must be"):
        psnr(images, targets[:1])
    with pytest.raises(ValueError, match="they must be equal"):
        jax.jit(psnr_jax)(images, targets[:, :, :1])
    with pytest.raises(ValueError, match=r"needs \(N, H, W, C\)"):
        psnr_jax(jnp.asarray(images[0]), jnp.asarray(targets[0]))


def test_psnr_refuses_empty_images_mixed_scales_and_bad_peaks():
    image = np.zeros((2, 3, 3))
    with pytest.raises(ValueError, match="at least one element"):
        psnr(image[:0], image[:0])
    with pytest.raises(ValueError, match="uint8 and float64: both must be on one scale"):
        psnr(image.astype(np.uint8), image)
    for peak in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"PSNR with peak .*: it must be finite"):
            psnr(image, image, peak)


@pytest.mark.parametrize("name", RECORDED)
def test_psnr_recorded_values(name: str):
    degraded, target = RECORDED[name].pair
    scores = RECORDED[name].scores
    assert psnr(degraded, target, 255) == pytest.approx(scores["rgb_psnr_uint8"], abs=1e-9)
    studio = psnr(studio_luma(degraded), studio_luma(target), 255)
    # An exact tie may be rounded down in floating point.
    assert studio == pytest.approx(scores["rain_y_psnr"], abs=2e-5)
    full = psnr(luma(degraded), luma(target), 255)
    assert full == pytest.approx(scores["cs_luma_psnr"], abs=1e-9)


def test_studio_luma_is_the_rounded_formula():
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 127, 129)]
    colours += [tuple(colour) for colour in COLOURS[0].tolist()]
    # 0.299 R + 0.587 G + 0.114 B = 127.5 makes 125.5.
    red, green, blue = np.mgrid[:256:5, :256:3, :256]
    tied = 299 * red + 587 * green + 114 * blue == 127_500
    ties = list(zip(red[tied].tolist(), green[tied].tolist(), blue[tied].tolist(), strict=True))
    assert ties
    for red, green, blue in colours + ties:
        full = Fraction(299 * red + 587 * green + 114 * blue, 1000)
        expected = math.floor(16 + 219 * full / 255 + Fraction(1, 2))
        found = studio_luma(np.array([[[red, green, blue]]], np.uint8))
        assert found.tolist() == [[[expected]]], (red, green, blue)


def test_studio_luma_is_one_channel_of_8_bits():
    values = studio_luma(small_pair()[0])
    assert values.shape == (37, 31, 1)
    assert values.dtype == np.uint8


@pytest.mark.parametrize("photograph", ["astronaut", "coffee", "random"])
def test_luma_is_that_of_opencv(photograph: str):
    colours = COLOURS if photograph == "random" else getattr(skimage.data, photograph)()
    expected = cv2.cvtColor(colours, cv2.COLOR_RGB2YCrCb)[..., :1]
    np.testing.assert_array_equal(luma(colours), expected)


@pytest.mark.parametrize(
    "pixels", [COLOURS / 255, COLOURS.astype(np.uint16), COLOURS[..., 0], COLOURS[..., :1]]
)
def test_studio_luma_refuses_other_types_and_shapes(pixels: np.ndarray):
    with pytest.raises(ValueError, match=r"luma (is defined on uint8 images|needs RGB images)"):
        studio_luma(pixels)

"""Luma as MATLAB and OpenCV round it, and the PSNR of both."""

from fractions import Fraction
from math import floor

import cv2
import numpy as np
import pytest
import skimage.data

from dgunet_jax.images.picture import luma
from dgunet_jax.metrics._psnr import psnr, studio_luma
from dgunet_jax.system.errors import UserError
from tests.metrics.degraded import recorded, small_pair

COLOURS = np.random.default_rng(0).integers(0, 256, (370, 310, 3), dtype=np.uint8)
RECORDED = recorded("rgb_psnr_uint8")


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_psnr(name: str):
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
        expected = floor(16 + 219 * full / 255 + Fraction(1, 2))
        found = studio_luma(np.array([[[red, green, blue]]], np.uint8))
        assert found.tolist() == [[[expected]]], (red, green, blue)


def test_studio_luma_is_one_channel_of_8_bits():
    values = studio_luma(small_pair()[0])
    assert values.shape == (37, 31, 1)
    assert values.dtype == np.uint8


@pytest.mark.parametrize("photograph", ["astronaut", "coffee", "random"])
def test_full_range_luma_is_that_of_opencv(photograph: str):
    colours = COLOURS if photograph == "random" else getattr(skimage.data, photograph)()
    expected = cv2.cvtColor(colours, cv2.COLOR_RGB2YCrCb)[..., :1]
    np.testing.assert_array_equal(luma(colours), expected)


@pytest.mark.parametrize(
    "pixels", [COLOURS / 255, COLOURS.astype(np.uint16), COLOURS[..., 0], COLOURS[..., :1]]
)
def test_what_is_not_8_bit_colour_is_refused(pixels: np.ndarray):
    with pytest.raises(UserError, match=r"luma is taken of uint8 \(H, W, 3\); got"):
        studio_luma(pixels)

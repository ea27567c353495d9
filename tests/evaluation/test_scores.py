"""Protocols give the golden numbers, and round where they say."""

import math

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.evaluation.scores import compare
from dgunet_jax.images import luma
from dgunet_jax.metrics import psnr, ssim_volume
from tests.evaluation.folders import clean, degraded
from tests.metrics.degraded import recorded

SCORES = {
    "gopro": ("rgb_psnr_uint8", "ssim_3d_matlab_rgb"),
    "hide": ("rgb_psnr_uint8", "ssim_3d_matlab_rgb"),
    "sidd": ("rgb_psnr_uint8", "ssim_3d_matlab_rgb"),
    "rain100l": ("rain_y_psnr", "rain_y_ssim"),
    "test2800": ("rain_y_psnr", "rain_y_ssim"),
    "luma": ("rain_y_psnr", "rain_y_ssim"),
    "realblur_j": ("realblur_psnr", "realblur_ssim"),
    "set11_25": ("cs_luma_psnr", "cs_luma_ssim"),
}


@pytest.mark.parametrize("name", SCORES)
def test_compare_gives_the_golden_numbers(name):
    ratio, ssim = SCORES[name]
    pair = next(iter(recorded(ratio).values()))
    image, target = pair.pair
    if PROTOCOLS[name].channels == 1:
        image, target = luma(image), luma(target)
    found = compare(PROTOCOLS[name], unit_range(image), target)[:2]
    tolerances = (2e-2, 1e-3) if name.startswith("realblur") else (1e-4, 1e-4)
    for value, score, tolerance in zip(found, (ratio, ssim), tolerances, strict=True):
        assert value == pytest.approx(pair.scores[score], abs=tolerance)


@pytest.mark.parametrize(
    "name", [name for name in PROTOCOLS if not name.startswith(("realblur", "dnd"))]
)
def test_compare_rounds_as_the_protocol_says(name):
    protocol = PROTOCOLS[name]
    target = clean(0)
    near = unit_range(target) + np.float32(0.4 / 255)  # rounds to the target
    found, ssim, _ = compare(protocol, near, target)
    if protocol.rounded:
        assert (found, ssim) == (math.inf, 1)
    else:
        assert found == pytest.approx(20 * math.log10(255 / 0.4), abs=0.01)
        assert ssim < 1


def test_compare_scores_sidd_unrounded():
    image, target = unit_range(degraded(1)) + np.float32(0.3 / 255), clean(1)
    pair = 255 * image.astype(np.float64).clip(0, 1), target.astype(np.float64)
    expected = psnr(*pair, peak=255), ssim_volume(*pair, peak=255)
    assert compare(PROTOCOLS["sidd"], image, target)[:2] == expected


@pytest.mark.parametrize("name", ["rgb", "luma", "sidd", "gopro"])
def test_the_input_is_scored_as_what_is_restored_is(name):
    given, target = unit_range(degraded(1)), clean(1)
    found = compare(PROTOCOLS[name], unit_range(degraded(0)), target, given)
    assert found.input == compare(PROTOCOLS[name], given, target).psnr
    assert found.input is not None
    assert found.gain == found.psnr - found.input
    assert compare(PROTOCOLS[name], given, target, given[:8]).gain is None
    assert compare(PROTOCOLS[name], given, target, given + 1j).gain is None
    if PROTOCOLS[name].rounded:
        assert compare(PROTOCOLS[name], unit_range(target), target, given).gain is None


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "dnd"])
def test_compare_clamps_images(name):
    target = clean(1)
    image = unit_range(degraded(1, sigma=60))
    image[image == 0], image[image == 1] = -0.3, 1.4
    expected = compare(PROTOCOLS[name], image.clip(0, 1), target)
    assert compare(PROTOCOLS[name], image, target) == expected


def test_compare_refuses_values_that_are_not_finite():
    image = unit_range(degraded(0))
    image[3, 4] = np.nan
    with pytest.raises(UserError, match="3 values that are NaN"):
        compare(PROTOCOLS["cbsd68_25"], image, clean(0))

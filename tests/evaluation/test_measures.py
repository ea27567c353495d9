"""Protocols give the golden numbers, and round where they say."""

import dataclasses
import math

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.evaluation.protocols import DATASETS, GENERIC, PROTOCOLS, SUITES, protocols
from dgunet_jax.evaluation.samples import to_float
from dgunet_jax.evaluation.scores import compare
from dgunet_jax.images.picture import luma
from dgunet_jax.metrics._psnr import psnr
from dgunet_jax.metrics._ssim import ssim_volume
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
def test_golden_numbers(name):
    ratio, ssim = SCORES[name]
    pair = next(iter(recorded(ratio).values()))
    image, target = pair.pair
    if PROTOCOLS[name].channels == 1:
        image, target = luma(image), luma(target)
    found = compare(PROTOCOLS[name], to_float(image), target)
    tolerances = (2e-2, 1e-3) if name.startswith("realblur") else (1e-4, 1e-4)
    for value, score, tolerance in zip(found, (ratio, ssim), tolerances, strict=True):
        assert value == pytest.approx(pair.scores[score], abs=tolerance)


@pytest.mark.parametrize(
    "name", [name for name in PROTOCOLS if not name.startswith(("realblur", "dnd"))]
)
def test_rounding_is_what_the_protocol_says(name):
    protocol = PROTOCOLS[name]
    target = clean(0)
    near = to_float(target) + np.float32(0.4 / 255)  # rounds to the target
    found, ssim = compare(protocol, near, target)
    if protocol.rounded:
        assert (found, ssim) == (math.inf, 1)
    else:
        assert found == pytest.approx(20 * math.log10(255 / 0.4), abs=0.01)
        assert ssim < 1


def test_sidd_is_scored_unrounded():
    image, target = to_float(degraded(1)) + np.float32(0.3 / 255), clean(1)
    pair = 255 * image.astype(np.float64).clip(0, 1), target.astype(np.float64)
    expected = psnr(*pair, peak=255), ssim_volume(*pair, peak=255)
    assert compare(PROTOCOLS["sidd"], image, target) == expected


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "dnd"])
def test_pictures_are_clamped(name):
    target = clean(1)
    image = to_float(degraded(1, sigma=60))
    image[image == 0], image[image == 1] = -0.3, 1.4
    expected = compare(PROTOCOLS[name], image.clip(0, 1), target)
    assert compare(PROTOCOLS[name], image, target) == expected


def test_what_cannot_be_scored_is_refused():
    image, target = to_float(degraded(0)), clean(0)
    with pytest.raises(UserError, match="it is 32×23 pixels large, its target 32×24"):
        compare(PROTOCOLS["rgb"], image[1:], target)
    image[3, 4] = np.nan
    with pytest.raises(UserError, match="3 values that are NaN"):
        compare(PROTOCOLS["cbsd68_25"], image, target)


def test_every_protocol_is_complete():
    assert {*DATASETS, *GENERIC} == {*PROTOCOLS}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert (protocol.count is None) == (name in GENERIC)
        assert bool(protocol.published) == (name not in GENERIC)
        degraded = protocol.sigma is not None or protocol.ratio is not None
        assert degraded == (protocol.layout == "clean")
        assert (protocol.padding == 32) == (protocol.channels == 1) == (protocol.measure == "grey")
        assert (protocol.measure == "server") == (protocol.layout == "dnd")
        assert (protocol.list_file is None) == (protocol.layout != "listed")
        assert protocol.rounded or protocol.measure not in ("luma", "aligned")
    assert {name for name, each in PROTOCOLS.items() if each.self_ensemble} == {"sidd", "dnd"}
    rows = {name: PROTOCOLS[f"set11_{name}"].measurements for name in (1, 4, 10, 25, 50)}
    assert rows == {1: 11, 4: 41, 10: 103, 25: 256, 50: 512}
    assert PROTOCOLS["kodak24_50"].sigma == 50


def test_the_average_of_the_deraining_sets_is_that_of_the_paper():
    suite = SUITES["derain"]
    for i, average in enumerate(suite.published):
        members = [protocol.published[i] for _, protocol in protocols("derain")]
        assert np.mean([each.psnr for each in members]) == pytest.approx(average.psnr, abs=0.011)
        ssim = np.mean([each.ssim or 0 for each in members])
        assert ssim == pytest.approx(average.ssim, abs=0.0011)


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(UserError, match=r"unknown data set 'nope'; it must be gopro, .* or five"):
        protocols("nope")


def test_protocols_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["gopro"].rounded = False

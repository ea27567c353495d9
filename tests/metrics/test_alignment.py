"""Alignment of a restored image with its target, and PSNR and SSIM after it."""

import math
import sys

import numpy as np
import pytest
import skimage.data
from skimage.metrics import structural_similarity

from dgunet_jax.metrics import align, aligned_scores, psnr
from dgunet_jax.metrics._alignment import Aligned
from dgunet_jax.system.errors import UserError
from tests.metrics.degraded import recorded, small_pair

RECORDED = recorded("realblur_psnr")
CAT = skimage.data.chelsea()[60:197, 120:251]


@pytest.mark.parametrize("name", RECORDED)
def test_aligned_scores_recorded_values(name: str):
    scores = RECORDED[name].scores
    ratio, ssim = aligned_scores(*RECORDED[name].pair)
    assert ratio == pytest.approx(scores["realblur_psnr"], abs=2e-2)
    assert ssim == pytest.approx(scores["realblur_ssim"], abs=1e-3)


@pytest.mark.parametrize("target", [CAT, small_pair()[1]])
def test_aligned_scores_of_equal_images(target: np.ndarray):
    ratio, ssim = aligned_scores(target, target)
    assert ratio > 80
    assert ssim == pytest.approx(1, abs=1e-6)


def test_align_moves_an_image_onto_its_target():
    rows, columns = 3, 2
    image, target = CAT[rows:, columns:], CAT[:-rows, :-columns]
    aligned = align(image, target)
    height, width = target.shape[:2]
    # The target's first rows and columns are not in the picture.
    expected = np.zeros((height, width), bool)
    expected[rows:, columns:] = True
    assert np.mean(aligned.mask == expected) > 0.99
    inner = np.s_[rows + 2 : -2, columns + 2 : -2]
    # Brightness is fitted before the picture is moved.
    gain = np.sum(target / 255 * image) / np.sum(image / 255 * image)
    assert psnr(aligned.image[inner], gain * target[inner] / 255) > 45
    assert not aligned.image[~aligned.mask].any()
    assert not aligned.target[~aligned.mask].any()
    np.testing.assert_allclose(
        aligned.target[aligned.mask], target[aligned.mask] / 255, rtol=0, atol=1e-7
    )
    assert aligned.image.dtype == aligned.target.dtype == np.float64


def test_align_finds_a_dozen_pixels():
    aligned = align(CAT[12:, 9:], CAT[:-12, :-9])
    height, width = aligned.mask.shape
    expected = np.zeros((height, width), bool)
    expected[12:, 9:] = True
    assert np.mean(aligned.mask == expected) > 0.99


def test_aligned_scores_ignore_position_and_brightness():
    ratio, ssim = aligned_scores(CAT[2:, 1:], CAT[:-2, :-1])
    assert ratio > psnr(CAT[2:, 1:], CAT[:-2, :-1], 255) + 15
    assert ssim > 0.99
    dimmed = np.rint(0.5 * CAT).astype(np.uint8)
    assert psnr(dimmed, CAT, 255) < 15
    assert aligned_scores(dimmed, CAT)[0] > 45


def test_aligned_scores_are_means_over_shared_pixels():
    noisy, target = small_pair(137, 131)
    image, target = noisy[8:, 7:], target[:-8, :-7]
    aligned = align(image, target)
    assert not aligned.mask[5:-5, 5:-5].all()
    mask = np.repeat(aligned.mask[..., None], 3, axis=2)
    error = np.sum(np.square(aligned.image - aligned.target)) / np.sum(mask)
    similarity = structural_similarity(
        aligned.target,
        aligned.image,
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )[1]
    inner = np.s_[5:-5, 5:-5]
    ratio, ssim = aligned_scores(image, target)
    assert ratio == pytest.approx(10 * math.log10(1 / error), rel=1e-10)
    expected = np.sum((similarity * mask)[inner]) / np.sum(mask[inner])
    assert ssim == pytest.approx(expected, rel=1e-10)
    assert type(ratio) is type(ssim) is float


def test_aligned_scores_refuses_images_without_shared_pixels(monkeypatch: pytest.MonkeyPatch):
    mask = np.zeros((37, 31), bool)
    mask[:5] = True
    apart = Aligned(np.zeros((37, 31, 3)), np.zeros((37, 31, 3)), mask)
    monkeypatch.setattr("dgunet_jax.metrics._alignment.align", lambda image, target: apart)
    with pytest.raises(UserError, match="nothing in common"):
        aligned_scores(*small_pair())


def test_align_refuses_flat_and_opposite_images():
    with pytest.raises(UserError, match="a black image cannot be aligned"):
        align(np.zeros_like(CAT), CAT)
    for image in (np.full_like(CAT, 99), 255 - CAT):
        with pytest.raises(UserError, match="ECC does not converge"):
            align(image, CAT)


def test_aligned_scores_refuses_other_types_and_shapes():
    image, target = small_pair()
    with pytest.raises(ValueError, match="is defined on uint8 images; got float64"):
        aligned_scores(image / 255, target / 255)
    with pytest.raises(ValueError, match=r"\(37, 31, 3\) and \(36, 31, 3\): they must be equal"):
        aligned_scores(image, target[:-1])
    with pytest.raises(ValueError, match=r"needs RGB images \(H, W, 3\)"):
        aligned_scores(image[..., 0], target[..., 0])
    with pytest.raises(ValueError, match="of 10×31 pixels: its window needs 11×11"):
        aligned_scores(image[:10], target[:10])


def test_aligned_scores_without_opencv_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        aligned_scores(*small_pair())

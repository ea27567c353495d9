"""What every SSIM has in common, and each by its definition."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from dgunet_jax.images import luma
from dgunet_jax.metrics import ssim_uniform, ssim_volume, ssim_wang, studio_luma
from tests.metrics.degraded import recorded, small_pair

Metric = Callable[[np.ndarray, np.ndarray], float]
ScaledMetric = Callable[[np.ndarray, np.ndarray, float], float]
Pair = tuple[np.ndarray, np.ndarray]


def wang_of_luma(image: np.ndarray, target: np.ndarray) -> float:
    return ssim_wang(studio_luma(image), studio_luma(target))


def uniform_of_luma(image: np.ndarray, target: np.ndarray) -> float:
    return ssim_uniform(luma(image), luma(target), 255)


def volume(image: np.ndarray, target: np.ndarray) -> float:
    return ssim_volume(image, target, 255)


METRICS: dict[str, Metric] = {
    "rain_y_ssim": wang_of_luma,
    "ssim_3d_matlab_rgb": volume,
    "cs_luma_ssim": uniform_of_luma,
}
RECORDED = recorded("ssim_3d_matlab_rgb")
any_scale = pytest.mark.parametrize("metric", [ssim_uniform, ssim_volume])
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("score", METRICS)
def test_ssim_recorded_values(score: str, name: str):
    # The volume's was recorded in float32.
    tolerance = 5e-5 if score == "ssim_3d_matlab_rgb" else 1e-6
    expected = RECORDED[name].scores[score]
    assert METRICS[score](*RECORDED[name].pair) == pytest.approx(expected, abs=tolerance)


@every_metric
def test_ssim_of_equal_images_is_exactly_one(metric: Metric):
    target = small_pair()[1]
    value = metric(target, target)
    assert value == 1
    assert type(value) is float


@every_metric
def test_ssim_is_symmetric_and_below_one(metric: Metric):
    image, target = small_pair()
    assert metric(image, target) == metric(target, image)
    assert 0 < metric(image, target) < 0.95


@every_metric
def test_ssim_is_the_same_for_flipped_and_transposed_images(metric: Metric):
    # More rows than are computed at a time.
    image, target = small_pair(133, 83)
    expected = pytest.approx(metric(image, target), rel=1e-12)
    assert metric(image[::-1], target[::-1]) == expected
    assert metric(image[:, ::-1], target[:, ::-1]) == expected
    assert metric(image.transpose(1, 0, 2), target.transpose(1, 0, 2)) == expected


@every_metric
def test_ssim_leaves_its_inputs(metric: Metric):
    image, target = small_pair()
    before = image.copy(), target.copy()
    metric(image, target)
    np.testing.assert_array_equal((image, target), before)


@pytest.mark.parametrize("metric", [ssim_wang, volume, lambda x, y: ssim_uniform(x, y, 255)])
def test_ssim_of_flat_images_compares_brightness_alone(metric: Metric):
    shape = (37, 31, 3) if metric is volume else (37, 31)
    dark, light = np.full(shape, 60, np.uint8), np.full(shape, 200, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 60 * 200 + c1) / (60**2 + 200**2 + c1)
    assert metric(dark, light) == pytest.approx(expected, rel=1e-10)


def test_ssim_of_inverted_structure_is_negative():
    checks = np.indices((37, 31)).sum(0).astype(np.uint8) % 2 * 200
    assert ssim_wang(checks, 200 - checks) < -0.9


def directly(pair: Pair, kernel: np.ndarray) -> float:
    """SSIM with L = 255, of the sums that define it, wherever a kernel of any dimension fits."""
    x, y = (array.astype(np.float64) for array in pair)

    def mean(values: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, kernel.shape)
        return np.tensordot(windows, kernel, kernel.ndim)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x**2) - mean_x**2, mean(y**2) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    brightness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(np.mean(brightness * (2 * covariance + c2) / (variance_x + variance_y + c2)))


def gaussian_kernel(dimensions: int) -> np.ndarray:
    """11 to a side, σ = 1.5, by the distance from its centre."""
    kernel = np.zeros((11,) * dimensions)
    for place in itertools.product(range(11), repeat=dimensions):
        kernel[place] = math.exp(-sum((i - 5) ** 2 for i in place) / (2 * 1.5**2))
    return kernel / kernel.sum()


@pytest.mark.parametrize("size", [(11, 11), (37, 31), (80, 12)])
def test_ssim_wang_is_its_definition(size: tuple[int, int]):
    image, target = (array[..., 1] for array in small_pair(*size))
    expected = pytest.approx(directly((image, target), gaussian_kernel(2)), rel=1e-10)
    assert ssim_wang(image, target) == expected
    assert ssim_wang(image[..., None], target[..., None]) == expected


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (13, 17), (67, 2)])
def test_ssim_volume_is_its_definition(size: tuple[int, int]):
    image, target = small_pair(*size)
    padded = [np.pad(array, 5, mode="edge") for array in (image, target)]
    expected = directly((padded[0], padded[1]), gaussian_kernel(3))
    assert ssim_volume(image, target, 255) == pytest.approx(expected, rel=1e-10)
    assert ssim_volume(image / 255, target / 255, 1) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [(7, 7), (37, 31), (71, 8)])
def test_ssim_uniform_agrees_with_scikit_image(size: tuple[int, int]):
    image, target = small_pair(*size)
    expected = structural_similarity(target, image, data_range=255, channel_axis=2)
    assert ssim_uniform(image, target, 255) == pytest.approx(expected, rel=1e-10)
    image, target = image[..., 0] / 255, target[..., 0] / 255
    expected = structural_similarity(target, image, data_range=1)
    assert ssim_uniform(image, target, 1) == pytest.approx(expected, rel=1e-10)
    assert ssim_uniform(image[..., None], target[..., None], 1) == pytest.approx(expected)


@any_scale
def test_ssim_does_not_depend_on_the_scale(metric: ScaledMetric):
    image, target = small_pair()
    expected = metric(image, target, 255)
    assert metric(image / 255, target / 255, 1) == pytest.approx(expected, rel=1e-10)
    assert metric(np.float32(image), np.float32(target), 255) == expected


@any_scale
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_ssim_of_nan_and_infinity_is_nan(metric: ScaledMetric, bad: float):
    image, target = (array / 255 for array in small_pair())
    image[36, 30, 2] = bad
    assert math.isnan(metric(image, target, 1))
    assert math.isnan(metric(target, image, 1))


def test_ssim_refuses_images_smaller_than_the_window():
    image, target = small_pair(37, 10)
    with pytest.raises(ValueError, match=r"of 37×10 pixels: its window needs 11×11"):
        wang_of_luma(image, target)
    image, target = small_pair(6, 31)
    with pytest.raises(ValueError, match=r"of 6×31 pixels: its window needs 7×7"):
        ssim_uniform(image, target, 255)


@every_metric
def test_ssim_requires_equal_shapes_even_where_they_would_broadcast(metric: Metric):
    image, target = small_pair()
    with pytest.raises(ValueError, match=r"\(37, 31, \d\) and \(1, 31, \d\): they must be equal"):
        metric(image, target[:1])
    with pytest.raises(ValueError, match="there must be at least one element"):
        metric(image[:0], target[:0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int64, bool])
def test_ssim_wang_refuses_types_other_than_uint8(dtype: type):
    image = small_pair()[0]
    other = image.astype(dtype)
    message = f"is defined on uint8 images; got {np.dtype(dtype)}"
    for x, y in ((other, image), (image, other), (other, other)):
        with pytest.raises(ValueError, match=message):
            ssim_wang(x[..., 0], y[..., 0])


def test_ssim_refuses_other_shapes():
    image, target = small_pair()
    with pytest.raises(ValueError, match=r"needs grey images \(H, W\) or \(H, W, 1\); got \(37,"):
        ssim_wang(image, target)
    for grey in (np.s_[..., 0], np.s_[..., :1], np.s_[None]):
        with pytest.raises(ValueError, match=r"needs RGB images \(H, W, 3\); got \("):
            volume(image[grey], target[grey])
    with pytest.raises(ValueError, match=r"needs \(H, W\) or \(H, W, C\); got \(1, 37, 31, 3\)"):
        ssim_uniform(image[None], target[None], 255)


@any_scale
def test_ssim_requires_one_scale_and_a_positive_peak(metric: ScaledMetric):
    image, target = small_pair()
    with pytest.raises(ValueError, match="uint8 and float64: both must be on one scale"):
        metric(image, target / 255, 255)
    for peak in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"with peak .*: it must be finite"):
            metric(image, target, peak)

"""Degradations: their statistics, what they draw, and what is no degradation."""

import numpy as np
import pytest

from dgunet_jax.data import kernels, simulation
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.simulation import camera_noise, gaussian_noise, jpeg, rounded, snapshot_noise
from dgunet_jax.system.errors import UserError

GREY = np.full((128, 96, 3), 0.5, np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photograph() -> np.ndarray:
    from skimage import data

    return data.chelsea()[:97, :131].astype(np.float32) / 255


def blocking(image: np.ndarray) -> float:
    """The mean step across the borders of 8×8 blocks over that between all other columns."""
    steps = np.abs(np.diff(image.mean(-1), axis=1)).mean(0)
    border = np.arange(1, len(steps) + 1) % 8 == 0
    return float(steps[border].mean() / steps[~border].mean())


@pytest.mark.parametrize("sigma", [1.0, 50.0])
def test_gaussian_noise_has_its_deviation_and_is_white(sigma):
    noise = (gaussian_noise(GREY, sigma, rng()) - GREY) * 255
    assert noise.mean() == pytest.approx(0, abs=0.03 * sigma)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_camera_noise_grows_with_light_and_is_correlated_between_neighbours():
    dark, bright = (
        camera_noise(np.full_like(GREY, value), 0.003, rng()) - value for value in (0.2, 0.7)
    )
    # The variance of light z is shot · z; the curve from light to values is steep in the dark.
    light = [((value + 0.055) / 1.055) ** 2.4 for value in (0.2, 0.7)]
    slopes = [((value + 0.055) / 1.055) ** 1.4 * 2.4 / 1.055 for value in (0.2, 0.7)]
    in_light = [
        noise[..., 1].std() * slope for noise, slope in zip((dark, bright), slopes, strict=True)
    ]
    # Read noise adds to both.
    assert 1.3 < in_light[1] / in_light[0] < np.sqrt(light[1] / light[0])
    red = bright[..., 0]
    assert np.corrcoef(red[:, 1:].ravel(), red[:, :-1].ravel())[0, 1] > 0.5
    assert abs(bright.mean()) < 0.01


def test_camera_noise_keeps_the_picture_sharp():
    picture = photograph()
    restored = np.mean([camera_noise(picture, 0.0005, rng(seed)) for seed in range(60)], axis=0)
    assert np.abs(restored - picture).mean() < 0.004


def test_noise_reduction_makes_noise_coarser_and_channels_alike_at_the_same_strength():
    noises = [snapshot_noise(GREY, 0.002, reduction, rng()) - GREY for reduction in (0, 0.4, 1)]
    assert np.array_equal(noises[0] + GREY, camera_noise(GREY, 0.002, rng()))
    assert noises[1].std() == pytest.approx(noises[0].std(), rel=0.05)
    two_on = [np.corrcoef(n[:, 2:].ravel(), n[:, :-2].ravel())[0, 1] for n in noises]
    assert two_on[0] < 0.2 < two_on[1] < two_on[2] - 0.1
    channels = [np.corrcoef(n[..., 0].ravel(), n[..., 1].ravel())[0, 1] for n in noises]
    assert channels[0] < 0.05 < 0.3 < channels[1] < channels[2]


def test_jpeg_is_that_of_pillow_and_shows_its_blocks():
    picture = photograph()
    found = [jpeg(picture, quality, rng()) for quality in (10, 50, 95)]
    errors = [np.abs(image - picture).mean() for image in found]
    assert errors[0] > errors[1] > errors[2] > 0
    assert all(image.shape == picture.shape and image.dtype == np.float32 for image in found)
    assert blocking(found[0]) > 1.5 > 1.1 > blocking(picture)


def test_rounding_is_that_of_a_file():
    image = np.array([-0.1, 0.0, 0.5, 0.9981, 1.4], np.float32)
    assert (rounded(image, rng()) * 255).tolist() == [0, 0, 128, 255, 255]


def test_a_number_draws_nothing_and_a_range_is_uniform():
    fixed = Degradation.parse("gaussian(25)").apply(GREY, rng())
    assert np.array_equal(fixed, gaussian_noise(GREY, 25, rng()))
    degradation = Degradation.parse("gaussian(10..50)")
    sigmas = [(degradation.apply(GREY, rng(i)) - GREY).std() * 255 for i in range(200)]
    assert min(sigmas) > 9.5 and max(sigmas) < 51
    assert np.histogram(sigmas, 4, (10, 50))[0].min() > 30


def test_chains_are_equally_likely_and_go_from_left_to_right():
    degradation = Degradation.parse("gaussian(20) | round; gaussian(20) |round|jpeg( 10..10 )")
    images = [degradation.apply(GREY, rng(i)) for i in range(60)]
    of_bytes = [np.allclose(image * 255, np.round(image * 255), atol=1e-3) for image in images]
    assert all(of_bytes)
    blocky = sum(len(np.unique(image[:8, :8])) < 60 for image in images)
    assert 15 < blocky < 45


def test_the_same_seed_gives_the_same_and_the_clean_picture_is_left():
    picture = photograph()
    before = picture.copy()
    degradation = Degradation.parse("camera(0.0001..0.012) | jpeg(75..100); gaussian(0..55)")
    assert np.array_equal(*(degradation.apply(picture, rng(3)) for _ in range(2)))
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("side", [9, 24, 25])
def test_kernels_sum_to_one_are_not_negative_and_lie_in_the_middle(side):
    made = (
        kernels.motion_kernel(rng(), side, 7.3),
        kernels.line_kernel(side, 6, 0.7),
        kernels.gaussian_kernel(side, 1.5),
        kernels.disk_kernel(side, 3.2),
    )
    line = np.arange(side) - (side - 1) / 2
    for kernel in made:
        assert kernel.shape == (side, side) and kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
    for kernel in made[1:]:
        assert abs((kernel.sum(0) * line).sum()) < 0.1 and abs((kernel.sum(1) * line).sum()) < 0.1
    assert (made[2].sum(0) * line**2).sum() == pytest.approx(1.5**2, rel=0.05)
    # Of a disk the mean of r² is R²/2, and a way of length L along a line has the variance L²/12.
    radii = line[:, None] ** 2 + line**2
    assert (made[3] * radii).sum() == pytest.approx(3.2**2 / 2, rel=0.05)
    assert (made[1] * radii).sum() == pytest.approx(6**2 / 12, rel=0.2)


@pytest.mark.parametrize("text", ["shake(0..20)", "defocus(0..6)", "soften(0.3..3)"])
def test_blurs_keep_the_mean_and_take_detail(text):
    blurred = Degradation.parse(text)
    np.testing.assert_allclose(blurred.apply(GREY, rng()), GREY, rtol=0, atol=1e-5)
    picture = photograph()
    found = np.stack([blurred.apply(picture, rng(seed)) for seed in range(8)])
    assert found.dtype == np.float32 and found.min() > -1e-4 and found.max() < 1 + 1e-4
    assert found.mean() == pytest.approx(picture.mean(), abs=0.01)
    assert np.abs(np.diff(found, axis=1)).mean() < 0.9 * np.abs(np.diff(picture, axis=0)).mean()


def test_a_blur_wider_than_the_picture_is_made_of_its_mirror_images():
    small = photograph()[:5, :7]
    found = simulation.soften(small, 6.0, rng())
    assert found.shape == small.shape and np.isfinite(found).all()


def test_rain_covers_its_share_leans_to_one_side_and_only_adds_light():
    black = np.zeros((256, 256, 3), np.float32)
    covered = [(simulation.rain(black, 0.1, 15, rng(seed)) > 0.05).mean() for seed in range(8)]
    # Streaks are wider than a pixel, and some meet.
    assert 0.07 < np.mean(covered) < 0.3
    fallen = simulation.rain(GREY, 0.2, 20, rng())
    assert fallen.min() >= 0.5 - 1e-5 and 0.7 < fallen.max() <= 1
    np.testing.assert_array_equal(fallen[..., 0], fallen[..., 2])
    # Along the streaks pixels are more alike than across.
    streaks = fallen[..., 0]
    down, right = np.abs(np.diff(streaks, axis=0)).mean(), np.abs(np.diff(streaks, axis=1)).mean()
    assert down < 0.8 * right


def test_haze_is_air_and_picture_in_shares_that_change_smoothly():
    black, white = np.zeros_like(GREY), np.ones_like(GREY)
    air, whole = (simulation.haze(each, 1.5, rng(3)) for each in (black, white))
    through = whole - air  # t, and air is a (1 − t)
    np.testing.assert_allclose(air / (1 - through), (air / (1 - through)).mean(), rtol=1e-3)
    assert np.exp(-1.5) <= through.min() < through.max() <= 1 + 1e-6
    assert np.abs(np.diff(through, axis=0)).max() < 0.05
    assert through[:8].mean() < through[-8:].mean()
    np.testing.assert_array_equal(simulation.haze(GREY, 0, rng()), GREY)


def test_low_light_is_less_linear_light():
    found = simulation.low_light(GREY, 0.1, rng())
    light = ((0.5 + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(found, 1.055 * (0.1 * light) ** (1 / 2.4) - 0.055, rtol=1e-5)
    np.testing.assert_allclose(simulation.low_light(GREY, 1, rng()), GREY, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a step like"),
        ("gaussian(25) |", "'' is not a step like"),
        ("fog(1)", "there is no 'fog', the steps are bayer, camera, clean, color_mask"),
        ("gaussian", "gaussian takes sigma"),
        ("round(3)", "round takes no numbers"),
        ("gaussian(-1)", "sigma is '-1'; it must be a number or low..high, at least 0$"),
        ("gaussian(nan)", "sigma is 'nan'"),
        ("gaussian(30..20)", "sigma is '30..20'"),
        ("gaussian(x)", "sigma is 'x'"),
        ("jpeg(0..90)", "quality is '0..90'; .* at least 1 and at most 100"),
        ("camera(0..0.01)", "shot is '0..0.01'"),
    ],
)
def test_what_is_no_degradation_is_named(text, message):
    with pytest.raises(UserError, match=message):
        Degradation.parse(text)


def test_noise_of_negative_deviation_and_of_bytes_is_refused():
    with pytest.raises(UserError, match="sigma is -1"):
        gaussian_noise(GREY, -1.0, rng())
    with pytest.raises(UserError, match="floating-point images"):
        gaussian_noise(np.zeros((2, 2, 3), np.uint8), 25.0, rng())  # type: ignore[arg-type]

"""Attribution where it is known, and the region that it is made on."""

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.analysis.attribution import (
    Patch,
    blur_path,
    effective_radius,
    integrated_gradients,
    patch_score,
    region,
    saliency,
)
from dgunet_jax.models.unfold import trace


def test_saliency_of_a_chain_is_its_patch(chain):
    network, y = chain
    patch = Patch(1, 2, 2, 1)
    found = saliency(network, y, trace(network, y), patch, 1)
    expected = np.zeros((1, 4, 4))
    expected[0, 2, 1:3] = 0.8 / 2  # ∂x_1/∂y = 0.8, a mean of two pixels
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_effective_radius_of_a_disc():
    rows, columns = np.indices((41, 41))
    distance = np.hypot(rows - 20, columns - 20)
    disc = (distance <= 8).astype(float)
    half, whole = effective_radius(disc, Patch(20, 20, 1, 1), (0.5, 1.0))
    assert whole == 8
    assert abs(half - 8 / 2**0.5) < 0.5  # half of the area, up to whole pixels
    assert effective_radius(np.eye(1), Patch(0, 0, 1, 1), (0.95,)) == [0]
    for value in (0, np.nan, np.inf):
        assert np.isnan(effective_radius(np.full((4, 4), value), Patch(0, 0, 1, 1))).all()


def test_integrated_gradients_of_a_quadratic_are_exact():
    """½‖y‖² on a straight path from 0: each pixel adds ½ y²."""
    y = np.random.default_rng(0).random((2, 3, 4, 1))
    path = [t * y for t in np.linspace(0, 1, 3)]
    found = integrated_gradients(lambda x: (0.5 * (x**2).sum((1, 2, 3)), x), path)
    np.testing.assert_allclose(found.map, 0.5 * y[..., 0] ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.total, 0.5 * (y**2).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert (found.error < 1e-5).all()


def test_blur_path_ends_at_the_image():
    image = np.random.default_rng(0).random((1, 16, 16, 3))
    path = blur_path(image, 6.0, 4)
    spreads = [each.std() for each in path]
    assert len(path) == 4 and spreads == sorted(spreads)
    np.testing.assert_array_equal(path[-1], image)
    np.testing.assert_allclose([each.mean() for each in path], image.mean(), rtol=1e-3)


def test_patch_score_has_its_gradient(chain):
    network, y = chain
    score = patch_score(network, Patch(0, 0, 4, 4))
    path = [t * np.asarray(y) for t in (0.2, 0.6, 1.0)]
    found = integrated_gradients(score, path)
    x3 = 2.0 * (0.5 * 0.5 * (0.5 * 0.8 + 0.5) + 0.5)
    np.testing.assert_allclose(found.map, 0.8 * x3 * y[..., 0] / 16, rtol=1e-5)
    assert (found.error < 1e-5).all()


def test_patch_lies_within():
    Patch(0, 0, 4, 4).check(4, 4)
    for patch in (Patch(1, 0, 4, 4), Patch(-1, 0, 2, 2), Patch(0, 0, 0, 1)):
        with pytest.raises(UserError, match="must lie within the 4×4 pixels"):
            patch.check(4, 4)


@pytest.mark.parametrize("multiple", [8, 32])
@pytest.mark.parametrize(("height", "width"), [(37, 101), (300, 64), (32, 32)])
@pytest.mark.parametrize("side", [32, 100, 500])
def test_region_is_a_multiple_within_the_image(height, width, side, multiple):
    found = region(height, width, side, multiple, None)
    assert found.height % multiple == found.width % multiple == 0
    assert 0 < found.height <= side and 0 < found.width <= side
    found.check(height, width)
    # No larger multiple would do, and it lies in the middle.
    for length, whole in ((found.height, height), (found.width, width)):
        assert length + multiple > min(side, whole)
    assert abs(2 * found.y + found.height - height) <= 1
    assert abs(2 * found.x + found.width - width) <= 1


@pytest.mark.parametrize("patch", [(0, 0, 4, 4), (97, 33, 4, 4), (50, 0, 1, 37), (11, 30, 30, 7)])
def test_region_holds_the_patch(patch):
    patch = Patch(*patch)
    found = region(37, 101, 32, 8, patch) if patch.height <= 32 else None
    if found is None:
        with pytest.raises(UserError, match=r"50 0 1 37 \(X Y W H\): must be at most 32×32"):
            region(37, 101, 32, 8, patch)
        return
    found.check(37, 101)
    patch.moved(-found.x, -found.y).check(found.height, found.width)


def test_region_that_does_not_fit():
    with pytest.raises(UserError, match="101×7 pixels: must be at least 8×8"):
        region(7, 101, 64, 8, None)
    with pytest.raises(UserError, match="size 4: must be at least 8 pixels"):
        region(64, 64, 4, 8, None)
    with pytest.raises(UserError, match=r"patch 60 0 8 8 \(X Y W H\): must lie within the 64×64"):
        region(64, 64, 32, 8, Patch(60, 0, 8, 8))

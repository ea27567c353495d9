"""The part of a picture that is analysed fits the network and holds the patch."""

import pytest

from dgunet_jax import UserError
from dgunet_jax.analysis.attribution import Patch, central_patch, region, within


@pytest.mark.parametrize("multiple", [8, 32])
@pytest.mark.parametrize(("height", "width"), [(37, 101), (300, 64), (32, 32)])
@pytest.mark.parametrize("side", [32, 100, 500])
def test_regions_are_multiples_within_the_picture(height, width, side, multiple):
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
def test_regions_hold_the_patch(patch):
    patch = Patch(*patch)
    found = region(37, 101, 32, 8, patch) if patch.height <= 32 else None
    if found is None:
        with pytest.raises(UserError, match=r"50 0 1 37 \(X Y W H\): must be at most 32×32"):
            region(37, 101, 32, 8, patch)
        return
    found.check(37, 101)
    within(patch, found).check(found.height, found.width)


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match="101×7 pixels: must be at least 8×8"):
        region(7, 101, 64, 8, None)
    with pytest.raises(UserError, match="size 4: must be at least 8 pixels"):
        region(64, 64, 4, 8, None)
    with pytest.raises(UserError, match=r"patch 60 0 8 8 \(X Y W H\): must lie within the 64×64"):
        region(64, 64, 32, 8, Patch(60, 0, 8, 8))


def test_central_patches():
    assert central_patch(100, 80) == Patch(32, 42, 16, 16)
    assert central_patch(8, 100) == Patch(42, 0, 16, 8)

"""Flips and rotations as a group, crops that reach everywhere, and saturation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from dgunet_jax.data.transforms import (
    DIHEDRAL,
    change_saturation,
    cut,
    dihedral,
    draw_corner,
    draw_dihedral,
    draw_flip_transpose,
    draw_saturation,
    pad_to,
    to_luma,
    undo_dihedral,
)
from dgunet_jax.system.errors import UserError

IMAGE = np.arange(37 * 31 * 3).reshape(37, 31, 3)
SQUARE = np.arange(5 * 5).reshape(5, 5, 1)


def element_of(transformed: np.ndarray) -> int:
    """The index of the one element that makes `transformed` of SQUARE."""
    found = [i for i in range(DIHEDRAL) if np.array_equal(dihedral(SQUARE, i), transformed)]
    assert len(found) == 1
    return found[0]


def test_index_zero_is_the_identity_and_all_eight_differ():
    np.testing.assert_array_equal(dihedral(IMAGE, 0), IMAGE)
    assert len({dihedral(SQUARE, i).tobytes() for i in range(DIHEDRAL)}) == DIHEDRAL


def test_dihedral_is_closed_under_composition():
    for first, second in itertools.product(range(DIHEDRAL), repeat=2):
        element_of(dihedral(dihedral(SQUARE, first), second))


def test_every_element_has_an_inverse_that_restores_an_odd_sized_image():
    for index in range(DIHEDRAL):
        inverses = [
            other
            for other in range(DIHEDRAL)
            if element_of(dihedral(dihedral(SQUARE, index), other)) == 0
        ]
        assert len(inverses) == 1
        restored = dihedral(dihedral(IMAGE, index), inverses[0])
        np.testing.assert_array_equal(restored, IMAGE)


def test_dihedral_is_the_flip_first_and_then_counterclockwise_turns():
    np.testing.assert_array_equal(dihedral(IMAGE, 4), np.fliplr(IMAGE))
    for turns in range(4):
        np.testing.assert_array_equal(dihedral(IMAGE, turns), np.rot90(IMAGE, turns))
        np.testing.assert_array_equal(dihedral(IMAGE, 4 + turns), np.rot90(np.fliplr(IMAGE), turns))


@pytest.mark.parametrize("index", range(DIHEDRAL))
def test_batch_is_transformed_like_each_of_its_images(index: int):
    batch = np.stack([IMAGE, IMAGE[::-1] * 2])
    expected = np.stack([dihedral(image, index) for image in batch])
    np.testing.assert_array_equal(dihedral(batch, index), expected)


@pytest.mark.parametrize("index", [-1, 8])
def test_dihedral_refuses_an_index_outside_the_group(index: int):
    with pytest.raises(UserError, match=f"is {index}; it must be 0 to 7"):
        dihedral(IMAGE, index)


def test_identity_is_drawn_twice_as_often_as_each_other_element():
    draws = 18_000
    rng = np.random.default_rng(0)
    counts = np.bincount([draw_dihedral(rng) for _ in range(draws)], minlength=DIHEDRAL)
    assert len(counts) == DIHEDRAL
    probability = np.array([2] + [1] * 7) / 9
    deviation = np.sqrt(draws * probability * (1 - probability))
    assert (np.abs(counts - draws * probability) < 4 * deviation).all()


@pytest.mark.parametrize("size", [1, 8, 31])
def test_a_square_is_cut_out_at_its_corner(size: int):
    rng = np.random.default_rng(1)
    for _ in range(20):
        top, left = draw_corner(37, 31, size, rng)
        square = cut(IMAGE, top, left, size)
        assert square.shape == (size, size, 3)
        np.testing.assert_array_equal(square, IMAGE[top : top + size, left : left + size])
        np.testing.assert_array_equal(cut(IMAGE[: top + size], top, left, size), square)


def test_all_corners_are_equally_likely():
    draws = 6_000
    rng = np.random.default_rng(2)
    corners = [draw_corner(4, 3, 2, rng) for _ in range(draws)]
    counts = np.array([corners.count((top, left)) for top in range(3) for left in range(2)])
    assert counts.sum() == draws
    assert (np.abs(counts - draws / 6) < 4 * np.sqrt(draws * 5 / 36)).all()


def test_square_of_a_smaller_image_is_the_image_reflected():
    tiny = np.arange(5 * 7 * 3).reshape(5, 7, 3)
    rows = [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    columns = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    assert draw_corner(5, 7, 16, np.random.default_rng(3)) == (0, 0)
    np.testing.assert_array_equal(cut(tiny, 0, 0, 16), tiny[rows][:, columns])


def test_square_of_an_image_small_in_one_direction_moves_in_the_other():
    wide = np.arange(5 * 31).reshape(5, 31, 1)
    rng = np.random.default_rng(4)
    corners = {draw_corner(5, 31, 16, rng) for _ in range(200)}
    assert corners == {(0, left) for left in range(16)}
    for top, left in corners:
        square = cut(wide, top, left, 16)
        assert square.shape == (16, 16, 1)
        np.testing.assert_array_equal(square[:5], wide[:, left : left + 16])


def test_single_pixel_is_repeated():
    pixel = np.array([[[3, 4, 5]]])
    np.testing.assert_array_equal(pad_to(pixel, 4, 6), np.broadcast_to(pixel, (4, 6, 3)))


def test_large_enough_image_is_not_padded():
    assert pad_to(IMAGE, 37, 31) is IMAGE


@pytest.mark.parametrize("index", range(DIHEDRAL))
def test_undoing_restores_the_image(index: int):
    np.testing.assert_array_equal(undo_dihedral(dihedral(IMAGE, index), index), IMAGE)


def test_saturation_is_changed_in_one_of_three_draws_by_up_to_a_fifth():
    draws = 18_000
    rng = np.random.default_rng(5)
    factors = np.array([draw_saturation(rng) for _ in range(draws)])
    changed = factors[factors != 1]
    assert abs(len(changed) - draws / 3) < 4 * np.sqrt(draws * 2 / 9)
    assert stats.kstest(changed, "uniform", (0.8, 0.4)).pvalue > 1e-3


COLOURS = np.random.default_rng(6).random((37, 31, 3), np.float32)


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.1, 1.2])
def test_changed_saturation_is_a_blend_with_the_luma_in_the_unit_range(factor: float):
    changed = change_saturation(COLOURS, factor)
    assert changed.dtype == np.float32
    luma = (COLOURS.astype(np.float64) @ [0.2989, 0.587, 0.114])[..., None]
    expected = np.clip(factor * COLOURS.astype(np.float64) + (1 - factor) * luma, 0, 1)
    np.testing.assert_allclose(changed, expected, rtol=0, atol=3e-7)
    assert changed.min() >= 0
    assert changed.max() <= 1
    if factor > 1:
        assert (changed == 1).any()


def test_the_factor_one_changes_nothing():
    assert change_saturation(COLOURS, 1.0) is COLOURS


def test_saturation_commutes_with_cropping_and_turning():
    whole = change_saturation(COLOURS, 1.2)
    for index in range(DIHEDRAL):
        first = dihedral(cut(whole, 9, 7, 16), index)
        last = change_saturation(dihedral(cut(COLOURS, 9, 7, 16), index), 1.2)
        np.testing.assert_array_equal(first, last)


def test_flips_and_transpositions_are_drawn_alike():
    rng = np.random.default_rng(0)
    counts = np.bincount([draw_flip_transpose(rng) for _ in range(4000)], minlength=DIHEDRAL)
    assert set(np.flatnonzero(counts)) == {0, 3, 5, 6}
    assert stats.chisquare(counts[counts > 0]).pvalue > 1e-3
    image = rng.random((4, 6, 1))
    flipped = image[::-1]
    for index, expected in {6: flipped, 5: image, 3: flipped}.items():
        turned = expected if index == 6 else expected.swapaxes(0, 1)
        np.testing.assert_array_equal(dihedral(image, index), turned)


def test_luma_of_both_ranges():
    colours = np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0]]], np.float32)
    np.testing.assert_allclose(to_luma(colours, False)[0, :, 0], [0, 1, 0.299], atol=1e-6)
    studio = np.array([16, 235, 16 + 65.481]) / 255
    np.testing.assert_allclose(to_luma(colours, True)[0, :, 0], studio, atol=1e-6)
    grey = np.full((2, 3, 3), 0.37, np.float32)
    np.testing.assert_allclose(to_luma(grey, False), grey[..., :1], atol=1e-6)

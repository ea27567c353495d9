"""Flips and rotations as a group, and crops that stay aligned."""

import itertools

import numpy as np
import pytest

from dgunet_jax.data.augmentation import DIHEDRAL, dihedral, draw_dihedral, pad_to, random_crop
from dgunet_jax.errors import UserError

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
def test_crops_of_a_pair_show_the_same_window(size: int):
    rng = np.random.default_rng(1)
    for _ in range(20):
        first, second = random_crop([IMAGE, IMAGE + 1], size, rng)
        assert first.shape == (size, size, 3)
        np.testing.assert_array_equal(second, first + 1)
        top, left = divmod(int(first[0, 0, 0]) // 3, 31)
        np.testing.assert_array_equal(first, IMAGE[top : top + size, left : left + size])


def test_crops_reach_every_position():
    image = np.arange(4 * 3).reshape(4, 3, 1)
    rng = np.random.default_rng(2)
    corners = {int(random_crop([image], 2, rng)[0][0, 0, 0]) for _ in range(200)}
    assert corners == {0, 1, 3, 4, 6, 7}


def test_crop_of_a_smaller_image_is_the_image_reflected():
    tiny = np.arange(5 * 7 * 3).reshape(5, 7, 3)
    (patch,) = random_crop([tiny], 16, np.random.default_rng(3))
    rows = [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    columns = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    np.testing.assert_array_equal(patch, tiny[rows][:, columns])


def test_crop_of_an_image_small_in_one_direction_moves_in_the_other():
    wide = np.arange(5 * 31).reshape(5, 31, 1)
    rng = np.random.default_rng(4)
    corners = set()
    for _ in range(200):
        (patch,) = random_crop([wide], 16, rng)
        assert patch.shape == (16, 16, 1)
        corners.add(int(patch[0, 0, 0]))
    assert corners == set(range(16))


def test_single_pixel_is_repeated():
    pixel = np.array([[[3, 4, 5]]])
    np.testing.assert_array_equal(pad_to(pixel, 4, 6), np.broadcast_to(pixel, (4, 6, 3)))


def test_large_enough_image_is_not_padded():
    assert pad_to(IMAGE, 37, 31) is IMAGE


def test_images_of_different_size_are_not_cropped_together():
    with pytest.raises(UserError, match="one size; got 37x31, 37x32"):
        random_crop([IMAGE, np.zeros((37, 32, 3))], 8, np.random.default_rng(0))

"""Inner products and norms of pictures and trees."""

import jax
import numpy as np

from dgunet_jax.analysis.spectra import cosine, inner, norm, probe, root_mean_square, unit


def test_every_picture_is_a_vector_of_its_own():
    a = np.array([[[3, 4]], [[0, 2]]], np.float32)
    np.testing.assert_allclose(norm(a), [5, 2])
    np.testing.assert_allclose(inner(a, a[::-1]), [8, 8])
    np.testing.assert_allclose(root_mean_square(a), [5 / 2**0.5, 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(cosine(a, a[::-1]), [0.8, 0.8], rtol=1e-6)


def test_trees_are_put_together():
    tree = {
        "x": np.array([[3]], np.float32),
        "memory": np.array([[0, 4]], np.float32),
        "none": None,
    }
    np.testing.assert_allclose(norm(tree), [5])
    np.testing.assert_allclose(norm(unit(tree)), [1], rtol=1e-6)


def test_nothing_has_no_direction():
    zero = np.zeros((1, 2, 2, 1), np.float32)
    assert np.isnan(cosine(zero, zero + 1))
    np.testing.assert_array_equal(unit(zero), zero)


def test_probes_have_length_one_and_differ():
    like = (np.zeros((2, 5, 4, 3), np.float32), np.zeros((2, 7), np.float32))
    first, second = probe(jax.random.key(0), like), probe(jax.random.key(1), like)
    np.testing.assert_allclose(norm(first), [1, 1], rtol=1e-6)
    assert np.all(np.abs(inner(first, second)) < 0.9)

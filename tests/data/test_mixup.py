"""What MixUp draws, and what it makes of two images."""

import numpy as np
from scipy import stats

from dgunet_jax.data.transforms import draw_mixup, mix


def test_partners_are_a_permutation_that_reaches_everyone_equally():
    draws, batch = 4_000, 4
    rng = np.random.default_rng(0)
    partners = np.stack([draw_mixup(batch, rng)[0] for _ in range(draws)])
    assert (np.sort(partners, axis=1) == np.arange(batch)).all()
    counts = np.array([np.bincount(column, minlength=batch) for column in partners.T])
    assert (np.abs(counts - draws / 4) < 4 * np.sqrt(draws * 3 / 16)).all()


def test_weights_are_beta_distributed_and_drawn_for_each_image():
    rng = np.random.default_rng(1)
    weights = np.stack([draw_mixup(16, rng)[1] for _ in range(500)])
    assert weights.dtype == np.float32
    assert stats.kstest(weights.ravel(), "beta", (0.6, 0.6)).pvalue > 1e-3
    assert len(np.unique(weights)) > 7_900
    correlation = np.asarray(np.corrcoef(weights.T))
    assert np.abs(correlation[~np.eye(16, dtype=bool)]).max() < 0.2


def test_a_mixture_is_the_weighted_mean():
    first, second = np.random.default_rng(2).random((2, 37, 31, 3), np.float32)
    for weight in np.array([0, 0.3, 0.5, 1], np.float32):
        mixed = mix(first, second, weight)
        assert mixed.dtype == np.float32
        exact = weight * first.astype(np.float64) + (1 - weight) * second.astype(np.float64)
        np.testing.assert_allclose(mixed, exact, rtol=0, atol=2e-7)
    np.testing.assert_array_equal(mix(first, second, np.float32(1)), first)
    np.testing.assert_array_equal(mix(first, second, np.float32(0)), second)

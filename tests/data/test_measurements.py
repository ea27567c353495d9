"""Known degradations: what is drawn, what batches hold, and how inputs are simulated."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.data import measurements
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.pipeline import HeldOut, training_batches
from dgunet_jax.operators import Blur, Fourier, Identity, Mask
from dgunet_jax.system.errors import UserError
from tests.data.arrays import NOISY, random_pictures

KNOWN = dataclasses.replace(NOISY, degradation="motion_blur(7, 2..5) | gaussian(1..9)")


def own(rng, shape, low):
    """An operator of a user's, whose arrays have another shape every other time."""
    side = 3 if rng.random() < low else 5
    return Blur(np.ones((side, side), np.float32) / side**2)


def batches(config, count, **given):
    return [*itertools.islice(training_batches(random_pictures(5), config, **given), count)]


def equal(a, b):
    leaves = [jax.tree.leaves(each) for each in (a, b)]
    return all(np.array_equal(*pair) for pair in zip(*leaves, strict=True))


def test_batches_hold_an_operator_a_sigma_and_a_seed_for_each_image():
    first, second = batches(KNOWN, 2)
    assert set(first) == {"target", "operator", "sigma", "seed"}
    assert first["operator"].kernel.shape == (4, 7, 7)
    np.testing.assert_allclose(first["operator"].kernel.sum((1, 2)), 1, rtol=1e-5)
    for values in (first["sigma"], first["seed"], first["operator"].kernel[:, 3, 3]):
        assert len(np.unique(values)) > 1
    assert np.all((first["sigma"] >= 1) & (first["sigma"] <= 9))
    assert not np.array_equal(first["seed"], second["seed"])


def test_batches_are_the_same_from_any_step_and_for_any_number_of_processes():
    whole = batches(KNOWN, 3)
    assert equal(batches(KNOWN, 1, start_step=2)[0], whole[2])
    for process in range(2):
        (share,) = batches(KNOWN, 1, process_index=process, process_count=2)
        assert equal(share, jax.tree.map(lambda leaf, p=process: leaf[p::2], whole[0]))


def test_one_chain_is_drawn_for_a_batch():
    config = dataclasses.replace(NOISY, degradation="mask(0.5); motion_blur(5, 3); fourier(4)")
    kinds = [type(batch["operator"]) for batch in batches(config, 24)]
    assert {kind: kinds.count(kind) > 2 for kind in kinds} == dict.fromkeys(
        (Mask, Blur, Fourier), True
    )


def test_noise_has_its_deviation_and_follows_its_seed():
    clean = jnp.full((2, 64, 64, 3), 0.5)
    sigma, seed = jnp.array([5.0, 20.0]), jnp.array([7, 7], jnp.uint32)
    y = measurements.simulate(Identity(), clean, sigma, seed)
    noise = np.asarray(y - clean) * 255
    assert noise[0].std() == pytest.approx(5, rel=0.03)
    np.testing.assert_allclose(noise[1], 4 * noise[0], rtol=1e-3, atol=1e-3)
    other = measurements.simulate(Identity(), clean, sigma, seed + 1)
    assert not np.allclose(other, y)
    spectrum = measurements.simulate(Fourier(np.ones((64, 64))), clean, sigma, seed)
    exact = Fourier(np.ones((64, 64))).forward(clean)
    assert jnp.iscomplexobj(spectrum)
    deviation = float(np.sqrt(np.mean(np.abs(spectrum - exact)[1] ** 2)))
    assert deviation * 255 == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("length", [0, 4.5, 9])
def test_motion_blur_is_a_centred_line_of_its_length(length):
    kernel = np.asarray(
        measurements.motion_blur(np.random.default_rng(1), (8, 8, 3), 11, length).kernel
    )
    assert kernel.sum() == pytest.approx(1, rel=1e-5) and kernel.min() >= 0
    rows, columns = np.nonzero(kernel > 1e-3)
    extent = np.hypot(np.ptp(rows), np.ptp(columns))
    assert length - 2.5 <= extent <= length + 2.5
    assert abs(np.average(rows) - 5) < 1 and abs(np.average(columns) - 5) < 1


def test_fourier_measures_its_share_and_the_centre():
    mask = np.asarray(measurements.fourier(np.random.default_rng(0), (24, 100, 3), 4).mask)
    assert mask.shape == (24, 100)
    assert mask[0].sum() == 25
    assert mask[:, np.abs(np.fft.fftfreq(100)) <= 0.04].all()


def test_held_out_pictures_have_operators_of_their_own_and_sides_that_fit():
    config = dataclasses.replace(KNOWN, degradation="downsample(3); mask(0.5)")
    held_out = HeldOut(random_pictures(3, 200, 131), config)
    first, second = held_out.measured(0), held_out.measured(1)
    assert first["target"].shape == (1, 192, 96, 3)  # multiples of 96 = lcm(32, 3)
    assert second["target"].shape == (1, 192, 128, 3)
    assert equal(held_out.measured(1), second)
    held_out.close()
    small = HeldOut(random_pictures(1, 31, 40), config)
    with pytest.raises(UserError, match="is 40×31 pixels; a side must have at least 96"):
        small.measured(0)
    small.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mask(0.5); gaussian(25)", "all chains or none must begin with an operator"),
        ("gaussian(25) | mask(0.5)", "an operator must be the first step"),
        ("mask(0.5) | jpeg(50)", "after an operator only one gaussian step may come"),
        ("mask(0.5) | gaussian(1) | gaussian(2)", "only one gaussian step"),
        ("mask(1.5)", "kept is '1.5'; it must be a number or low..high, at least 0 and at most 1"),
        ("downsample(2..4)", "factor of downsample must be one whole number"),
        ("motion_blur(7.5, 3)", "side of motion_blur must be one whole number"),
        ("no.module:blur(3)", "no.module:blur: No module named 'no'"),
        ("tests.data.test_measurements:missing", "has no attribute 'missing'"),
    ],
)
def test_what_is_no_known_degradation_is_named(text, message):
    with pytest.raises(UserError, match=message):
        Degradation.parse(text)


def test_operators_that_cannot_be_put_together_are_named():
    config = dataclasses.replace(
        NOISY, degradation="tests.data.test_measurements:own(0.5)", batch=16
    )
    with pytest.raises(UserError, match="the operators of a batch differ"):
        batches(config, 1)
    alike = dataclasses.replace(config, degradation="tests.data.test_measurements:own(1)")
    assert batches(alike, 1)[0]["operator"].kernel.shape == (16, 3, 3)

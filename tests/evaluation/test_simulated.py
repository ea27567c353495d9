"""Clean pictures that are degraded here are scored, by known operators and by others."""

from pathlib import Path

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import Restorer
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import simulated
from dgunet_jax.metrics import psnr
from tests.evaluation.folders import clean, results, save
from tests.small import network

BLUR = "motion_blur(5, 2..4) | gaussian(0..4); downsample(3) | gaussian(2)"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The checkpoint of a network that is told operator and noise, and three pictures."""
    monkeypatch.chdir(tmp_path)
    model, variables = network(
        num_stages=2, degradation="known", last_adds="estimate", noise_input=True
    )
    dgunet_jax.save("told.safetensors", model, variables)
    for i in range(3):
        save(Path(f"data/{i}.png"), clean(i))
    return model, variables


def test_known_operators_are_drawn_by_name_and_restored(told, evaluate):
    words = ["--degradation", BLUR, "--data", "data", "--checkpoint", "told.safetensors"]
    status, said, _ = evaluate(*words, "--no-cache")
    assert status == 0
    assert "degraded by motion_blur(5, 2..4) | gaussian(0..4); downsample(3)" in said
    found = find(simulated(BLUR), Path("data")).samples
    restorer, sizes = Restorer(*told), set()
    for each, sample in zip(results()["images"], found, strict=True):
        degraded = sample.read()
        again = sample.read().measured
        assert degraded.measured is not None and again is not None and degraded.target is not None
        y, operator, sigma = degraded.measured
        np.testing.assert_array_equal(y, again.y)
        restored = restorer.measured(y, operator, sigma).clip(0, 1).astype(float)
        assert restored.shape == degraded.target.shape == degraded.image.shape
        sizes.add(y.shape)
        expected = psnr(255 * restored, degraded.target.astype(float), peak=255)
        assert each["psnr"] == pytest.approx(expected, abs=1e-3)
    assert len(sizes) > 1  # both kinds are drawn


def test_other_degradations_are_those_of_training(told, evaluate):
    dgunet_jax.save("plain.safetensors", *network(num_stages=2))
    words = ["--degradation", "gaussian(25) | round", "--data", "data", "--limit", "1"]
    assert evaluate(*words, "--checkpoint", "plain.safetensors", "--no-cache")[0] == 0
    (sample,) = find(simulated("gaussian(25) | round"), Path("data")).samples[:1]
    noisy, target, measured = sample.read()
    assert measured is None and target is not None
    assert noisy.min() >= 0 and noisy.max() <= 1
    assert np.std(255 * noisy - target) == pytest.approx(25, rel=0.25)


@pytest.mark.parametrize(
    ("degradation", "message"),
    [
        ("gaussian(25)", "told.safetensors: is told what degrades pictures; that of degradation"),
        ("fog(2)", "degradation is 'fog(2)'; there is no 'fog'"),
    ],
)
def test_degradations_that_do_not_fit_are_refused(told, evaluate, degradation, message):
    words = ["--degradation", degradation, "--data", "data", "--checkpoint", "told.safetensors"]
    status, _, warned = evaluate(*words)
    assert status == 2 and message in warned

import json

import jax
import numpy as np
import pytest

from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.schedule import resolve
from tests.golden_numbers import FOLDER

RECIPES = {"deblur": (2103, None), "derain": (13712, None), "denoise": (96000, 117)}


def rates(schedule, steps):
    return np.asarray(jax.jit(jax.vmap(schedule.rate))(np.asarray(steps, np.int32)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_epoch_has_the_published_learning_rate(recipe):
    golden = json.loads((FOLDER / "learning_rates.json").read_text())[recipe]
    samples, cosine_epochs = RECIPES[recipe]
    config = OptimizerConfig(
        epochs=golden["epochs"],
        schedule="published",
        learning_rate=golden["base_lr"],
        cosine_epochs=cosine_epochs,
    )
    schedule = resolve(config, samples, batch=16)
    epochs = np.arange(golden["epochs"])
    first = np.ceil(epochs * samples / 16)
    last = np.ceil((epochs + 1) * samples / 16) - 1
    assert schedule.steps == last[-1] + 1
    for steps in (first, last):
        np.testing.assert_allclose(rates(schedule, steps), golden["lr_by_epoch"], rtol=1e-3)


def test_the_cosine_of_every_step():
    config = OptimizerConfig(
        steps=100, warmup_steps=10, learning_rate=1e-3, final_learning_rate=1e-5
    )
    schedule = resolve(config, 7, batch=2)
    assert schedule.steps == 100
    steps = np.arange(101)
    cosine = 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + np.cos(np.pi * (steps - 10) / 90))
    expected = np.where(steps < 10, 1e-4 * steps, cosine)
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


def test_a_constant_rate_and_a_length_in_epochs():
    config = OptimizerConfig(epochs=3, schedule="constant", learning_rate=1e-3)
    schedule = resolve(config, 7, batch=2)
    assert schedule.steps == 11
    assert schedule.steps_per_epoch == 3.5
    assert schedule.rate(5) == 1e-3


def test_halved_rates_are_half_as_large_after_every_so_many_epochs():
    config = OptimizerConfig(epochs=100, schedule="halved", learning_rate=1e-4, halve_epochs=60)
    schedule = resolve(config, 75, batch=2)
    last, first = 60 * 75 // 2 - 1, 60 * 75 // 2
    assert schedule.steps == 3750
    np.testing.assert_allclose(
        rates(schedule, [0, last, first, 3749]), [1e-4, 1e-4, 5e-5, 5e-5], rtol=1e-6
    )

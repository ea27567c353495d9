"""Validation: scored on the devices as the picture that is written would be."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.data import sources
from dgunet_jax.data.pipeline import HeldOut
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.metrics import psnr
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system import hosts
from dgunet_jax.training import loop, preparing, validation
from tests.data.arrays import NOISY, PAIRED, Arrays
from tests.small import network
from tests.training.settings import settings
from tests.training.test_guard import metrics

SIZES = [(37, 31), (24, 53), (16, 16), (37, 31), (53, 24)]  # bucketed, turned, alone


def source(pairs: bool) -> Arrays:
    rng = np.random.default_rng(0)
    targets = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    inputs = [np.clip(t + rng.integers(-40, 41, t.shape), 0, 255).astype(np.uint8) for t in targets]
    return Arrays(targets, inputs if pairs else None)


@pytest.mark.parametrize("config", [NOISY, PAIRED], ids=["noise", "pairs"])
@pytest.mark.parametrize("crop", [None, 20])
def test_validate_scores_every_stage_as_numpy_does(config, crop):
    model, variables = network(width=4, growth=2, last_growth=2, num_stages=3)
    config = dataclasses.replace(config, validation_crop=crop)
    held_out = HeldOut(source(pairs=config.degradation is None), config)
    found = validation.validate(model, variables["params"], held_out)
    restorer = Restorer(model, variables)
    expected = [
        [
            psnr(image.clip(0, 1), pair["target"])
            for image in [pair["input"], *restorer.stages(pair["input"])]
        ]
        for pair in held_out
    ]
    np.testing.assert_allclose(
        [found.noisy, *found.stages], np.mean(expected, axis=0), rtol=0, atol=2e-4
    )


def test_validate_names_a_picture_that_cannot_be_read():
    class Bad(Arrays):
        def read(self, index):
            if index == 1:
                raise UserError("b.png: is damaged")
            return super().read(index)

    pictures = [np.zeros((16, 16, 3), np.uint8)] * 3
    model, variables = network(width=4, growth=2, last_growth=2, num_stages=2)
    with pytest.raises(UserError, match=r"b\.png: is damaged"):
        validation.validate(model, variables["params"], HeldOut(Bad(pictures), NOISY))


@pytest.mark.parametrize("crop", [None, 20])
def test_held_out_pictures_stay_8_bit_and_their_sizes_are_known(crop):
    config = dataclasses.replace(PAIRED, validation_crop=crop)
    held_out = HeldOut(source(pairs=True), config)
    for i, (height, width) in enumerate(SIZES):
        arrays = held_out.arrays(i)
        assert [array.dtype for array in arrays] == [np.uint8, np.uint8]
        expected = (min(height, crop or height), min(width, crop or width), 3)
        assert arrays[0].shape == arrays[1].shape == expected == (*held_out.size(i), 3)


def test_unit_range_leaves_floating_point_alone():
    floats = np.array([0.5, 7.0], np.float32)
    assert unit_range(floats) is floats
    np.testing.assert_array_equal(
        unit_range(np.array([0, 51, 255], np.uint8)), [0, np.float32(0.2), 1]
    )


def test_the_first_step_does_not_wait_for_validation(start, tmp_path, monkeypatch):
    done = []

    def step(state, batch):
        done.append("step")
        weights = jax.tree.map(jnp.zeros_like, state.params)
        return state.replace(step=state.step + 1, params=weights, average=weights), metrics()

    def validate(model, params, held_out):
        done.append(float(params["first"]["step_size"]))
        return validation.Scores(20.0, (21.0, 22.0, 23.0))

    monkeypatch.setattr(loop, "make_train_step", lambda *arguments: step)
    monkeypatch.setattr(validation, "validate", validate)
    monkeypatch.setattr(validation, "show", lambda *arguments: [])
    report = {"evaluate_every": 9, "pictures_every": 9, "throughput": False}
    config = settings(init_from=start, optimizer={"steps": 2}, report=report)
    loop.train(config, tmp_path)
    given = float(preparing.Prepared.of(config, tmp_path).given["first"]["step_size"])
    assert done == ["step", given, "step", 0.0]  # the weights before that step are scored


def test_processes_of_a_machine_share_its_memory_for_pictures(tmp_path, monkeypatch):
    assert hosts.processes_here() == 1
    monkeypatch.setattr(hosts, "gathered", lambda own: np.array([own, own + 1, own, own, own]))
    assert hosts.processes_here() == 4
    monkeypatch.undo()
    room = []
    opened = preparing.open_source

    def open_source(where, *, cache_bytes, **how):
        room.append(cache_bytes)
        return opened(where, cache_bytes=cache_bytes, **how)

    monkeypatch.setattr(preparing, "open_source", open_source)
    for given in (None, 5):
        config = settings(data={"cache_bytes": given})
        preparing.Prepared.of(config, tmp_path, processes_here=4).held_out[""].close()
    # The held-out pictures keep no second copy.
    assert room == [sources.quarter_of_memory() // 4, 0, 5, 0]

"""Epochs by counting samples."""

import dataclasses
import itertools

import pytest

from dgunet_jax.data.pipeline import epoch_of_step, samples_per_epoch
from tests.data.arrays import PAIRED


@pytest.mark.parametrize(
    ("pictures", "samples", "batch"), [(5, 1, 4), (3, 7, 2), (1, 1, 16), (12, 1, 4), (2, 3, 5)]
)
def test_the_epoch_of_a_step_is_that_of_its_first_sample(pictures: int, samples: int, batch: int):
    config = dataclasses.replace(PAIRED, samples_per_picture=samples, batch=batch)
    epochs = [1 + i // (pictures * samples) for i in range(batch * 50)]
    steps = [epochs[i] for i in range(0, len(epochs), batch)]
    assert [epoch_of_step(step, pictures, config) for step in range(50)] == steps
    assert samples_per_epoch(pictures, config) == sum(
        1 for _ in itertools.takewhile(lambda epoch: epoch == 1, epochs)
    )

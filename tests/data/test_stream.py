"""Samples depend on seed and position alone: on no worker, process, cache or interruption."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.pipeline import training_batches
from dgunet_jax.data.sources import Source, open_source
from tests.data.arrays import (
    NOISY,
    PAIRED,
    Arrays,
    assert_same,
    random_pairs,
    random_pictures,
    save,
    take,
)

EVERYTHING = dataclasses.replace(
    PAIRED, saturation=True, mixup_from_epoch=2, samples_per_picture=3, batch=8
)
"""An epoch of 5 pictures ends within the second step, so MixUp begins with the third."""

STREAMS = {
    "noise": (random_pictures(5), dataclasses.replace(NOISY, batch=8)),
    "pairs": (random_pairs(5), dataclasses.replace(PAIRED, batch=8)),
    "enlarged": (random_pairs(5), dataclasses.replace(PAIRED, batch=8, enlarge=3.0)),
    "everything": (random_pairs(5), EVERYTHING),
    "mixed noise": (random_pictures(5), dataclasses.replace(NOISY, batch=8, mixup_from_epoch=1)),
}


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> tuple[Source, DataConfig]:
    return STREAMS[request.param]


@pytest.mark.parametrize("start", [0, 1, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_starting_at_a_step_continues_the_stream_bit_for_bit(stream, start: int, workers: int):
    source, config = stream
    whole = take(training_batches(source, config), start + 4)
    config = dataclasses.replace(config, workers=workers)
    assert_same(take(training_batches(source, config, start_step=start), 4), whole[start:])


@pytest.mark.parametrize("count", [2, 4, 8])
def test_processes_share_the_samples_one_process_would_see(stream, count: int):
    source, config = stream
    whole = take(training_batches(source, config, start_step=1), 3)
    for p in range(count):
        batches = training_batches(
            source, config, start_step=1, process_index=p, process_count=count
        )
        for share, batch in zip(take(batches, 3), whole, strict=True):
            for key in ("input", "target"):
                assert share[key].shape == (8 // count, 16, 16, 3)
                np.testing.assert_array_equal(share[key], batch[key][p::count])


@pytest.mark.parametrize("cache_bytes", [0, 4 * 37 * 31 * 3, None])
def test_what_is_kept_in_memory_does_not_matter(tmp_path: Path, cache_bytes: int | None):
    for i in range(5):
        save(tmp_path / f"input/{i}.png", seed=i)
        save(tmp_path / f"target/{i}.png", seed=10 + i)
    read = open_source(str(tmp_path), pairs=True, cache_bytes=cache_bytes)
    pairs = [read.read(i) for i in range(5)]
    in_memory = Arrays([target for _, target in pairs], [degraded for degraded, _ in pairs])
    source = open_source(str(tmp_path), pairs=True, cache_bytes=cache_bytes)
    expected = take(training_batches(in_memory, EVERYTHING), 5)
    assert_same(take(training_batches(source, EVERYTHING), 5), expected)


def test_images_are_mixed_from_an_epoch_on_and_not_before():
    source = random_pairs(5)
    mixed = take(training_batches(source, EVERYTHING), 5)
    plain = take(training_batches(source, dataclasses.replace(EVERYTHING, mixup_from_epoch=0)), 5)
    assert_same(mixed[:2], plain[:2])
    for step in (2, 3, 4):
        assert not np.array_equal(mixed[step]["target"], plain[step]["target"])
    late = dataclasses.replace(EVERYTHING, mixup_from_epoch=3)
    assert_same(take(training_batches(source, late), 4), plain[:4])


def test_inputs_are_mixed_like_their_targets_with_images_of_the_same_batch():
    # (k, k²) of two pictures span a chord of a parabola: each point on it has one pair of ends.
    count = 8
    inputs = [np.full((16, 16, 3), 2 * k, np.uint8) for k in range(count)]
    targets = [np.full((16, 16, 3), k * k, np.uint8) for k in range(count)]
    config = dataclasses.replace(PAIRED, batch=count, mixup_from_epoch=1)
    plain = dataclasses.replace(config, mixup_from_epoch=0)
    source = Arrays(targets, inputs)
    weights = []
    batches = zip(
        take(training_batches(source, config), 6),
        take(training_batches(source, plain), 6),
        strict=True,
    )
    for mixed, before in batches:
        own = before["input"][:, 0, 0, 0].astype(np.float64) / 2
        assert np.ptp(mixed["input"], axis=(1, 2, 3)).max() < 1e-7
        x = mixed["input"][:, 0, 0, 0].astype(np.float64) * 255 / 2
        y = mixed["target"][:, 0, 0, 0].astype(np.float64) * 255
        partners = []
        for i, k in enumerate(own):
            if abs(x[i] - k) < 1e-4:  # mixed with itself, or with next to nothing of the other
                partners.append(None)
                continue
            other = (y[i] - k * k) / (x[i] - k) - k  # the chord's slope is the sum of its ends
            assert abs(other - round(other)) < 0.05
            weights.append((x[i] - other) / (k - other))
            partners.append(round(other))
        known = [partner for partner in partners if partner is not None]
        assert len(set(known)) == len(known)
        assert set(known) <= set(range(count))
    assert len(weights) > 24
    assert 0 < min(weights) < 0.2
    assert 0.8 < max(weights) < 1

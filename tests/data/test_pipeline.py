"""Training batches: what a sample is made of."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.data.pipeline import batch_names, training_batches
from dgunet_jax.data.sources import open_source, photographs
from dgunet_jax.data.transforms import dihedral
from dgunet_jax.system.errors import UserError
from tests.data.arrays import (
    NOISY,
    PAIRED,
    Arrays,
    constant_pictures,
    joined,
    random_pairs,
    random_pictures,
    save,
    take,
)


def test_batches_are_float32_patches():
    source = photographs(["chelsea", "rocket"])
    for batch in take(training_batches(source, NOISY), 3):
        assert set(batch) == {"input", "target"}
        for key in ("input", "target"):
            assert batch[key].dtype == np.float32
            assert batch[key].shape == (4, 16, 16, 3)
        assert batch["target"].min() >= 0
        assert batch["target"].max() <= 1
        levels = batch["target"].astype(np.float64) * 255
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_target_is_a_flipped_or_rotated_window_of_a_picture():
    image = np.random.default_rng(0).integers(0, 256, (19, 17, 3), np.uint8)
    windows = {
        dihedral(image[top : top + 16, left : left + 16], index).tobytes()
        for top, left, index in itertools.product(range(4), range(2), range(8))
    }
    targets = joined(take(training_batches(Arrays([image]), NOISY), 50), "target")
    found = {np.rint(target * 255).astype(np.uint8).tobytes() for target in targets}
    assert found <= windows
    assert len(found) > 50


@pytest.mark.parametrize("height", [37, 11])
def test_input_and_target_of_a_pair_stay_aligned(height: int):
    batches = take(training_batches(random_pairs(3, height), PAIRED), 10)
    assert joined(batches, "input").dtype == np.uint8
    np.testing.assert_array_equal(joined(batches, "input"), 255 - joined(batches, "target"))
    assert len({target.tobytes() for target in joined(batches, "target")}) > 30


@pytest.mark.parametrize("samples", [1, 3])
def test_every_epoch_takes_as_many_patches_of_each_picture_and_orders_differ(samples: int):
    config = dataclasses.replace(NOISY, samples_per_picture=samples)
    batches = take(training_batches(constant_pictures(6), config), 15 * samples)
    order = np.rint(joined(batches, "target")[:, 0, 0, 0] * 255).astype(int)
    epochs = order.reshape(10, 6 * samples)
    assert (np.sort(epochs, axis=1) == np.repeat(np.arange(6), samples)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 5
    passes = epochs.reshape(-1, 6)
    assert (samples == 1) == all(len(set(each)) == 6 for each in passes.tolist())


def test_the_pictures_of_a_step_are_known_by_name():
    config = dataclasses.replace(NOISY, samples_per_picture=2)
    source = constant_pictures(5)
    for step, batch in enumerate(take(training_batches(source, config), 8)):
        values = np.rint(batch["target"][:, 0, 0, 0] * 255).astype(int)
        assert batch_names(source, config, step) == [str(value) for value in values]
    with pytest.raises(UserError, match="step is -1; it must be at least 0"):
        batch_names(source, config, -1)


def test_single_picture_is_repeated_for_ever_with_new_patches():
    batches = take(training_batches(random_pictures(1), NOISY), 6)
    targets = joined(batches, "target")
    assert len({target.tobytes() for target in targets}) > 20


@pytest.mark.parametrize("sigma", [15.0, 50.0])
def test_noise_has_its_deviation_and_is_independent_across_patches(sigma: float):
    config = dataclasses.replace(NOISY, degradation=f"gaussian({sigma})", batch=16)
    batches = take(training_batches(constant_pictures(2), config), 4)
    noise = (joined(batches, "input") - joined(batches, "target")) / (sigma / 255)
    values = noise.reshape(len(noise), -1).astype(np.float64)
    count = values.size
    assert abs(values.mean()) < 4 / np.sqrt(count)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * count)
    correlation = np.asarray(np.corrcoef(values))
    off_diagonal = np.abs(correlation[~np.eye(len(values), dtype=bool)])
    assert off_diagonal.max() < 6 / np.sqrt(values.shape[1])


def test_noise_is_not_clipped():
    (batch,) = take(training_batches(constant_pictures(1), NOISY), 1)
    assert (batch["input"] < 0).any()


def test_sigma_zero_gives_the_target():
    config = dataclasses.replace(NOISY, degradation="gaussian(0)")
    (batch,) = take(training_batches(random_pictures(2), config), 1)
    np.testing.assert_array_equal(batch["input"], batch["target"])


def test_saturation_changes_a_third_of_the_pairs_alike():
    clean = np.random.default_rng(0).integers(60, 190, (37, 31, 3), np.uint8)
    source = Arrays([clean], [clean])
    config = dataclasses.replace(PAIRED, batch=100, samples_per_picture=1000)
    plain = take(training_batches(source, config), 9)
    changed = take(training_batches(source, dataclasses.replace(config, saturation=True)), 9)
    np.testing.assert_array_equal(joined(changed, "input"), joined(changed, "target"))
    unchanged = joined(plain, "target").astype(np.float32) / np.float32(255)
    differs = (joined(changed, "target") != unchanged).any(axis=(1, 2, 3))
    assert abs(differs.sum() - 300) < 4 * np.sqrt(200)
    luma = np.array([0.2989, 0.587, 0.114])
    for before, after in zip(unchanged[differs], joined(changed, "target")[differs], strict=True):
        grey = (before @ luma)[..., None]
        factor = np.sum((after - grey) * (before - grey)) / np.sum((before - grey) ** 2)
        assert 0.8 <= factor <= 1.2
        np.testing.assert_allclose(after, grey + factor * (before - grey), rtol=0, atol=1e-5)


def test_noise_is_added_to_the_changed_saturation():
    config = dataclasses.replace(NOISY, saturation=True, degradation="gaussian(0)", batch=100)
    (batch,) = take(training_batches(random_pictures(100), config), 1)
    np.testing.assert_array_equal(batch["input"], batch["target"])


def test_seeds_give_other_batches():
    source = random_pictures(4)
    first, second = (
        take(training_batches(source, dataclasses.replace(NOISY, seed=seed)), 1)[0]
        for seed in (0, 1)
    )
    assert not np.array_equal(first["target"], second["target"])
    noise = [(batch["input"] - batch["target"]).ravel() for batch in (first, second)]
    assert abs(np.asarray(np.corrcoef(noise))[0, 1]) < 0.1


@pytest.mark.parametrize("size", [(5, 7), (5, 40), (40, 5), (1, 1)])
def test_pictures_smaller_than_the_patch_are_padded(size: tuple[int, int]):
    (batch,) = take(training_batches(random_pictures(2, *size), NOISY), 1)
    assert batch["input"].shape == (4, 16, 16, 3)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cache_bytes", [0, None])
@pytest.mark.parametrize("pairs", [False, True])
def test_damaged_file_stops_the_stream_with_its_name(
    tmp_path: Path, workers: int, cache_bytes: int | None, pairs: bool
):
    path = save(tmp_path / ("input/bad.png" if pairs else "bad.png"))
    if pairs:
        save(tmp_path / "target/bad.png")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    source = open_source(str(tmp_path), pairs=pairs, cache_bytes=cache_bytes)
    config = dataclasses.replace(PAIRED if pairs else NOISY, workers=workers)
    with pytest.raises(UserError) as caught:
        next(training_batches(source, config))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_transparent_pictures_stop_the_stream_with_their_name(tmp_path: Path):
    path = tmp_path / "glass.png"
    Image.fromarray(np.full((20, 20, 4), 128, np.uint8)).save(path)
    batches = training_batches(open_source(str(tmp_path), pairs=False), NOISY)
    with pytest.raises(UserError, match=f"^{path}: has transparent pixels"):
        next(batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"process_count": 3}, "batch is 4; it must be a multiple of the 3 processes"),
        ({"process_index": 2, "process_count": 2}, "process_index is 2; .* which is 2"),
        ({"process_index": -1}, "process_index is -1"),
        ({"start_step": -1}, "start_step is -1; it must be at least 0"),
    ],
)
def test_arguments_are_checked_before_iterating(arguments: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        training_batches(random_pictures(1), NOISY, **arguments)


def test_sources_are_checked_before_iterating():
    with pytest.raises(UserError, match="holds no pictures"):
        training_batches(Arrays([]), NOISY)
    with pytest.raises(
        UserError, match=r"degradation is gaussian\(25\) and the source holds pairs"
    ):
        training_batches(random_pairs(1), NOISY)
    with pytest.raises(UserError, match="degradation is None and the source holds clean pictures"):
        training_batches(random_pictures(1), PAIRED)


def test_importing_the_package_does_not_import_grain():
    modules = "config", "sources", "pairs", "folders", "transforms", "checking"
    names = ", ".join(f"dgunet_jax.data.{module}" for module in modules)
    code = f"import sys, dgunet_jax, {names}; print('grain' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_patches_are_enlarged_by_all_factors_up_to_the_greatest():
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[:, None, None], (48, 48, 3))
    config = dataclasses.replace(NOISY, degradation="clean", batch=400, enlarge=4.0)
    (batch,) = take(training_batches(Arrays([ramp]), config), 1)
    inner = batch["target"][:, 4:-4, 4:-4]
    rows, columns = (np.abs(np.diff(inner, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2))
    factors = 5 / 255 / np.maximum(rows, columns)
    assert 0.95 < factors.min() < 1.15
    assert 3.6 < factors.max() < 4.6
    # The logarithm is uniform: half of the factors are below the root.
    assert 0.4 < (factors < 2).mean() < 0.6
    assert np.minimum(rows, columns).max() < 1e-6


def test_pairs_are_enlarged_alike():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    config = dataclasses.replace(PAIRED, batch=20, enlarge=2.0)
    (batch,) = take(training_batches(Arrays([image], [image]), config), 1)
    np.testing.assert_array_equal(batch["input"], batch["target"])

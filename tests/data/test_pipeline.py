"""Training batches that depend on seed and position alone, and validation pairs."""

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.data.augmentation import dihedral
from dgunet_jax.data.degradations import gaussian_noise
from dgunet_jax.data.pipeline import Batch, PipelineConfig, training_batches, whole_pictures
from dgunet_jax.data.sources import Picture, PictureFiles, photographs
from dgunet_jax.errors import UserError

SMALL = PipelineConfig(patch=16, batch=4, sigma=25.0, seed=3, workers=0)


class Arrays:
    """A source of arrays in memory."""

    def __init__(self, images: Sequence[np.ndarray]):
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Picture:
        return {"image": self._images[index], "name": f"{index}"}


def random_pictures(count: int, height: int = 37, width: int = 31) -> Arrays:
    rng = np.random.default_rng(count)
    return Arrays([*rng.integers(0, 256, (count, height, width, 3), np.uint8)])


def constant_pictures(count: int) -> Arrays:
    """Pictures whose every value is their index."""
    return Arrays([np.full((20, 20, 3), index, np.uint8) for index in range(count)])


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(batches, count))


def joined(batches: Sequence[Batch], key: str) -> np.ndarray:
    return np.concatenate([batch[key] for batch in batches])


def assert_same(actual: Sequence[Batch], expected: Sequence[Batch]):
    for key in ("input", "target"):
        np.testing.assert_array_equal(joined(actual, key), joined(expected, key))


def test_batches_are_float32_patches():
    source = photographs(["chelsea", "rocket"])
    for batch in take(training_batches(source, SMALL), 3):
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
    targets = joined(take(training_batches(Arrays([image]), SMALL), 5), "target")
    found = {np.rint(target * 255).astype(np.uint8).tobytes() for target in targets}
    assert found <= windows
    assert len(found) > 10


@pytest.mark.parametrize("start", [1, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_starting_at_a_step_continues_the_stream_bit_for_bit(start: int, workers: int):
    source = random_pictures(3)
    whole = take(training_batches(source, SMALL), start + 4)
    config = dataclasses.replace(SMALL, workers=workers)
    assert_same(take(training_batches(source, config, start_step=start), 4), whole[start:])


def test_processes_share_the_samples_one_process_would_see():
    source = random_pictures(5)
    whole = take(training_batches(source, SMALL, start_step=2), 3)
    shares = [
        take(
            training_batches(source, SMALL, start_step=2, process_index=p, process_count=2),
            3,
        )
        for p in range(2)
    ]
    for step, batch in enumerate(whole):
        for key in ("input", "target"):
            for p in range(2):
                assert shares[p][step][key].shape == (2, 16, 16, 3)
                np.testing.assert_array_equal(shares[p][step][key], batch[key][p::2])


def test_every_epoch_holds_each_picture_once_and_orders_differ():
    source = constant_pictures(6)
    batches = take(training_batches(source, SMALL), 15)
    order = np.rint(joined(batches, "target")[:, 0, 0, 0] * 255).astype(int).reshape(10, 6)
    assert (np.sort(order, axis=1) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in order}) > 5


def test_single_picture_is_repeated_for_ever_with_new_patches():
    batches = take(training_batches(random_pictures(1), SMALL), 6)
    targets = joined(batches, "target")
    assert len({target.tobytes() for target in targets}) > 20


@pytest.mark.parametrize("sigma", [15.0, 50.0])
def test_noise_has_its_deviation_and_is_independent_across_patches(sigma: float):
    config = dataclasses.replace(SMALL, sigma=sigma, batch=16)
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
    (batch,) = take(training_batches(constant_pictures(1), SMALL), 1)
    assert (batch["input"] < 0).any()


def test_sigma_zero_gives_the_target():
    config = dataclasses.replace(SMALL, sigma=0.0)
    (batch,) = take(training_batches(random_pictures(2), config), 1)
    np.testing.assert_array_equal(batch["input"], batch["target"])


def test_seeds_give_other_batches():
    source = random_pictures(4)
    first, second = (
        take(training_batches(source, dataclasses.replace(SMALL, seed=seed)), 1)[0]
        for seed in (0, 1)
    )
    assert not np.array_equal(first["target"], second["target"])
    noise = [(batch["input"] - batch["target"]).ravel() for batch in (first, second)]
    assert abs(np.asarray(np.corrcoef(noise))[0, 1]) < 0.1


def test_pictures_smaller_than_the_patch_are_padded():
    (batch,) = take(training_batches(random_pictures(2, 5, 7), SMALL), 1)
    assert batch["input"].shape == (4, 16, 16, 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_file_stops_the_stream_with_its_name(tmp_path: Path, workers: int):
    path = tmp_path / "bad.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    batches = training_batches(PictureFiles([path]), dataclasses.replace(SMALL, workers=workers))
    with pytest.raises(UserError) as caught:
        next(batches)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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
        training_batches(random_pictures(1), SMALL, **arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch", 0),
        ("batch", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("workers", -1),
        ("sigma", -1.0),
        ("sigma", float("nan")),
        ("sigma", float("inf")),
    ],
)
def test_config_names_a_value_out_of_range(field: str, value: float):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        dataclasses.replace(SMALL, **{field: value})


def test_empty_source_is_refused():
    with pytest.raises(UserError, match="holds no pictures"):
        training_batches(Arrays([]), SMALL)
    with pytest.raises(UserError, match="holds no pictures"):
        whole_pictures(Arrays([]), 25.0, 0)


def test_validation_pairs_follow_the_protocol():
    source = photographs(["coffee", "chelsea"])
    pairs = list(whole_pictures(source, 25.0, 7))
    assert [pair["name"] for pair in pairs] == ["coffee", "chelsea"]
    for index, pair in enumerate(pairs):
        clean = source[index]["image"] / 255
        noise = np.random.default_rng(7).normal(0, 25 / 255, clean.shape)
        assert pair["input"].dtype == pair["target"].dtype == np.float32
        np.testing.assert_allclose(pair["target"], clean, rtol=0, atol=1e-7)
        np.testing.assert_allclose(pair["input"], clean + noise, rtol=0, atol=2e-7)


def test_validation_pair_does_not_depend_on_the_other_pictures():
    together = list(whole_pictures(photographs(["coffee", "chelsea"]), 15.0, 0))[1]
    (alone,) = whole_pictures(photographs(["chelsea"]), 15.0, 0)
    np.testing.assert_array_equal(together["input"], alone["input"])


def test_validation_arguments_are_checked_at_once():
    source = random_pictures(1)
    with pytest.raises(UserError, match="sigma is -5"):
        whole_pictures(source, -5.0, 0)
    with pytest.raises(UserError, match="seed is -1"):
        whole_pictures(source, 5.0, -1)


def test_noise_refuses_what_is_no_deviation():
    with pytest.raises(UserError, match="sigma is -1"):
        gaussian_noise(np.zeros((2, 2, 3)), -1.0, np.random.default_rng(0))


def test_noise_refuses_images_of_integers():
    picture: np.ndarray = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(UserError, match="got uint8"):
        gaussian_noise(picture, 25.0, np.random.default_rng(0))


def test_importing_the_package_does_not_import_grain():
    code = (
        "import sys, dgunet_jax, dgunet_jax.data, dgunet_jax.data.augmentation, "
        "dgunet_jax.data.degradations; print('grain' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

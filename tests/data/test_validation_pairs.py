"""The pairs that are validated on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.data.pipeline import HeldOut
from dgunet_jax.data.sources import open_source, photographs
from dgunet_jax.system.errors import UserError
from tests.data.arrays import NOISY, PAIRED, Arrays, random_pairs, random_pictures, save


def test_noise_follows_the_protocol():
    source = photographs(["coffee", "chelsea"])
    pairs = list(HeldOut(source, dataclasses.replace(NOISY, seed=7)))
    assert [pair["name"] for pair in pairs] == ["coffee", "chelsea"]
    for index, pair in enumerate(pairs):
        clean = source.read(index)[0] / 255
        noise = np.random.default_rng(7).normal(0, 25 / 255, clean.shape)
        assert pair["input"].dtype == pair["target"].dtype == np.float32
        np.testing.assert_allclose(pair["target"], clean, rtol=0, atol=1e-7)
        np.testing.assert_allclose(pair["input"], clean + noise, rtol=0, atol=2e-7)


def test_pair_does_not_depend_on_the_other_pictures():
    together = list(HeldOut(photographs(["coffee", "chelsea"]), NOISY))[1]
    (alone,) = HeldOut(photographs(["chelsea"]), NOISY)
    np.testing.assert_array_equal(together["input"], alone["input"])


def test_pairs_of_files_come_as_they_are():
    source = random_pairs(3)
    for index, pair in enumerate(HeldOut(source, PAIRED)):
        degraded, clean = source.read(index)
        assert pair["name"] == f"{index}"
        assert pair["input"].dtype == pair["target"].dtype == np.float32
        np.testing.assert_allclose(pair["input"], degraded / 255, rtol=0, atol=1e-7)
        np.testing.assert_allclose(pair["target"], clean / 255, rtol=0, atol=1e-7)


@pytest.mark.parametrize("config", [NOISY, PAIRED], ids=["noise", "pairs"])
@pytest.mark.parametrize(
    ("crop", "window"),
    [
        (1, np.s_[18:19, 15:16]),
        (16, np.s_[10:26, 7:23]),
        (31, np.s_[3:34, :]),
        (33, np.s_[2:35, :]),
        (99, np.s_[:, :]),
    ],
)
def test_crops_are_the_middle_of_the_whole_pairs(config, crop: int, window):
    source = random_pictures(2) if config is NOISY else random_pairs(2)
    wholes = list(HeldOut(source, config))
    crops = list(HeldOut(source, dataclasses.replace(config, validation_crop=crop)))
    for whole, cropped in zip(wholes, crops, strict=True):
        for key in ("input", "target"):
            np.testing.assert_array_equal(cropped[key], whole[key][window])


@pytest.mark.parametrize(("limit", "count"), [(None, 3), (1, 1), (2, 2), (3, 3), (99, 3)])
def test_the_first_pictures_are_taken(limit: int | None, count: int):
    config = dataclasses.replace(PAIRED, validation_limit=limit)
    names = [pair["name"] for pair in HeldOut(random_pairs(3), config)]
    assert names == ["0", "1", "2"][:count]


def test_a_damaged_picture_is_named_when_it_is_reached(tmp_path: Path):
    save(tmp_path / "a.png")
    bad = save(tmp_path / "b.png", seed=1)
    content = bytearray(bad.read_bytes())
    content[-20] ^= 1
    bad.write_bytes(content)
    pairs = HeldOut(open_source(str(tmp_path), pairs=False), NOISY)
    assert pairs[0]["name"] == "a"
    with pytest.raises(UserError, match=f"^{bad}: "):
        pairs[1]


def test_sources_are_checked_at_once():
    with pytest.raises(UserError, match="holds no pictures"):
        HeldOut(Arrays([]), NOISY)
    with pytest.raises(
        UserError, match=r"degradation is gaussian\(25\) and the source holds pairs"
    ):
        HeldOut(random_pairs(1), NOISY)
    with pytest.raises(UserError, match="degradation is None and the source holds clean pictures"):
        HeldOut(random_pictures(1), PAIRED)

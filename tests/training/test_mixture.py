"""Training on several sources: whose turn it is, what each gives, and what is reported."""

import json

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.data.config import DataConfig, SourceConfig
from dgunet_jax.data.pipeline import Turns, batch_names, training_batches
from dgunet_jax.training import cost, loop
from dgunet_jax.training.config import from_config_dict, read_config, to_config_dict
from tests.data.arrays import Arrays
from tests.small import equal
from tests.training.settings import settings

NOISE = SourceConfig("noise", "a", "a", weight=3, degradation="gaussian(25)")
BLOCKS = SourceConfig("blocks", "b", "b", degradation="jpeg(10)", patch=24)
DATA = DataConfig(sources=(NOISE, BLOCKS), patch=16, batch=4, seed=7, workers=0)


def pictures(count: int, level: int) -> Arrays:
    rng = np.random.default_rng(level)
    return Arrays([rng.integers(level, level + 50, (40, 33, 3), np.uint8) for _ in range(count)])


SOURCES = [pictures(5, 150), pictures(3, 0)]  # in the order of their names


def test_turns_are_as_frequent_as_the_weights_and_count_up():
    turns = Turns(DATA)
    seen = [turns.at(step) for step in range(9000)]
    places = np.array([place for place, _ in seen])
    assert (places == 1).mean() == pytest.approx(0.75, abs=0.02)
    for place in (0, 1):
        counted = [turn for each, turn in seen if each == place]
        assert counted == [*range(len(counted))]
    # Asked out of order, they are the same.
    assert Turns(DATA).at(8999) == seen[8999]
    assert Turns(DataConfig("a", "b")).at(5) == (0, 5)


def test_a_source_gives_what_it_gives_alone_in_patches_of_its_own():
    mixed = training_batches(SOURCES, DATA)
    alone = [
        training_batches(source, each) for source, (_, each) in zip(SOURCES, DATA.each, strict=True)
    ]
    turns = Turns(DATA)
    for step in range(12):
        place, _ = turns.at(step)
        batch, expected = next(mixed), next(alone[place])
        assert batch["target"].shape == (4, *(((24, 24), (16, 16))[place]), 3)
        assert equal(batch, expected)
        low = batch["target"].min() * 255
        assert (low < 51) == (place == 1)  # the first one's pictures are brighter
        names = batch_names(SOURCES, DATA, step)
        assert len(names) == 4


def test_the_stream_goes_on_and_is_divided_among_processes():
    whole = [next(batches) for batches in [training_batches(SOURCES, DATA)] for _ in range(6)]
    assert equal(next(training_batches(SOURCES, DATA, start_step=5)), whole[5])
    halves = [
        next(training_batches(SOURCES, DATA, start_step=4, process_index=i, process_count=2))
        for i in range(2)
    ]
    for i in range(2):
        np.testing.assert_array_equal(halves[i]["input"], whole[4]["input"][i::2])


def test_sources_of_one_degradation_do_not_draw_the_same():
    twins = [SourceConfig(name, "a", "a", degradation="gaussian(25)") for name in ("one", "two")]
    data = DataConfig(sources=tuple(twins), patch=16, batch=2, workers=0)
    (_, one), (_, two) = data.each
    source = pictures(3, 0)
    assert not equal(next(training_batches(source, one)), next(training_batches(source, two)))


def mixture(**more):
    group = {
        "train": "",
        "validation": "",
        "degradation": None,
        "sources": {
            "noise": {
                "train": "photographs:rocket",
                "validation": "photographs:chelsea",
                "degradation": "gaussian(25)",
                "weight": 2.0,
            },
            "blocks": {
                "train": "photographs:astronaut",
                "validation": "photographs:coffee",
                "degradation": "jpeg(10)",
                "patch": 24,
            },
        },
    }
    return settings(model={"num_stages": 2}, data=group | more)


def test_a_run_is_scored_on_each_and_goes_on_bit_for_bit(tmp_path, stopped):
    config = mixture()
    unbroken = loop.train(config, tmp_path / "whole")
    assert unbroken.scores is not None
    assert {*unbroken.scores.sources} == {"noise", "blocks"}
    both = [each.restored for each in unbroken.scores.sources.values()]
    assert unbroken.scores.restored == pytest.approx(np.mean(both))
    assert unbroken.scores.sources["noise"].noisy < 21 < unbroken.scores.sources["blocks"].noisy
    last = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["held_out_blocks/input"] > 21
    assert (tmp_path / "whole/pictures-noise.json").exists()
    stopped(config, tmp_path / "stopped")
    loop.train(config, tmp_path / "stopped")
    names = (tmp_path / name / "model.safetensors" for name in ("whole", "stopped"))
    (_, one), (_, other) = map(dgunet_jax.load, names)
    assert equal(one, other)


def test_a_step_of_the_largest_patches_is_traced():
    alone = settings(model={"num_stages": 2}, data={"patch": 24})
    assert cost.trace_step(mixture()).gflop == pytest.approx(cost.trace_step(alone).gflop)


def test_settings_of_sources_are_given_by_their_names(tmp_path):
    config = mixture()
    assert from_config_dict(to_config_dict(config)) == config
    file = tmp_path / "config.py"
    values = json.dumps(to_config_dict(config).to_dict()).replace("null", "None")
    values = values.replace("true", "True").replace("false", "False")
    file.write_text(f"def get_config():\n    return {values}\n")
    changed = read_config(str(file), {"data.sources.noise.weight": "0.5"})
    assert [source.weight for source in changed.data.sources] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "a"}, "data has the sources blocks, noise; train, validation, degradation and"),
        (
            {"sources": {"a b": {"train": "a", "validation": "b"}}},
            "called 'a b'; it must be a word",
        ),
        ({"sources": {"x": {"train": "a"}}}, r"no data\.sources\.x\.validation"),
        ({"sources": {"x": {"train": "a", "validation": "b", "paths": 3}}}, "unknown data.sources"),
        (
            {"sources": {"x": {"train": "a", "validation": "b", "weight": 0.0}}},
            r"weight of x is 0\.0; it must be above 0",
        ),
        (
            {"sources": {"x": {"train": "a", "validation": "b", "degradation": "fog(1)"}}},
            "source x: degradation is 'fog\\(1\\)'; there is no 'fog'",
        ),
        (
            {"sources": {"x": {"train": "a", "validation": "b", "patch": 20}}},
            "patch is 20; it must be a multiple of 8",
        ),
    ],
)
def test_what_is_wrong_with_a_source_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        mixture(**changes)


def test_a_source_cannot_be_given_as_one_value(tmp_path):
    file = tmp_path / "config.py"
    file.write_text("def get_config():\n    return {}\n")
    with pytest.raises(UserError, match=r"data\.sources: is a group of settings"):
        read_config(str(file), {"data.sources": "noise"})

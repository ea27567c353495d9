"""Settings out of their range are named."""

import dataclasses
from typing import Any

import pytest

from dgunet_jax.data.config import DataConfig
from dgunet_jax.system.errors import UserError

CONFIG = DataConfig("train", "validation")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, -1) for field in ("mixup_from_epoch", "seed", "workers", "cache_bytes")),
        *((field, 0) for field in ("patch", "batch", "samples_per_picture")),
        *((field, 0) for field in ("validation_crop", "validation_limit")),
        *((field, 2.5) for field in ("patch", "validation_crop", "workers")),
        *((field, True) for field in ("patch", "seed")),
        *((field, None) for field in ("patch", "batch", "seed", "workers", "saturation")),
        ("seed", 2**32),
        ("check", 1),
        ("skip_bad", -1),
        ("skip_bad", None),
        ("saturation", 1),
        *(("enlarge", value) for value in (0.5, 257, None, float("nan"))),
    ],
)
def test_a_value_out_of_its_range_is_named_with_the_rule(field: str, value: Any):
    with pytest.raises(UserError, match=f"^{field} is {value}; it must be ") as caught:
        dataclasses.replace(CONFIG, **{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["train", "validation"])
@pytest.mark.parametrize("value", ["", None, ("astronaut",)])
def test_a_place_is_text(field: str, value: Any):
    with pytest.raises(UserError, match=f"^{field} is "):
        dataclasses.replace(CONFIG, **{field: value})


def test_the_smallest_values_are_accepted():
    config = DataConfig(
        "a",
        "b",
        degradation="gaussian(0)",
        patch=1,
        batch=1,
        validation_crop=1,
        workers=0,
        cache_bytes=0,
    )
    assert config.seed == 0
    assert dataclasses.replace(
        config, seed=2**32 - 1, validation_crop=None, degradation="gaussian(25)"
    ).simulated


def test_a_photograph_is_not_both_trained_on_and_validated_on():
    with pytest.raises(UserError, match="chelsea stand in both train and validation"):
        DataConfig(
            "photographs:coffee, chelsea", "photographs:chelsea,rocket", degradation="gaussian(25)"
        )
    DataConfig("photographs:coffee", "photographs:chelsea", degradation="gaussian(25)")
    DataConfig("a folder", "a folder")


def test_a_pattern_of_pairs_is_read():
    assert CONFIG.pattern is None
    pattern = dataclasses.replace(CONFIG, pairs="{}_rain.png -> {}_clean.png").pattern
    assert pattern is not None
    assert (pattern.input, pattern.target) == ("{}_rain.png", "{}_clean.png")
    with pytest.raises(UserError, match=r"^pairs is '\*_rain\.png'; it must be a pattern such as"):
        dataclasses.replace(CONFIG, pairs="*_rain.png")

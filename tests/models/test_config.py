"""What makes no network, and what does not go into one, is told in one clear line."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.models.config import VARIANTS, DGUNetConfig, config_to_json, variant
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import abstract_params, flatten
from dgunet_jax.operators.library import Identity
from dgunet_jax.system.errors import UserError
from tests.choices import PLUS, SENSING
from tests.quick import compiler_options
from tests.small import CONFIG, network


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"degradation": "blur"}, "degradation is 'blur'; it must be one of learned, known, tied,"),
        ({"memory": None}, "memory is None; it must be one of adaptive, additive, none"),
        ({"merge": "sum"}, "merge is 'sum'; it must be one of subspace, concat"),
        ({"dtype": "float16"}, "dtype is float16; it must be float32, bfloat16 or float64"),
        ({"dtype": "half-ish"}, "dtype is half-ish; it must be float32, bfloat16 or float64"),
        ({"num_stages": 1}, "num_stages is 1; it must be at least 2"),
        ({"width": 2}, "width is 2; it must be at least 4"),
        ({"width": 41}, "width 41 and growth 20 must be even"),
        ({"growth": 3}, "width 40 and growth 3 must be even"),
        ({"growth": -2}, "growth is -2; it must be at least 0"),
        ({"channels": 0}, "channels is 0; it must be at least 1"),
        ({"unroll": 0}, "unroll is 0; it must be at least 1"),
        ({"width": "40"}, "width is '40'; it must be a whole number"),
        ({"num_stages": 7.0}, "num_stages is 7.0; it must be a whole number"),
        ({"growth": True}, "growth is True; it must be a whole number"),
        ({"memory_scales": 1}, "memory_scales is 1; the scales are 0, 1 and 2"),
        ({"memory_scales": (0, 3)}, r"memory_scales is \(0, 3\); the scales are 0, 1 and 2"),
        ({"measurements": 10}, "measurements is 10, but degradation is 'learned', not 'known'"),
        ({**SENSING, "last_adds": "input"}, "last_adds is 'input', but measurements are no image"),
        ({"blockwise": True}, "blockwise is true without measurements"),
        ({"start_steps": 2}, "start_steps is 2; only a known operator"),
        ({**SENSING, "implicit_steps": 2}, "implicit_steps is 2; only a known operator"),
        ({**SENSING, "noise_input": True}, "a learned sampling matrix has no noise"),
        ({**SENSING, "ratio": 101.0}, "ratio is 101.0; it must be above 0 and at most 100"),
        ({**SENSING, "channels": 3}, "channels is 3; a sampling matrix measures images of 1"),
    ],
)
def test_values_that_make_no_network(choices: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message) as error:
        DGUNetConfig(**choices)
    assert "\n" not in str(error.value)


def test_equal_choices_are_equal_configurations():
    config = DGUNetConfig(memory_scales=(2, 0, 2), dtype="bfloat16")
    same = DGUNetConfig(memory_scales=(0, 2), dtype=jnp.bfloat16)
    assert config == same and hash(config) == hash(same)


def test_variants_by_name():
    assert variant("deblur_plus") is VARIANTS["deblur_plus"]
    with pytest.raises(UserError, match=r"no variant 'debluring'; the variants are deblur, debl"):
        variant("debluring")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 37, 31, 3), "size 37×31 is not a multiple of 8; pad to 40×32"),
        ((2, 8, 20, 3), "size 8×20 is not a multiple of 8; pad to 8×24"),
        ((1, 0, 8, 3), "size 0×8 is not a multiple of 8; pad to 8×8"),
        ((1, 8, 8, 1), r"images have shape \(1, 8, 8, 1\); it must be \(N, H, W, 3\)"),
        ((8, 8, 3), r"images have shape \(8, 8, 3\); it must be \(N, H, W, 3\)"),
        ((1, 3, 16, 16), r"images have shape \(1, 3, 16, 16\); it must be \(N, H, W, 3\)"),
    ],
)
def test_images_that_do_not_fit(shape: tuple[int, ...], message: str):
    model, variables = network()
    with pytest.raises(UserError, match=message):
        model.apply(variables, np.zeros(shape, np.float32))
    with pytest.raises(UserError, match=message):
        jax.jit(model.apply)(variables, np.zeros(shape, np.float32))
    with pytest.raises(UserError, match=message):
        model.init(jax.random.key(0), np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_integers_are_no_images(dtype: type):
    model, variables = network()
    name = np.dtype(dtype).name
    with pytest.raises(UserError, match=rf"images are {name}; they must be floating point in \[0"):
        model.apply(variables, np.zeros((1, 8, 8, 3), dtype))


def test_sampled_images_are_whole_blocks():
    model, variables = network(**SENSING)
    with pytest.raises(UserError, match="size 40×32 is not a multiple of 32; pad to 64×32"):
        model.apply(variables, np.zeros((1, 40, 32, 1), np.float32))


def test_operator_is_given_where_the_degradation_is_known_and_only_there():
    x = np.zeros((1, 8, 8, 3), np.float32)
    known = DGUNet(dataclasses.replace(CONFIG, degradation="known"))
    with pytest.raises(UserError, match="degradation 'known' with 0 measurements needs an"):
        known.init(jax.random.key(0), x)
    learned = DGUNet(CONFIG, operator=Identity())
    with pytest.raises(UserError, match="degradation 'learned' with 0 measurements takes no"):
        learned.init(jax.random.key(0), x)


@pytest.mark.parametrize("choices", [PLUS, SENSING], ids=["plus", "sensing"])
def test_initial_weights(choices: dict[str, Any]):
    config = dataclasses.replace(CONFIG, num_stages=4, **choices)
    model, side = DGUNet(config), config.multiple
    x = np.zeros((1, side, side, config.channels), np.float32)
    init = jax.jit(model.init, compiler_options=compiler_options())
    params, other = (flatten(init(jax.random.key(i), x)["params"]) for i in (0, 1))
    shapes = flatten(abstract_params(config))
    assert params.keys() == shapes.keys()
    for name, leaf in params.items():
        assert leaf.shape == shapes[name].shape and leaf.dtype == np.float32
        stacked = name.startswith("middle") and not config.share_middle
        for weights in leaf if stacked else [leaf]:
            check_initial(name, np.asarray(weights))
        if stacked and name.endswith("kernel"):
            assert not np.array_equal(leaf[0], leaf[1]), f"{name} starts the same in all stages"
        if name.endswith("kernel"):
            assert not np.array_equal(leaf, other[name]), f"{name} does not depend on the key"


def check_initial(name: str, weights: np.ndarray):
    if name.endswith("step_size"):
        assert weights == 0.5
    elif name.endswith("slope"):
        assert weights == 0.25
    elif name.endswith("norm.scale"):
        assert np.all(weights == 1)
    elif name.endswith("norm.bias"):
        assert np.all(weights == 0)
    elif name == "sampling_matrix":
        expected = np.sqrt(2 / sum(weights.shape))
        assert np.std(weights) == pytest.approx(expected, rel=0.02)
    elif weights.ndim == 4:
        # U(−1/√fan_in, 1/√fan_in); of a transposed convolution PyTorch takes the outputs for it.
        inputs = weights.shape[3] if ".up_" in name else weights.shape[2]
        bound = 1 / np.sqrt(weights.shape[0] * weights.shape[1] * inputs)
        assert np.abs(weights).max() <= bound
        assert np.std(weights) == pytest.approx(bound / np.sqrt(3), rel=4 / np.sqrt(weights.size))


def test_a_ratio_is_a_number_of_measurements():
    for ratio, measurements in {1: 11, 4: 41, 10: 103, 25: 256, 30: 308, 40: 410, 50: 512}.items():
        config = dataclasses.replace(VARIANTS["cs"], ratio=ratio)
        assert (config.measurements, config.ratio) == (measurements, None)
    assert "ratio" not in config_to_json(VARIANTS["cs"])

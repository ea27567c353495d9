"""The programs that a network is lowered to, by platform, as text: no such device is needed."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from dgunet_jax import DGUNet, DGUNetConfig
from dgunet_jax.models.convolution import kernels
from dgunet_jax.models.parameters import abstract_params
from tests import choices

# Widths that XLA's CPU backend gets filled up to 64 channels.
CONFIG = DGUNetConfig(width=40, growth=20, last_growth=16, num_stages=3, remat=True)
IMAGES = jax.ShapeDtypeStruct((2, 16, 24, 3), jnp.float32)

# Of a convolution, its gradient by the input, and its gradient by the kernel, as JAX derives them.
DERIVED = {
    "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]",
    "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]",
    "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]",
}


def lowered(config: DGUNetConfig, platform: str, gradient: bool) -> str:
    model, params = DGUNet(config), abstract_params(config)

    def loss(params, images):
        restored: Any = model.apply({"params": params}, images)
        return jnp.mean(jnp.square(restored.stages))

    function = jax.grad(loss) if gradient else loss
    return export.export(jax.jit(function), platforms=[platform])(params, IMAGES).mlir_module()


def layouts(program: str) -> set[str]:
    return set(re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", program))


def channels(program: str, dtype: str = "f32") -> set[frozenset[int]]:
    """The input and output channels of every convolution that is not a matrix product."""
    tensor = rf"tensor<(.*?)x{dtype}>"
    found = re.findall(rf"stablehlo\.convolution.*: \({tensor}, {tensor}\) -> {tensor}", program)
    sides = [[int(shape.split("x")[-1]) for shape in shapes] for shapes in found]
    # Of a kernel's gradient the result ends with its output channels, as does the second operand.
    return {frozenset({x, kernel if kernel == out else out}) for x, kernel, out in sides}


def of_parameters(config: DGUNetConfig) -> set[frozenset[int]]:
    leaves = jax.tree.leaves(abstract_params(config))
    return {frozenset(leaf.shape[2:]) for leaf in leaves if len(leaf.shape) == 4}


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_kernels_off_the_cpu_are_plain_convolutions(platform: str, gradient: bool):
    program = lowered(CONFIG.on(platform), platform, gradient)
    assert layouts(program) <= DERIVED
    filled = {frozenset(-(-count // 4) * 4 for count in pair) for pair in of_parameters(CONFIG)}
    assert channels(program) <= (filled if platform == "cuda" else of_parameters(CONFIG))
    assert "x27xf32" not in program  # shifted copies of an image side by side
    # Nothing is forced to be recomputed late: what remat needs outside of the scan, and no more.
    assert program.count("optimization_barrier") <= gradient


@pytest.mark.parametrize("gradient", [False, True])
def test_kernels_on_a_gpu_leave_no_channels_to_be_filled_up_by_its_library(gradient: bool):
    config = dataclasses.replace(CONFIG, width=20, dtype="bfloat16").on("cuda")
    found = channels(lowered(config, "cuda", gradient), "bf16")
    assert found and not any(count % 8 for pair in found for count in pair)


def test_kernels_on_the_cpu_have_the_layout_of_its_fast_kernel():
    program = lowered(CONFIG, "cpu", gradient=True)
    assert layouts(program) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert "x27xf32" in program
    assert not channels(program) <= of_parameters(CONFIG)


@pytest.mark.parametrize("name", ["sensing", "tied"])
def test_kernels_do_not_change_what_is_computed(name: str):
    model, variables = choices.make(name)
    x = choices.images(1, 32, 64, model.config.channels)
    cpu, gpu, plain, auto = (
        choices.run(
            model.clone(config=dataclasses.replace(model.config, kernels=kernels)), variables, x
        )
        for kernels in ("cpu", "gpu", "plain", "auto")
    )
    np.testing.assert_allclose(plain, gpu, rtol=0, atol=3e-6)
    np.testing.assert_allclose(plain, cpu, rtol=0, atol=3e-6)
    np.testing.assert_array_equal(auto, cpu)


def test_config_on_chooses_by_platform():
    assert CONFIG.on("cpu").kernels == "cpu"
    assert CONFIG.on("gpu").kernels == "gpu"
    assert CONFIG.on("tpu").kernels == "plain"
    assert dataclasses.replace(CONFIG, kernels="cpu").on("gpu").kernels == "cpu"


def test_kernels_choice_ends_with_its_block():
    from dgunet_jax.models.convolution import _kernels

    with kernels("plain"):
        assert _kernels.get() == "plain"
    assert _kernels.get() == "auto"

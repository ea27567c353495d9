"""The two programs that are measured: restoring a picture, and one training step."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.weights import random_params
from dgunet_jax.models import convolution
from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.work import count
from dgunet_jax.training.losses import stage_losses

Array = jax.Array

FORWARD_SHAPE = (1, 256, 256)
STEP_SHAPE = (2, 64, 64)
LOSSES = {
    "deblur": "charbonnier_edge",
    "derain": "charbonnier_edge",
    "denoise": "clamped_charbonnier",
    "cs": "clamped_squares",
}
_LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced program with the inputs to run it on.

    Attributes:
      gflop: of its convolutions and matrix products.
      trace_seconds: from Python to the program given to XLA.
      lowered: that program.
      arguments: inputs.
    """

    gflop: float
    trace_seconds: float
    lowered: jax.stages.Lowered
    arguments: tuple[Any, ...]

    def compile(self) -> "Compiled":
        """Compiles it for this machine."""
        begin = time.perf_counter()
        compiled = self.lowered.compile()
        seconds = time.perf_counter() - begin
        memory = compiled.memory_analysis()
        sizes = memory and (
            memory.argument_size_in_bytes,
            memory.output_size_in_bytes,
            memory.temp_size_in_bytes,
        )
        arguments = jax.device_put(self.arguments)
        return Compiled(
            run=lambda: jax.block_until_ready(compiled(*arguments)),
            memory_mb=sum(sizes) / 1e6 if sizes else None,
            compile_seconds=seconds,
        )


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program.

    Attributes:
      run: runs it and waits for the result, which it returns.
      memory_mb: arguments, results and the most that is held between, 10⁶ bytes; None if
        the platform does not say.
      compile_seconds: XLA's time for it.
    """

    run: Callable[[], Any]
    memory_mb: float | None
    compile_seconds: float


def forward(variant: str, unroll: int | bool) -> Program:
    """Restoring one picture of 256×256 pixels."""
    model = DGUNet(_config(variant, unroll))

    def restore(params: Any, images: Array) -> Array:
        restored: Any = model.apply({"params": params}, images)
        return restored.image

    return _trace(restore, random_params(VARIANTS[variant]), _images(variant, FORWARD_SHAPE))


def training_step(
    variant: str, unroll: int | bool, shape: tuple[int, int, int] = STEP_SHAPE
) -> Program:
    """Loss of all stages, its gradient and an Adam update, on patches (N, H, W)."""
    model = DGUNet(_config(variant, unroll))
    optimizer = optax.adam(_LEARNING_RATE)
    loss_name = LOSSES[variant.removesuffix("_plus")]

    def step(
        state: tuple[Any, Any], inputs: Array, targets: Array
    ) -> tuple[tuple[Any, Any], Array]:
        params, moments = state

        def loss(params):
            restored: Any = model.apply({"params": params}, inputs)
            return jnp.sum(stage_losses(loss_name, restored.stages, targets))

        value, gradient = jax.value_and_grad(loss)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    params, images = random_params(VARIANTS[variant]), _images(variant, shape)
    moments = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(optimizer.init, params)
    )
    return _trace(step, (params, moments), images, np.roll(images, 1, axis=1))


def _config(variant: str, unroll: int | bool) -> DGUNetConfig:
    """The variant, with the kernels that training and restoring choose on this machine."""
    return dataclasses.replace(VARIANTS[variant], unroll=unroll).on(jax.devices()[0].platform)


def _trace(function: Callable, *arguments) -> Program:
    begin = time.perf_counter()
    lowered = jax.jit(function).lower(*arguments)
    trace_seconds = time.perf_counter() - begin
    # Channels of zeros that only make the convolutions faster are no work done.
    with mock.patch.object(convolution, "missing_channels", lambda channels, most: 0):
        needed = jax.make_jaxpr(lambda *inputs: function(*inputs))(*arguments)
    return Program(
        gflop=count(needed.jaxpr) / 1e9,
        trace_seconds=trace_seconds,
        lowered=lowered,
        arguments=arguments,
    )


def _images(variant: str, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.random((*shape, VARIANTS[variant].channels), np.float32)

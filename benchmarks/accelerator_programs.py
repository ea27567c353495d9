"""This project's programs on an accelerator: the machine's ceilings, restoring and training."""

import collections
import dataclasses
import functools
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from benchmarks.accelerator_table import median
from benchmarks.timing import clock
from benchmarks.weights import random_params
from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import abstract_params
from dgunet_jax.models.work import count
from dgunet_jax.system import compilation, provenance
from dgunet_jax.system.compilation import Precision
from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.step import (
    divided,
    make_optimizer,
    make_train_step,
    replicated,
    state_of,
)

_OPTIMIZER = OptimizerConfig(learning_rate=1e-4, steps=1000, schedule="constant")
_ROUND_SECONDS = 0.2
_MOST_CALLS = 20  # of a round
_KERNELS = (
    (r'custom_call_target="([^"]+)"', "{}"),
    (r'"kind":"(__[^"]+)"', "fusion {}"),
    (r"\bconvolution\(.*dim_labels=([\w>-]+)", "convolution {}"),
)


@dataclasses.dataclass(frozen=True)
class Work:
    """What is computed.

    Attributes:
      variant: of the network.
      step: a training step; otherwise restoring.
      shape: images, their height and width.
    """

    variant: str
    step: bool
    shape: tuple[int, int, int]

    def config(self, tiny: bool) -> DGUNetConfig:
        """Return the network: that of the variant, or a tiny one."""
        if not tiny:
            return VARIANTS[self.variant]
        sizes = {"width": 4, "growth": 2, "last_growth": 2, "num_stages": 2 if self.step else 4}
        return dataclasses.replace(VARIANTS[self.variant], **sizes)

    def images(self, tiny: bool) -> np.ndarray:
        """Return random images (N, H, W, C); tiny ones are two of 16×16 pixels."""
        n, height, width = (2, 16, 16) if tiny else self.shape
        return np.random.default_rng(1).random((n, height, width, 3), np.float32)


WORKS = {
    "derain step 16×128²": Work("derain", True, (16, 128, 128)),
    "deblur step 8×256²": Work("deblur", True, (8, 256, 256)),
    "derain forward 8×256²": Work("derain", False, (8, 256, 256)),
    "deblur forward 8×256²": Work("deblur", False, (8, 256, 256)),
    "deblur forward 1×720×1280": Work("deblur", False, (1, 720, 1280)),
}


def describe() -> Iterator[dict[str, Any]]:
    """Yield what the table's header says of the machine and its software.

    Raises:
      UserError: JAX finds no device.
    """
    compilation.check_platform()
    device = jax.devices()[0]
    yield {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "driver": _driver() if device.platform == "gpu" else "not known",
        "runtime": device.client.platform_version,
        **provenance.versions(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "none"),
        "system": platform.platform(),
    }


def product(precision: str, tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield the rate of a large product of square matrices."""
    side = 128 if tiny else 8192
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    a = jnp.asarray(np.random.default_rng(0).standard_normal((side, side), np.float32), dtype)
    with jax.default_matmul_precision(_products(precision)):
        multiply = jax.jit(jnp.matmul).lower(a, a).compile()
    yield {
        "gflop": 2 * side**3 / 1e9,
        **median(repeat(lambda: multiply(a, a), jax.block_until_ready)),
    }


def copy(tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield the rate at which a large array is read and written."""
    size = 2**16 if tiny else 2**28
    a = jnp.ones(size, jnp.float32)
    negate = jax.jit(jnp.negative)
    yield {
        "gigabytes": 2 * a.nbytes / 1e9,
        **median(repeat(lambda: negate(a), jax.block_until_ready)),
    }


def compile_together(programs: Sequence[tuple[str, str]], tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield the time it takes to compile programs at once; `measure` takes them from there.

    Args:
      programs: of each its work and precision.
      tiny: whether networks and images are tiny, and compiled quickly.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(programs)) as pool:
        for work, precision in programs:
            _compiled[work, precision] = pool.submit(_compile, work, precision, {}, tiny)
    yield {"compile_seconds": time.perf_counter() - begin}


def measure(
    work: str, precision: str, choices: Mapping[str, Any], tiny: bool
) -> Iterator[dict[str, Any]]:
    """Yield time, work, traffic, memory and kernels of a program.

    Args:
      work: one of `WORKS`.
      precision: "float32", "default" or "bfloat16".
      choices: changes to the network's configuration.
      tiny: whether network and images are tiny, and compiled quickly.

    Raises:
      FloatingPointError: a result is not finite; its time would mean nothing.
    """
    if not choices and (ahead := _compiled.pop((work, precision), None)):
        program = ahead.result()
    else:
        program = _compile(work, precision, choices, tiny)
    config, compiled = program.config, program.compiled
    run = program.start(compiled)
    if not np.isfinite(run()[0]).all():
        raise FloatingPointError("the program gave values that are not finite")
    plain = not config.remat and "kernels" not in choices
    yield {
        "compile_seconds": program.seconds,
        "gflop": count(program.traced.jaxpr.jaxpr) / 1e9 if plain else None,
        "gigabytes": _gigabytes(compiled, config),
        "memory_gb": _memory_gb(compiled),
        "kernels": kernels(_if_told(compiled.as_text) or ""),
        **median(repeat(run, jax.block_until_ready)),
    }


@dataclasses.dataclass(frozen=True)
class _Program:
    """A network's configuration, its program, what binds it to inputs, and how long it took."""

    config: DGUNetConfig
    traced: Any
    compiled: Any
    start: Callable[[Any], Callable[[], Any]]
    seconds: float


_compiled: dict[tuple[str, str], Future[_Program]] = {}  # by work and precision


def _compile(work: str, precision: str, choices: Mapping[str, Any], tiny: bool) -> _Program:
    """Compile a program, with the arguments of `measure`."""
    changes = {**choices, "dtype": "bfloat16" if precision == "bfloat16" else None}
    config = dataclasses.replace(WORKS[work].config(tiny), **changes)
    config = config.on(jax.devices()[0].platform)
    make = _step if WORKS[work].step else _forward
    begin = time.perf_counter()
    traced, start = make(config, WORKS[work].images(tiny), _products(precision))
    compiled = traced.lower().compile(compiler_options=quick_options() if tiny else None)
    return _Program(config, traced, compiled, start, time.perf_counter() - begin)


def repeat(run: Callable[[], Any], wait: Callable[[Any], Any]) -> list[float]:
    """Return seconds of a call, the mean of each round of several calls, after a warm-up.

    Args:
      wait: returns when what it is given is computed.
    """
    for _ in range(2):
        wait(run())
    once = clock(lambda: wait(run()))
    calls = max(1, min(_MOST_CALLS, round(_ROUND_SECONDS / once)))

    def several() -> None:
        for _ in range(calls - 1):
            run()
        wait(run())

    return [clock(several) / calls for _ in range(3 if once > 1 else 7)]


def kernels(program: str) -> dict[str, int]:
    """Return what the text of a compiled program calls and convolves, with the number of each."""
    found = collections.Counter(
        form.format(match) for pattern, form in _KERNELS for match in re.findall(pattern, program)
    )
    return dict(sorted(found.items()))


def quick_options() -> dict[str, Any]:
    """Return options of XLA's CPU backend, where it is in use, to compile in less time."""
    if jax.devices()[0].platform != "cpu":
        return {}
    return known({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False})


def known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that XLA knows: it refuses the names of other versions."""

    def is_known(name: str) -> bool:
        try:
            jax.jit(lambda x: x).lower(0.0).compile(compiler_options={name: options[name]})
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {name: options[name] for name in options if is_known(name)}


def _forward(
    config: DGUNetConfig, images: np.ndarray, products: Precision
) -> tuple[Any, Callable[[Any], Any]]:
    """Return the traced program, and what binds it to its inputs once it is compiled.

    A call gives a tuple, of which the first tells whether the values are finite.
    """

    def restore(params: Any, images: jax.Array) -> jax.Array:
        restored: Any = DGUNet(config).apply({"params": params}, images)
        return restored.image

    arguments = jax.device_put((random_params(config), images))
    with jax.default_matmul_precision(products):
        traced = jax.jit(restore).trace(*arguments)
    return traced, lambda compiled: lambda: (compiled(*arguments),)


def _step(
    config: DGUNetConfig, images: np.ndarray, products: Precision
) -> tuple[Any, Callable[[Any], Any]]:
    """As `_forward`, of the step that training runs, on one device: losses, and the new state.

    It is bound to a state that every call takes on.
    """
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    settings = dataclasses.replace(_OPTIMIZER, precision=products)
    optimizer = make_optimizer(settings)
    step: Any = make_train_step(DGUNet(config), optimizer, lambda step: 1e-4, settings, mesh)
    params = jax.device_put(random_params(config), replicated(mesh))
    state = jax.jit(lambda params: state_of(params, optimizer, settings))(params)
    batch = {"input": images, "target": np.roll(images, 1, axis=1)}
    batch = jax.device_put(batch, divided(mesh))
    held = [state]

    def start(compiled: Any) -> Callable[[], Any]:
        def run() -> Any:
            held[0], metrics = compiled(held[0], batch)
            return metrics.losses, held[0]

        return run

    return step.trace(state, batch), start


def _gigabytes(compiled: Any, config: DGUNetConfig) -> float | None:
    """Return what the compiled program reads and writes, 10⁹ bytes; None if XLA does not say.

    It counts the body of a loop once. Stages are much alike: what it leaves out is as large a part
    of the traffic as of the work.
    """
    costs = _if_told(compiled.cost_analysis) or {}
    if "bytes accessed" not in costs:
        return None
    whole = 1.0
    if config.num_middle and config.unroll is not True:
        plain = dataclasses.replace(config, dtype=None, remat=False, kernels="plain")
        once = dataclasses.replace(plain, num_stages=3)
        whole = _forward_flop(plain) / _forward_flop(once)
    return costs["bytes accessed"] * whole / 1e9


@functools.cache
def _forward_flop(config: DGUNetConfig) -> int:
    """Return the work of restoring; that of a step is three times as much at every stage."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def restore(params: Any, images: jax.Array) -> Any:
        return DGUNet(config).apply({"params": params}, images)

    return count(jax.make_jaxpr(restore)(abstract_params(config), images).jaxpr)


def _memory_gb(compiled: Any) -> float | None:
    sizes = _if_told(compiled.memory_analysis)
    if not sizes:
        return None
    total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return (total - sizes.alias_size_in_bytes) / 1e9


def _if_told(ask: Callable[[], Any]) -> Any:
    """Return what a compiled program tells of itself; None where its platform does not."""
    try:
        return ask()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None


def _products(precision: str) -> Precision:
    return "highest" if precision == "float32" else "default"


def _driver() -> str:
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not known"

"""What a training step costs: work, memory, collectives."""

import dataclasses
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import abstract_params, without_operator
from dgunet_jax.models.work import count
from dgunet_jax.system.errors import UserError, one_line
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.preparing import check_batch
from dgunet_jax.training.step import (
    TrainState,
    divided,
    make_mesh,
    make_optimizer,
    make_train_step,
    replicated,
    state_of,
)

_COLLECTIVES = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
_BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "pred": 1}
_GIGABYTES = {"TPU v5 lite": 16, "TPU v5": 95, "TPU v6 lite": 32}  # on a chip, as Cloud TPU has it


@dataclasses.dataclass(frozen=True)
class Collective:
    """An operation among devices in a compiled program.

    Attributes:
      kind: such as all-reduce.
      bytes: of what it gives.
      in_loop: whether it is in the body of a loop.
    """

    kind: str
    bytes: int
    in_loop: bool


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one run of a program.

    Attributes:
      devices: among which the batch is divided.
      kind: of device, such as "TPU v5 lite".
      parameters: how many.
      gflop: of all devices together; convolutions and matrix products, with the zeros that
        convolutions are filled up with.
      memory: bytes on each device, arguments and temporaries.
      collectives: operations among devices.
      seconds: of the compilation.
    """

    devices: int
    kind: str
    parameters: int
    gflop: float
    memory: int
    collectives: list[Collective]
    seconds: float

    @property
    def available(self) -> int | None:
        """GB of memory that a device has; None if it is not known."""
        return _GIGABYTES.get(self.kind)

    @property
    def exchanged(self) -> str:
        """What goes between devices, in words."""
        among = [
            f"{each.kind} of {each.bytes / 1e6:.1f} MB{' in a loop' if each.in_loop else ''}"
            for each in self.collectives
        ]
        return ", ".join(among) or "nothing"

    def lines(self) -> list[str]:
        of = f" of {self.available} GB" if self.available else ""
        return [
            f"devices: {self.devices} ({self.kind})",
            f"parameters: {self.parameters:,}",
            f"work of a step: {self.gflop:,.0f} GFLOP",
            f"memory on each device: {self.memory / 1e6:,.0f} MB{of}",
            f"among devices: {self.exchanged}",
            f"compiled in {self.seconds:.0f} s",
        ]


@dataclasses.dataclass(frozen=True)
class Traced:
    """A program traced for some devices; fields as of `Cost`.

    Attributes:
      program: what `jax.jit`'s `trace` gives.
    """

    program: Any
    devices: int
    kind: str
    parameters: int
    gflop: float

    def compile(self, options: Mapping[str, Any] | None = None) -> tuple[Any, Cost]:
        """Compile it, with `options` for the compiler, and tell what it costs.

        Raises:
          UserError: the compiler finds that a device has too little memory.
        """
        begin = time.perf_counter()
        try:
            compiled = self.program.lower().compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(f"does not fit into a {self.kind}: {one_line(error)}") from error
        seconds = time.perf_counter() - begin
        memory: Any = compiled.memory_analysis()
        return compiled, Cost(
            devices=self.devices,
            kind=self.kind,
            parameters=self.parameters,
            gflop=self.gflop,
            memory=memory.argument_size_in_bytes
            + memory.temp_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes,
            collectives=collectives(compiled.as_text() or ""),
            seconds=seconds,
        )


def trace_step(config: TrainConfig, devices: Sequence[Any] | None = None) -> Traced:
    """Trace the step for the batch of a config, without any data.

    Args:
      config: of the run.
      devices: that share the batch, which need not be here (see `topology`); None: all there are.

    Raises:
      UserError: the batch cannot be divided.
    """
    mesh = make_mesh(devices)
    check_batch(config, mesh.size)
    model, optimizer = DGUNet(config.model), make_optimizer(config.optimizer)
    # The learning rate costs nothing, and needs the number of pictures.
    step: Any = make_train_step(model, optimizer, lambda step: 1e-4, config.optimizer, mesh)

    def first(params: Any) -> TrainState:
        return state_of(params, optimizer, config.optimizer)

    state = jax.eval_shape(first, abstract_params(config.model))
    # Of several sources, the one with the largest patches.
    data = max((each for _, each in config.data.each), key=lambda each: each.patch)
    images = _images(data.batch, data.patch, config.model, data.in_bytes)
    batch: dict[str, Any] = {"input": images, "target": images}
    if (degradation := data.simulated) and degradation.known:
        # Of several chains the first one; the network's part is the same for all.
        one = degradation.measure(images.shape[1:], np.random.default_rng(0))
        batch = {"target": images, **_many(one, data.batch)}
    program = step.trace(_placed(state, replicated(mesh)), _placed(batch, divided(mesh)))
    return Traced(
        program=program,
        devices=mesh.size,
        kind=mesh.devices.flat[0].device_kind,
        parameters=_count(state.params),
        # The program of the step is that of a device, but for the update, which is nothing.
        gflop=count(program.jaxpr.jaxpr) * mesh.size / 1e9,
    )


def trace_forward(
    config: DGUNetConfig, devices: Sequence[Any] | None = None, side: int = 256
) -> Traced:
    """Trace the restoration of a square picture on each device, without any weights.

    Args:
      config: of the network.
      devices: as of `trace_step`.
      side: of the pictures, in pixels.
    """
    mesh = make_mesh(devices)
    device = mesh.devices.flat[0]
    config = without_operator(config)
    model, params = DGUNet(config.on(device.platform)), abstract_params(config)
    noise = 0.0 if config.noise_input else None

    def restore(params: Any, images: jax.Array) -> jax.Array:
        restored: Any = model.apply({"params": params}, images, noise=noise)
        return restored.image

    images = _placed(_images(mesh.size, side, config), divided(mesh))
    program = jax.jit(restore).trace(_placed(params, replicated(mesh)), images)
    return Traced(
        program=program,
        devices=mesh.size,
        kind=device.device_kind,
        parameters=_count(params),
        gflop=count(program.jaxpr.jaxpr) / 1e9,
    )


def _many(tree: Any, count: int) -> Any:
    """Return the shapes of a batch of such trees of arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), tree)


def _images(
    count: int, side: int, config: DGUNetConfig, in_bytes: bool = False
) -> jax.ShapeDtypeStruct:
    kind = np.dtype(np.uint8 if in_bytes else np.float32)
    return jax.ShapeDtypeStruct((count, side, side, config.channels), kind)


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def collectives(program: str) -> list[Collective]:
    """The operations among devices in the text of a compiled program."""
    found = []
    in_loop = False
    bodies = set(re.findall(r"(?:body|condition)=%?([\w.-]+)", program))
    for line in program.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            in_loop = header[1] in bodies
        if match := re.search(rf"= (.*?) ({_COLLECTIVES})(?:-start)?\(", line):
            found.append(Collective(match[2], _bytes(match[1]), in_loop))
    return found


def _bytes(shapes: str) -> int:
    total = 0
    for kind, sides in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
        if kind in _BYTES:
            total += _BYTES[kind] * int(np.prod([int(side) for side in sides.split(",") if side]))
    return total


QUICK = {"exec_time_optimization_effort": -1.0, "memory_fitting_effort": -1.0}
"""Compiler options that take a fraction of the time.

No array is moved into a chip's fast memory then, so that more lies in its main memory.
"""

_ENVIRONMENT = {
    # libtpu would look these up in Google Cloud.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # any; the name of the topology decides
    "TPU_WORKER_HOSTNAMES": "localhost",
    # It would let no other process of this machine load it, though no chip is used.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}


def tpu_devices(name: str) -> list[Any]:
    """Return the devices of a slice of TPUs, which can be compiled for and nothing else.

    JAX's persistent cache must be off when they are: it writes their programs and cannot read them.

    Args:
      name: kind and arrangement of the chips, such as "v5e:2x4".

    Raises:
      UserError: libtpu is not installed, knows no such slice, or has several devices on a chip.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        devices = topologies.get_topology_desc(name, "tpu").devices
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--topology {name}: {one_line(error)}") from error
    except RuntimeError as error:  # whose text is about using TPUs
        raise UserError(
            f"--topology {name}: libtpu, which compiles for TPUs, is not installed; it comes with"
            " this package's extra tpu"
        ) from error
    if any(device.core_on_chip for device in devices):
        raise UserError(f"--topology {name}: has several devices on a chip; take v5e, v5p or v6e")
    return list(devices)

"""What a training step will cost, from its compiled program."""

import dataclasses
import re
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from dgunet_jax.models.network import DGUNet, abstract_params
from dgunet_jax.training import flops
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.preparing import check_batch
from dgunet_jax.training.step import (
    Batch,
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
    """Of one step.

    Attributes:
      devices: among which the batch is divided.
      parameters: how many.
      gflop: of all devices together; convolutions and matrix products, with the zeros that
        convolutions are filled up with.
      memory: bytes on each device, arguments and temporaries.
      collectives: operations among devices.
      seconds: of the compilation.
    """

    devices: int
    parameters: int
    gflop: float
    memory: int
    collectives: list[Collective]
    seconds: float

    def lines(self) -> list[str]:
        among = [
            f"{each.kind} of {each.bytes / 1e6:.1f} MB{' in a loop' if each.in_loop else ''}"
            for each in self.collectives
        ]
        return [
            f"devices: {self.devices}",
            f"parameters: {self.parameters:,}",
            f"work of a step: {self.gflop:,.0f} GFLOP",
            f"memory on each device: {self.memory / 1e6:,.0f} MB",
            f"among devices: {', '.join(among) or 'nothing'}",
            f"compiled in {self.seconds:.0f} s",
        ]


def compile_step(config: TrainConfig) -> tuple[Any, Cost]:
    """Compiles the step for the batch of a config and all devices, without any data.

    Raises:
      UserError: the batch cannot be divided.
    """
    begin = time.perf_counter()
    traced = trace_step(config)
    compiled = traced.program.lower().compile()
    seconds = time.perf_counter() - begin
    memory: Any = compiled.memory_analysis()
    return compiled, Cost(
        devices=traced.devices,
        parameters=traced.parameters,
        gflop=traced.gflop,
        memory=memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        collectives=collectives(compiled.as_text() or ""),
        seconds=seconds,
    )


@dataclasses.dataclass(frozen=True)
class TracedStep:
    """The step of a config, traced for the devices there are; fields as of `Cost`.

    Attributes:
      program: what `jax.jit`'s `trace` gives.
    """

    program: Any
    devices: int
    parameters: int
    gflop: float


def trace_step(config: TrainConfig) -> TracedStep:
    """Traces the step for the batch of a config and all devices, without any data.

    Raises:
      UserError: the batch cannot be divided.
    """
    mesh = make_mesh()
    check_batch(config, mesh.size)
    model, optimizer = DGUNet(config.model), make_optimizer(config.optimizer)
    # The learning rate costs nothing, and needs the number of pictures.
    step: Any = make_train_step(model, optimizer, lambda step: 1e-4, config.optimizer, mesh)
    state, batch = _abstract(config, optimizer, mesh)
    program = step.trace(state, batch)
    return TracedStep(
        program=program,
        devices=mesh.size,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        # The program of the step is that of a device, but for the update, which is nothing.
        gflop=flops.count(program.jaxpr.jaxpr) * mesh.size / 1e9,
    )


def _abstract(config: TrainConfig, optimizer: Any, mesh: Mesh) -> tuple[TrainState, Batch]:
    """State and batch as shapes and shardings."""
    patch, channels = config.data.patch, config.model.channels

    def placed(tree: Any, sharding: NamedSharding) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    def first(params: Any) -> TrainState:
        return state_of(params, optimizer, config.optimizer)

    images = jax.ShapeDtypeStruct((config.data.batch, patch, patch, channels), np.dtype(np.float32))
    state = jax.eval_shape(first, abstract_params(config.model))
    batch = {"input": images, "target": images}
    return placed(state, replicated(mesh)), placed(batch, divided(mesh))


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

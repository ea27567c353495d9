"""Restores on four virtual devices and on one; prints what `test_sharding.py` wants to know.

A process of its own, since the number of devices is fixed when JAX starts.
"""

import json
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType

from dgunet_jax import Restorer
from dgunet_jax.restoration.running import apply
from tests.small import network

SIZES = {"height": [(720, 1280), (321, 481), (1, 1)], "batch": [(40, 33), (1, 1)]}


def main() -> None:
    model, variables = network(num_stages=2)
    one = Restorer(model, variables)
    found = {"devices": len(jax.devices()), "height": {}, "batch": {}}
    for axis, sizes in SIZES.items():
        images = {size: np.random.default_rng(0).random((*size, 3), np.float32) for size in sizes}
        mesh = jax.make_mesh((4,), (axis,), axis_types=(AxisType.Auto,))
        restorer = Restorer(model, variables, mesh=mesh)
        for size, restored in restorer.each(images.items(), restorer.schedule(sizes)):
            error = np.abs(restored[0] - one(images[size])).max()
            found[axis]["×".join(map(str, size))] = float(error)

    mesh = jax.make_mesh((4,), ("height",), axis_types=(AxisType.Auto,))
    shapes = jax.ShapeDtypeStruct((1, 512, 64, 3), np.float32), jax.ShapeDtypeStruct((1, 2), int)
    arguments = network()[0].config, mesh, False, None, network()[1], *shapes
    program = apply.lower(*arguments).compile()
    text = program.as_text() or ""
    names = "all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter"
    found["collectives"] = sorted(set(re.findall(rf"\b({names})(?:-start)?\(", text)))
    memory: Any = program.memory_analysis()
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    estimate = Restorer(model, variables, mesh=mesh).planner.estimate((512, 64))
    found["estimate / taken"] = estimate / taken
    print(json.dumps(found))


if __name__ == "__main__":
    main()

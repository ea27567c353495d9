"""Training steps on eight virtual devices and on one; prints what `test_sharding.py` wants to know.

A process of its own, since the number of devices is fixed when JAX starts.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.cost import collectives
from dgunet_jax.training.step import make_optimizer, make_train_step, state_of
from tests.quick import compiler_options
from tests.small import network

CONFIG = OptimizerConfig(steps=9, schedule="constant", learning_rate=1e-3)


def main() -> None:
    model, variables = network(num_stages=4)
    rng = np.random.default_rng(0)
    target = rng.random((16, 16, 16, 3), np.float32)
    noise = 0.1 * rng.standard_normal(target.shape).astype(np.float32)
    batch = {"input": target + noise, "target": target}
    found: dict[str, Any] = {"devices": len(jax.devices())}
    one = step(model, variables, batch, 1)
    found["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(variables))
    for name, config in (
        ("rolled", CONFIG),
        ("accumulated", dataclasses.replace(CONFIG, accumulate=2)),
    ):
        moments, metrics, text = step(model, variables, batch, 8, config)
        difference = jax.tree.map(lambda a, b: jnp.linalg.norm(a - b), moments, one[0])
        norm = float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(one[0]))))
        found[name] = {
            "gradient": float(max(jax.tree.leaves(difference))) / norm,
            "losses": float(np.abs(metrics.losses / one[1].losses - 1).max()),
            "psnr": float(np.abs(metrics.psnr - one[1].psnr).max()),
            "collectives": [dataclasses.astuple(each) for each in collectives(text)],
        }
    print(json.dumps(found))


def step(model, variables, batch, devices, config=CONFIG):
    """First moments after a step, a tenth of the gradient, its metrics, and the program."""
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    optimizer = make_optimizer(config)
    train_step = make_train_step(model, optimizer, lambda step: 1e-3, config, mesh)
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    params = jax.tree.map(jnp.copy, variables["params"])
    state = jax.device_put(state_of(params, optimizer, config), replicated)
    placed = jax.device_put(batch, divided)
    compiled = train_step.lower(state, placed).compile(compiler_options=compiler_options())
    state, metrics = compiled(state, placed)
    moments = jax.tree.map(np.asarray, state.opt_state[-1].mu)
    return moments, jax.tree.map(np.asarray, metrics), compiled.as_text() or ""


if __name__ == "__main__":
    main()

"""Every variant of every experiment, at both scales, without training any."""

import dataclasses
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from dgunet_jax.models.network import DGUNet
from experiments import gradient, last_stage, loss, memory, merge, sharing, stages
from experiments.bases import BASES
from experiments.factor import changed, run_name, seeded

FACTORS: dict[ModuleType, set[str]] = {
    stages: {"model.num_stages"},
    sharing: {"model.share_middle"},
    gradient: {"model.degradation"},
    memory: {"model.memory", "model.memory_scales"},
    merge: {"model.merge"},
    last_stage: {"model.last_adds"},
    loss: {"optimizer.loss_stages"},
}
"""What each experiment may change: one of these settings in every variant."""
COMPANIONS = {"none, to x": {"model.degradation", "model.last_adds"}}
"""Variants that would be meaningless without a second change."""

by_scale = pytest.mark.parametrize("scale", BASES)
by_module = pytest.mark.parametrize("module", FACTORS, ids=lambda m: m.EXPERIMENT.name)


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    values = {}
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), prefix + field.name
        values |= flat(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return values


def differences(a: Any, b: Any) -> set[str]:
    b = flat(b)
    return {name for name, value in flat(a).items() if b[name] != value}


@by_scale
@by_module
def test_variants_differ_from_the_base_in_one_setting(module, scale):
    base, experiment = BASES[scale](), module.EXPERIMENT
    reference = experiment.base(base)
    for name, changes in experiment.variants.items():
        found = differences(changed(base, changes), base)
        if name in COMPANIONS:
            assert found == COMPANIONS[name]
        else:
            assert found <= FACTORS[module]
            assert len(found) == (name != reference)


@by_scale
@by_module
def test_runs_are_told_apart_and_the_base_is_shared(module, scale):
    base, experiment = BASES[scale](), module.EXPERIMENT
    names = {n: run_name(base, changes, 0) for n, changes in experiment.variants.items()}
    assert len(set(names.values())) == len(names)
    assert names[experiment.base(base)] == "base,seed=0"


def test_names_of_runs_say_what_was_changed():
    base = BASES["small"]()
    assert run_name(base, {"model.num_stages": 7}, 1) == "num_stages=7,seed=1"
    assert run_name(base, {"model.memory_scales": (0, 1)}, 0) == "memory_scales=0-1,seed=0"


@by_module
def test_an_experiment_is_a_command_of_its_own_name(module):
    assert module.__name__ == f"experiments.{module.EXPERIMENT.name}"
    assert f"python -m {module.__name__} --output" in module.__doc__


@by_scale
def test_a_seed_changes_first_weights_and_data(scale):
    base = BASES[scale]()
    assert differences(seeded(base, 5), base) == {"optimizer.seed", "data.seed"}
    assert (seeded(base, 5).optimizer.seed, seeded(base, 5).data.seed) == (5, 5)


@by_scale
def test_every_network_can_be_traced(scale):
    base = BASES[scale]()
    images = jnp.zeros((1, 16, 24, 3))
    networks = {
        changed(base, changes).model: f"{module.EXPERIMENT.name}: {name}"
        for module in FACTORS
        for name, changes in module.EXPERIMENT.variants.items()
    }
    counts = {}
    for model, name in networks.items():
        traced: Any = jax.eval_shape(DGUNet(model).init_with_output, jax.random.key(0), images)
        restored, variables = traced
        assert restored.stages.shape == (model.num_stages, 1, 16, 24, 3), name
        counts[model] = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    # Stages share weights; operators, memory and weights of stages' own are what costs any.
    learned = counts[base.model]
    for name, compare in {
        "num_stages": lambda count: count == learned,
        "share_middle": lambda count: count > learned,
        "degradation": lambda count: count < learned,
        "memory": lambda count: count < learned,
        "memory_scales": lambda count: count < learned,
        "last_adds": lambda count: count == learned,
    }.items():
        others = [m for m in networks if differences(m, base.model) == {name}]
        assert others and all(compare(counts[model]) for model in others), name

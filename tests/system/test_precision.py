"""Which precision products have in the programs that are lowered, as their text says."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax import Restorer, UserError, unfold
from dgunet_jax.analysis.operators import adjointness, gradient_quality, step
from dgunet_jax.restoration import running
from dgunet_jax.system.compilation import highest
from dgunet_jax.training.step import make_mesh, make_optimizer, make_train_step, state_of
from tests import choices
from tests.small import network
from tests.training.settings import settings


def precisions(program: str) -> set[str]:
    """Those of all convolutions and matrix products but the projector's, always HIGHEST."""
    lines = re.findall(r"stablehlo\.(?:convolution|dot_general).*", program)
    assert lines
    return {
        found[1] if (found := re.search(r"precision.*?(HIGHEST|DEFAULT)", line)) else "DEFAULT"
        for line in lines
    }


@pytest.mark.parametrize(
    ("precision", "expected"), [("highest", {"HIGHEST"}), ("default", {"HIGHEST", "DEFAULT"})]
)
def test_restorer_computes_in_the_precision_asked_for(
    precision: Any, expected: set[str], monkeypatch: pytest.MonkeyPatch
):
    apply, programs = running.apply, []

    def lower(*arguments):
        programs.append(apply.lower(*arguments).as_text())
        return np.zeros((1, 1, 8, 8, 3), np.float32)

    monkeypatch.setattr(running, "apply", lower)
    Restorer(*network(), precision=precision)(np.zeros((8, 8, 3), np.float32))
    (program,) = programs
    assert precisions(program) == expected


def test_restorer_refuses_another_precision():
    with pytest.raises(UserError, match="precision is 'low'; it must be highest or default"):
        Restorer(*network(), precision="low")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("asked", "expected"), [("default", {"HIGHEST", "DEFAULT"}), ("highest", {"HIGHEST"})]
)
def test_training_computes_in_the_platforms_own_precision_unless_asked(asked, expected):
    config, model = settings(optimizer={"precision": asked}), network()[0]
    optimizer, mesh = make_optimizer(config.optimizer), make_mesh()
    step_fn: Any = make_train_step(model, optimizer, lambda step: 1e-4, config.optimizer, mesh)
    params = network()[1]["params"]
    state = jax.eval_shape(lambda p: state_of(p, optimizer, config.optimizer), params)
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    program = step_fn.lower(state, {"input": images, "target": images}).as_text()
    assert precisions(program) == expected


def test_highest_is_for_all_that_is_traced_within():
    product = jax.jit(lambda a: a @ a)
    a = jnp.ones((2, 2))
    assert precisions(highest(lambda: product.lower(a).as_text())()) == {"HIGHEST"}
    assert precisions(product.lower(a).as_text()) == {"DEFAULT"}


def test_analysis_is_highest():
    model, variables = network()
    stage = unfold(model, variables).stages[0]
    x = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 3), np.float32))
    key = jax.random.key(0)
    for measure in (
        lambda: adjointness(stage.operator, x, x, key),
        lambda: gradient_quality(stage.operator, stage.step_size, x, x, None),
    ):
        assert precisions(jax.jit(measure).lower().as_text()) == {"HIGHEST"}


def test_measures_that_are_not_traced_are_highest():
    model, variables = choices.make("known")
    seen = []

    class Watched(choices.Smear):
        def forward(self, x):
            seen.append(jax.config.jax_default_matmul_precision)
            return super().forward(x)

    operator = Watched(jnp.asarray(0.3))
    stage = unfold(model.clone(operator=operator), variables).stages[0]
    x = jnp.asarray(choices.images(1, 8, 8, 3))
    step(stage, x, jax.random.key(0))
    assert seen and set(seen) == {"highest"}

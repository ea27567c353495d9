"""The network taken apart is the same network, and its stages are pure functions."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax import Restorer, UserError
from dgunet_jax.models.layers import Memory
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import Trace, Unfolded, UnfoldedStage, trace, unfold
from tests.choices import Smear, estimates, images, make, run
from tests.quick import compiler_options

NAMES = ["dgunet", "plus", "sensing_blocks", "tied", "known", "no_degradation", "two_stages"]


def quickly(f: Callable) -> Callable:
    return jax.jit(f, compiler_options=compiler_options())


def compose(unfolded: Unfolded, inputs: jax.Array) -> jax.Array:
    """All estimates, as the documentation of `unfold` says."""
    x, y = unfolded.start(inputs)
    memory, stages = None, []
    for stage in unfolded.stages:
        v = stage.gradient(x, y)
        x, memory = stage.proximal(v, memory, y)
        stages.append(x)
    assert memory is None
    return jnp.stack(stages)


@pytest.fixture(scope="module", params=NAMES)
def taken_apart(request) -> tuple[DGUNet, dict, np.ndarray, Trace]:
    """A model, its variables, images and what `trace` makes of them."""
    stages = 2 if request.param == "two_stages" else 4
    model, variables = make(request.param, num_stages=stages)
    x = images(2, 64, 32, model.config.channels)
    return model, variables, x, quickly(trace)(unfold(model, variables), x)


@pytest.mark.parametrize("name", ["dgunet", "plus", "sensing"])
def test_composed_in_one_program_it_is_the_same_bit_for_bit(name: str):
    model, variables = make(name, num_stages=4, unroll=True)
    x = images(2, 64, 32, model.config.channels)
    # Compiled as users do.
    whole = jax.jit(estimates, static_argnums=0)(model, variables, x)
    parts = jax.jit(lambda variables, x: compose(unfold(model, variables), x))(variables, x)
    np.testing.assert_array_equal(parts, whole)


def test_trace_has_the_estimates(taken_apart):
    model, variables, x, traced = taken_apart
    expected = run(model, variables, x)
    assert len(traced.stages) == model.config.num_stages
    found = np.stack([stage.x for stage in traced.stages])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_trace_has_residuals_and_gradient_steps(taken_apart):
    model, variables, inputs, traced = taken_apart
    unfolded = unfold(model, variables)
    start, y = unfolded.start(inputs)
    np.testing.assert_array_equal(traced.start, start)
    np.testing.assert_array_equal(traced.y, y)
    if model.config.measurements:
        assert y.shape == (2, 2, 1, model.config.measurements)
    else:
        np.testing.assert_array_equal(y, inputs)
    x = start
    for stage, of_stage in zip(unfolded.stages, traced.stages, strict=True):
        residual = stage.operator.forward(x) - y
        np.testing.assert_allclose(of_stage.residual, residual, rtol=0, atol=1e-5)
        v = x - stage.step_size * stage.operator.adjoint(residual, at=x)
        np.testing.assert_allclose(of_stage.v, v, rtol=0, atol=1e-5)
        x = of_stage.x


def test_trace_has_the_memory(taken_apart):
    model, _, x, traced = taken_apart
    config = model.config
    *others, last = traced.stages
    assert last.memory is None
    images_seen = 2 * 2 if config.blockwise else 2
    height, width = (32, 32) if config.blockwise else x.shape[1:3]
    for stage in others:
        n, s = config.width, config.growth
        assert stage.memory.attention.shape == (images_seen, height, width, n)
        for i in range(3):
            side = images_seen, height >> i, width >> i
            assert stage.memory.encoder[i].shape == (*side, n + s * (i + 1))
            assert stage.memory.decoder[i].shape == (*side, n + s * i)


def test_memory_is_kept_only_where_it_is_used():
    for name, kept in (("no_memory", []), ("finest_memory", [0]), ("coarsest_memory", [2])):
        model, variables = make(name)
        traced = jax.eval_shape(trace, unfold(model, variables), images(1, 16, 8, 3))
        memory = traced.stages[0].memory
        for features in (memory.encoder, memory.decoder):
            assert [i for i in range(3) if features[i] is not None] == kept


def test_stages_jitted_one_by_one_are_compiled_once_for_all_middle_ones():
    model, variables = make("plus", num_stages=5)
    x0 = images(2, 16, 24, 3)
    traced = []

    @quickly
    def one_stage(stage: UnfoldedStage, x, memory, y):
        traced.append(stage.module.position)
        return stage.proximal(stage.gradient(x, y), memory, y)

    unfolded = unfold(model, variables)
    (x, y), memory, stages = unfolded.start(x0), None, []
    for stage in unfolded.stages:
        x, memory = one_stage(stage, x, memory, y)
        stages.append(x)
    expected = run(model, variables, x0)
    np.testing.assert_allclose(np.stack(stages), expected, rtol=0, atol=1e-6)
    assert traced == ["first", "middle", "last"]


def test_middle_stages_share_weights_or_not():
    for name, same in (("dgunet", True), ("plus", False)):
        model, variables = make(name, num_stages=4)
        _, one, two, _ = (stage.params for stage in unfold(model, variables).stages)
        kernels = [params["shallow"]["conv"]["kernel"] for params in (one, two)]
        assert np.array_equal(*kernels) == same


@pytest.mark.parametrize("name", ["dgunet", "tied", "sensing"])
def test_gradient_and_proximal_are_transformed_like_any_function(name: str):
    model, variables = make(name)
    inputs = images(2, 32, 64, model.config.channels)
    unfolded = unfold(model, variables)
    x, y = unfolded.start(inputs)
    first, middle, _ = unfolded.stages
    x, memory = quickly(first.proximal)(x, None, y)

    def step(x):
        return middle.gradient(x, y)

    def estimate(v):
        return middle.proximal(v, memory, y)[0]

    for f in (step, estimate):
        check_derivatives(f, x)
    check_vmap(lambda x, y, _: middle.gradient(x, y), x, y, memory)
    check_vmap(lambda x, y, memory: middle.proximal(x, memory, y)[0], x, y, memory)


def check_derivatives(f: Callable, x: jax.Array):
    """Forward and reverse derivatives agree with each other and with the gradient."""
    tangent, cotangent = (images(*x.shape, seed=seed) - 0.5 for seed in (1, 2))

    @quickly
    def derivatives(x):
        forward = jax.jvp(f, (x,), (tangent,))[1]
        (reverse,) = jax.vjp(f, x)[1](cotangent)
        return forward, reverse, jax.grad(lambda x: jnp.vdot(f(x), cotangent))(x)

    forward, reverse, gradient = derivatives(x)
    size = np.linalg.norm(reverse)
    assert np.linalg.norm(gradient - reverse) < 1e-6 * size
    difference = np.vdot(forward, cotangent) - np.vdot(tangent, reverse)
    assert abs(difference) < 1e-5 * size * np.linalg.norm(tangent)


def check_vmap(f: Callable, x: jax.Array, y: jax.Array, memory: Memory):
    """Mapped over single images it is what it is on the batch."""
    single = jax.tree.map(lambda leaf: leaf[:, None], (x, y, memory))
    np.testing.assert_allclose(
        quickly(jax.vmap(f))(*single)[:, 0], quickly(f)(x, y, memory), rtol=0, atol=1e-6
    )


class Blur:
    """An operator of a class that JAX does not know, with arrays."""

    def __init__(self, weight: float):
        self._weight = jnp.asarray(weight)

    def forward(self, x):
        return self._weight * x

    def adjoint(self, r, at):
        return self._weight * r

    def start(self, y):
        return y


def test_operators_of_any_class():
    known, variables = make("known", num_stages=3)
    x = images(1, 16, 8, 3)
    for weight in (0.5, 1.5):
        model = DGUNet(known.config, Blur(weight))
        expected = estimates(model, variables, x)
        np.testing.assert_allclose(
            jnp.stack([stage.x for stage in trace(unfold(model, variables), x).stages]),
            expected,
            atol=1e-6,
        )
        restored = Restorer(model, variables).stages(x[0])
        # The network sees a picture of its size alone, as here.
        np.testing.assert_allclose(restored, expected[:, 0], atol=1e-6)


def test_networks_with_other_arrays_are_one_argument():
    known, variables = make("known", num_stages=3)
    x = images(1, 8, 8, 3)
    run = quickly(lambda unfolded, x: trace(unfolded, x).stages[-1].x)
    found = [
        run(unfold(DGUNet(known.config, Smear(jnp.asarray(w))), variables), x) for w in (0.1, 0.6)
    ]
    assert np.abs(found[0] - found[1]).max() > 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * jnp.ones((1, 8, 16, 3)), r"fails on an image \(1, 16, 16, 3\): "),
        (lambda x: x[:, ::2, ::2], r"makes .*\(1, 8, 8, 3\) .* of an image .*; the measurement is"),
        (lambda x: x.nothing, "no attribute .?nothing"),
    ],
)
def test_operators_that_do_not_take_a_size_are_told(change, message):
    operator = Blur(1.0)
    operator.forward = change
    known, variables = make("known", num_stages=2)
    restorer = Restorer(DGUNet(known.config, operator), variables)
    with pytest.raises(UserError, match=message):
        restorer(np.ones((16, 16, 3), np.float32))


def test_an_operator_that_changes_the_size_needs_the_estimate():
    class Shrink(Blur):
        def forward(self, x):
            return x[:, ::2, ::2]

        def adjoint(self, r, at):
            return jnp.repeat(jnp.repeat(r, 2, 1), 2, 2)

        def start(self, y):
            return jnp.repeat(jnp.repeat(y, 2, 1), 2, 2)

    known, variables = make("known", num_stages=2)
    x = images(1, 8, 8, 3)
    with pytest.raises(UserError, match="last_adds is 'input', but the operator makes images"):
        DGUNet(known.config, Shrink(1.0)).apply(variables, x)
    config = dataclasses.replace(known.config, last_adds="estimate")
    result = DGUNet(config, Shrink(1.0)).apply(variables, x)
    assert result.image.shape == (1, 16, 16, 3)

"""Measures of stages whose answers are known, and of networks against their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.analysis.stages import contraction, flow, iterate, progress, sweep
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import trace, trace_stage, unfold
from tests.analysis.closed_forms import SHAPE, AddingStage, LinearNetwork, close, linear, stage
from tests.choices import estimates as estimates_of
from tests.choices import make
from tests.quick import compiler_options

SQUARE = (4, 4, 1)
STAGES = {"dgunet": 4, "sensing_blocks": 2}


def test_progress_is_distances(images):
    x, y = images
    made = stage(linear(np.diag(np.linspace(0.5, 2, 20)), SHAPE), 0.3, scale=0.5)
    measured = progress(x, trace_stage(made, x, None, y))
    a = np.linspace(0.5, 2, 20)
    flat = np.asarray(x).reshape(2, 20)
    residual = a * flat - np.asarray(y)
    v = flat - 0.3 * a * residual
    for found, expected in (
        (measured.residual, residual),
        (measured.gradient_move, v - flat),
        (measured.proximal_move, -0.5 * v),
        (measured.change, 0.5 * v - flat),
    ):
        close(found, np.sqrt((expected**2).mean(axis=1)), 1e-12)


def test_contraction_of_a_linear_stage(images):
    """x ↦ s (x − ρ AᵀA x): singular values s |1 − ρ a²|."""
    x, y = images
    a = np.linspace(0.5, 1.5, 20)
    made = stage(linear(np.diag(a), SHAPE), 0.4, scale=0.9)
    memory = jnp.zeros(2)
    found = contraction(made, x, memory, y, jax.random.key(8), tolerance=1e-9, most=2000)
    close(found.image, 0.9 * np.abs(1 - 0.4 * a**2).max())
    close(found.state, 1)  # the memory goes through unchanged
    close(found.symmetry_gap, 0)
    close(found.lowest_quotient, 0.9)


def test_contraction_of_a_state_has_the_memory_in_it(images):
    """(x, m) ↦ (x + m, m): the golden ratio; 1 with the memory held."""
    x, y = images
    found = contraction(AddingStage(), x, x, y, jax.random.key(8), tolerance=1e-7)
    close(found.state, (1 + 5**0.5) / 2)
    close(found.image, 1)
    close(found.lowest_quotient, 1)


@pytest.fixture(scope="module", params=STAGES)
def network(request):
    """A small network, an image, and what it computes."""
    model, variables = make(request.param, num_stages=STAGES[request.param], width=4, growth=2)
    rng = np.random.default_rng(0)
    side = model.config.multiple if model.config.measurements else 8
    shape = 1, side, side, model.config.channels
    inputs = jnp.asarray(rng.random(shape), jnp.float32)
    unfolded = unfold(model, variables)
    options = compiler_options()
    return unfolded, inputs, jax.jit(trace, compiler_options=options)(unfolded, inputs)


def test_sweep_is_the_gradient_of_the_network(network):
    unfolded, inputs, traced = network
    model = unfolded.model
    rng = np.random.default_rng(1)
    cotangents = [
        jnp.asarray(rng.standard_normal(each.x.shape), jnp.float32) for each in traced.stages
    ]

    def whole(inputs, params):
        estimates = estimates_of(model, {"params": params}, inputs)
        return sum(jnp.vdot(c, x) for c, x in zip(cotangents, estimates, strict=True))

    expected = jax.jit(jax.grad(whole, (0, 1)), compiler_options=compiler_options())
    of_inputs, of_params = expected(inputs, unfolded.params)
    compiled = jax.jit(functools.partial(sweep, weights=True), compiler_options=compiler_options())
    swept = compiled(unfolded, inputs, traced, cotangents)
    relative(swept.inputs, of_inputs)
    first, *middle, last = swept.weights
    relative(first, of_params["first"])
    relative(last, of_params["last"])
    if middle:
        relative(jax.tree.map(lambda *uses: sum(uses), *middle), of_params["middle"])


def relative(found, expected, tolerance=1e-4):
    """Each array to its largest value; to the tree's where sums cancel, as a slope's do."""
    leaves = jax.tree.leaves(expected)
    rounding = 1e-5 * max(float(jnp.abs(b).max()) for b in leaves)
    for a, b in zip(jax.tree.leaves(found), leaves, strict=True):
        atol = tolerance * float(jnp.abs(b).max()) + rounding
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_sweep_of_a_chain(chain):
    """x_k = s_k (½ x_{k−1} + ½ y) with x_0 = y: ∂x_3/∂y = 2(½ ½(½ 0.8 + ½) … by hand."""
    network, y = chain
    traced = trace(network, y)
    ones = jnp.ones_like(y)
    swept = sweep(network, y, traced, [None, None, ones])
    np.testing.assert_allclose(swept.estimates[2], ones)
    np.testing.assert_allclose(swept.estimates[1], ones * 1.0, rtol=1e-6)  # 2 · ½
    np.testing.assert_allclose(swept.estimates[0], ones * 0.25, rtol=1e-6)  # · 0.5 · ½
    x1 = 0.8
    x2 = 0.5 * (0.5 * x1 + 0.5)
    x3 = 2.0 * (0.5 * x2 + 0.5)
    np.testing.assert_allclose(swept.inputs, ones * x3, rtol=1e-6)


def test_sweep_gives_later_stages_no_part(chain):
    network, y = chain
    swept = sweep(network, y, trace(network, y), [None, jnp.ones_like(y)], weights=True)
    np.testing.assert_array_equal(swept.estimates[2], 0)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(swept.weights[2]))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(swept.weights[1]))


@pytest.mark.parametrize("loss_stages", ["all", "last"])
def test_flow_through_a_chain(loss_stages):
    """x_k = s_k (x_{k−1} − ρ (x_{k−1} − y)), and L = Σ_k mean (x_k − clean)²: all by hand."""
    scales, size = np.array([0.9, 0.7, 0.8, 0.95]), 0.4
    identity = linear(np.eye(16), SQUARE)
    stages = tuple(stage(identity, size, scale) for scale in scales)
    model = DGUNet(DGUNetConfig(num_stages=4))  # whose middle stages share their weights
    network = LinearNetwork(stages, model)
    y = np.linspace(0.1, 0.9, 16, dtype=np.float32)
    clean = y[::-1] ** 2
    inputs, target = (jnp.asarray(each).reshape(1, *SQUARE) for each in (y, clean))
    traced = trace(network, inputs)
    found = flow(network, inputs, traced, target, "clamped_squares", loss_stages)

    x = [y]
    for scale in scales:
        x.append(scale * (x[-1] - size * (x[-1] - y)))
    after: np.ndarray = np.zeros(16)
    estimates, weights = [], []
    for k in (4, 3, 2, 1):
        own = 2 * (x[k] - clean) / 16 if loss_stages == "all" or k == 4 else 0
        of_x = own + after
        v = x[k] / scales[k - 1]
        # By the scale, the step size and the threshold, which is 0.
        by_weights = [v, -scales[k - 1] * (x[k - 1] - y), -scales[k - 1] * np.ones(16)]
        estimates.insert(0, np.linalg.norm(of_x))
        weights.insert(0, [of_x @ each for each in by_weights])
        after = scales[k - 1] * (1 - size) * of_x
    np.testing.assert_allclose(found.estimates[:, 0], estimates, rtol=1e-5)
    np.testing.assert_allclose(found.weights, np.linalg.norm(weights, axis=1), rtol=1e-5)
    first, second = weights[1:3]
    cosine = np.dot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert abs(cosine) < 0.999 or loss_stages == "last"
    assert found.cosines is not None
    np.testing.assert_allclose(found.cosines, [[1, cosine], [cosine, 1]], rtol=1e-5)


def test_iterate_a_contraction_and_an_expansion():
    """x_n = (1 − ρ a²)ⁿ x_0 for y = 0."""
    identity = linear(np.eye(16), SQUARE)
    x, y = jnp.ones((2, *SQUARE)), jnp.zeros((2, 16))
    last = stage(identity, 0.0, scale=3.0)
    calm = iterate(stage(identity, 0.5), last, x, jnp.zeros(2), y, count=50)
    np.testing.assert_allclose(calm.residual[:, 0], 0.5 ** np.arange(50), rtol=1e-5)
    np.testing.assert_allclose(calm.change[:, 0], 0.5 ** np.arange(1, 51), rtol=1e-5)
    np.testing.assert_allclose(calm.results, 3 * calm.estimates, rtol=1e-6)
    assert calm.diverged.shape == (50, 2) and not calm.diverged.any()
    wild = iterate(stage(identity, 3.0), last, x, jnp.zeros(2), y, count=6)
    expected = 2.0 ** np.arange(1, 7) >= 10
    np.testing.assert_array_equal(wild.diverged[:, 0], expected)


def test_iterate_finds_what_is_not_a_number():
    identity = linear(np.eye(16), SQUARE)
    made = stage(identity, np.inf)
    found = iterate(made, made, jnp.zeros((1, *SQUARE)), jnp.zeros(1), jnp.zeros((1, 16)), count=2)
    assert found.diverged.all()

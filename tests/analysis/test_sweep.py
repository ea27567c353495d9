"""Reverse mode stage by stage is reverse mode of the whole, and what is made of it is right."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.analysis.attribution import (
    Patch,
    blur_path,
    effective_radius,
    integrated_gradients,
    patch_score,
    saliency,
)
from dgunet_jax.analysis.stages import flow, iterate, sweep
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import trace, unfold
from dgunet_jax.system.errors import UserError
from dgunet_jax.training.losses import LOSSES
from tests.analysis.closed_forms import LinearNetwork, linear, stage
from tests.choices import estimates as estimates_of
from tests.choices import make
from tests.quick import compiler_options

SHAPE = (4, 4, 1)
STAGES = {"dgunet": 4, "plus": 4, "sensing_blocks": 3}


@pytest.fixture(scope="module", params=STAGES)
def network(request):
    """A small network, an image, a target, and what it computes."""
    model, variables = make(request.param, num_stages=STAGES[request.param])
    rng = np.random.default_rng(0)
    side = model.config.multiple if model.config.measurements else 16
    shape = 1, side, side, model.config.channels
    inputs, clean = (jnp.asarray(rng.random(shape), jnp.float32) for _ in range(2))
    unfolded = unfold(model, variables)
    options = compiler_options()
    return unfolded, inputs, clean, jax.jit(trace, compiler_options=options)(unfolded, inputs)


@pytest.mark.parametrize("unroll", [1, True], ids=["rolled", "unrolled"])
def test_the_sweep_is_the_gradient_of_the_network(network, unroll):
    """Stage by stage, and through the scan, however much of it is written out."""
    unfolded, inputs, _, traced = network
    config = dataclasses.replace(unfolded.model.config, unroll=unroll)
    model = DGUNet(config, operator=unfolded.model.operator)
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
    if unfolded.model.config.share_middle:
        together = jax.tree.map(lambda *uses: sum(uses), *middle)
    else:
        together = jax.tree.map(lambda *stages: jnp.stack(stages), *middle)
    relative(together, of_params["middle"])


def relative(found, expected, tolerance=1e-4):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()) + 1e-7)


def test_flow_adds_up(network):
    unfolded, inputs, clean, traced = network
    measured = jax.jit(flow, compiler_options=compiler_options())(unfolded, inputs, traced, clean)
    config = unfolded.model.config
    stages = config.num_stages
    assert measured.estimates.shape == (stages, 1) and measured.weights.shape == (stages,)
    last = jax.grad(lambda x: LOSSES["charbonnier_edge"](x, clean))(traced.stages[-1].x)
    np.testing.assert_allclose(measured.estimates[-1], jnp.linalg.norm(last), rtol=1e-5)
    if config.num_middle > 1 and config.share_middle:
        assert measured.cosines is not None
        np.testing.assert_allclose(jnp.diagonal(measured.cosines), 1, rtol=1e-5)
        np.testing.assert_allclose(measured.cosines, measured.cosines.T, rtol=1e-5)
    else:
        assert measured.cosines is None


@pytest.mark.parametrize("loss_stages", ["all", "last"])
def test_flow_through_a_chain(loss_stages):
    """x_k = s_k (x_{k−1} − ρ (x_{k−1} − y)), and L = Σ_k mean (x_k − clean)²: all by hand."""
    scales, size = np.array([0.9, 0.7, 0.8, 0.95]), 0.4
    identity = linear(np.eye(16), SHAPE)
    stages = tuple(stage(identity, size, scale) for scale in scales)
    model = DGUNet(DGUNetConfig(num_stages=4))  # whose middle stages share their weights
    network = LinearNetwork(stages, model)
    y = np.linspace(0.1, 0.9, 16, dtype=np.float32)
    clean = y[::-1] ** 2
    inputs, target = (jnp.asarray(each).reshape(1, *SHAPE) for each in (y, clean))
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


@pytest.fixture
def chain() -> tuple[LinearNetwork, jax.Array]:
    """x ↦ s (x − ρ(x − y)) three times: all that there is is known."""
    identity = linear(np.eye(16), SHAPE)
    stages = tuple(stage(identity, 0.5, scale) for scale in (0.8, 0.5, 2.0))
    return LinearNetwork(stages), jnp.linspace(0.1, 0.9, 16).reshape(1, *SHAPE)


def test_the_sweep_of_a_chain(chain):
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


def test_later_stages_have_no_part(chain):
    network, y = chain
    swept = sweep(network, y, trace(network, y), [None, jnp.ones_like(y)], weights=True)
    np.testing.assert_array_equal(swept.estimates[2], 0)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(swept.weights[2]))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(swept.weights[1]))


def test_saliency_of_a_chain_is_its_patch(chain):
    network, y = chain
    patch = Patch(1, 2, 2, 1)
    found = saliency(network, y, trace(network, y), patch, 1)
    expected = np.zeros((1, 4, 4))
    expected[0, 2, 1:3] = 0.8 / 2  # ∂x_1/∂y = 0.8, a mean of two pixels
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_radius_of_a_disc():
    rows, columns = np.indices((41, 41))
    distance = np.hypot(rows - 20, columns - 20)
    disc = (distance <= 8).astype(float)
    half, whole = effective_radius(disc, Patch(20, 20, 1, 1), (0.5, 1.0))
    assert whole == 8
    assert abs(half - 8 / 2**0.5) < 0.5  # half of the area, up to whole pixels
    assert effective_radius(np.eye(1), Patch(0, 0, 1, 1), (0.95,)) == [0]
    for value in (0, np.nan, np.inf):
        assert np.isnan(effective_radius(np.full((4, 4), value), Patch(0, 0, 1, 1))).all()


def test_integrated_gradients_of_a_quadratic_are_exact():
    """½‖y‖² on a straight path from 0: each pixel adds ½ y²."""
    y = np.random.default_rng(0).random((2, 3, 4, 1))
    path = [t * y for t in np.linspace(0, 1, 3)]
    found = integrated_gradients(lambda x: (0.5 * (x**2).sum((1, 2, 3)), x), path)
    np.testing.assert_allclose(found.map, 0.5 * y[..., 0] ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.total, 0.5 * (y**2).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert (found.error < 1e-5).all()


def test_blur_paths_end_at_the_picture():
    image = np.random.default_rng(0).random((1, 16, 16, 3))
    path = blur_path(image, 6.0, 4)
    spreads = [each.std() for each in path]
    assert len(path) == 4 and spreads == sorted(spreads)
    np.testing.assert_array_equal(path[-1], image)
    np.testing.assert_allclose([each.mean() for each in path], image.mean(), rtol=1e-3)


def test_the_score_of_a_patch_has_its_gradient(chain):
    network, y = chain
    score = patch_score(network, Patch(0, 0, 4, 4))
    path = [t * np.asarray(y) for t in (0.2, 0.6, 1.0)]
    found = integrated_gradients(score, path)
    x3 = 2.0 * (0.5 * 0.5 * (0.5 * 0.8 + 0.5) + 0.5)
    np.testing.assert_allclose(found.map, 0.8 * x3 * y[..., 0] / 16, rtol=1e-5)
    assert (found.error < 1e-5).all()


def test_patches_lie_within():
    Patch(0, 0, 4, 4).check(4, 4)
    for patch in (Patch(1, 0, 4, 4), Patch(-1, 0, 2, 2), Patch(0, 0, 0, 1)):
        with pytest.raises(UserError, match="must lie within the 4×4 pixels"):
            patch.check(4, 4)


def test_iterating_a_contraction_and_an_expansion():
    """x_n = (1 − ρ a²)ⁿ x_0 for y = 0."""
    identity = linear(np.eye(16), SHAPE)
    x, y = jnp.ones((2, *SHAPE)), jnp.zeros((2, 16))
    last = stage(identity, 0.0, scale=3.0)
    calm = iterate(stage(identity, 0.5), last, x, jnp.zeros(2), y, count=50)
    np.testing.assert_allclose(calm.residual[:, 0], 0.5 ** np.arange(50), rtol=1e-5)
    np.testing.assert_allclose(calm.change[:, 0], 0.5 ** np.arange(1, 51), rtol=1e-5)
    np.testing.assert_allclose(calm.results, 3 * calm.estimates, rtol=1e-6)
    assert calm.diverged.shape == (50, 2) and not calm.diverged.any()
    wild = iterate(stage(identity, 3.0), last, x, jnp.zeros(2), y, count=6)
    expected = 2.0 ** np.arange(1, 7) >= 10
    np.testing.assert_array_equal(wild.diverged[:, 0], expected)


def test_iterating_finds_what_is_not_a_number():
    identity = linear(np.eye(16), SHAPE)
    made = stage(identity, np.inf)
    found = iterate(made, made, jnp.zeros((1, *SHAPE)), jnp.zeros(1), jnp.zeros((1, 16)), count=2)
    assert found.diverged.all()

"""The projection onto a few maps against exact linear algebra in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import ArrayLike

from dgunet_jax.models.subspace import project

BASIS, FEATURES = 16, 5


def maps(height: int = 37, width: int = 31, images: int = 2) -> tuple[Any, Any]:
    """A well-conditioned basis, and features of which about half lies in its span."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((images, height, width, BASIS)) + 0.3
    inside = np.einsum("nhwb,nbc->nhwc", basis, rng.standard_normal((images, BASIS, FEATURES)))
    outside = 4 * rng.standard_normal((images, height, width, FEATURES))
    return basis.astype(np.float32), (inside + outside).astype(np.float32)


def dependent(kind: str, height: int, width: int) -> Any:
    """Bases whose maps do not span sixteen dimensions."""
    basis, _ = maps(height, width)
    rng = np.random.default_rng(1)
    match kind:
        case "a zero map":
            basis[..., 3] = 0
        case "all zero":
            basis[:] = 0
        case "two equal":
            basis[..., 5] = basis[..., 11]
        case "two equal up to sign and scale":
            basis[..., 5] = -1e3 * basis[..., 11]
        case "all equal":
            basis[:] = basis[..., :1]
        case "constant image":
            basis[:] = rng.standard_normal(BASIS)
        case "rank two":
            factors = rng.standard_normal((2, BASIS)).astype(np.float32)
            basis = basis[..., :2] @ factors
        case "fewer pixels than maps":
            basis = basis[:, :3, :3]
    return basis


KINDS = [
    *("a zero map", "all zero", "two equal", "two equal up to sign and scale"),
    *("all equal", "constant image", "rank two", "fewer pixels than maps"),
]


def exact(basis: np.ndarray, features: np.ndarray, cut: float = 1e-5) -> np.ndarray:
    """The projection by the singular vectors of every image's basis."""
    shape = features.shape
    columns = basis.astype(np.float64).reshape(len(basis), -1, basis.shape[-1])
    columns /= np.linalg.norm(columns, axis=1, keepdims=True) + 1e-300
    z = features.astype(np.float64).reshape(len(features), -1, shape[-1])
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    left = left * (values > cut * values[:, :1])[:, None]
    return (left @ (left.swapaxes(1, 2) @ z)).reshape(shape)


def relative(found: ArrayLike, expected: ArrayLike) -> float:
    found, expected = (np.asarray(a, np.float64) for a in (found, expected))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_float32():
    basis, features = maps()
    assert relative(project(basis, features), exact(basis, features)) < 1e-6


def test_float64():
    basis, features = (a.astype(np.float64) for a in maps())
    with jax.enable_x64(True):
        found = project(basis, features)
    assert found.dtype == np.float64
    assert relative(found, exact(basis, features)) < 1e-13


@pytest.mark.parametrize(("condition", "tolerance"), [(1e2, 3e-6), (1e3, 3e-5), (1e4, 1e-4)])
def test_ill_conditioned(condition: float, tolerance: float):
    basis, features = maps()
    left, _, right = np.linalg.svd(basis.reshape(2, -1, BASIS), full_matrices=False)
    basis = (left * np.geomspace(1, 1 / condition, BASIS)) @ right
    basis = basis.reshape(2, 37, 31, BASIS).astype(np.float32)
    assert relative(project(basis, features), exact(basis, features)) < tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(37, 31), (256, 256)])
def test_dependent_maps(kind: str, height: int, width: int):
    basis = dependent(kind, height, width)
    features = maps(*basis.shape[1:3])[1]
    projected = np.asarray(project(basis, features))
    assert np.linalg.norm(projected - exact(basis, features)) < 1e-5 * np.linalg.norm(features)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stay_finite_with_dependent_maps(kind: str):
    basis = dependent(kind, 64, 64)
    features = maps(*basis.shape[1:3])[1]

    def energy(basis, features):
        return jnp.sum(jnp.square(project(basis, features)))

    for gradient in jax.grad(energy, (0, 1))(basis, features):
        assert np.all(np.isfinite(gradient))


def test_scale_of_the_maps_does_not_matter():
    basis, features = maps()
    expected = project(basis, features)
    for scales in (np.geomspace(1e-8, 1e8, BASIS), np.full(BASIS, 1e-4), np.full(BASIS, -1e8)):
        scaled = basis * scales.astype(np.float32)
        assert relative(project(scaled, features), expected) < 1e-4


def test_order_and_mixtures_of_the_maps_do_not_matter():
    basis, features = maps()
    expected = project(basis, features)
    assert relative(project(basis[..., ::-1], features), expected) < 1e-5
    mixture = np.random.default_rng(2).standard_normal((BASIS, BASIS)).astype(np.float32)
    assert relative(project(basis @ mixture, features), expected) < 1e-4


def test_a_projection_is_idempotent_and_keeps_the_span():
    basis, features = maps()
    once = project(basis, features)
    assert relative(project(basis, once), once) < 1e-6
    assert relative(project(basis, basis), basis) < 1e-6


def test_what_is_left_is_orthogonal_to_every_map():
    basis, features = maps()
    rest = features - project(basis, features)
    products = np.einsum("nhwb,nhwc->nbc", basis, rest)
    size = np.linalg.norm(basis) * np.linalg.norm(features)
    assert np.abs(products).max() < 1e-6 * size


def test_images_of_a_batch_do_not_meet():
    basis, features = maps()
    both = project(basis, features)
    for i in range(2):
        assert relative(project(basis[i : i + 1], features[i : i + 1])[0], both[i]) < 1e-6


def test_pixels_where_both_are_zero_do_not_count():
    basis, features = maps()
    larger = [np.pad(a, ((0, 0), (0, 3), (0, 9), (0, 0))) for a in (basis, features)]
    projected = project(*larger)
    assert relative(projected[:, :37, :31], project(basis, features)) < 1e-6
    assert not np.any(projected[:, 37:]) and not np.any(projected[:, :, 31:])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_gradients_are_those_of_the_formula(dtype: type, tolerance: float):
    basis, features = maps(13, 11)
    weights = np.random.default_rng(3).standard_normal(features.shape)

    def by_formula(basis, features):
        v, z = (a.reshape(len(a), -1, a.shape[-1]) for a in (basis, features))
        vt = v.swapaxes(1, 2)
        return (v @ jnp.linalg.solve(vt @ v, vt @ z)).reshape(features.shape)

    def gradients(f, dtype):
        arguments = (a.astype(dtype) for a in (basis, features))
        return jax.grad(lambda *a: jnp.sum(weights.astype(dtype) * f(*a)), (0, 1))(*arguments)

    with jax.enable_x64(True):
        expected = gradients(by_formula, np.float64)
    with jax.enable_x64(dtype is np.float64):
        found = gradients(project, dtype)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert relative(a, b) < tolerance


def test_forward_and_reverse_derivatives_agree():
    basis, features = maps(13, 11)
    rng = np.random.default_rng(4)
    tangents = tuple(rng.standard_normal(a.shape).astype(np.float32) for a in (basis, features))
    cotangent = rng.standard_normal(features.shape).astype(np.float32)
    forward = jax.jvp(project, (basis, features), tangents)[1]
    reverse = jax.vjp(project, basis, features)[1](cotangent)
    expected = sum(float(np.vdot(a, b)) for a, b in zip(tangents, reverse, strict=True))
    assert float(np.vdot(forward, cotangent)) == pytest.approx(expected, rel=1e-4)

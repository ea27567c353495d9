"""Compressive sensing is trained in two steps, with matrices that are learned or given."""

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.data.pipeline import HeldOut
from dgunet_jax.data.sources import open_source
from dgunet_jax.images import luma
from dgunet_jax.metrics import psnr
from dgunet_jax.training import loop
from dgunet_jax.training.preparing import open_held_out
from tests.small import equal
from tests.training.settings import settings

MODEL = {
    "channels": 1,
    "num_stages": 2,
    "degradation": "known",
    "ratio": 1.0,
    "memory": "additive",
    "merge": "concat",
    "last_adds": "estimate",
}
DATA = {"degradation": "clean", "color": "luma", "symmetries": "flip_transpose", "patch": 32}
STEPS = {"steps": 2, "warmup_steps": 0, "loss": "clamped_squares"}


def sensing(data=(), optimizer=(), **more):
    return settings(
        model=MODEL,
        data={**DATA, **dict(data)},
        optimizer={**STEPS, **dict(optimizer)},
        report={"evaluate_every": 2, "pictures_every": 2, "save_every": 2},
        **more,
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The working directory of the first step, on blocks, and how it ended."""
    workdir = tmp_path_factory.mktemp("first")
    return workdir, loop.train(sensing(), workdir)


def matrix(workdir):
    _, variables = dgunet_jax.load(workdir / "model.safetensors")
    return np.asarray(variables["params"]["sampling_matrix"])


def test_the_first_step_is_scored_against_least_squares(first):
    workdir, ended = first
    assert ended.step == 2 and ended.scores is not None
    assert np.isfinite(ended.scores.stages).all()
    assert (workdir / "comparison.png").exists()
    # Of a random matrix of 1 % Φᵀ(ΦΦᵀ)⁻¹Φx is nearly black.
    (held_out,) = open_held_out(sensing())[""]
    target = held_out["target"]
    assert target.shape == (64, 64, 1)
    assert ended.scores.noisy == pytest.approx(psnr(0 * target, target), abs=1)
    assert not equal(matrix(workdir), np.zeros((11, 1024)))


def test_the_second_step_begins_with_the_weights_of_the_first_on_several_blocks(first, tmp_path):
    workdir, _ = first
    second = sensing({"patch": 64}, init_from=str(workdir))
    ended = loop.train(second, tmp_path)
    assert ended.step == 2 and ended.scores is not None
    assert np.isfinite(ended.scores.stages).all()
    assert np.abs(matrix(tmp_path) - matrix(workdir)).max() < 0.02
    assert np.abs(matrix(tmp_path) - matrix(workdir)).max() > 0


@pytest.mark.parametrize("kind", ["orthonormal", "file"])
def test_a_matrix_that_is_given_stays(tmp_path, kind):
    given = kind
    if kind == "file":
        values = np.random.default_rng(0).standard_normal((11, 1024)) / 32
        np.save(tmp_path / "matrix.npy", values)
        given = str(tmp_path / "matrix.npy")
    fixed = {"learn_matrix": False, "weight_decay": 1e-3}
    loop.train(sensing(optimizer=fixed, matrix=given), tmp_path / "run")
    found = matrix(tmp_path / "run")
    if kind == "file":
        np.testing.assert_allclose(found, values, rtol=1e-6)
    else:
        np.testing.assert_allclose(found @ found.T, np.eye(11), rtol=0, atol=1e-5)


def test_a_matrix_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "matrix.npy", np.ones((1024, 11)))
    with pytest.raises(UserError, match=r"float64 \(1024, 11\); with model.measurements 11 it"):
        loop.train(sensing(matrix=str(tmp_path / "matrix.npy")), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"color": "rgb"}}, "channels is 1 and data.color is 'rgb'"),
        ({"data": {"degradation": "gaussian(5)"}}, "a network that samples pictures itself needs"),
        ({"data": {"degradation": "jpeg(5)"}}, "jpeg.*, which degrades colours; color is 'luma'"),
        ({"data": {"saturation": True}}, "saturation is True; luma has none"),
        ({"data": {"color": "grey"}}, "color is 'grey'; it must be 'rgb', 'luma' or 'studio_luma'"),
        ({"data": {"symmetries": "all"}}, "symmetries is 'all'; it must be 'dihedral' or"),
        ({"model": {"ratio": 0.0}}, "ratio is 0.0; it must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    model, data = {**MODEL, **changes.get("model", {})}, {**DATA, **changes.get("data", {})}
    with pytest.raises(UserError, match=message):
        settings(model=model, data=data, optimizer=STEPS)


def test_a_matrix_is_for_networks_that_sample():
    with pytest.raises(UserError, match="matrix is 'orthonormal'; the network samples nothing"):
        settings(matrix="orthonormal")


def test_validation_takes_full_range_luma_rounded_as_published():
    config = sensing({"color": "studio_luma"}).data
    source = open_source(config.validation, pairs=False)
    (pair,) = HeldOut(source, config)
    whole = luma(source.read(0)[0]).astype(np.float32) / 255
    top, left = ((side - 64) // 2 for side in whole.shape[:2])
    np.testing.assert_array_equal(pair["target"], whole[top : top + 64, left : left + 64])

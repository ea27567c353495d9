"""Networks that are told their operator have true gradient steps, and the analysis says so."""

import json
from pathlib import Path

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax.analysis.study import analyze
from dgunet_jax.cli import main
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.images import Picture, write
from tests.small import network

IMAGE = np.random.default_rng(0).random((48, 32, 3), np.float32)


def known(**choices):
    given = {"degradation": "known", "last_adds": "estimate", "num_stages": 3, **choices}
    return network(width=4, growth=2, last_growth=2, **given)


@pytest.mark.parametrize(
    "degradation", ["fourier(2) | gaussian(2)", "downsample(2)", "motion_blur(5, 3) | gaussian(2)"]
)
def test_steps_are_gradients_and_adjoints_exact(degradation):
    study = analyze(*known(), IMAGE, IMAGE, degradation=Degradation.parse(degradation), quick=True)
    operators = study.operators
    assert operators is not None
    np.testing.assert_allclose(operators.gradient.cosine, 1, rtol=0, atol=1e-5)
    np.testing.assert_allclose(operators.gradient.relative_error, 0, rtol=0, atol=1e-4)
    np.testing.assert_allclose(operators.adjointness.random, 0, rtol=0, atol=1e-3)
    np.testing.assert_allclose(operators.adjointness.in_use, 0, rtol=0, atol=1e-5)
    assert (operators.step.product < 1).all()  # ρ is 0.2 of the network, in the unit of 1/‖Φ‖²
    assert study.inputs.shape == IMAGE.shape
    assert np.isfinite(study.input_scores.psnr).all()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("clean.png", Picture((IMAGE * 255).astype(np.uint8)))
    dgunet_jax.save("told.safetensors", *known(noise_input=True, num_stages=2))
    return tmp_path


def run(*words):
    given = ["analyze", "--no-cache", "--output", "out", "--checkpoint", "told.safetensors"]
    return main([*given, *words])


def test_the_report_says_so(folder, capsys):
    degradation = "motion_blur(5, 3) | gaussian(4)"
    assert run("clean.png", "--degradation", degradation, "--crop", "16") == 0
    said = capsys.readouterr().out
    assert "Φᵀ(Φ(x) − y) is the gradient of the data term in every stage" in said
    assert "Φᵀ is the adjoint of Φ, to rounding, in every stage" in said
    assert "degraded by motion_blur(5, 3) | gaussian(4), seed 0" in said
    numbers = json.loads(Path("out/analysis.json").read_text())
    assert numbers["degradation"] == degradation
    assert numbers["attribution"] is not None  # a blurred image is one


def test_what_is_measured_may_be_no_image(folder, capsys):
    assert run("clean.png", "--degradation", "downsample(2)", "--crop", "16") == 0
    numbers = json.loads(Path("out/analysis.json").read_text())
    assert numbers["attribution"] is None
    assert numbers["stages"][0]["contraction"]["image"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clean.png"], "told.safetensors: is told what degrades pictures; say it of the clean"),
        (["clean.png", "--degradation", "gaussian(5)"], "is told what degrades pictures; --degrad"),
        (["clean.png", "--degradation", "mask(2)"], "kept is '2'; it must be a number or"),
        (
            ["clean.png", "--degradation", "mask(0.5)", "--clean", "clean.png"],
            "--clean clean.png: with --degradation IMAGE is the clean one",
        ),
    ],
)
def test_mistakes_are_named(folder, capsys, words, message):
    assert run(*words) == 2
    assert message in capsys.readouterr().err

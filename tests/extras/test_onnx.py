"""ONNX files give what the network gives, in programs that have ONNX Runtime alone."""

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import dgunet_jax
from dgunet_jax import export
from dgunet_jax.cli import main
from dgunet_jax.convert import onnx_file
from tests.choices import CHOICES, images, make, run
from tests.exported import check_example
from tests.small import network

REFUSED = "known", "window"


def computed(content: bytes, y: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["x"], {"y": y})[0])


def test_the_page_restores_as_the_command(tmp_path, capsys):
    check_example("onnx", tmp_path)
    assert "denoise.onnx, " in capsys.readouterr().out


def test_a_network_on_its_own_sizes_and_with_all_estimates():
    model, variables = network()
    content = export.to_onnx(model, variables, stages=True)
    for height, width in ((8, 8), (24, 56), (64, 32)):
        y = images(1, height, width, 3)
        np.testing.assert_allclose(computed(content, y), run(model, variables, y), 0, 1e-4)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


@pytest.mark.parametrize("name", [name for name in CHOICES if name not in REFUSED])
def test_every_network_is_expressed(name):
    model, variables = make(name, width=4, growth=2, num_stages=2 if name == "two_stages" else 3)
    assert export.to_onnx(model, variables)  # which compares it with the network


def test_weights_of_shared_stages_are_there_once():
    held = []
    for number in (3, 5):
        content = export.to_onnx(*network(num_stages=number))
        constants = onnx.load_from_string(content).graph.initializer
        held.append(sum(len(constant.raw_data) for constant in constants))
    assert held[0] == held[1]


@pytest.mark.parametrize("size", [(20, 16), (16, 12)])
def test_sides_that_are_no_multiples_of_8_are_an_error(size):
    content = export.to_onnx(*make("two_stages", width=4, growth=2))
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        computed(content, images(1, *size, 3))


@pytest.mark.parametrize("error", [1e-3, np.nan])
def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch, capsys, error):
    dgunet_jax.save(tmp_path / "net.safetensors", *network(num_stages=2))
    compute = onnx_file.run_onnx
    monkeypatch.setattr(onnx_file, "run_onnx", lambda *given: compute(*given) + np.float32(error))
    words = ["--checkpoint", str(tmp_path / "net.safetensors"), "--format", "onnx"]
    assert main(["export", *words, "--output", str(tmp_path / "a.onnx")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "net.safetensors: ONNX Runtime's result differs from the network's by" in line
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]


def test_linear_algebra_that_onnx_has_not():
    rng = np.random.default_rng(0)
    root, right = rng.standard_normal((2, 16, 16)), rng.standard_normal((2, 16, 5))
    factor = np.tril(root) + 4 * np.eye(16)
    for turned in (False, True):
        made = onnx_file._triangular_solve(
            *(jnp.asarray(each, jnp.float32) for each in (factor, right)), transpose_a=turned
        )
        expected = np.linalg.solve(factor.swapaxes(1, 2) if turned else factor, right)
        np.testing.assert_allclose(made, expected, 0, 1e-4)
    made = onnx_file._cholesky(jnp.asarray(factor @ factor.swapaxes(1, 2), jnp.float32))
    np.testing.assert_allclose(made, factor, 0, 1e-4)

"""Exported networks give what the network gives, in programs without this package."""

import sys

import jax
import numpy as np
import pytest
from jax import export

import dgunet_jax
from dgunet_jax.cli import main
from dgunet_jax.convert.safetensors_file import read_safetensors
from dgunet_jax.export import to_stablehlo
from tests.choices import images, make
from tests.exported import check_example
from tests.quick import compiler_options
from tests.small import network

SMALL = {"width": 4, "growth": 2}
NAMES = ["dgunet", "plus", "sensing", "sensing_blocks", "tied"]


def test_the_page_restores_as_the_command(tmp_path, capsys):
    check_example("stablehlo", tmp_path)
    assert "denoise.stablehlo, " in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_one_file_gives_what_the_network_gives_at_every_size(name):
    model, variables = make(name, **SMALL, num_stages=2 + (name in ("dgunet", "plus")))
    measured = bool(model.config.measurements)
    exported = export.deserialize(bytearray(to_stablehlo(model, variables)))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    run = jax.jit(exported.call, compiler_options=compiler_options())
    expected = jax.jit(
        lambda y: model.apply(variables, y, measured=measured).image,
        compiler_options=compiler_options(),
    )
    sizes = [(1, 1, 2), (2, 2, 1)] if measured else [(1, 16, 24), (2, 40, 8)]
    for size in sizes:
        y = images(*size, model.config.measurements or model.config.channels)
        x = run(y)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, expected(y), 0, 1e-5)


def test_all_estimates_are_given_if_they_are_wanted():
    model, variables = make("dgunet", **SMALL)
    y = images(1, 16, 24, 3)
    exported = export.deserialize(bytearray(to_stablehlo(model, variables, stages=True)))
    restored = jax.jit(model.apply)(variables, y)
    np.testing.assert_allclose(jax.jit(exported.call)(y), restored.stages, 0, 1e-5)


def test_products_are_full_float32_wherever_the_file_runs():
    exported = export.deserialize(bytearray(to_stablehlo(*make("plus", **SMALL))))
    lines = exported.mlir_module().splitlines()
    kinds = "= stablehlo.convolution", "= stablehlo.dot_general"
    products = [line for line in lines if any(kind in line for kind in kinds)]
    assert len(products) > 20
    assert all("HIGHEST" in line for line in products)


def test_weights_keep_their_dtype(tmp_path):
    model, variables = network(num_stages=2)
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), variables)
    sizes = [len(to_stablehlo(model, each)) for each in (variables, half)]
    weights = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert sizes[0] - sizes[1] > 1.9 * weights


def test_sides_that_are_no_multiples_of_8_are_an_error():
    call = export.deserialize(bytearray(to_stablehlo(*make("two_stages", **SMALL)))).call
    for shape in ((1, 20, 16, 3), (1, 16, 8, 1), (16, 8, 3)):
        with pytest.raises(ValueError):
            call(images(*shape))


@pytest.fixture
def checkpoint(tmp_path):
    dgunet_jax.save(tmp_path / "net.safetensors", *network(num_stages=2))
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format=torch", "--output=a.torch"], "invalid choice: 'torch'"),
        (["--format=stablehlo", "--output=a.onnx"], "a.onnx: the ending must be .stablehlo"),
        (["--format=stablehlo", "--output=a"], "a: the ending must be .stablehlo"),
        (["--format=onnx", "--output=a.stablehlo"], "a.stablehlo: the ending must be .onnx"),
        (["--output=a.onnx"], "--format"),
        (["--format=onnx"], "--output"),
        (
            ["--format=stablehlo", "--output=net.safetensors/a.stablehlo"],
            "net.safetensors: cannot be made: ",
        ),
        (["--format=stablehlo", "--output=taken.stablehlo"], "taken.stablehlo: cannot be written"),
        (
            ["--checkpoint=any_operator", "--format=stablehlo", "--output=a.stablehlo"],
            "any_operator: the network is told, beside a picture, the operator that has",
        ),
        (["--checkpoint=gone", "--format=stablehlo", "--output=a.stablehlo"], "gone: there is no"),
    ],
)
def test_a_mistake_is_one_line(checkpoint, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.stablehlo").mkdir()
    before = sorted(tmp_path.iterdir())
    assert main(["export", "--checkpoint", checkpoint.name, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"noise_input": True}, "beside a picture, its noise"), ({"window": 16}, "window is 16")],
)
def test_networks_that_take_more_than_a_picture_are_refused(choices, message):
    with pytest.raises(dgunet_jax.UserError, match=message):
        to_stablehlo(*network(**choices))


def test_the_missing_extra_is_named(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "dgunet_jax.convert.onnx_file", raising=False)
    words = ["--format", "onnx", "--output", str(tmp_path / "a.onnx")]
    assert main(["export", "--checkpoint", str(checkpoint), *words]) == 2
    line = "error: onnx is not installed; pip install 'dgunet_jax[onnx]' has it\n"
    assert capsys.readouterr().err == line
    assert not (tmp_path / "a.onnx").exists()


def test_an_installed_network_is_exported_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--checkpoint", "denoise", "--format", "stablehlo"]
    assert main(["export", *words, "--output", "new/denoise.stablehlo"]) == 0
    written = tmp_path / "new/denoise.stablehlo"
    arrays, _ = read_safetensors(dgunet_jax.checkpoints.installed_file("denoise"))
    assert written.stat().st_size > sum(array.nbytes for array in arrays.values())
    assert export.deserialize(bytearray(written.read_bytes())).in_avals[0].shape[3] == 3

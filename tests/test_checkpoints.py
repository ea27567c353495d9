import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError
from tests.choices import images, make
from tests.small import equal, network


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net"])
@pytest.mark.parametrize("share_middle", [True, False])
def test_what_is_saved_loads_bit_for_bit(tmp_path, name, share_middle):
    last = "concat" if share_middle else "subspace"
    model, variables = network(
        share_middle=share_middle,
        last_merge=last,
        last_growth=4 if share_middle else 0,
        own_attention_slopes=share_middle,
    )
    dgunet_jax.save(tmp_path / name, model, variables)
    loaded, again = dgunet_jax.load(tmp_path / name, num_stages=3)
    assert loaded.config == model.config
    assert equal(again, variables)


def test_a_choice_of_our_own_survives_in_our_formats_and_is_refused_in_the_official_one(tmp_path):
    model, variables = network(degradation="tied", memory_scales=(0, 2))
    for name in ("net.safetensors", "net"):
        dgunet_jax.save(tmp_path / name, model, variables)
        loaded, again = dgunet_jax.load(tmp_path / name)
        assert loaded.config == model.config
        assert equal(again, variables)
    with pytest.raises(UserError, match=r"degradation='tied', memory_scales=\(0, 2\)"):
        dgunet_jax.save(tmp_path / "net.pth", model, variables)
    assert not (tmp_path / "net.pth").exists()


def test_shared_middle_stages_can_be_iterated_more_often(tmp_path):
    dgunet_jax.save(tmp_path / "net.safetensors", *network())
    assert dgunet_jax.load(tmp_path / "net.safetensors", num_stages=9)[0].config.num_stages == 9


def test_two_stages_have_no_middle_one_to_repeat(tmp_path):
    path = tmp_path / "net.safetensors"
    dgunet_jax.save(path, *network(num_stages=2))
    with pytest.raises(
        UserError, match=r"net\.safetensors: has 2 stages; it cannot be read with 5"
    ):
        dgunet_jax.load(path, num_stages=5)
    dgunet_jax.save(path, *network(num_stages=4))
    with pytest.raises(UserError, match=r"net\.safetensors: num_stages is 1; it must be at least"):
        dgunet_jax.load(path, num_stages=1)
    model, variables = dgunet_jax.load(path, num_stages=2)
    dgunet_jax.save(path, model, variables)
    assert dgunet_jax.load(path)[0].config.num_stages == 2


@pytest.mark.parametrize("ending", ["", ".safetensors"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_type_survives(tmp_path, ending, dtype):
    model, variables = network(num_stages=2)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables)
    dgunet_jax.save(tmp_path / f"net{ending}", model, variables)
    _, loaded = dgunet_jax.load(tmp_path / f"net{ending}")
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("ending", ["", ".safetensors"])
def test_the_weights_of_a_network_with_an_operator_of_its_own(tmp_path, ending):
    model, variables = make("known")
    dgunet_jax.save(tmp_path / f"net{ending}", model, variables)
    bare, loaded = dgunet_jax.load(tmp_path / f"net{ending}")
    assert equal(loaded, variables)
    x = images(1, 8, 8, 3)
    with pytest.raises(UserError, match="needs an operator"):
        bare.apply(loaded, x)
    given = bare.clone(operator=model.operator)
    np.testing.assert_array_equal(given.apply(loaded, x).image, model.apply(variables, x).image)


def test_stages_of_their_own_cannot(tmp_path):
    dgunet_jax.save(tmp_path / "net.safetensors", *network(share_middle=False))
    with pytest.raises(UserError, match="has 3 stages; it cannot be read with 9"):
        dgunet_jax.load(tmp_path / "net.safetensors", num_stages=9)


# Orbax leaves exceptions of its own reading threads behind when an array is damaged.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("item", ["params", "model"])
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_directory_is_told_by_name(tmp_path, item, damage):
    path = tmp_path / "net"
    dgunet_jax.save(path, *network())
    files = [file for file in (path / item).rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    content = largest.read_bytes()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 4])
    end = flipped + content[middle + 1 :] if damage == "flip" else b""
    largest.write_bytes(content[:middle] + end)
    with pytest.raises(UserError, match=r"damaged|cannot be read|checksums") as error:
        dgunet_jax.load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_run_means_its_best_checkpoint(tmp_path):
    for step, (seed, score) in enumerate([(1, 20.0), (2, 31.5), (3, 30.0)]):
        folder = tmp_path / "checkpoints" / str(step)
        dgunet_jax.save(folder, *network(seed))
        (folder / "metrics").mkdir()
        (folder / "metrics" / "metrics").write_text(json.dumps({"psnr": score}))
    assert equal(dgunet_jax.load(tmp_path)[1], network(2)[1])


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_nothing, "there is no such file or directory"),
        (lambda path: path.mkdir(), "is neither a checkpoint nor a run's working directory"),
        (lambda path: path.write_text("hello"), "is not a PyTorch checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_told_by_name(tmp_path, make, message):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(UserError, match=message) as error:
        dgunet_jax.load(path)
    assert str(error.value).startswith(str(path))


def test_wrong_variables_are_not_saved(tmp_path):
    model, variables = network()
    del variables["params"]["last"]["tail"]
    variables["params"]["first"]["step_size"] = variables["params"]["first"]["step_size"][None]
    with pytest.raises(UserError) as error:
        dgunet_jax.save(tmp_path / "net.safetensors", model, variables)
    assert "missing last.tail.kernel" in str(error.value)
    assert "first.step_size has shape (1,), not ()" in str(error.value)
    with pytest.raises(UserError, match="the variables have no 'params'"):
        dgunet_jax.save(tmp_path / "net.safetensors", model, variables["params"])
    assert not (tmp_path / "net.safetensors").exists()


def test_an_unknown_ending_and_an_occupied_directory_are_refused(tmp_path):
    with pytest.raises(UserError, match="the ending must be one of"):
        dgunet_jax.save(tmp_path / "net.onnx", *network())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("keep me")
    with pytest.raises(UserError, match="exists already"):
        dgunet_jax.save(tmp_path / "full", *network())
    assert (tmp_path / "full" / "precious").read_text() == "keep me"

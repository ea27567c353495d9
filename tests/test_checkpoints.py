import json
from pathlib import Path

import pytest

import dgunet_jax
from dgunet_jax import UserError
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
    assert not (tmp_path / "net.safetensors").exists()


def test_an_unknown_ending_and_an_occupied_directory_are_refused(tmp_path):
    with pytest.raises(UserError, match="the ending must be one of"):
        dgunet_jax.save(tmp_path / "net.onnx", *network())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("keep me")
    with pytest.raises(UserError, match="exists already"):
        dgunet_jax.save(tmp_path / "full", *network())
    assert (tmp_path / "full" / "precious").read_text() == "keep me"

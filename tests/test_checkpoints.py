import functools
import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError, checkpoints, directories
from dgunet_jax.about import About
from dgunet_jax.convert.pytorch import to_pytorch
from dgunet_jax.convert.safetensors_file import write_safetensors
from dgunet_jax.convert.torch_file import write_torch
from dgunet_jax.models.config import config_to_json
from dgunet_jax.models.parameters import flatten
from tests import small
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
    loaded, again = dgunet_jax.load(tmp_path / name)
    assert loaded.config == model.config  # with its number of stages
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


ABOUT = About(
    "denoising", "blur", "gaussian(0..55) | round", "BSDS500", 128, 4000, {"σ 25": (20.5, 31.0)}
)


@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_what_a_network_was_trained_for_is_kept(tmp_path, name):
    dgunet_jax.save(tmp_path / name, *network(), ABOUT)
    assert checkpoints.read(tmp_path / name).about == ABOUT
    dgunet_jax.save(tmp_path / "without.safetensors", *network())
    assert checkpoints.read(tmp_path / "without.safetensors").about == About()


@pytest.mark.parametrize("told", ["[1]", "nonsense", '{"scores": {"a": 1}}', '{"patch": "wide"}'])
def test_a_damaged_description_is_told(tmp_path, told):
    path = tmp_path / "net.safetensors"
    model, variables = network()
    metadata = {"config": config_to_json(model.config), "about": told}
    write_safetensors(path, flatten(variables["params"]), metadata)
    with pytest.raises(UserError, match="what it says of its training cannot be read"):
        checkpoints.read(path)


def test_shared_middle_stages_can_be_iterated_more_often(tmp_path):
    path = tmp_path / "net.safetensors"
    dgunet_jax.save(path, *network())
    assert checkpoints.read(path).notes == ()
    nine = checkpoints.read(path, num_stages=9)
    assert nine.model.config.num_stages == 9
    assert nine.notes == (f"{path}: was saved with 3 stages; it is read with 9",)


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


def test_content_decides_and_not_the_ending(tmp_path):
    model, variables = network()
    for kind in ("net.safetensors", "net.pth"):
        dgunet_jax.save(tmp_path / kind, model, variables)
        content = (tmp_path / kind).read_bytes()
        for name in ("a.SAFETENSORS", "a.pth", "a"):
            (tmp_path / name).write_bytes(content)
            assert equal(dgunet_jax.load(tmp_path / name)[1], variables)
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert equal(dgunet_jax.load(tmp_path / "unpacked")[1], variables)
    dgunet_jax.save(tmp_path / "net.PTH", model, variables)
    assert (tmp_path / "net.PTH").read_bytes() == (tmp_path / "net.pth").read_bytes()


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ""])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file"),
        (b"\n <!DOCTYPE html><html>", "is a web page, not a checkpoint"),
        (b"\x1f\x8b\x08\x00", "is a packed archive; unpack it first"),
        (b"\x89PNG\r\n\x1a\n", "is not a PyTorch checkpoint, it starts with"),
        (b"\x08\0\0\0\0\0\0\0{", "damaged file or no safetensors file"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, ending, content, message):
    path = tmp_path / f"net{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        dgunet_jax.load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_stages_that_an_official_file_does_not_tell_are_assumed(tmp_path):
    path = tmp_path / "net.pth"
    write_torch(path, to_pytorch(*network()))
    found = checkpoints.read(path)
    assert (found.model.config.num_stages, found.stages_assumed) == (7, True)
    (note,) = found.notes
    assert note.startswith(f"{path}: does not tell its number of stages; 7 are assumed")
    assert not checkpoints.read(path, 3).stages_assumed
    dgunet_jax.save(path, *network())
    assert not checkpoints.read(path).stages_assumed


def test_prefixes_are_taken_off_in_safetensors_files(tmp_path):
    model, variables = network()
    official = {f"model.{key}": value for key, value in to_pytorch(model, variables).items()}
    write_safetensors(tmp_path / "net.safetensors", official | {"n_averaged": np.array(3)}, {})
    found = checkpoints.read(tmp_path / "net.safetensors", 3)
    assert equal(found.variables, variables)
    assert "left out, as no weights: n_averaged" in found.notes[0]


def test_only_a_file_with_several_sets_of_weights_has_names_for_them(tmp_path):
    dgunet_jax.save(tmp_path / "net.safetensors", *network())
    with pytest.raises(UserError, match="has one set of weights; there is none under ema"):
        dgunet_jax.load(tmp_path / "net.safetensors", weights="ema")


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    return {key: np.asarray(leaf) for key, leaf in flatten(network()[1]["params"]).items()}


def with_config(path: Path, config: object, **more: np.ndarray) -> Path:
    """A file of ours with another configuration."""
    text = config if isinstance(config, str) else json.dumps(config)
    write_safetensors(path, arrays() | more, {"config": text})
    return path


CONFIG = json.loads(config_to_json(small.CONFIG))
BAD_CONFIGS = {
    "no JSON": ("{", "its configuration cannot be read"),
    "deep": ("[" * 100_000 + "]" * 100_000, "its configuration cannot be read"),
    "list": ([1], "is not a JSON object but a list"),
    "unknown": (CONFIG | {"new\n\x1b[2J": 1}, r"this version does not know: new\\n\\x1b\[2J"),
    "text": (CONFIG | {"width": "8"}, "has a wrong width: 8"),
    "float": (CONFIG | {"width": 8.0}, r"has a wrong width: 8\.0"),
    "NaN": (CONFIG | {"width": float("nan")}, "has a wrong width: nan"),
    "truth": (CONFIG | {"num_stages": True}, "has a wrong num_stages: True"),
    "no truth": (CONFIG | {"share_middle": "no"}, "has a wrong share_middle: no"),
    "object": (CONFIG | {"merge": {}}, "has a wrong merge: dict"),
    "scales": (CONFIG | {"memory_scales": 5}, "has a wrong memory_scales: 5"),
    "lists of scales": (CONFIG | {"memory_scales": [[0]]}, "has a wrong memory_scales: list"),
    "type": (CONFIG | {"dtype": [["f4"]]}, "has a wrong dtype: list"),
    "choice": (CONFIG | {"merge": "sum"}, "merge is 'sum'; it must be one of"),
    "stages": (CONFIG | {"num_stages": 3000}, "num_stages is 3000; it must be at most 100"),
    "width": (CONFIG | {"width": 10**30}, "it must be at most 65536"),
    "another width": (CONFIG | {"width": 60000}, r"wrong arrays: .*; and \d+ more"),
}


@pytest.mark.parametrize(("config", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_configurations_are_told_in_one_line(tmp_path, config, message):
    path = with_config(tmp_path / "net.safetensors", config)
    with pytest.raises(UserError, match=message) as error:
        dgunet_jax.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).isprintable()


def test_how_a_network_is_executed_is_not_the_file_s_to_say(tmp_path):
    path = with_config(tmp_path / "net.safetensors", CONFIG | {"unroll": True, "remat": True})
    config = dgunet_jax.load(path)[0].config
    assert (config.unroll, config.remat) == (1, False)
    model, variables = network(unroll=True, remat=True)
    dgunet_jax.save(tmp_path / "b.safetensors", model, variables)
    assert dgunet_jax.load(tmp_path / "b.safetensors")[0].config == network()[0].config


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"first": np.zeros(1)}, "unexpected first"),
        ({"first.step_size.more": np.zeros(1)}, r"unexpected first\.step_size\.more"),
        ({"a" + ".a" * 5000: np.zeros(1)}, r"unexpected a\.a"),
        ({"\x1b[2J\n": np.zeros(1)}, r"unexpected \\x1b\[2J\\n"),
        ({"first.step_size": np.array(1)}, r"first\.step_size is int64; weights are floating"),
    ],
)
def test_names_that_make_no_tree_are_told(tmp_path, more, message):
    with pytest.raises(UserError, match=message) as error:
        dgunet_jax.load(with_config(tmp_path / "net.safetensors", CONFIG, **more))
    assert len(str(error.value)) < 1000


def test_what_cannot_be_read_is_not_called_damaged(tmp_path):
    path = tmp_path / "net"
    dgunet_jax.save(path, *network())
    file = next(each for each in (path / "params" / "ocdbt.process_0").rglob("*") if each.is_file())
    content = file.read_bytes()
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"net/params/.*: is a Git LFS pointer"):
        dgunet_jax.load(path)
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(UserError, match=r"net/params/.*: cannot be read: Too many levels"):
        dgunet_jax.load(path)
    file.unlink()
    file.write_bytes(content)
    metadata = path / "model" / "metadata"
    metadata.write_text(metadata.read_text().replace("blockwise", "later_choice"))
    with pytest.raises(UserError, match="entries that this version does not know: later_choice"):
        dgunet_jax.load(path)


def test_a_path_that_cannot_be_looked_at_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / ("n" * 300), tmp_path / "loop" / "net.pth"):
        with pytest.raises(UserError, match="cannot be read: ") as error:
            dgunet_jax.load(path)
        assert str(error.value).startswith(f"{path}: ")
    with pytest.raises(UserError, match="is neither a file nor a directory"):
        dgunet_jax.load("/dev/null")


@pytest.mark.parametrize(
    ("told", "damage"),
    [
        (ValueError("DATA_LOSS: CRC-32C checksum verification failed"), True),
        (ValueError("FAILED_PRECONDITION: Truncated Zstd-compressed stream"), True),
        (FileNotFoundError(2, "No such file or directory"), True),
        (json.JSONDecodeError("Expecting value", "", 0), True),
        (PermissionError(13, "Permission denied"), False),
        (OSError(5, "Input/output error"), False),
        (MemoryError(), False),
        (ValueError("dtype mismatch: int64 is not int32"), False),
        (KeyError("checksums"), False),
    ],
)
def test_damage_is_said_of_bytes_alone(told, damage):
    assert directories.is_damage(told) == damage


def test_a_directory_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(self, path, *rest, **more):
        path.mkdir()
        (path / "half").write_bytes(b"x")
        raise ValueError("RESOURCE_EXHAUSTED: write failed [OS error 28: No space left on device]")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", full)
    with pytest.raises(UserError, match="net: cannot be written: No space left on device"):
        dgunet_jax.save(tmp_path / "net", *network())
    assert list(tmp_path.iterdir()) == []

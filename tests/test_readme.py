"""What the README shows works as it stands there."""

import importlib.util
import json
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

import dgunet_jax
from dgunet_jax import checkpoints, cli, main
from dgunet_jax.evaluation import comparing
from dgunet_jax.training.config import read_config
from tests.small import network

README = pathlib.Path(__file__).parent.parent / "README.md"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the README's examples name."""
    monkeypatch.chdir(tmp_path)
    model, variables = network(num_stages=7)
    dgunet_jax.save("deraining.pth", model, variables)
    dgunet_jax.save("runs/quickstart/checkpoints/1", model, variables)
    pathlib.Path("more").mkdir()
    pathlib.Path("experiments").symlink_to(README.parent / "experiments")
    pixels = np.random.default_rng(0).integers(0, 256, (67, 70, 3), dtype=np.uint8)
    for name in ("photo.png", "photo.jpg"):
        Image.fromarray(pixels).save(name)
    Image.fromarray(255 * (pixels[..., 0] > 9).astype(np.uint8)).save("scratches.png")
    Image.fromarray(pixels[:20, :30]).save("more/a.jpg")
    pathlib.Path("photos/2024").mkdir(parents=True)
    Image.fromarray(pixels[:20, :30]).save("photos/2024/b.jpg")
    for folder in ("GoPro/test/A/blur", "GoPro/test/A/sharp", "my_pairs/input", "my_pairs/target"):
        pathlib.Path(folder).mkdir(parents=True)
        Image.fromarray(pixels[: 24 if "test" in folder else 20, :24]).save(f"{folder}/1.png")
    dgunet_jax.save("runs/mine/checkpoints/1", model, variables)
    pathlib.Path("CBSD68").mkdir()
    Image.fromarray(pixels[:24, :24]).save("CBSD68/1.png")
    monkeypatch.setattr(comparing, "SIDE", 32)
    pathlib.Path("my_results").mkdir()
    Image.fromarray(pixels[:20, :24] // 2).save("my_results/1.png")
    dgunet_jax.save("deblur.safetensors", model, variables)
    return tmp_path


def lines(*names):
    """The arguments of all lines that show one of these commands."""
    found = re.findall(rf"^    dgunet ((?:{'|'.join(names)}) .*)$", README.read_text(), re.M)
    assert found
    return [shlex.split(line.split("#")[0]) for line in found]


def test_the_ten_lines_of_the_library(workplace):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code, str(README), "exec"), names)
    assert names["restored"].shape == (67, 70, 3)
    assert names["result"].stages.shape == (3, 1, 64, 64, 3)
    np.testing.assert_allclose(names["x"], names["result"].stages[0], atol=1e-6)


def test_the_commands(workplace):
    shutil.copytree("my_pairs", "GoPro/train")
    given = {*workplace.rglob("*.png")}
    commands = lines("convert", "info", "restore", "evaluate")
    assert len(commands) >= 8
    for command in commands:
        assert cli.main(command) == 0, command
    for folder in ("scores/gopro", "scores/cbsd68/denoise", "my_scores"):
        assert len(json.loads(pathlib.Path(folder, "results.json").read_text())["images"]) == 1
    for command in lines("analyze", "export"):  # which are tested elsewhere: one takes long, and
        options = cli.parser().parse_args(command)  # the other needs an extra
        assert str(options.checkpoint) in checkpoints.installed()
    training = (README.parent / "docs" / "training.md").read_text()
    (pack,) = re.findall(r"`dgunet (pack [^`]*)`", training)
    assert cli.main(pack.split()) == 0
    names = (path.relative_to(workplace) for path in {*workplace.rglob("*.png")} - given)
    assert sorted(map(str, names)) == [
        "photo_restored.png",
        "restored/2024/b.png",
        "restored/2024/b_compare.png",
        "restored/a.png",
        "restored/a_compare.png",
        "restored/photo.png",
    ]


def test_the_settings_of_training(monkeypatch):
    monkeypatch.chdir(README.parent)
    pages = [README, *(README.parent / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    found = re.findall(r"^    python -m dgunet_jax.main (.*)$", text, re.M)
    assert len(found) >= 8
    for line in found:
        options, changes = main.parse(shlex.split(line))
        assert read_config(options.config, changes)
    for name in re.findall(r"python -m (experiments\.\w+)", README.read_text()):
        assert importlib.util.find_spec(name)


def test_what_is_linked_is_there():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_the_make_targets_exist():
    targets = re.findall(r"^    make ([a-z-]+)", README.read_text(), re.M)
    makefile = (README.parent / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert shutil.which("make")

"""The networks that come with the package."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from dgunet_jax import Restorer, checkpoints
from dgunet_jax.cli import main
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.images import read
from dgunet_jax.metrics import psnr

PHOTOGRAPH = data.astronaut()[160:256, 130:226] / np.float32(255)
GAINS = [
    ("denoise", "gaussian(5)", 3),
    ("denoise", "gaussian(25) | round", 7),
    ("denoise", "gaussian(55) | round", 9),
    ("camera", "snapshot(0.003, 0.5) | jpeg(90)", 2),
    ("deblock", "jpeg(15)", 0.8),
]


@pytest.fixture(scope="module")
def restorers():
    return {name: Restorer(*checkpoints.load(name)) for name in ("denoise", "camera", "deblock")}


@pytest.mark.parametrize(("name", "degradation", "gain"), GAINS)
def test_a_network_restores_what_it_is_for(restorers, name, degradation, gain):
    degraded = Degradation.parse(degradation).apply(PHOTOGRAPH, np.random.default_rng(0))
    before, after = (
        psnr(image.clip(0, 1), PHOTOGRAPH) for image in (degraded, restorers[name](degraded))
    )
    assert after - before > gain


@pytest.mark.parametrize("name", ["denoise", "camera", "deblock"])
def test_a_clean_picture_stays_what_it_is(restorers, name):
    assert psnr(restorers[name](PHOTOGRAPH).clip(0, 1), PHOTOGRAPH) > 38


def test_models_tells_what_each_is_for(capsys):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    for name in checkpoints.installed():
        about = checkpoints.read(name).about
        assert about.task and about.degradation and about.data and about.patch and about.steps
        assert about.scores and all(after > before for before, after in about.scores.values())
        assert f"{name}\n  task: {about.task}" in said


def test_a_picture_is_restored_without_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    noisy = Degradation.parse("gaussian(20) | round").apply(PHOTOGRAPH, np.random.default_rng(1))
    Image.fromarray((noisy * 255).round().astype(np.uint8)).save("photo.png")
    assert main(["restore", "photo.png"]) == 0
    restored = read("photo_restored.png").colours()
    assert psnr(restored, PHOTOGRAPH) > psnr(noisy, PHOTOGRAPH) + 5
    assert main(["restore", "photo.png", "--strength=0.5", "--output=half"]) == 0
    half = read("half/photo.png").colours()
    np.testing.assert_allclose(half, (noisy + restored) / 2, 0, 1.01 / 255)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model=sharpen"], "--model sharpen: is not a model; the models are any_operator"),
        (["--model=denoise", "--checkpoint=x"], "--model: is in place of --checkpoint"),
        (["--model=any_operator"], "any_operator.safetensors: needs --operator"),
        (["--strength=2"], "--strength 2: must be from 0 to 1"),
        (["--window=20"], "window is 20; it must be a multiple of 8"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray((PHOTOGRAPH * 255).astype(np.uint8)).save("photo.png")
    assert main(["restore", "photo.png", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "photo_restored.png").exists()


def test_each_file_gets_the_network_for_its_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = np.rint(PHOTOGRAPH[:32, :40] * 255).astype(np.uint8)
    Path("in").mkdir()
    Image.fromarray(pixels).save("in/old.jpg", quality=60)
    Image.fromarray(pixels).save("in/phone.jpg", quality=92)
    Image.fromarray(pixels).save("in/phone.avif", quality=60)
    Image.fromarray(pixels).save("in/scan.png")
    Image.fromarray(pixels).save("in/other.webp")
    assert main(["restore", "in", "--output=out"]) == 0
    said = capsys.readouterr().err
    for line in ("deblock for 1 picture;", "camera for 2 pictures;", "denoise for 2 pictures;"):
        assert line in said
    names = {"old": "deblock", "scan": "denoise", "other": "denoise"}
    for path in Path("in").iterdir():
        network = names.get(path.stem, "camera")
        expected = Restorer(*checkpoints.load(network))(read(path).colours())
        written = read(f"out/{path.stem}.png" if path.stem != "phone" else f"out/{path.name}.png")
        np.testing.assert_allclose(written.colours(), expected.clip(0, 1), 0, 0.51 / 255)

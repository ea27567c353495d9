"""Compressive sensing: pictures that the network itself samples."""

import json
import re

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import Restorer
from dgunet_jax.cli import main
from dgunet_jax.images.picture import Picture, luma
from dgunet_jax.images.writing import write
from dgunet_jax.metrics._psnr import psnr
from dgunet_jax.metrics._ssim import ssim_uniform
from tests.choices import make
from tests.evaluation.folders import clean, save

RATIO = 10  # percent: the 103 measurements of the small networks


@pytest.fixture(scope="module")
def model():
    return make("sensing", num_stages=2, width=4, growth=2)


@pytest.fixture
def evaluate(tmp_path, model, capsys):
    dgunet_jax.save(tmp_path / "model.safetensors", *model)
    save(tmp_path / "data" / "colour.png", clean(0))
    save(tmp_path / "data" / "grey.png", luma(clean(1))[..., 0])

    def run(*words, dataset=f"set11_{RATIO}"):
        given = ["--dataset", dataset, "--data", f"{tmp_path}/data", "--output", f"{tmp_path}/out"]
        if "--restored" not in words:
            given += ["--checkpoint", f"{tmp_path}/model.safetensors", "--no-cache"]
        status = main(["evaluate", *given, *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def results(tmp_path):
    return json.loads((tmp_path / "out/results.json").read_text())


def test_pictures_are_sampled_and_scored_in_luma(evaluate, model, tmp_path):
    status, said, _ = evaluate()
    assert status == 0
    assert "103 measurements of each 32×32 block (10 %)" in said
    assert "padded to multiples of 32 by zeros" in said
    assert re.search(r"DGUNet, published +31\.07  0\.9123  Mou et al\.", said)
    restorer = Restorer(*model)
    found = results(tmp_path)["images"]
    for each, target in zip(found, (luma(clean(0)), luma(clean(1))), strict=True):
        image = np.float32(target) / np.float32(255)
        pair = 255 * np.float64(restorer(image)).clip(0, 1), target.astype(float)
        assert each["psnr"] == pytest.approx(psnr(*pair, peak=255), abs=1e-4)
        assert each["ssim"] == pytest.approx(ssim_uniform(*pair, peak=255), abs=1e-5)
    report = (tmp_path / "out/report.html").read_text()
    assert report.count("<img ") == 2 * 3  # what the network measures is no picture


def test_pictures_that_are_reconstructed_already(evaluate, tmp_path):
    for name, i in (("colour", 0), ("grey", 1)):
        save(tmp_path / "done" / f"{name}.png", luma(clean(i))[..., 0] // 4 * 4)
    assert evaluate("--restored", tmp_path / "done")[0] == 0
    for each, i in zip(results(tmp_path)["images"], range(2), strict=True):
        target = luma(clean(i))
        assert each["psnr"] == pytest.approx(psnr(target // 4 * 4, target, peak=255), abs=1e-4)


def test_reconstructed_pictures_keep_their_depth(evaluate, tmp_path):
    targets = {"colour": luma(clean(0)), "grey": luma(clean(1))}
    values = {name: 257 * target.astype(int) - 90 for name, target in targets.items()}
    for name, wide in values.items():
        write(tmp_path / "done" / f"{name}.png", Picture(wide.clip(0).astype(np.uint16)))
    status, said, _ = evaluate("--restored", tmp_path / "done")
    assert status == 0
    note = "clamped, not rounded; .*; restored pictures are read from files, rounded to their depth"
    assert re.search(note, said)
    assert re.search(note, results(tmp_path)["description"])
    assert re.search(note, (tmp_path / "out/report.html").read_text())
    for each in results(tmp_path)["images"]:
        wide, target = values[each["name"]].clip(0) / 257, targets[each["name"]].astype(float)
        assert each["psnr"] == pytest.approx(psnr(wide, target, peak=255), abs=1e-3)
        assert each["psnr"] > 55  # of 8 bits it would be the target


def test_reconstructed_colour_pictures_become_luma(evaluate, tmp_path):
    for i, name in enumerate(("colour", "grey")):
        wide = clean(i).astype(np.uint16) * 257
        write(tmp_path / "done" / f"{name}.png", Picture(wide))
        assert (luma(wide) != 257 * luma(clean(i)).astype(int)).any()
    assert evaluate("--restored", tmp_path / "done")[0] == 0
    for i, each in enumerate(results(tmp_path)["images"]):
        pair = luma(clean(i).astype(np.uint16) * 257) / 257, luma(clean(i)).astype(float)
        assert each["psnr"] == pytest.approx(psnr(*pair, peak=255), abs=1e-3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("bsd68_25", "takes 103 measurements of each block; BSD68, 25 % measured is 256 measure"),
        ("cbsd68_25", "takes 103 measurements of each block; CBSD68, σ = 25 is pictures that"),
    ],
)
def test_checkpoints_of_other_tasks_are_refused(evaluate, dataset, message):
    status, _, warned = evaluate(dataset=dataset)
    assert status == 2
    assert message in warned

"""Samples restored by a checkpoint, or read from a folder of results."""

import csv
import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import Restorer, UserError
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.evaluation.samples import Method
from dgunet_jax.evaluation.scores import compare
from dgunet_jax.images import Picture, luma, read, write
from dgunet_jax.metrics import psnr, ssim_uniform
from tests.choices import make
from tests.evaluation.folders import clean, degraded, errors, pairs, results, save
from tests.quick import devices


def test_checkpoint_gets_the_scores_of_its_images(evaluate, checkpoint, model):
    pairs(Path("data"), 3)
    status, said, _ = evaluate(
        "--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint, "--save-images"
    )
    assert status == 0
    restorer = Restorer(*model)
    expected = [
        compare(PROTOCOLS["rgb"], restorer(unit_range(degraded(i))), clean(i))[:2] for i in range(3)
    ]
    found = results()
    assert found["protocol"] == "rgb"
    assert [each["name"] for each in found["images"]] == ["0", "1", "2"]
    values = [(each["psnr"], each["ssim"]) for each in found["images"]]
    np.testing.assert_allclose(values, expected, atol=1e-3)
    means = found["mean"]
    assert [means["psnr"], means["ssim"]] == pytest.approx(np.mean(values, axis=0).tolist())
    given = [psnr(degraded(i), clean(i), peak=255) for i in range(3)]
    assert [each["input"] for each in found["images"]] == pytest.approx(given)
    assert means["gain"] == pytest.approx(means["psnr"] - np.mean(given))
    made = found["provenance"]
    assert made["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert made["versions"]["dgunet_jax"] == dgunet_jax.__version__
    assert {"jax", "numpy", "python"} <= {*made["versions"]}
    with Path("out/images.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(float(row["psnr"]), float(row["ssim"])) for row in table] == values
    for i in range(3):
        saved = unit_range(read(f"out/images/{i}.png").pixels)
        assert compare(PROTOCOLS["rgb"], saved, clean(i))[:2] == values[i]
        assert float(table[i]["gain"]) == pytest.approx(values[i][0] - given[i])
    assert "(protocol rgb)" in said
    assert f"net.safetensors  {found['mean']['psnr']:7.3f}  {found['mean']['ssim']:.4f}" in said


def test_provenance_names_the_devices_that_restore(evaluate, checkpoint):
    pairs(Path("data"), 1)
    words = ["--protocol", "rgb", "--data", "data"]
    assert evaluate(*words, "--checkpoint", checkpoint)[0] == 0
    assert results()["provenance"]["devices"] == [str(jax.devices()[0])]
    assert evaluate(*words, "--restored", "data/input", output="other")[0] == 0
    assert results("other")["provenance"]["devices"] == []


def test_checkpoint_on_several_devices_gets_the_scores_of_one(evaluate, checkpoint):
    pairs(Path("data"), 3)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", str(checkpoint)]
    assert evaluate(*arguments)[0] == 0
    words = [sys.executable, "-m", "dgunet_jax.cli", "evaluate", *arguments, "--output", "two"]
    environment = os.environ | {"XLA_FLAGS": devices(2)}
    environment["PYTHONPATH"] = str(Path(dgunet_jax.__file__).parents[1])
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    assert "compiling for arrays of 2×" in done.stderr  # one for each device
    assert len(results("two")["provenance"]["devices"]) == 2
    values = [[tuple(x.values())[1:] for x in results(f)["images"]] for f in ("out", "two")]
    np.testing.assert_allclose(values[0], values[1], atol=0.02)


def test_checkpoint_restores_clean_images_with_the_same_noise(evaluate, checkpoint):
    for i in range(2):
        save(Path("data", f"{i}.png"), clean(i))
    words = ["--dataset", "kodak24_15_8bit", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*words)[0] == 0
    first = results()
    assert evaluate(*words, output="again")[0] == 0
    assert results("again") == first
    assert first["published"][0]["psnr"] == 34.56


def test_method_refuses_another_padding(checkpoint):
    other = dataclasses.replace(PROTOCOLS["rgb"], padding=16)
    with pytest.raises(UserError, match="pads pictures to multiples of 8; pairs of pictures, in "):
        Method(checkpoint).check(other)


def test_restored_images_are_found_by_name_and_place(evaluate):
    for sequence in ("a", "b"):
        pairs(Path("data/test", sequence), 2, ("blur", "sharp"))
    save(Path("done/a-0.png"), degraded(0, 3))  # by its name,
    save(Path("done/a/1.bmp"), degraded(1, 3))  # as it lies,
    save(Path("done/b/blur/0.png"), degraded(0, 3))  # as `dgunet restore` writes it,
    save(Path("done/1.png"), degraded(1, 3))  # and one that could be any sequence's
    status, said, warned = evaluate("--dataset", "gopro", "--data", "data", "--restored", "done")
    assert status == 2
    assert errors(warned) == ["error: done: holds no restored picture of b-1"]
    found = results()
    assert found["failures"] == ["done: holds no restored picture of b-1"]
    scores = {each["name"]: (each["psnr"], each["ssim"]) for each in found["images"]}
    for name, i in (("a-0", 0), ("a-1", 1), ("b-0", 0)):
        expected = compare(PROTOCOLS["gopro"], unit_range(degraded(i, 3)), clean(i))[:2]
        assert scores.pop(name) == expected
    assert not scores
    assert "GoPro test (protocol gopro)" in said
    assert "3 of the 1111 pictures, 1 failed" in said
    assert "DGUNet, published     32.71   0.960" in said
    assert "DGUNet+, published    33.17   0.963" in said


def test_method_without_opencv_says_how_to_get_it(evaluate, checkpoint, monkeypatch):
    pairs(Path("data"), 2)
    monkeypatch.setitem(sys.modules, "cv2", None)
    for how in (["--restored", "data/input"], ["--checkpoint", checkpoint]):
        status, said, warned = evaluate("--dataset", "realblur_j", "--data", "data", *how)
        assert (status, said) == (2, "")
        assert warned == (
            "error: scores of RealBlur need OpenCV: pip install opencv-python-headless\n"
        )
    assert not Path("out").exists()


@pytest.fixture(scope="module")
def sensing():
    return make("sensing", num_stages=2, width=4, growth=2)


@pytest.fixture
def sense(evaluate, sensing):
    """Evaluates two images that a network of 103 measurements samples itself."""
    dgunet_jax.save("sensing.safetensors", *sensing)
    save(Path("data/colour.png"), clean(0))
    save(Path("data/grey.png"), luma(clean(1))[..., 0])

    def run(*words, dataset="set11_10"):
        method = words or ("--checkpoint", "sensing.safetensors", "--no-cache")
        return evaluate("--dataset", dataset, "--data", "data", *method)

    return run


def in_tiles(restorer, image):
    """Padded by zeros to the next multiple of 128, restored tile by tile, and cropped."""
    height, width, _ = image.shape
    whole = np.zeros((128 * (height // 128 + 1), 128 * (width // 128 + 1), 1), np.float32)
    whole[:height, :width] = image
    for top in range(0, len(whole), 128):
        for left in range(0, whole.shape[1], 128):
            tile = whole[top : top + 128, left : left + 128]
            tile[...] = restorer(tile)
    return whole[:height, :width]


@pytest.mark.parametrize("whole", [True, False])
def test_sensing_samples_images_and_scores_luma(sense, sensing, whole):
    status, said, _ = sense(dataset="set11_10_whole" if whole else "set11_10")
    assert status == 0
    assert "103 measurements of each 32×32 block (10 %)" in said
    how = "whole, padded to multiples of 32 by zeros" if whole else "tiles of 128×128 by themselves"
    assert how in said
    # Which belongs to tiles.
    published = re.search(r"DGUNet, published +31\.07  0\.9123  Mou et al\.", said)
    assert bool(published) == (not whole)
    restorer = Restorer(*sensing)
    found = results()["images"]
    for each, target in zip(found, (luma(clean(0)), luma(clean(1))), strict=True):
        image = np.float32(target) / np.float32(255)
        restored = restorer(image) if whole else in_tiles(restorer, image)
        pair = 255 * np.float64(restored).clip(0, 1), target.astype(float)
        assert each["psnr"] == pytest.approx(psnr(*pair, peak=255), abs=1e-4)
        assert each["ssim"] == pytest.approx(ssim_uniform(*pair, peak=255), abs=1e-5)
    report = Path("out/report.html").read_text()
    assert report.count("<img ") == 2 * 3  # what the network measures is no picture


def test_sensing_scores_reconstructed_images(sense):
    for name, i in (("colour", 0), ("grey", 1)):
        save(Path(f"done/{name}.png"), luma(clean(i))[..., 0] // 4 * 4)
    assert sense("--restored", "done")[0] == 0
    for each, i in zip(results()["images"], range(2), strict=True):
        target = luma(clean(i))
        assert each["psnr"] == pytest.approx(psnr(target // 4 * 4, target, peak=255), abs=1e-4)


def test_sensing_keeps_the_depth_of_reconstructed_images(sense):
    targets = {"colour": luma(clean(0)), "grey": luma(clean(1))}
    values = {name: 257 * target.astype(int) - 90 for name, target in targets.items()}
    for name, wide in values.items():
        write(Path(f"done/{name}.png"), Picture(wide.clip(0).astype(np.uint16)))
    status, said, _ = sense("--restored", "done")
    assert status == 0
    note = "clamped, not rounded; .*; restored pictures are read from files, rounded to their depth"
    assert re.search(note, said)
    assert re.search(note, results()["description"])
    assert re.search(note, Path("out/report.html").read_text())
    for each in results()["images"]:
        wide, target = values[each["name"]].clip(0) / 257, targets[each["name"]].astype(float)
        assert each["psnr"] == pytest.approx(psnr(wide, target, peak=255), abs=1e-3)
        assert each["psnr"] > 55  # of 8 bits it would be the target


def test_sensing_turns_reconstructed_colours_into_luma(sense):
    for i, name in enumerate(("colour", "grey")):
        wide = clean(i).astype(np.uint16) * 257
        write(Path(f"done/{name}.png"), Picture(wide))
        assert (luma(wide) != 257 * luma(clean(i)).astype(int)).any()
    assert sense("--restored", "done")[0] == 0
    for i, each in enumerate(results()["images"]):
        pair = luma(clean(i).astype(np.uint16) * 257) / 257, luma(clean(i)).astype(float)
        assert each["psnr"] == pytest.approx(psnr(*pair, peak=255), abs=1e-3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("bsd68_25", "takes 103 measurements of each block; BSD68, 25 % measured, tiles is 256"),
        ("cbsd68_25", "takes 103 measurements of each block; CBSD68, σ = 25 is pictures that"),
    ],
)
def test_method_refuses_checkpoints_of_other_tasks(sense, dataset, message):
    status, _, warned = sense(dataset=dataset)
    assert status == 2
    assert message in warned

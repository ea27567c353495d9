"""`dgunet prepare`: what is cut, that it goes on, and what it reports."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from dgunet_jax import UserError
from dgunet_jax.cli import main
from dgunet_jax.prepare import Crops


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def load(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def sidd(tmp_path):
    """Two scenes as SIDD-Medium lies, noisy ones one above the clean ones."""
    for scene in (1, 2):
        for shot in ("010", "011"):
            clean = picture(scene, 37, 61) // 2
            name = f"{scene:04}_001_S6_00100_00060_3200_L"
            folder = tmp_path / "Data" / name
            save(folder / f"{scene:04}_GT_SRGB_{shot}.PNG", clean)
            save(folder / f"{scene:04}_NOISY_SRGB_{shot}.PNG", clean + 1)
    return tmp_path


def run(*words):
    return main(["prepare", *map(str, words)])


def test_sidd_gives_random_crops_of_the_same_places_in_noisy_and_clean(sidd, capsys):
    words = ["sidd", sidd / "Data", "--output", sidd / "out", "--side", 16, "--count", 5]
    assert run(*words) == 0
    train = sidd / "out/train"
    inputs = sorted((train / "input").iterdir())
    assert len(inputs) == 4 * 5
    assert {path.name for path in inputs} == {path.name for path in (train / "target").iterdir()}
    places = set()
    for path in inputs:
        noisy, clean = load(path), load(train / "target" / path.name)
        assert noisy.shape == (16, 16, 3)
        np.testing.assert_array_equal(noisy, clean + 1)
        whole = picture(int(path.name[:4]), 37, 61) // 2
        found = [
            (top, left)
            for top in range(22)
            for left in range(46)
            if np.array_equal(whole[top : top + 16, left : left + 16], clean)
        ]
        places |= set(found)
    assert len(places) > 12
    assert "train with --config.data.train=" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in inputs}
    lost, content = inputs[7], inputs[7].read_bytes()
    lost.unlink()
    assert run(*words) == 0
    assert lost.read_bytes() == content
    kept = [path for path in inputs if path != lost]
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)


def test_validation_blocks_become_pairs(sidd):
    for name, value in (("ValidationNoisyBlocksSrgb", 9), ("ValidationGtBlocksSrgb", 7)):
        blocks = np.full((2, 3, 8, 8, 3), value, np.uint8)
        scipy.io.savemat(sidd / f"{name}.mat", {name: blocks})
    words = ["sidd", sidd / "Data", "--output", sidd / "out", "--side", 16, "--count", 1]
    assert run(*words, "--validation", sidd) == 0
    folder = sidd / "out/validation"
    assert len([*(folder / "input").iterdir()]) == 6
    assert load(folder / "input/02-03.png").max() == 9
    assert load(folder / "target/02-03.png").max() == 7


def test_crops_of_a_grid_overlap_and_reach_every_edge(tmp_path):
    big, small = picture(0, 50, 41), picture(1, 10, 30)
    save(tmp_path / "in/a/big.png", big)
    save(tmp_path / "in/small.png", small)
    words = ["crops", tmp_path / "in", "--output", tmp_path / "out", "--side", 20, "--step", 12]
    assert run(*words) == 0
    names = [path.name for path in (tmp_path / "out").glob("*.png")]
    assert len(names) == 4 * 3 + 2  # rows at 0, 12, 24, 30 and columns at 0, 12, 21
    np.testing.assert_array_equal(load(tmp_path / "out/a-big-011.png"), big[30:, 21:])
    np.testing.assert_array_equal(load(tmp_path / "out/small-001.png"), small[:, 10:])


def test_random_places_depend_on_the_name_alone():
    crops = Crops(8, count=100, seed=3)
    assert crops.corners("a", (40, 50)) == crops.corners("a", (40, 50))
    assert crops.corners("a", (40, 50)) != crops.corners("b", (40, 50))
    rows, columns = zip(*crops.corners("a", (40, 50)), strict=True)
    assert min(rows) <= 2 and 30 <= max(rows) <= 32 and 39 <= max(columns) <= 42
    assert Crops(8, count=2).corners("a", (5, 8)) == [(0, 0), (0, 0)]


def test_other_settings_in_the_same_folder_are_refused(tmp_path, capsys):
    save(tmp_path / "in/a.png", picture(0, 20, 20))
    words = ["crops", tmp_path / "in", "--output", tmp_path / "out", "--side"]
    assert run(*words, 16) == 0
    settings = json.loads((tmp_path / "out/crops.json").read_text())
    assert settings["side"] == 16
    assert run(*words, 8) == 2
    assert "holds crops of other settings" in capsys.readouterr().err
    with pytest.raises(UserError, match="--side 0: must be at least 1"):
        Crops(0)


def test_what_cannot_be_cut_is_named_and_the_rest_is_done(tmp_path, capsys):
    save(tmp_path / "in/good.png", picture(0, 20, 20))
    (tmp_path / "in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert run("crops", tmp_path / "in", "--output", tmp_path / "out", "--side", 16) == 2
    assert f"{tmp_path}/in/broken.png" in capsys.readouterr().err
    assert len([*(tmp_path / "out").glob("good-*.png")]) == 4


def test_check_counts_measures_and_names(tmp_path, capsys):
    for name, size in (("a", (20, 30)), ("b", (24, 48))):
        save(tmp_path / f"in/{name}.png", picture(0, *size))
    assert run("check", tmp_path / "in") == 0
    said = capsys.readouterr().out
    assert "2 clean pictures, 30×20 to 48×24 pixels, 0.0 megapixels" in said
    cut_off = (tmp_path / "in/b.png").read_bytes()[:900]
    (tmp_path / "in/b.png").write_bytes(cut_off)
    assert run("check", tmp_path / "in") == 2
    assert f"error: {tmp_path}/in/b.png" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["input", "target"])
def test_check_names_what_has_no_counterpart(tmp_path, capsys, missing):
    for kind in ("input", "target"):
        for name in "ab":
            save(tmp_path / kind / f"{name}.png", picture(0, 20, 30))
    assert run("check", tmp_path) == 0
    (tmp_path / missing / "b.png").unlink()
    assert run("check", tmp_path) == 2
    other = "target" if missing == "input" else "input"
    assert f"files without a pair (1): {other}/b.png (no {missing})" in capsys.readouterr().err

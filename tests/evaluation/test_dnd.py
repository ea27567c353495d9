"""DND's boxes from MATLAB files of both kinds, and what its server gets."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

import dgunet_jax
from dgunet_jax import Restorer, UserError
from dgunet_jax.cli import main
from dgunet_jax.evaluation import real_noise
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import PROTOCOLS
from tests.evaluation.folders import PHOTO, clean, save
from tests.small import network

DND = PROTOCOLS["dnd"]
BOXES = [
    [[1, 1, 24, 32], [30, 11, 53, 42], [17, 90, 40, 121]],
    [[2, 3, 25, 34], [37, 1, 60, 32], [5, 6, 28, 37]],
]
"""Of each of two pictures: first row, first column, last row, last column, counted from 1."""


def picture(index: int) -> np.ndarray:
    """Of an odd size, in [0, 1]."""
    part = PHOTO[30 * index : 30 * index + 61, 40 : 40 + 123 + 2 * index]
    return part.astype(np.float32) / np.float32(255)


def box(index: int, corners: list[int]) -> np.ndarray:
    top, left, bottom, right = corners
    return picture(index)[top - 1 : bottom, left - 1 : right]


def write_image(path: Path, version: str, name: str, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == "5":
        scipy.io.savemat(path, {name: array}, do_compression=True)
        return
    # MATLAB puts 512 bytes of its own in front, and its first axis last.
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(name, data=array.transpose(), compression="gzip")


def write_info(path: Path, version: str, boxes) -> None:
    if version == "5":
        cell = np.empty((len(boxes), 1), object)
        cell[:, 0] = [np.asarray(each, float) for each in boxes]
        scipy.io.savemat(path, {"info": {"boundingboxes": cell, "nlf": 1.0}})
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        cell = file.create_dataset("info/boundingboxes", (1, len(boxes)), h5py.ref_dtype)
        for i, each in enumerate(boxes):
            held = file.create_dataset(f"#refs#/{i}", data=np.asarray(each, float).transpose())
            cell[0, i] = held.ref


@pytest.fixture(params=["5", "7.3"])
def folder(request, tmp_path):
    """Two pictures of three boxes, as DND has 50 of 20."""
    folder = tmp_path / "DND"
    for i in range(2):
        path = folder / "images_srgb" / f"{i + 1:04}.mat"
        write_image(path, request.param, "InoisySRGB", picture(i))
    write_info(folder / "info.mat", request.param, BOXES)
    return folder


@pytest.fixture(scope="module")
def model():
    return network(width=4, growth=2, last_growth=2, num_stages=2)


@pytest.fixture
def evaluate(tmp_path, folder, model, capsys):
    dgunet_jax.save(tmp_path / "model.safetensors", *model)

    def run(*words):
        given = ["--dataset", "dnd", "--data", f"{folder}", "--output", f"{tmp_path}/out"]
        if "--restored" not in words:
            given += ["--checkpoint", f"{tmp_path}/model.safetensors", "--no-self-ensemble"]
            given += ["--no-cache"]
        status = main(["evaluate", *given, *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def bundled(path: Path) -> dict:
    return scipy.io.loadmat(path, squeeze_me=False)


def test_every_box_is_a_picture(folder):
    found = find(DND, folder)
    names = [sample.name for sample in found.samples]
    assert names == ["0001_01", "0001_02", "0001_03", "0002_01", "0002_02", "0002_03"]
    assert found.failures == []
    assert found.shortage(DND) == "DND has 1000 pictures; 6 of them can be scored here"
    corners = [(i, each) for i in range(2) for each in BOXES[i]]
    for sample, (i, each) in zip(found.samples, corners, strict=True):
        image, target = sample.read()
        assert target is None
        assert image.shape[:2] == sample.size == (24, 32)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, box(i, each))


def test_the_server_gets_a_file_for_each_picture(folder, evaluate, model, tmp_path):
    status, said, _ = evaluate()
    assert status == 0
    assert "DND (protocol dnd): scored by the benchmark's server" in said
    assert "6 of the 1000 pictures, not scored here; 2 files in bundled/" in said
    assert "DGUNet+, published    40.12   0.957" in said
    assert [path.name for path in sorted((tmp_path / "out/bundled").iterdir())] == [
        "0001.mat",
        "0002.mat",
    ]
    restorer = Restorer(*model)
    for i in range(2):
        content = bundled(tmp_path / f"out/bundled/{i + 1:04}.mat")
        assert content["Idenoised"].shape == (1, 3)
        assert content["israw"].item() == 0
        assert content["eval_version"].tolist() == ["1.0"]
        for found, corners in zip(content["Idenoised"][0], BOXES[i], strict=True):
            expected = restorer(box(i, corners)).clip(0, 1)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-6)
    assert not list((tmp_path / "out/crops").iterdir())
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["mean"] == {"psnr": None, "ssim": None}
    assert results["bundled"] == ["0001.mat", "0002.mat"]
    assert [each["name"] for each in results["images"]][::5] == ["0001_01", "0002_03"]
    report = (tmp_path / "out/report.html").read_text()
    assert report.count("<img ") == 3 * 2  # inputs and what became of them; there are no targets


def test_an_interrupted_run_goes_on(evaluate, tmp_path, monkeypatch):
    done = []

    def stopping(path, variables):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(path)
        write(path, variables)

    write = real_noise.write_variables
    monkeypatch.setattr(real_noise, "write_variables", stopping)
    assert evaluate()[0] == 130
    assert not (tmp_path / "out/bundled").exists()
    monkeypatch.setattr(real_noise, "write_variables", write)
    status, _, warned = evaluate()
    assert status == 0
    assert " of 6 pictures are scored already" in warned
    first = {path.name: bundled(path)["Idenoised"] for path in (tmp_path / "out/bundled").iterdir()}
    assert len(first) == 2
    assert "6 of 6 pictures are scored already" in evaluate()[2]
    (tmp_path / "out/bundled/0002.mat").unlink()
    assert "3 of 6 pictures are scored already" in evaluate()[2]
    again = bundled(tmp_path / "out/bundled/0002.mat")["Idenoised"]
    for a, b in zip(again[0], first["0002.mat"][0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_boxes_that_are_denoised_again_take_their_old_places(evaluate, tmp_path):
    for i in range(6):
        save(tmp_path / "done" / f"{i // 3 + 1:04}_{i % 3 + 1:02}.png", clean(i))
    assert evaluate("--restored", tmp_path / "done")[0] == 0
    first = tmp_path / "out/bundled/0001.mat"
    untouched = (tmp_path / "out/bundled/0002.mat").read_bytes()
    for i in (1, 0):
        save(tmp_path / "done" / f"0001_{i + 1:02}.png", clean(i + 8))
        status, _, warned = evaluate("--restored", tmp_path / "done")
        assert status == 0
        assert "5 of 6 pictures are scored already" in warned
        expected = [clean(8) if i == 0 else clean(0), clean(9), clean(2)]
        for found, box in zip(bundled(first)["Idenoised"][0], expected, strict=True):
            np.testing.assert_array_equal(np.rint(255 * found), box)
        assert not list((tmp_path / "out/crops").iterdir())
    assert (tmp_path / "out/bundled/0002.mat").read_bytes() == untouched
    # A file of another number of boxes is not that of this data set.
    write_image(first, "5", "Idenoised", np.zeros((2, 2)))
    save(tmp_path / "done/0001_02.png", clean(3))
    status, _, warned = evaluate("--restored", tmp_path / "done")
    assert status == 2
    assert "0001.mat: holds 4 boxes; the picture has 3; remove it" in warned


def test_boxes_that_are_restored_already(evaluate, tmp_path):
    for i in range(6):
        save(tmp_path / "done" / f"{i // 3 + 1:04}_{i % 3 + 1:02}.png", clean(i))
    status, said, _ = evaluate("--restored", tmp_path / "done")
    assert status == 0
    assert "2 files in bundled/" in said
    content = bundled(tmp_path / "out/bundled/0002.mat")
    np.testing.assert_array_equal(np.rint(255 * content["Idenoised"][0, 2]), clean(5))
    (tmp_path / "done/0001_02.png").unlink()
    status, said, warned = evaluate("--restored", tmp_path / "done", "--output", tmp_path / "two")
    assert status == 2
    assert "holds no restored picture of 0001_02" in warned
    assert [path.name for path in (tmp_path / "two/bundled").iterdir()] == ["0002.mat"]


def test_a_limit_bundles_what_is_complete(evaluate, tmp_path):
    status, said, _ = evaluate("--limit", 4)
    assert status == 0
    assert "4 of the 1000 pictures, not scored here; 1 files in bundled/" in said
    assert [path.name for path in (tmp_path / "out/crops").iterdir()] == ["0002_01.mat"]


def test_what_is_wrong_with_a_picture_is_named_and_the_rest_is_found(folder, request):
    first = folder / "images_srgb" / "0001.mat"
    version = request.node.callspec.params["folder"]
    for content, message in (
        (picture(0)[:50], "is 123×50 pixels large and does not hold its box of rows 30 to 53"),
        (picture(0)[..., 0], r"InoisySRGB is float32 (61, 123); it must be floating (H, W, 3)"),
        ((255 * picture(0)).astype(np.uint8), "InoisySRGB is uint8 (61, 123, 3); it must be"),
    ):
        write_image(first, version, "InoisySRGB", content)
        found = find(DND, folder)
        assert [sample.name[:4] for sample in found.samples] == ["0002"] * 3
        (failure,) = found.failures
        assert failure.startswith(f"{first}: ")
        assert message in failure
    write_image(first, version, "Inoisy", picture(0))
    assert find(DND, folder).failures == [f"{first}: has no array InoisySRGB"]
    first.write_bytes(first.read_bytes()[:700])
    assert "0001.mat: " in find(DND, folder).failures[0]
    first.unlink()
    assert find(DND, folder).failures == [f"{first}: no such file"]


def test_info_that_says_nothing_of_boxes_is_told(folder, request):
    info = folder / "info.mat"
    version = request.node.callspec.params["folder"]
    write_info(info, version, [[[1, 2, 3]]])
    with pytest.raises(UserError, match=r"info\.mat: the boxes of picture 1 are \(1, 3\)"):
        find(DND, folder)
    write_info(info, version, [[[1, 2, 3, np.nan]]])
    with pytest.raises(UserError, match=r"info\.mat: the boxes of picture 1 are not numbers"):
        find(DND, folder)
    write_image(info, version, "info", np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"info\.mat: has no info.boundingboxes"):
        find(DND, folder)
    info.write_bytes(b"words")
    with pytest.raises(UserError, match=r"info\.mat: cannot be read"):
        find(DND, folder)
    info.unlink()
    with pytest.raises(UserError, match=r"info\.mat: no such file"):
        find(DND, folder)

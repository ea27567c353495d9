"""SIDD's blocks and DND's boxes from MATLAB's files, and what DND's server gets."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from dgunet_jax import Restorer, UserError
from dgunet_jax.evaluation import real_noise
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import PROTOCOLS
from tests.evaluation.folders import PHOTO, SIZE, clean, degraded, results, save

NOISY, CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"
DND = PROTOCOLS["dnd"]
BOXES = [
    [[1, 1, 24, 32], [30, 11, 53, 42], [17, 90, 40, 121]],
    [[2, 3, 25, 34], [37, 1, 60, 32], [5, 6, 28, 37]],
]
"""Of each of two images: first row, first column, last row, last column, counted from 1."""


@pytest.fixture
def blocks(tmp_path):
    """Two images of three blocks, as SIDD has 40 of 32."""
    for name, make in ((NOISY, degraded), (CLEAN, clean)):
        array = np.stack([make(i) for i in range(6)]).reshape(2, 3, *SIZE, 3)
        scipy.io.savemat(tmp_path / f"{name}.mat", {name: array}, do_compression=name == NOISY)
    return tmp_path


def test_find_blocks_makes_a_sample_of_every_block(blocks):
    found = find(PROTOCOLS["sidd"], blocks)
    names = [sample.name for sample in found.samples]
    assert names == ["01-01", "01-02", "01-03", "02-01", "02-02", "02-03"]
    for i, sample in enumerate(found.samples):
        assert sample.size == SIZE
        image, target, _ = sample.read()
        np.testing.assert_array_equal(target, clean(i))
        np.testing.assert_array_equal(image, degraded(i).astype(np.float32) / np.float32(255))


def test_find_blocks_gives_the_places_of_restored_blocks(blocks, evaluate):
    done = Path("done")
    for i in range(6):
        name = f"{i // 3 + 1:02}-{i % 3 + 1:02}" if i % 2 else f"{i // 3 + 1:04}_{i % 3 + 1:02}"
        save(done / f"{name}.png", clean(i) // 2 * 2)
    status, said, _ = evaluate(
        "--dataset", "sidd", "--data", ".", "--restored", "done", output="../sidd"
    )
    assert status == 0
    assert "SIDD validation (protocol sidd)" in said
    assert "6 of the 1280 pictures" in said


def test_find_blocks_refuses_files_without_them(blocks):
    path = blocks / f"{NOISY}.mat"
    content = path.read_bytes()
    for damaged in (content[:200], b"words", b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{NOISY}\.mat: "):
            find(PROTOCOLS["sidd"], blocks)
    scipy.io.savemat(path, {"other": np.zeros(3)})
    with pytest.raises(UserError, match=rf"{NOISY}\.mat: has no array {NOISY}"):
        find(PROTOCOLS["sidd"], blocks)
    scipy.io.savemat(path, {NOISY: np.zeros((2, 3, 24, 32, 3))})
    with pytest.raises(UserError, match=r"is double \(2, 3, 24, 32, 3\); it must be uint8"):
        find(PROTOCOLS["sidd"], blocks)
    scipy.io.savemat(path, {NOISY: np.zeros((2, 2, 24, 32, 3), np.uint8)})
    with pytest.raises(UserError, match=r"noisy blocks \(2, 2, .* and clean ones \(2, 3, "):
        find(PROTOCOLS["sidd"], blocks)
    path.unlink()
    with pytest.raises(UserError, match=rf"{NOISY}\.mat: no such file"):
        find(PROTOCOLS["sidd"], blocks)


def test_find_blocks_refuses_more_than_the_memory(blocks, monkeypatch):
    monkeypatch.setattr(real_noise, "total_memory", lambda: 10**4)
    with pytest.raises(UserError, match=r"an array in it takes 13824 bytes of memory; it is 10000"):
        find(PROTOCOLS["sidd"], blocks)


def image(index: int) -> np.ndarray:
    """Of an odd size, in [0, 1]."""
    part = PHOTO[30 * index : 30 * index + 61, 40 : 40 + 123 + 2 * index]
    return part.astype(np.float32) / np.float32(255)


def box(index: int, corners: list[int]) -> np.ndarray:
    top, left, bottom, right = corners
    return image(index)[top - 1 : bottom, left - 1 : right]


def write_array(path: Path, name: str, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # MATLAB puts 512 bytes of its own in front, and its first axis last.
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(name, data=array.transpose(), compression="gzip")


def write_info(path: Path, boxes) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        cell = file.create_dataset("info/boundingboxes", (1, len(boxes)), h5py.ref_dtype)
        for i, each in enumerate(boxes):
            held = file.create_dataset(f"#refs#/{i}", data=np.asarray(each, float).transpose())
            cell[0, i] = held.ref


@pytest.fixture
def folder(tmp_path):
    """Two images of three boxes, as DND has 50 of 20."""
    folder = tmp_path / "DND"
    for i in range(2):
        write_array(folder / "images_srgb" / f"{i + 1:04}.mat", "InoisySRGB", image(i))
    write_info(folder / "info.mat", BOXES)
    return folder


@pytest.fixture
def denoise(evaluate, folder, checkpoint):
    def run(*words, output="out"):
        method = ["--checkpoint", checkpoint, "--no-self-ensemble", "--no-cache"]
        if "--restored" in words:
            method = []
        return evaluate("--dataset", "dnd", "--data", folder, *method, *words, output=output)

    return run


@pytest.fixture
def done(here):
    """A folder of restored boxes."""
    for i in range(6):
        save(Path("done", f"{i // 3 + 1:04}_{i % 3 + 1:02}.png"), clean(i))
    return "done"


def bundled(path: Path | str) -> dict:
    return scipy.io.loadmat(path, squeeze_me=False)


def test_find_boxes_makes_a_sample_of_every_box(folder):
    found = find(DND, folder)
    names = [sample.name for sample in found.samples]
    assert names == ["0001_01", "0001_02", "0001_03", "0002_01", "0002_02", "0002_03"]
    assert found.failures == []
    corners = [(i, each) for i in range(2) for each in BOXES[i]]
    for sample, (i, each) in zip(found.samples, corners, strict=True):
        degraded, target, _ = sample.read()
        assert target is None
        assert degraded.shape[:2] == sample.size == (24, 32)
        assert degraded.dtype == np.float32
        np.testing.assert_array_equal(degraded, box(i, each))


def test_submission_has_a_file_for_each_image(denoise, model):
    status, said, _ = denoise()
    assert status == 0
    assert "DND (protocol dnd): scored by the benchmark's server" in said
    assert "6 of the 1000 pictures, not scored here; 2 files in bundled/" in said
    assert re.search(r"DGUNet\+, published +40\.12 +0\.957 ", said)
    names = sorted(path.name for path in Path("out/bundled").iterdir())
    assert names == ["0001.mat", "0002.mat"]
    restorer = Restorer(*model)
    for i in range(2):
        content = bundled(Path(f"out/bundled/{i + 1:04}.mat"))
        assert content["Idenoised"].shape == (1, 3)
        assert content["israw"].item() == 0
        assert content["eval_version"].tolist() == ["1.0"]
        for found, corners in zip(content["Idenoised"][0], BOXES[i], strict=True):
            expected = restorer(box(i, corners)).clip(0, 1)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-6)
    assert not list(Path("out/crops").iterdir())
    found = results()
    assert found["mean"] == dict.fromkeys(("psnr", "ssim", "input", "gain"))
    assert found["bundled"] == names
    assert [each["name"] for each in found["images"]][::5] == ["0001_01", "0002_03"]
    report = Path("out/report.html").read_text()
    assert report.count("<img ") == 3 * 2  # inputs and what became of them; there are no targets


def test_submission_goes_on_after_an_interruption(denoise, monkeypatch):
    done = []

    def stopping(path, variables):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(path)
        write(path, variables)

    write = real_noise._save
    monkeypatch.setattr(real_noise, "_save", stopping)
    assert denoise()[0] == 130
    assert not Path("out/bundled").exists()
    monkeypatch.setattr(real_noise, "_save", write)
    status, _, warned = denoise()
    assert status == 0
    assert " of 6 pictures are scored already" in warned
    first = {path.name: bundled(path)["Idenoised"] for path in Path("out/bundled").iterdir()}
    assert len(first) == 2
    assert "6 of 6 pictures are scored already" in denoise()[2]
    Path("out/bundled/0002.mat").unlink()
    assert "3 of 6 pictures are scored already" in denoise()[2]
    again = bundled(Path("out/bundled/0002.mat"))["Idenoised"]
    for a, b in zip(again[0], first["0002.mat"][0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_submission_puts_boxes_that_are_denoised_again_into_their_places(denoise, done):
    assert denoise("--restored", done)[0] == 0
    first = Path("out/bundled/0001.mat")
    untouched = Path("out/bundled/0002.mat").read_bytes()
    for i in (1, 0):
        save(Path(done, f"0001_{i + 1:02}.png"), clean(i + 8))
        status, _, warned = denoise("--restored", done)
        assert status == 0
        assert "5 of 6 pictures are scored already" in warned
        expected = [clean(8) if i == 0 else clean(0), clean(9), clean(2)]
        for found, box in zip(bundled(first)["Idenoised"][0], expected, strict=True):
            np.testing.assert_array_equal(np.rint(255 * found), box)
        assert not list(Path("out/crops").iterdir())
    assert Path("out/bundled/0002.mat").read_bytes() == untouched
    # A file of another number of boxes is not that of this data set.
    scipy.io.savemat(first, {"Idenoised": np.zeros((2, 2))})
    save(Path(done, "0001_02.png"), clean(3))
    status, _, warned = denoise("--restored", done)
    assert status == 2
    assert "0001.mat: holds 4 boxes; the picture has 3; remove it" in warned


def test_submission_takes_restored_boxes(denoise, done):
    status, said, _ = denoise("--restored", done)
    assert status == 0
    assert "2 files in bundled/" in said
    content = bundled(Path("out/bundled/0002.mat"))
    np.testing.assert_array_equal(np.rint(255 * content["Idenoised"][0, 2]), clean(5))
    Path("done/0001_02.png").unlink()
    status, said, warned = denoise("--restored", done, output="two")
    assert status == 2
    assert "holds no restored picture of 0001_02" in warned
    assert [path.name for path in Path("two/bundled").iterdir()] == ["0002.mat"]


def test_submission_bundles_what_is_complete(denoise):
    status, said, _ = denoise("--limit", 4)
    assert status == 0
    assert "4 of the 1000 pictures, not scored here; 1 files in bundled/" in said
    assert [path.name for path in Path("out/crops").iterdir()] == ["0002_01.mat"]


def test_find_boxes_names_damaged_images_and_goes_on(folder):
    first = folder / "images_srgb" / "0001.mat"
    for content, message in (
        (image(0)[:50], "is 123×50 pixels large and does not hold its box of rows 30 to 53"),
        (image(0)[..., 0], r"InoisySRGB is float32 (61, 123); it must be floating (H, W, 3)"),
        ((255 * image(0)).astype(np.uint8), "InoisySRGB is uint8 (61, 123, 3); it must be"),
    ):
        write_array(first, "InoisySRGB", content)
        found = find(DND, folder)
        assert [sample.name[:4] for sample in found.samples] == ["0002"] * 3
        (failure,) = found.failures
        assert failure.startswith(f"{first}: ")
        assert message in failure
    write_array(first, "Inoisy", image(0))
    assert find(DND, folder).failures == [f"{first}: has no array InoisySRGB"]
    first.write_bytes(first.read_bytes()[:700])
    assert "0001.mat: " in find(DND, folder).failures[0]
    first.unlink()
    assert find(DND, folder).failures == [f"{first}: no such file"]


def test_find_boxes_refuses_more_than_the_memory(folder):
    first = folder / "images_srgb" / "0001.mat"
    with h5py.File(first, "w") as file:
        file.create_dataset("InoisySRGB", (3, 2_000_000, 2_000_000), np.float32, chunks=True)
    (failure,) = find(DND, folder).failures
    assert failure.startswith(f"{first}: an array in it takes 48000000000000 bytes of memory; it")


def test_find_boxes_refuses_arrays_in_other_files(folder):
    first, second = (folder / "images_srgb" / f"{i:04}.mat" for i in (1, 2))
    with h5py.File(first, "w") as file:
        file["InoisySRGB"] = h5py.ExternalLink(str(second), "InoisySRGB")
    assert find(DND, folder).failures == [f"{first}: has no array InoisySRGB"]
    first.unlink()
    with h5py.File(first, "w") as file:
        layout = h5py.VirtualLayout((3, 125, 61), np.float32)
        layout[:] = h5py.VirtualSource(second, "InoisySRGB", (3, 125, 61))
        file.create_virtual_dataset("InoisySRGB", layout)
    assert find(DND, folder).failures == [f"{first}: has no array InoisySRGB"]


def test_find_boxes_refuses_info_without_boxes(folder):
    info = folder / "info.mat"
    write_info(info, [[[1, 2, 3]]])
    with pytest.raises(
        UserError, match=r"info\.mat: the boxes of picture 1 must be finite numbers \(n, 4\)"
    ):
        find(DND, folder)
    write_info(info, [[[1, 2, 3, np.nan]]])
    with pytest.raises(UserError, match=r"info\.mat: the boxes of picture 1 must be"):
        find(DND, folder)
    write_array(info, "info", np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"info\.mat: has no array info/boundingboxes"):
        find(DND, folder)
    info.write_bytes(b"words")
    with pytest.raises(UserError, match=r"info\.mat: cannot be read"):
        find(DND, folder)
    info.unlink()
    with pytest.raises(UserError, match=r"info\.mat: no such file"):
        find(DND, folder)

"""SIDD's blocks from MATLAB files."""

import h5py
import numpy as np
import pytest
import scipy.io

from dgunet_jax import UserError
from dgunet_jax.cli import main
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import PROTOCOLS
from tests.evaluation.folders import SIZE, clean, degraded, save

NOISY, CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"


@pytest.fixture(params=["5", "7.3"])
def blocks(request, tmp_path):
    """Two pictures of three blocks, as SIDD has 40 of 32, in files of both kinds of MATLAB."""
    noisy, target = (
        np.stack([make(i) for i in range(6)]).reshape(2, 3, *SIZE, 3) for make in (degraded, clean)
    )
    if request.param == "5":
        scipy.io.savemat(tmp_path / f"{NOISY}.mat", {NOISY: noisy}, do_compression=True)
        scipy.io.savemat(tmp_path / f"{CLEAN}.mat", {CLEAN: target})
    else:
        for name, array in ((NOISY, noisy), (CLEAN, target)):
            # MATLAB puts 512 bytes of its own in front, and its first axis last.
            with h5py.File(tmp_path / f"{name}.mat", "w", userblock_size=512) as file:
                file.create_dataset(name, data=array.transpose(), compression="gzip")
    return tmp_path


def test_every_block_is_a_picture(blocks):
    found = find(PROTOCOLS["sidd"], blocks)
    names = [sample.name for sample in found.samples]
    assert names == ["01-01", "01-02", "01-03", "02-01", "02-02", "02-03"]
    for i, sample in enumerate(found.samples):
        assert sample.size == SIZE
        image, target = sample.read()
        np.testing.assert_array_equal(target, clean(i))
        np.testing.assert_array_equal(image, degraded(i).astype(np.float32) / np.float32(255))


def test_blocks_that_are_restored_already(blocks, tmp_path, capsys):
    done = tmp_path / "done"
    for i in range(6):
        name = f"{i // 3 + 1:02}-{i % 3 + 1:02}" if i % 2 else f"{i // 3 + 1:04}_{i % 3 + 1:02}"
        save(done / f"{name}.png", clean(i) // 2 * 2)
    words = ["--dataset", "sidd", "--data", f"{blocks}", "--restored", f"{done}"]
    assert main(["evaluate", *words, "--output", f"{tmp_path}-out"]) == 0
    said = capsys.readouterr().out
    assert "SIDD validation (protocol sidd)" in said
    assert "6 of the 1280 pictures" in said


def test_what_is_wrong_with_the_files_is_told(blocks):
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
    with pytest.raises(UserError, match=r"is float64 \(2, 3, 24, 32, 3\); it must be uint8"):
        find(PROTOCOLS["sidd"], blocks)
    scipy.io.savemat(path, {NOISY: np.zeros((2, 2, 24, 32, 3), np.uint8)})
    with pytest.raises(UserError, match=r"noisy blocks \(2, 2, .* and clean ones \(2, 3, "):
        find(PROTOCOLS["sidd"], blocks)
    path.unlink()
    with pytest.raises(UserError, match=rf"{NOISY}\.mat: no such file"):
        find(PROTOCOLS["sidd"], blocks)

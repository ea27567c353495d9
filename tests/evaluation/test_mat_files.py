"""MATLAB's files claim no more than they hold, and point to nothing outside."""

import struct
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from dgunet_jax import UserError
from dgunet_jax.evaluation.mat_files import read_array, read_box, read_cells, shape_and_type

IMAGE = np.arange(60, dtype=np.float32).reshape(4, 5, 3)


def refused(path, match):
    for read in (
        lambda: read_array(path, "image"),
        lambda: shape_and_type(path, "image"),
        lambda: read_box(path, "image", (0, 2), (0, 2)),
    ):
        with pytest.raises(UserError, match=match) as caught:
            read()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_cell_array_that_claims_more_than_it_holds_is_refused(tmp_path, packed):
    path = tmp_path / "info.mat"
    boxes = np.empty(3, object)
    boxes[:] = [np.eye(2)] * 3
    scipy.io.savemat(path, {"info": {"boxes": boxes}})
    assert len(read_cells(path, "info", "boxes")) == 3
    content = path.read_bytes()
    sides = [struct.pack("<4i", 5, 8, 1, count) for count in (3, 2**31 - 1)]
    assert content.count(sides[0]) == 1
    header, content = content[:128], content[128:].replace(*sides)
    if packed:
        content = zlib.compress(content)
        content = struct.pack("<II", 15, len(content)) + content
    path.write_bytes(header + content)
    with pytest.raises(UserError, match=r"info\.mat: is damaged: an array claims 2147483647"):
        read_cells(path, "info", "boxes")


def test_old_files_are_read(tmp_path):
    for compressed in (False, True):
        path = tmp_path / "old.mat"
        boxes = np.empty(2, object)
        boxes[:] = [IMAGE[..., 0], IMAGE[:2, :, 1]]
        scipy.io.savemat(path, {"image": IMAGE, "info": {"b": boxes}}, do_compression=compressed)
        np.testing.assert_array_equal(read_array(path, "image"), IMAGE)
        np.testing.assert_array_equal(read_cells(path, "info", "b")[1], IMAGE[:2, :, 1])
    scipy.io.savemat(path, {"image": IMAGE[..., 0]}, format="4")
    np.testing.assert_array_equal(read_array(path, "image"), IMAGE[..., 0])


def test_an_old_file_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "old.mat", {"image": np.zeros((500, 400))}, do_compression=True)
    monkeypatch.setattr("dgunet_jax.evaluation.mat_sizes.total_memory", lambda: 10**6)
    with pytest.raises(UserError, match="takes 1600056 bytes of memory; it is 1000000"):
        read_array(tmp_path / "old.mat", "image")


def test_links_of_hdf5_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["image"] = IMAGE
    for link in (h5py.ExternalLink(str(tmp_path / "other.mat"), "image"), h5py.SoftLink("/real")):
        with h5py.File(tmp_path / "it.mat", "w") as file:
            file["real"] = IMAGE
            file["image"] = link
        refused(tmp_path / "it.mat", r"it\.mat: image is a link, which is not followed")


def test_external_storage_of_hdf5_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(IMAGE.tobytes())
    with h5py.File(tmp_path / "it.mat", "w") as file:
        place = [(str(tmp_path / "secret"), 0, IMAGE.nbytes)]
        file.create_dataset("image", IMAGE.shape, IMAGE.dtype, external=place)
    refused(tmp_path / "it.mat", r"it\.mat: /image lies in other files, which are not read")


def test_virtual_data_sets_of_hdf5_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["image"] = IMAGE
    with h5py.File(tmp_path / "it.mat", "w") as file:
        layout = h5py.VirtualLayout(IMAGE.shape, IMAGE.dtype)
        layout[:] = h5py.VirtualSource(tmp_path / "other.mat", "image", IMAGE.shape)
        file.create_virtual_dataset("image", layout)
    refused(tmp_path / "it.mat", r"it\.mat: /image lies in other files, which are not read")


def test_a_shape_of_hdf5_that_is_not_stored_is_refused(tmp_path):
    with h5py.File(tmp_path / "it.mat", "w") as file:
        file.create_dataset("image", (200_000, 200_000, 3), np.float64, chunks=True)
    refused(tmp_path / "it.mat", "is damaged: 960000000000 bytes are claimed, and 0 stored")


def test_a_filter_of_hdf5_that_is_a_plugin_is_refused(tmp_path):
    with h5py.File(tmp_path / "it.mat", "w") as file:
        file.create_dataset("image", data=IMAGE, compression="lzf")
    refused(tmp_path / "it.mat", "is packed by a filter that is not HDF5's own")


def test_text_in_place_of_references_names_nothing(tmp_path):
    with h5py.File(tmp_path / "it.mat", "w") as file:
        file["real"] = IMAGE
        file["out"] = h5py.ExternalLink("/etc/passwd", "x")
        file["info/boxes"] = np.array([b"/real", b"/out"])
        file["info/numbers"] = np.arange(3)
    for name, match in (("boxes", "it must hold numbers"), ("numbers", "has no info.numbers")):
        with pytest.raises(UserError, match=match):
            read_cells(tmp_path / "it.mat", "info", name)

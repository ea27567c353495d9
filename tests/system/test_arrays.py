"""Arrays are read from NumPy's and MATLAB's files; anything else is named."""

import h5py
import numpy as np
import pytest
import scipy.io

from dgunet_jax import UserError
from dgunet_jax.system.arrays import read_array

VALUES = np.arange(6.0).reshape(2, 3) + 1j


def test_every_format_gives_the_same(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "one.npz", whatever=VALUES)
    np.savez(tmp_path / "two.npz", other=1, y=VALUES)
    scipy.io.savemat(tmp_path / "five.mat", {"y": VALUES, "other": 1})
    with h5py.File(tmp_path / "seven.mat", "w", userblock_size=512) as file:
        stored = np.empty((3, 2), [("real", float), ("imag", float)])
        stored["real"], stored["imag"] = VALUES.T.real, VALUES.T.imag
        file["y"] = stored
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with (tmp_path / "seven.mat").open("r+b") as file:
        file.write(header)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_array(path, "y"), VALUES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "cannot be read: No such file"),
        ("empty.npy", b"", "cannot be read"),
        ("text.npy", b"hello", "cannot be read"),
        ("text.npz", b"hello", "cannot be read"),
        ("text.mat", b"hello, this is no file of MATLAB's" * 9, "cannot be read"),
        ("text.txt", b"1 2 3", r"arrays are read from \.npy, \.npz, \.mat files"),
        ("nan.npy", np.array([1, np.nan]), "has 1 values that are not finite"),
        ("none.npy", np.zeros((0, 3)), r"float64 \(0, 3\); it must hold numbers"),
        ("words.npy", np.array(["a"]), "it must hold numbers"),
        ("objects.npy", np.array([{}], object), "cannot be read"),
        ("two.npz", {"a": 1, "b": 2}, "one array, or one called y; it holds a, b"),
    ],
)
def test_what_is_no_array_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UserError, match=message) as caught:
        read_array(path, "y")
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)

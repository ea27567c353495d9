"""PyTorch's files read and written without PyTorch; tests/torch compares with PyTorch itself."""

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.storage import Storage, StoredTensor
from dgunet_jax.convert.torch_file import read_torch, write_torch
from dgunet_jax.system.errors import UserError
from tests.convert.torch_bytes import (
    FLOATS,
    VECTOR,
    Make,
    arrays,
    each_format,
    old_file,
    refusal,
    zip_file,
)
from tests.fixtures import weights

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("name", ["legacy", "zip", "zip_wrapped"])
def test_a_network_s_state_dict(name: str) -> None:
    read = arrays(FIXTURES / f"{name}.pth")
    prefix = "module." if name == "legacy" else ""
    expected = weights.network()
    assert list(read) == [prefix + key for key in expected]
    for key, array in expected.items():
        np.testing.assert_array_equal(read[prefix + key], array, strict=True)
    assert np.shares_memory(read[f"{prefix}1.weight"], read[f"{prefix}3.weight"])


def test_views_types_and_parameters() -> None:
    read = arrays(FIXTURES / "views.pth")
    expected = weights.views()
    assert list(read) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(read[key], array, strict=True)
    # As long as nobody can write to them, sharing memory is safe.
    assert np.shares_memory(read["whole"], read["offset"])
    assert not any(array.flags.writeable for array in read.values() if array.size)


def test_big_endian_files(tmp_path: Path) -> None:
    expected = {
        "float32": np.array([1.5, -0.0, 1e-45], np.float32),
        "float16": np.array([1.5, -0.0, 6e-8], np.float16),
        "int64": np.array([1, -2, 2**40]),
        "uint8": np.array([1, 2, 3], np.uint8),
        "bool": np.array([True, False, True]),
        "complex64": np.array([1 + 2j, 3, 4], np.complex64),
    }
    stored = {key: array.astype(array.dtype.newbyteorder(">")) for key, array in expected.items()}
    expected["bfloat16"] = np.array([1.5, -0.0, 3.0], np.float32)
    stored["bfloat16"] = (expected["bfloat16"].view(np.uint32) >> 16).astype(">u2")
    tensors = {key: StoredTensor(Storage(key, key, 3), 0, (3,), (1,)) for key in expected}
    storages = {key: array.tobytes() for key, array in stored.items()}
    content = torch_pickle.dump(tensors)
    (tmp_path / "x.pth").write_bytes(zip_file(content, storages, b"big"))
    for key, array in arrays(tmp_path / "x.pth").items():
        assert array.dtype == expected[key].dtype
        assert array.tobytes() == expected[key].tobytes()
    assert "byte order b'middle'" in refusal(
        tmp_path / "x.pth", zip_file(content, storages, b"middle")
    )


@each_format
def test_the_stride_of_an_axis_of_size_one_does_not_matter(tmp_path: Path, make: Make) -> None:
    tensor = StoredTensor(VECTOR.storage, 0, (1, 4, 1), (2**62, 1, 0))
    content = make(torch_pickle.dump({"a": tensor}), {"0": FLOATS.tobytes()})
    (tmp_path / "x.pth").write_bytes(content)
    array = arrays(tmp_path / "x.pth")["a"]
    np.testing.assert_array_equal(array, FLOATS.reshape(1, 4, 1), strict=True)


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_scalars_of_every_numpy_beside_the_weights(tmp_path: Path, module: str) -> None:
    score = pickle.dumps(np.float64(29.35), protocol=2)[2:-1].replace(
        b"numpy._core", module.encode()
    )
    state_dict = torch_pickle.dump({"a": VECTOR})[2:-1]
    content = b"\x80\2}(X\4\0\0\0best" + score + b"X\x0a\0\0\0state_dict" + state_dict + b"u."
    (tmp_path / "x.pth").write_bytes(zip_file(content, {"0": FLOATS.tobytes()}))
    np.testing.assert_array_equal(arrays(tmp_path / "x.pth")["a"], FLOATS)


NOT_PYTORCH = {
    "web page": (b"<!DOCTYPE html><html>", "it starts with b'<!DOCTYPE html>"),
    "picture": (b"\x89PNG\r\n\x1a\n", "it starts with b'\\x89PNG"),
    "text": (b"hello\nworld", "it starts with b'hello\\nworld'"),
    "a number": (pickle.dumps(5), "is a pickle, but not one of torch.save"),
    "arrays": (pickle.dumps({"a": FLOATS}, protocol=4), "is a pickle, but not one of torch.save"),
    "half a pickle": (pickle.dumps({"a": 1})[:-3], "damaged or cut off near byte"),
    "no opcode": (b"\x80\x02\xff", "damaged or cut off near byte"),
    "other version": (old_file(b"", {}).replace(b"M\xe9\x03", b"M\xea\x03"), "its version 1001"),
    "zip": (zip_file(b"", {}).replace(b"data.pkl", b"data.txt"), "but not one of torch.save"),
    "half a zip": (zip_file(b"", {})[:-9], "is a damaged or cut off zip archive"),
    "TorchScript": (
        zip_file(b"", {}).replace(b"x/byteorder", b"x/code/a.py"),
        "is a TorchScript archive",
    ),
}


@pytest.mark.parametrize(("content", "message"), NOT_PYTORCH.values(), ids=NOT_PYTORCH)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path / "x.pth", content)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth: cannot be read: No such file or directory"):
        read_torch(tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_torch(tmp_path)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = {**weights.network(), **weights.views(), "complex": np.array([1j], np.complex64)}
    written["big endian"] = written["double"].astype(">f8")
    write_torch(tmp_path / "x.pth", written, {"num_stages": 3})
    assert read_torch(tmp_path / "x.pth").root["num_stages"] == 3
    read = arrays(tmp_path / "x.pth")
    assert list(read) == list(written)
    for key, array in written.items():
        assert read[key].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[key], array)
    first = (tmp_path / "x.pth").read_bytes()
    write_torch(tmp_path / "x.pth", written, {"num_stages": 3})
    assert (tmp_path / "x.pth").read_bytes() == first


def test_types_pytorch_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.pth: 'b' is <U1, which \.pth files cannot hold"):
        write_torch(tmp_path / "x.pth", {"a": FLOATS, "b": np.array(["c"])})
    assert list(tmp_path.iterdir()) == []


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    write_torch(path, {"a": FLOATS})
    before = path.read_bytes()

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(UserError, match=r"x\.pth: cannot be written: No space left on device"):
        write_torch(path, {"b": FLOATS})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none/x\.pth: cannot be written: No such file or dir"):
        write_torch(tmp_path / "none" / "x.pth", {"a": FLOATS})
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        write_torch(tmp_path, {"a": FLOATS})
    assert list(tmp_path.parent.glob(".*.tmp")) == []


def test_a_written_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    write_torch(tmp_path / "x.pth", {"a": FLOATS})
    assert (tmp_path / "x.pth").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_unpacked_archive_is_read_and_links_in_it_are_not_followed(tmp_path: Path) -> None:
    content = zip_file(torch_pickle.dump({"a": VECTOR}), {"0": FLOATS.tobytes()})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "net")
    for path in (tmp_path / "net", tmp_path / "net" / "x"):
        np.testing.assert_array_equal(arrays(path)["a"], FLOATS)
    part = tmp_path / "net" / "x" / "data" / "0"
    secret = tmp_path / "secret"
    part.rename(secret)
    part.symlink_to(secret)
    with pytest.raises(UserError, match="has no part 'data/0'"):
        arrays(tmp_path / "net")
    elsewhere = StoredTensor(Storage("../../../secret", "float32", 4), 0, (4,), (1,))
    (tmp_path / "net" / "x" / "data.pkl").write_bytes(torch_pickle.dump({"a": elsewhere}))
    with pytest.raises(UserError, match=r"has no part 'data/\.\./\.\./\.\./secret'"):
        arrays(tmp_path / "net")


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, part in files.items():
            archive.writestr(name, part)
    return content.getvalue()


def test_an_archive_that_was_packed_again_is_read(tmp_path: Path) -> None:
    pickled, path = torch_pickle.dump({"a": VECTOR}), tmp_path / "x.pth"
    for folder in ("", "net/", "downloads/net/"):
        files = {f"{folder}data.pkl": pickled, f"{folder}data/0": FLOATS.tobytes()}
        path.write_bytes(packed(files | {"__MACOSX/net/data.pkl": b"", f"{folder}.DS_Store": b""}))
        np.testing.assert_array_equal(arrays(path)["a"], FLOATS)
    assert "with 'net.pth' in it; unpack it first" in refusal(path, packed({"net.pth": b"PK"}))
    unusual = packed({"data.pkl": pickled}, zipfile.ZIP_LZMA)
    assert "compressed by an unusual method" in refusal(path, unusual)


def test_what_unpacks_to_more_than_weights_do_is_refused_unread(tmp_path: Path) -> None:
    zeros = StoredTensor(Storage("0", "float32", 10**7), 0, (10**7,), (1,))
    bomb = packed({"data.pkl": torch_pickle.dump({"a": zeros}), "data/0": bytes(4 * 10**7)})
    tracemalloc.start()
    try:
        assert "claims to unpack to 40,000,1" in refusal(tmp_path / "x.pth", bomb)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()

"""safetensors files: what is written comes back, and bad files are told in one line."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from dgunet_jax.convert.safetensors_file import read_safetensors, write_safetensors
from dgunet_jax.system.errors import UserError
from tests.fixtures import weights


def with_header(header: object, size: int = 0) -> bytes:
    content = json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + bytes(size)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    arrays = {**weights.network(), **weights.views()}  # transposed and strided ones among them
    arrays["big endian"] = arrays["double"].astype(">f8")
    arrays["uint64"] = np.array([2**64 - 1], np.uint64)
    metadata = {"variant": "derain", "note": "größer\n7 × 7"}
    write_safetensors(tmp_path / "x.safetensors", arrays, metadata)
    read, read_metadata = read_safetensors(tmp_path / "x.safetensors")
    assert read_metadata == metadata
    assert set(read) == set(arrays)
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[key], array)
        assert not array.size or not read[key].flags.writeable
    library = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    for key, array in arrays.items():
        np.testing.assert_array_equal(library[key], array)


@pytest.mark.parametrize("arrays", [{}, {"a": np.arange(3)}], ids=["no array", "one array"])
def test_no_metadata(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    write_safetensors(tmp_path / "x.safetensors", arrays, {})
    read, metadata = read_safetensors(tmp_path / "x.safetensors")
    assert metadata == {}
    assert list(read) == list(arrays)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = np.array([1.5, -0.0, 3e38, np.inf]).astype(ml_dtypes.bfloat16)
    write_safetensors(tmp_path / "x.safetensors", {"a": values}, {})
    arrays, _ = read_safetensors(tmp_path / "x.safetensors")
    assert arrays["a"].dtype == np.float32
    assert arrays["a"].tobytes() == values.astype(np.float32).tobytes()


BAD_FILES = {
    "empty": (b"", "no safetensors file"),
    "text": (b"hello world, this is a text", "no safetensors file"),
    "cut off": (safetensors.numpy.save({"a": np.arange(9)})[:-1], "no safetensors file"),
    "type": (
        with_header({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, 2),
        "'a' has elements of the unsupported type F8_E4M3",
    ),
    "shape": (
        with_header({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}),
        "'a' has an impossible shape",
    ),
    "claim": (
        with_header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        "no safetensors file",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_told_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_safetensors(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    path = tmp_path / "x.safetensors"
    write_safetensors(path, weights.network(), {"variant": "derain"})
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content[: random.randint(1, 2 * len(content))])
        # Most of the file is elements, which carry no checksum; the header is what can be wrong.
        for at in random.randint(min(len(damaged), 500), size=random.randint(3)):
            damaged[at] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        try:
            read_safetensors(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert len(str(error).splitlines()) == 1


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        read_safetensors(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        write_safetensors(tmp_path / "none" / "x.safetensors", {}, {})


def test_types_the_format_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": np.arange(3)}, {})
    before = path.read_bytes()
    with pytest.raises(UserError, match="'b' is complex64, which safetensors files cannot hold"):
        write_safetensors(path, {"b": np.zeros(2, np.complex64)}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

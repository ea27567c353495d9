"""Damaged files of PyTorch, and tensors that do not fit their storage, are told in one line."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.storage import Storage, StoredTensor
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

FIXTURES = Path(__file__).parents[1] / "fixtures"

WRONG_TENSORS = {
    "past the end": (VECTOR.storage, 0, (5,), (1,), "ends at element 5 of a storage that has 4"),
    "offset": (VECTOR.storage, 1, (4,), (1,), "ends at element 5"),
    "offset alone": (VECTOR.storage, 4, (), (), "ends at element 5"),
    "stride": (VECTOR.storage, 0, (2, 2), (3, 1), "ends at element 5"),
    "huge stride": (VECTOR.storage, 0, (2,), (2**62,), "ends at element"),
    "huge size": (VECTOR.storage, 0, (2**62,), (1,), "more than the file can hold"),
    "huge product": (VECTOR.storage, 0, (2**40,) * 9, (0,) * 9, "more than the file can hold"),
    "repeated": (VECTOR.storage, 0, (2**40, 4), (0, 1), "more than the file can hold"),
    "huge and empty": (VECTOR.storage, 0, (2**62, 0), (1, 1), "more than the file can hold"),
    "too many strides": (VECTOR.storage, 0, (4,), (1, 1), "1 sizes but 2 strides"),
    "negative size": (VECTOR.storage, 0, (-4,), (1,), "has a tensor with -4 as a size"),
    "negative stride": (VECTOR.storage, 3, (4,), (-1,), "has a tensor with -1 as a size"),
    "negative offset": (VECTOR.storage, -1, (4,), (1,), "has a tensor with -1 as a size"),
    "overflow": (VECTOR.storage, 2**63, (4,), (1,), "has a tensor with 9223372036854775808 as"),
    "40 axes": (VECTOR.storage, 0, (1,) * 40, (1,) * 40, "has a tensor with a tuple as its shape"),
    "short storage": (Storage("0", "float32", 5), 0, (4,), (1,), " in storage '0'"),
    "long storage": (Storage("0", "float32", 3), 0, (3,), (1,), "in storage '0', not "),
    "negative storage": (Storage("0", "float32", -1), 0, (3,), (1,), "has a persistent id"),
    "huge storage": (Storage("0", "float32", 2**62), 0, (3,), (1,), "storage '0'"),
}  # fmt: skip


@each_format
@pytest.mark.parametrize("wrong", WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_a_tensor_must_lie_within_its_storage(tmp_path: Path, make: Make, wrong: tuple) -> None:
    *fields, message = wrong
    content = make(torch_pickle.dump({"a": StoredTensor(*fields)}), {"0": FLOATS.tobytes()})
    assert message in refusal(tmp_path / "x.pth", content)


@each_format
def test_views_that_repeat_elements_claim_no_more_than_the_file(tmp_path: Path, make: Make) -> None:
    floats = np.ones(1000, np.float32)
    storage = Storage("0", "float32", 1000)
    views = {f"a{n}": StoredTensor(storage, n, (900,), (0,)) for n in range(1000)}
    content = make(torch_pickle.dump(views), {"0": floats.tobytes()})
    assert len(content) < 900 * 4 * 1000
    assert "claim more than the file can hold" in refusal(tmp_path / "x.pth", content)


def test_a_storage_must_be_there(tmp_path: Path) -> None:
    content, path = torch_pickle.dump({"a": VECTOR}), tmp_path / "x.pth"
    others = {"1": FLOATS.tobytes()}
    assert refusal(path, zip_file(content, others)) == "has a missing or damaged part 'x/data/0'"
    assert refusal(path, old_file(content, others)).startswith("does not list the storages")
    good = old_file(content, {"0": FLOATS.tobytes()})
    assert refusal(path, good[:-1]).startswith("is cut off in storage '0', at byte ")
    facts = pickle.dumps({"little_endian": True}, protocol=2)
    assert "names a storage where there is none" in refusal(path, good.replace(facts, content))


@each_format
def test_a_storage_has_one_type(tmp_path: Path, make: Make) -> None:
    other = StoredTensor(Storage("0", "int32", 4), 0, (4,), (1,))
    content = make(torch_pickle.dump({"a": VECTOR, "b": other}), {"0": FLOATS.tobytes()})
    assert "gives storage '0' two types or sizes" in refusal(tmp_path / "x.pth", content)


@pytest.mark.parametrize("value", [2.0, None, "4", b"4", [4], {}])
@each_format
def test_sizes_are_whole_numbers(tmp_path: Path, make: Make, value: object) -> None:
    good = pickle.dumps((4,), protocol=2)[2:-1]
    content = torch_pickle.dump({"a": VECTOR})
    assert content.count(good) == 1
    bad = content.replace(good, pickle.dumps((value,), protocol=2)[2:-1])
    message = refusal(tmp_path / "x.pth", make(bad, {"0": FLOATS.tobytes()}))
    assert "as a size, stride or offset" in message


def test_damaged_elements_in_a_zip_file_are_noticed(tmp_path: Path) -> None:
    content = zip_file(torch_pickle.dump({"a": VECTOR}), {"0": FLOATS.tobytes()})
    assert content.count(FLOATS.tobytes()) == 1
    changed = content.replace(FLOATS.tobytes(), FLOATS[::-1].tobytes())
    message = refusal(tmp_path / "x.pth", changed)
    assert message == "has a missing or damaged part 'x/data/0'"


def test_zip_members_that_unpack_to_more_than_the_file(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**6))
    assert "claims to unpack to 1,000,000 bytes" in refusal(tmp_path / "x.pth", file.getvalue())

    # A directory whose entries are all the same member.
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", torch_pickle.dump({"a": VECTOR}))
        archive.writestr("x/data/0", FLOATS.tobytes() * 100)
        for number in range(1, 10):
            member = zipfile.ZipInfo(f"x/data/{number}")
            for name in ("header_offset", "CRC", "file_size", "compress_size", "external_attr"):
                setattr(member, name, getattr(archive.infolist()[1], name))
            archive.filelist.append(member)
    assert "members claim to be larger than the file" in refusal(
        tmp_path / "x.pth", file.getvalue()
    )


def damaged(content: bytes, random: np.random.RandomState) -> bytes:
    """`content` cut off, with bits flipped, or with a piece overwritten, removed or repeated."""
    start = random.randint(len(content))
    piece = slice(start, start + random.randint(1, 40))
    flipped = bytearray(content)
    for at in random.randint(len(content), size=random.randint(1, 6)):
        flipped[at] ^= 1 << random.randint(8)
    variants = (
        content[:start],
        bytes(flipped),
        content[:start] + b"\xff" * len(content[piece]) + content[piece.stop :],
        content[:start] + content[piece.stop :],
        content[: piece.stop] + content[start:],
    )
    return variants[random.randint(len(variants))]


@pytest.mark.parametrize("name", ["legacy", "zip_wrapped", "views", "data.pkl"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    random = np.random.RandomState(3)
    path = tmp_path / "x.pth"
    if name == "data.pkl":  # where the zip format has no checksum in front of the pickle
        with zipfile.ZipFile(FIXTURES / "views.pth") as archive:
            folder = archive.namelist()[0].split("/")[0]
            pickled = archive.read(f"{folder}/data.pkl")
            files = [file for file in archive.namelist() if "/data/" in file]
            storages = {file.split("/")[-1]: archive.read(file) for file in files}
        variants = [zip_file(damaged(pickled, random), storages) for _ in range(100)]
    else:
        content = (FIXTURES / f"{name}.pth").read_bytes()
        variants = [damaged(content, random) for _ in range(50)]
    refused = 0
    for variant in variants:
        path.write_bytes(variant)
        try:
            read = arrays(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert len(str(error).splitlines()) == 1
        else:
            assert sum(array.nbytes for array in read.values()) < 1e6
    assert refused > len(variants) / 4

"""Paths on remote storage, by fsspec's storage in memory."""

import errno
import pickle
import stat
from pathlib import Path

import fsspec
import pytest

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.system import storage
from dgunet_jax.system.arrays import read_array
from dgunet_jax.system.files import check_folder, locked, read_bytes, replacing, user_path
from dgunet_jax.system.storage import Growing, as_path, is_remote
from dgunet_jax.training import loop
from tests.small import network
from tests.training.settings import settings


@pytest.fixture
def folder():
    place = fsspec.filesystem("memory")
    place.store.clear()
    place.pseudo_dirs[:] = [""]
    return as_path("memory://bucket/set")


def test_paths_keep_both_slashes(folder):
    path = folder / "a" / "b.png"
    assert [str(p) for p in (folder, path, path.parent.parent)] == [
        "memory://bucket/set",
        "memory://bucket/set/a/b.png",
        "memory://bucket/set",
    ]
    assert (path.name, path.stem, path.suffix) == ("b.png", "b", ".png")
    assert str(path.with_suffix(".jpg")) == "memory://bucket/set/a/b.jpg"
    assert str(path.relative_to(folder)) == "a/b.png"
    assert Path("out") / path.relative_to(folder) == Path("out/a/b.png")
    assert str(folder / Path("x/y")) == "memory://bucket/set/x/y"
    assert pickle.loads(pickle.dumps(path)) == path == as_path(str(path))
    assert as_path(path) is path
    assert sorted([folder / "b", folder / "a"]) == [folder / "a", folder / "b"]


def test_a_listing_tells_files_from_folders(folder):
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(name.encode())
    assert {p.name: stat.S_ISDIR(p.stat().st_mode) for p in folder.iterdir()} == {
        "a.png": False,
        "sub": True,
    }
    assert (folder / "a.png").stat().st_size == 5
    assert folder.is_dir() and not folder.is_file() and (folder / "a.png").is_file()
    before = (folder / "a.png").stat()
    (folder / "a.png").write_bytes(b"other")
    assert (folder / "a.png").stat().st_mtime_ns != before.st_mtime_ns


def test_what_is_missing_is_told_as_by_the_file_system(folder):
    (folder / "a.png").write_bytes(b"a")
    for act, kind in (
        (lambda: (folder / "none").read_bytes(), FileNotFoundError),
        (lambda: (folder / "none").stat(), FileNotFoundError),
        (lambda: (folder / "none").unlink(), FileNotFoundError),
        (lambda: (folder / "none").rename(folder / "b"), FileNotFoundError),
        (lambda: [*(folder / "none").iterdir()], FileNotFoundError),
        (lambda: [*(folder / "a.png").iterdir()], NotADirectoryError),
    ):
        with pytest.raises(kind) as caught:
            act()
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)
    (folder / "none").unlink(missing_ok=True)
    assert not (folder / "none").exists()
    with pytest.raises(UserError, match="memory://bucket/set/none: cannot be read: No such file"):
        read_bytes(folder / "none")


def test_folders_are_renamed_with_all_that_is_in_them(folder):
    (folder / "a" / "b").write_bytes(b"b")
    (folder / "a").rename(folder / "c")
    assert not (folder / "a").exists()
    assert (folder / "c" / "b").read_bytes() == b"b"


def test_nothing_is_written_before_it_is_whole(folder):
    path = folder / "file"
    with replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
    with pytest.raises(ValueError), replacing(path) as file:
        file.write(b"second")
        raise ValueError
    assert path.read_bytes() == b"first"
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_errors_of_a_storage_are_one_line(folder, monkeypatch):
    def refuse(*arguments, **more):
        raise ConnectionError("the connection\nis lost")

    for name in ("exists", "pipe_file", "cat_file"):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), name, refuse)
    line = "memory://bucket/set: cannot be written: .*the connection is lost"
    with pytest.raises(UserError, match=line):
        check_folder(folder)
    with pytest.raises(UserError, match=line), locked(folder):
        pass
    with pytest.raises(UserError, match=line), replacing(folder):
        pass
    with pytest.raises(UserError, match=r"cannot be read: .*the connection is lost"):
        read_bytes(folder)


def test_storage_that_is_not_known_or_has_no_library(monkeypatch):
    with pytest.raises(UserError, match=r"nowhere://: is not a known storage"):
        user_path("nowhere://bucket")

    def missing(*arguments, **more):
        raise ImportError("no s3fs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UserError, match=r"s3://: cannot be read; install s3fs"):
        user_path("s3://bucket")


def test_checkpoints_are_not_written_where_orbax_cannot(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="memory://bucket/set/run: checkpoints can be on a disk"):
        dgunet_jax.save(folder / "run", *network())
    with pytest.raises(UserError, match="checkpoints can be on a disk or on gs://, s3://"):
        loop.train(settings(), folder / "run")
    assert not [*tmp_path.iterdir()]


def test_names_that_are_not_remote():
    for text in ("a/b", "C:/x", "tfds:b", "~/x", "./gs:/b"):
        assert not is_remote(text)
        assert isinstance(as_path(text), Path)


def test_arrays_are_read(folder, tmp_path):
    import numpy as np

    np.save(tmp_path / "y.npy", np.arange(3.0))
    (folder / "y.npy").write_bytes((tmp_path / "y.npy").read_bytes())
    assert read_array(folder / "y.npy", "y").tolist() == [0, 1, 2]
    (folder / "y.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"^memory://bucket/set/y.npy: cannot be read"):
        read_array(folder / "y.npy", "y")


def test_a_growing_file_is_uploaded_now_and_then_and_at_the_end(folder, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(storage.time, "monotonic", lambda: now[0])
    path = folder / "lines"
    file = Growing(path)
    file.write(b"a")
    assert not path.exists()
    now[0] += 31
    file.write(b"b")
    assert path.read_bytes() == b"ab"
    file.write(b"c")
    assert path.read_bytes() == b"ab"
    file.flush()
    assert path.read_bytes() == b"abc"
    file.write(b"d")
    file.close()
    assert path.read_bytes() == b"abcd"
    more = Growing(path, keep=True)
    more.write(b"e")
    more.close()
    assert path.read_bytes() == b"abcde"

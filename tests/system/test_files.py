"""Whole files: bytes in, and bytes out that are never half written."""

import os
from pathlib import Path

import pytest

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import check_folder, read_bytes, replacing, user_path


def test_files_are_replaced_when_they_are_complete(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert read_bytes(path) == b"after"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file"
    with pytest.raises(UserError) as caught, replacing(path) as file:
        file.write(b"half")
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert os.listdir(tmp_path) == []


def test_new_files_have_the_permissions_of_any_other(tmp_path: Path):
    with replacing(tmp_path / "file"):
        pass
    (tmp_path / "other").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_names_as_long_as_names_can_be(tmp_path: Path):
    path = tmp_path / ("n" * 255)
    with replacing(path) as file:
        file.write(b"content")
    assert read_bytes(path) == b"content"


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        read_bytes(tmp_path / "missing")
    assert str(caught.value) == f"{tmp_path / 'missing'}: cannot be read: No such file or directory"
    with pytest.raises(UserError) as caught, replacing(tmp_path):
        pass
    assert str(caught.value) == f"{tmp_path}: cannot be written: Is a directory"
    path = tmp_path / "missing" / "file"
    with pytest.raises(UserError) as caught, replacing(path):
        pass
    assert str(caught.value) == f"{path}: cannot be written: No such file or directory"


def test_folders_that_cannot_be_are_told_before_the_work(tmp_path: Path):
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deep")
    assert not os.listdir(tmp_path)
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "file", "cannot be made: .*/file is not a directory"),
        (tmp_path / "file" / "deep", "cannot be made: .*/file is not a directory"),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
    ):
        with pytest.raises(UserError, match=message):
            check_folder(path)
    with pytest.raises(UserError, match="/proc/new: cannot be written"):
        check_folder("/proc/new")


def test_user_path_finds_the_home_directory(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~draft.png").touch()
    for text, path in {
        "~": tmp_path,
        "~/run": tmp_path / "run",
        "./~/run": Path("~/run"),
        "~draft.png": Path("~draft.png"),
        "a~/b": Path("a~/b"),
        "tfds:b": Path("tfds:b"),
        "C:/pictures": Path("C:/pictures"),
    }.items():
        assert user_path(text) == path


def test_user_path_tells_a_home_directory_that_is_not_known(tmp_path: Path, monkeypatch):
    def nobody(_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()  # made by a program that did not know it
    for text, user in {"~/run": "~", "~": "~", "~no-such-user/run": "~no-such-user"}.items():
        with pytest.raises(UserError) as caught:
            user_path(text)
        assert str(caught.value) == f"{text}: the home directory {user} is not known"

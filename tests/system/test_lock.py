"""One run at a time, and every reason for none is told."""

import errno
import fcntl
import os

import pytest

from dgunet_jax import UserError
from dgunet_jax.system.files import locked
from tests.evaluation.disk import full_disk


def test_another_run_is_told_by_its_process(tmp_path):
    with (
        locked(tmp_path / "out"),
        pytest.raises(UserError, match=r"out: another run is using it \(process \d+ on .+\)$"),
        locked(tmp_path / "out"),
    ):
        pass
    with locked(tmp_path / "out"):
        pass


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*words):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"out: cannot be locked: No locks available$"),
        locked(tmp_path / "out"),
    ):
        pass


def test_a_full_disk_is_told(tmp_path):
    with (
        full_disk(0),
        pytest.raises(UserError, match=r"out/lock: cannot be written: File too large$"),
        locked(tmp_path / "out"),
    ):
        pass


def test_locked_takes_over_what_a_killed_process_left(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("process 1 on a-machine-with-a-long-name.example.org")
    with locked(tmp_path):
        assert lock.read_text() == f"process {os.getpid()} on {os.uname().nodename}"


@pytest.mark.parametrize("content", ["my notes", "process 7 on host\nand more", "\n"])
def test_locked_leaves_a_file_of_that_name_alone(tmp_path, content):
    lock = tmp_path / "lock"
    lock.write_text(content)
    message = r"/lock: is not a lock of dgunet_jax; move it away, or choose another directory$"
    with pytest.raises(UserError, match=message), locked(tmp_path):
        pass
    assert lock.read_text() == content


@pytest.mark.parametrize("target", ["precious", "missing"])
def test_locked_does_not_follow_a_link(tmp_path, target):
    (tmp_path / "precious").write_text("process 1 on host")
    (tmp_path / "lock").symlink_to(target)
    with pytest.raises(UserError, match="/lock: is not a lock of dgunet_jax"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "process 1 on host"
    assert sorted(os.listdir(tmp_path)) == ["lock", "precious"]


def test_locked_refuses_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(UserError, match="/lock: is not a lock of dgunet_jax"), locked(tmp_path):
        pass
    (tmp_path / "run" / "lock").mkdir(parents=True)
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="run: cannot be written: Is a directory"), locked(folder):
        pass


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"^wrong$"), locked(tmp_path / "run"):
        raise UserError("wrong")
    assert not (tmp_path / "run").exists()
    (tmp_path / "old").mkdir()
    for folder, made in (("old", ()), ("new", ("results",))):
        with pytest.raises(KeyboardInterrupt), locked(tmp_path / folder):
            for name in made:
                (tmp_path / folder / name).touch()
            raise KeyboardInterrupt
        assert sorted(os.listdir(tmp_path / folder)) == ["lock", *made]

"""One run at a time, and every reason for none is told."""

import errno
import fcntl

import pytest

from dgunet_jax import UserError
from dgunet_jax.lock import locked
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

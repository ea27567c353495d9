import pytest

from tests.fuzz.restoring import run, run_hostile, run_locked, run_redirected


def test_fifty_files_are_restored_or_named(tmp_path):
    fates = run(tmp_path, 50, seed=1)
    assert fates["restored"] >= 30
    assert fates["failed"] >= 5


def test_hostile_files_are_restored_or_named_within_the_memory(tmp_path):
    fates = run_hostile(tmp_path, seed=1)
    assert fates["restored"] >= 14
    assert fates["failed"] >= 9


def test_files_that_may_not_be_read_are_named(tmp_path):
    if run_locked(tmp_path) is None:
        pytest.skip("this administrator's privileges cannot be taken away: there is no setpriv")


def test_pictures_are_written_whatever_becomes_of_the_streams(tmp_path):
    run_redirected(tmp_path, {"2>&-": 0})

from tests.fuzz.restoring import run


def test_fifty_files_are_restored_or_named(tmp_path):
    fates = run(tmp_path, 50, seed=1)
    assert fates["restored"] >= 30
    assert fates["failed"] >= 5

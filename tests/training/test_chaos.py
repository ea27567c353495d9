from tests.training.chaos import Chaos, same, saved, saving

TOY = "tests/training/toy.py"


def test_a_run_killed_twice_ends_as_a_quiet_one(tmp_path):
    log: list[str] = []
    chaos = Chaos(TOY, tmp_path, log.append)
    chaos.finish(tmp_path / "quiet")
    workdir = tmp_path / "killed"
    for when in (saved, saving):
        assert chaos.kill(workdir, when), log
    chaos.finish(workdir, "--config.data.workers=0")
    assert same(tmp_path / "quiet", workdir), log
    assert "from the start" in log[0]
    assert all("going on from step" in line for line in log[1:]), log

"""What a run was made with is kept, and is that of these sources."""

import json
import subprocess

import pytest

from dgunet_jax import UserError
from dgunet_jax.system import provenance
from tests.training.settings import settings


def test_every_start_adds_an_entry(tmp_path):
    provenance.record(tmp_path, settings())
    provenance.record(tmp_path, settings(data={"patch": 24}))
    runs = json.loads((tmp_path / "run.json").read_text())
    assert [run["config"]["data"]["patch"] for run in runs] == [16, 24]


@pytest.mark.parametrize("content", ["[{", "{}", "\xff"])
def test_a_damaged_record_is_told_and_kept(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"run\.json: is no record of a run; move it away"):
        provenance.record(tmp_path, settings())
    assert path.read_text(encoding="latin-1") == content


def test_the_commit_is_that_of_the_sources_and_not_of_a_repository_around(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    file = tmp_path / "site-packages" / "provenance.py"
    file.parent.mkdir()
    file.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(file))
    assert provenance.git_state() is None
    git("init")
    git("commit", "--allow-empty", "-m", "another project")
    assert provenance.git_state() is None
    git("add", ".")
    git("commit", "-m", "the sources")
    state = provenance.git_state()
    assert state is not None
    assert (len(state["commit"]), state["changed"]) == (40, False)
    file.write_text("changed")
    state = provenance.git_state()
    assert state is not None and state["changed"]

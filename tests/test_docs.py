"""The pages of docs/ are true: their code runs, and what they link to is there."""

import doctest
import pathlib
import re
import shutil

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text()],
                         ids=lambda page: page.name)  # fmt: skip
def test_code_runs_as_it_stands_there(page, tmp_path, monkeypatch):
    shutil.copytree(DOCS.parent / "experiments/models", tmp_path / "experiments/models")
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_linked_is_there(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target

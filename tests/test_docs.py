"""The pages of docs/ are true: their code runs, and what they link to is there."""

import doctest
import pathlib
import re
import shlex
import shutil

import pytest

from dgunet_jax import cli, main
from dgunet_jax.evaluation.protocols import protocols
from dgunet_jax.training.config import read_config

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text()],
                         ids=lambda page: page.name)  # fmt: skip
def test_code_runs_as_it_stands_there(page, tmp_path, monkeypatch):
    shutil.copytree(DOCS.parent / "experiments/models", tmp_path / "experiments/models")
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES + TUTORIALS, ids=lambda page: page.name)
def test_what_is_linked_is_there(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


TRAIN = "python -m dgunet_jax.main"
_COMMAND = re.compile(rf"(?:XLA_FLAGS=\S+ )?((?:dgunet|TRAIN|{TRAIN}) .+)")
_LETTERS = {"_R": "_25", "_S": "_25", "=R": "=25", "(S)": "(25)"}  # that stand for numbers


def commands(page):
    """The commands in indented lines and in the cells of tables."""
    for line in page.read_text().splitlines():
        cells = re.findall("`([^`]+)`", line) if line.startswith("|") else [line.strip()]
        for cell in cells if line.startswith(("|", "    ")) else []:
            if (found := _COMMAND.fullmatch(cell)) and " --" in cell:
                text = found[1].replace("TRAIN", TRAIN)
                for letter, number in _LETTERS.items():
                    text = re.sub(re.escape(letter) + r"(?![a-zA-Z])", number, text)
                yield text


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))],
                         ids=lambda page: page.name)  # fmt: skip
def test_commands_can_be_given_as_they_stand_there(page):
    for text in commands(page):
        words = shlex.split(text, comments=True)
        if words[0] == "dgunet" and words[1] != "train":
            if words[1].startswith("-") or "…" in text:
                continue
            options = cli.parser().parse_args(words[1:])
            if getattr(options, "dataset", None):
                protocols(options.dataset)
        else:
            options, changes = main.parse(words[3:])
            read_config(options.config, changes)


def shell_lines(page):
    """Return the lines of a page's shell blocks, and its indented commands."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^ {4,}(dgunet .*)$", page.read_text(), re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + shown


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_commands_of_tutorials_parse(page):
    """Read them only; `make docs` runs those in blocks."""
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] == "dgunet":
            cli.parser().parse_args(words[1:])
        elif line.startswith(TRAIN):
            main.parse(words[3:])


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_are_run_and_show_what_they_write(page):
    text = page.read_text()
    languages = re.findall(r"^```(\S.*)$", text, re.MULTILINE)
    assert {each.split(" title=")[0] for each in languages} <= {"python", "sh"}
    assert len(languages) == text.count("\n```\n")
    pictures = re.findall(r"<!-- pictures: (.+) -->", text)
    assert pictures and len(pictures) == text.count("<!--")
    for each in "|".join(pictures).split("|"):
        assert re.fullmatch(r" ?[\w./]+\.(png|jpg): .+", each), each

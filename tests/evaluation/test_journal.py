"""Scores are on the disk at once, and only those that still hold are taken from there."""

import contextlib
import gc
import math

import pytest

from dgunet_jax import UserError
from dgunet_jax.evaluation.scores import Scores
from dgunet_jax.evaluation.scoring import Journal
from tests.evaluation.disk import full_disk

IDENTITY = {"protocol": "rgb", "checkpoint_sha256": "ab", "tile": None}


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("pixels")
    return (path,)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.jsonl"


def known(journal, name, files):
    """The scores of a picture; None if it is not there, or has changed."""
    return journal.scores(name) if journal.holds(name, files) else None


def test_scores_come_back_bit_for_bit(path, files):
    scores = {"a": Scores(1 / 3, 2 / 3), "b": Scores(math.inf, 1.0), "ü-€": Scores(31.25, -0.125)}
    journal = Journal(path, IDENTITY)
    for name, each in scores.items():
        journal.add(name, files, each)
    again = Journal(path, IDENTITY)  # while the first is open: nothing waits in a buffer
    assert {name: known(again, name, files) for name in scores} == scores
    assert not again.holds("c", files)
    journal.close()
    again.close()


def test_a_line_that_was_cut_off_is_taken_away(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, Scores(1, 1))
    journal.add("b", files, Scores(2, 1))
    journal.close()
    whole = path.read_bytes()
    for cut in (whole.rfind(b"\n", 0, -1) + 1, len(whole) - 1, len(whole) - 9, 5):
        path.write_bytes(whole[:cut] + b" " * 200)  # more than the line that takes its place
        journal = Journal(path, IDENTITY)
        assert not journal.holds("b", files)
        for name, psnr in (("a", 1), ("b", 2)):
            if not journal.holds(name, files):
                journal.add(name, files, Scores(psnr, 1))
        journal.close()
        assert path.read_bytes() == whole


def test_a_picture_whose_file_has_changed_is_scored_again(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, Scores(1, 1))
    files[0].write_text("other pixels")
    assert not journal.holds("a", files)
    journal.add("a", files, Scores(2, 1))
    assert known(journal, "a", files) == Scores(2, 1)
    journal.close()


def test_pictures_nobody_can_score_are_known_too(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, None)
    journal.close()
    journal = Journal(path, IDENTITY)
    assert journal.holds("a", files)
    assert journal.scores("a") is None
    journal.close()


def test_another_evaluation_is_refused(path, files):
    Journal(path, IDENTITY).close()
    with pytest.raises(UserError) as error:
        Journal(path, IDENTITY | {"checkpoint_sha256": "cd"})
    assert str(error.value) == (
        f"{path.parent}: holds another evaluation (checkpoint_sha256 ab, now cd);"
        " choose another --output"
    )


def test_what_the_file_says_beside_is_told(path):
    Journal(path, IDENTITY | {"noise": 3}).close()
    with pytest.raises(UserError, match=r"holds another evaluation \(noise 3, now None\); choose"):
        Journal(path, IDENTITY)


@pytest.mark.parametrize("first", ["[]", "3", "null", '"words"'])
def test_a_first_line_of_another_kind_is_damage(path, first):
    path.write_text(f"{first}\n")
    with pytest.raises(UserError, match=r"scores\.jsonl: is damaged"):
        Journal(path, IDENTITY)


def test_a_full_disk_is_one_line(path, files):
    journal = Journal(path, IDENTITY)
    before = path.read_bytes()
    line = r"scores\.jsonl: cannot be written: File too large"
    with (
        full_disk(len(before) + 5),
        pytest.raises(UserError, match=line),
        contextlib.closing(journal),
    ):
        journal.add("a", files, Scores(1, 1))
    Journal(path, IDENTITY).close()
    assert path.read_bytes() == before
    path.unlink()
    with full_disk(5), pytest.raises(UserError, match=line):
        Journal(path, IDENTITY)
    gc.collect()  # nothing is left that would write when it is forgotten


LINES = [b"words\n", b"[]\n", b'{"name": "a"}\n', b'{"name": "a", "psnr": "1"}\n', b"\xff\n"]


@pytest.mark.parametrize("line", LINES)
def test_damage_is_told(path, line):
    Journal(path, IDENTITY).close()
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=r"scores\.jsonl: is damaged"):
        Journal(path, IDENTITY)

"""Samples are scored one after the other, and a run that was stopped goes on."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation import scoring
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.evaluation.real_noise import Submission
from dgunet_jax.evaluation.samples import Degraded, RestoredSample, Sample
from dgunet_jax.evaluation.scores import Scores, compare
from dgunet_jax.evaluation.scoring import Journal, extremes
from dgunet_jax.images import read
from tests.evaluation.disk import full_disk
from tests.evaluation.folders import clean, degraded, errors, pairs, results, save

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


def test_journal_returns_scores_bit_for_bit(path, files):
    scores = {"a": Scores(1 / 3, 2 / 3), "b": Scores(math.inf, 1.0), "ü-€": Scores(31.25, -0.125)}
    journal = Journal(path, IDENTITY)
    for name, each in scores.items():
        journal.add(name, files, each)
    again = Journal(path, IDENTITY)  # while the first is open: nothing waits in a buffer
    assert {name: known(again, name, files) for name in scores} == scores
    assert not again.holds("c", files)


def test_journal_removes_a_line_that_was_cut_off(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, Scores(1, 1))
    journal.add("b", files, Scores(2, 1))
    whole = path.read_bytes()
    for cut in (whole.rfind(b"\n", 0, -1) + 1, len(whole) - 1, len(whole) - 9, 5):
        path.write_bytes(whole[:cut] + b" " * 200)  # more than the line that takes its place
        journal = Journal(path, IDENTITY)
        assert not journal.holds("b", files)
        for name, psnr in (("a", 1), ("b", 2)):
            if not journal.holds(name, files):
                journal.add(name, files, Scores(psnr, 1))
        assert path.read_bytes() == whole


def test_journal_forgets_samples_whose_files_have_changed(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, Scores(1, 1))
    files[0].write_text("other pixels")
    assert not journal.holds("a", files)
    journal.add("a", files, Scores(2, 1))
    assert known(journal, "a", files) == Scores(2, 1)


def test_journal_holds_samples_without_scores(path, files):
    journal = Journal(path, IDENTITY)
    journal.add("a", files, None)
    journal = Journal(path, IDENTITY)
    assert journal.holds("a", files)
    assert journal.scores("a") is None


def test_journal_refuses_another_evaluation(path, files):
    Journal(path, IDENTITY)
    with pytest.raises(UserError) as error:
        Journal(path, IDENTITY | {"checkpoint_sha256": "cd"})
    assert str(error.value) == (
        f"{path.parent}: holds another evaluation (checkpoint_sha256 ab, now cd);"
        " choose another --output"
    )


def test_journal_refuses_an_unknown_part_of_the_identity(path):
    Journal(path, IDENTITY | {"noise": 3})
    with pytest.raises(UserError, match=r"holds another evaluation \(noise 3, now None\); choose"):
        Journal(path, IDENTITY)


@pytest.mark.parametrize("first", ["[]", "3", "null", '"words"'])
def test_journal_refuses_a_first_line_of_another_kind(path, first):
    path.write_text(f"{first}\n")
    with pytest.raises(UserError, match=r"scores\.jsonl: is damaged"):
        Journal(path, IDENTITY)


def test_journal_on_a_full_disk_is_one_line(path, files):
    journal = Journal(path, IDENTITY)
    before = path.read_bytes()
    line = r"scores\.jsonl: cannot be written: File too large"
    with full_disk(len(before) + 5), pytest.raises(UserError, match=line):
        journal.add("a", files, Scores(1, 1))
    Journal(path, IDENTITY)
    assert path.read_bytes() == before
    path.unlink()
    with full_disk(5), pytest.raises(UserError, match=line):
        Journal(path, IDENTITY)


LINES = [b"words\n", b"[]\n", b'{"name": "a"}\n', b'{"name": "a", "psnr": "1"}\n', b"\xff\n"]


@pytest.mark.parametrize("line", LINES)
def test_journal_refuses_damaged_lines(path, line):
    Journal(path, IDENTITY)
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=r"scores\.jsonl: is damaged"):
        Journal(path, IDENTITY)


@pytest.mark.parametrize("protocol", ["rgb", "dnd"])
def test_score_refuses_values_that_are_not_finite(tmp_path, protocol):
    image = unit_range(degraded(0))
    image[2:4, 3, 0] = np.nan, np.inf
    sample = Sample("x", image.shape[:2], (tmp_path,), (), lambda: Degraded(image, clean(0)))

    class Source:
        def files(self, sample):
            return sample.files

        def turns(self, samples, announce):
            yield iter([(sample, RestoredSample(sample, image, image, clean(0)))])

    submission = Submission(tmp_path) if protocol == "dnd" else None
    scored = scoring.score(PROTOCOLS[protocol], [sample], Source(), tmp_path, {}, submission)
    assert scored.images == []
    line = "the restored picture of x has 2 values that are not finite"
    assert scored.failures == [f"{tmp_path}: {line}"]


def test_score_names_what_fails_and_goes_on(evaluate, checkpoint):
    pairs(Path("data"), 6)
    Path("data/target/1.png").unlink()
    save(Path("data/target/2.png"), clean(2)[:, 1:])
    content = Path("data/input/3.png").read_bytes()
    Path("data/input/3.png").write_bytes(content[:-40])  # its header can be read
    Path("data/target/4.png").write_text("words")
    status, _, warned = evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint)
    assert status == 2
    named = errors(warned)
    for part in (
        "data/input/1.png: no target",
        "data/input/2.png is 32×24 and data/target/2.png 31×24 pixels large",
        "data/input/3.png: ",
        "data/target/4.png: not a picture, or damaged",
    ):
        assert sum(line.startswith(f"error: {part}") for line in named) == 1, part
    assert len(named) == 4
    assert "4 failed\n" in warned
    assert [each["name"] for each in results()["images"]] == ["0", "5"]
    assert sorted(results()["failures"]) == sorted(line[len("error: ") :] for line in named)
    # Once they are repaired, they are scored, and what has changed since, and nothing else.
    for i in range(1, 5):
        save(Path(f"data/input/{i}.png"), degraded(i))
        save(Path(f"data/target/{i}.png"), clean(i))
    os.utime("data/input/0.png", (1, 1))
    status, said, _ = evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint)
    assert status == 0
    assert {line.split(":")[0] for line in said.splitlines() if " dB, " in line} == set("01234")
    assert len(results()["images"]) == 6


def test_score_goes_on_after_an_interruption(evaluate, checkpoint, monkeypatch):
    pairs(Path("data"), 6)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*arguments, output="whole")[0] == 0
    done = []

    def stopping(*words):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(words)
        return compare(*words)

    monkeypatch.setattr(scoring, "compare", stopping)
    assert evaluate(*arguments)[0] == 130
    assert not Path("out/results.json").exists()
    monkeypatch.setattr(scoring, "compare", compare)
    status, said, warned = evaluate(*arguments)
    assert status == 0
    kept = int(warned.split(" of 6 pictures are scored already")[0].split()[-1])
    assert 1 <= kept <= 3
    assert said.count(" dB, ") == 6 - kept
    for name in ("results.json", "images.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    report = Path("out/report.html").read_text()
    assert report.count("data:image/png;base64,") == 6 * 4


def test_score_goes_on_after_a_limit(evaluate):
    pairs(Path("data"), 4)
    arguments = ["--protocol", "rgb", "--data", "data", "--restored", "data/input"]
    assert evaluate(*arguments, "--limit", 2)[0] == 0
    assert [each["name"] for each in results()["images"]] == ["0", "1"]
    status, _, warned = evaluate(*arguments)
    assert status == 0
    assert "2 of 4 pictures are scored already" in warned
    assert len(results()["images"]) == 4


def test_score_keeps_saved_images_as_its_scores(evaluate):
    pairs(Path("data"), 2)
    shutil.copytree("data/input", "done")
    arguments = ["--protocol", "rgb", "--data", "data", "--restored", "done"]
    assert evaluate(*arguments, "--save-images")[0] == 0
    save(Path("done/1.png"), degraded(1, 3))
    assert evaluate(*arguments)[0] == 0
    assert [path.name for path in Path("out/images").iterdir()] == ["0.png"]
    assert evaluate(*arguments, "--save-images")[0] == 0
    np.testing.assert_array_equal(read("out/images/1.png").pixels, degraded(1, 3))
    Path("out/images/1.png").unlink()
    Path("out/images/1.png").mkdir()
    Path("done/1.png").touch()
    status, _, warned = evaluate(*arguments)
    assert status == 2
    assert errors(warned)[0].startswith("error: out/images/1.png: ")


def test_score_on_a_full_disk_is_one_line(evaluate):
    pairs(Path("data"), 2)
    words = ["--protocol", "rgb", "--data", "data", "--restored", "data/input"]
    assert evaluate(*words, output="whole")[0] == 0
    header = Path("whole/scores.jsonl").read_bytes().splitlines()[0]
    with full_disk(len(header) + 9):
        status, _, warned = evaluate(*words)
    assert status == 2
    assert warned == "error: out/scores.jsonl: cannot be written: File too large\n"
    assert evaluate(*words)[0] == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 9])
def test_extremes_are_different_samples_in_order(count):
    psnr = {f"{i}": float(i) for i in range(count)}
    worst, best = extremes(psnr)
    order = [*worst, *reversed(best)]
    assert order == sorted(order)
    assert len(order) == min(count, 6)
    assert count == 0 or (worst[0] == "0")
    assert count < 2 or best[0] == f"{count - 1}"

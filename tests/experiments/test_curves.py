"""Curves are drawn of what runs have logged, whenever they logged it."""

import json

import numpy as np
import pytest

from experiments import curves


def run(folder, *lines):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def psnr(step, stages, loss=0.1, group="psnr"):
    """Stage k is k dB better than the input."""
    gains = {f"{group}/stage_{k}": 20.0 + k for k in range(1, stages + 1)}
    return {"step": step, "loss": loss, f"{group}/input": 20.0, **gains}


def test_the_last_of_eleven_stages_is_the_eleventh(tmp_path):
    lines = curves.read(run(tmp_path / "a", psnr(1, 11), psnr(2, 11)) / "metrics.jsonl")
    steps, gains = curves.gain(lines, "psnr")
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_array_equal(gains, [11, 11])


def test_pictures_that_were_held_out_later_are_drawn(tmp_path):
    """They are scored now and then, not with the first line."""
    lines = [psnr(1, 2), psnr(2, 2), psnr(2, 2, group="held_out"), psnr(3, 2, loss=None)]
    figure = curves.draw([run(tmp_path / "a", *lines)])
    drawn = {str(line.get_label()): line for line in figure.axes[1].get_lines()}
    assert [*drawn] == ["batches", "held out, x1", "held out, x2"]
    np.testing.assert_array_equal(drawn["held out, x2"].get_xydata(), [[2, 2]])
    np.testing.assert_array_equal(drawn["batches"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(figure.axes[0].get_lines()[0].get_xdata(), [1, 2, 2])


def test_curves_of_two_runs_become_a_picture(tmp_path):
    runs = [str(run(tmp_path / name, psnr(1, 2), psnr(2, 2))) for name in ("a", "b")]
    assert curves.main([*runs, "--output", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "metrics.jsonl: cannot be read: No such file or directory"),
        ([], "metrics.jsonl: no line has a loss"),
        ([{"step": 1, "loss": 0.1}], "metrics.jsonl: no line has psnr/input and the last psnr/"),
        ([{"step": 1, "loss": 0.1, "psnr/stage_1": 20.0}], "no line has psnr/input"),
        ([psnr(1, 2), {"step": 1, "held_out/stage_1": 20.0}], "no line has held_out/input"),
        ([psnr(1, 2), {"loss": 1}], "metrics.jsonl: line 2 does not tell a step"),
        ([psnr(1, 2), 3], "metrics.jsonl: line 2 does not tell a step"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, lines, message):
    folder = tmp_path / "gone" if lines is None else run(tmp_path / "a", *lines)
    assert curves.main([str(folder), "--output", str(tmp_path / "curves.png")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder}") and said.count("\n") == 1
    assert message in said


@pytest.mark.parametrize("output", ["gone/curves.png", "curves.what"])
def test_figures_that_cannot_be_written_are_told(tmp_path, capsys, output):
    folder = run(tmp_path / "a", psnr(1, 2), psnr(2, 2))
    assert curves.main([str(folder), "--output", str(tmp_path / output)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --output {tmp_path / output}: cannot be wr")


def test_half_a_line_is_told(tmp_path, capsys):
    folder = run(tmp_path / "a", psnr(1, 2))
    (folder / "metrics.jsonl").write_text('{"step": 1, "lo')
    assert curves.main([str(folder), "--output", str(tmp_path / "curves.png")]) == 2
    assert "metrics.jsonl: line 1 is no JSON: " in capsys.readouterr().err

"""An experiment from its command to its figure, on networks that train for two steps."""

import dataclasses
import json
import signal

import numpy as np
import pytest
from PIL import Image

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.training import loop
from experiments import command, factor
from experiments.factor import Experiment, Result
from experiments.summary import Row, draw, numbers, table
from tests.small import network
from tests.training.settings import settings

TOY = Experiment(
    name="toy",
    title="Toy",
    variants={
        "all": {"optimizer.loss_stages": "all"},
        "last": {"optimizer.loss_stages": "last"},
        "never run": {"optimizer.loss": "clamped_squares"},
    },
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    start = tmp_path_factory.mktemp("start") / "start.safetensors"
    dgunet_jax.save(start, *network(width=4, growth=2, last_growth=2, num_stages=2))
    return settings(
        model={"num_stages": 2},
        data={"validation_crop": 32},
        optimizer={"steps": 2, "average": None},
        init_from=str(start),
    )


@pytest.fixture(scope="module")
def conducted(base, tmp_path_factory):
    """The folder of the experiment, and its rows."""
    output = tmp_path_factory.mktemp("toy")
    return output, command.conduct(TOY, base, 1, ["all", "last"], output)


def no_training(config, workdir):
    raise AssertionError(f"{workdir} was trained")


@pytest.fixture
def bases(base, monkeypatch):
    """The commands' bases are those of a toy, and they leave JAX's settings alone."""
    monkeypatch.setattr(command, "BASES", {"small": lambda: base, "full": lambda: base})
    monkeypatch.setattr(command, "use_cache", lambda: None)
    monkeypatch.setattr(command.logging, "set_verbosity", lambda level: None)


def test_an_experiment_leaves_runs_numbers_and_a_figure(conducted):
    output, rows = conducted
    names = {path.name for path in output.iterdir()}
    assert names == {"base,seed=0", "loss_stages=last,seed=0", "toy.json", "toy.png"}
    assert [row.variant for row in rows] == ["all", "last"]
    for row, name in zip(rows, ("base", "loss_stages=last"), strict=True):
        run = output / f"{name},seed=0"
        assert dgunet_jax.load(run / "model.safetensors")[0].config.num_stages == 2
        recorded = json.loads((run / "run.json").read_text())[0]["config"]
        assert recorded["optimizer"]["loss_stages"] == row.variant
        assert (recorded["data"]["seed"], recorded["optimizer"]["seed"]) == (0, 0)
        *_, trained, last = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses = [trained["loss/stage_1"], trained["loss/stage_2"]]
        minimised = {"all": sum(losses), "last": losses[-1]}[row.variant]
        assert trained["loss"] == pytest.approx(minimised, rel=1e-6)
        assert [row.results[0].noisy, *row.results[0].stages] == [
            last[f"held_out/{name}"] for name in ("input", "stage_1", "stage_2")
        ]
        assert row.results[0].gain == last["held_out/stage_2"] - last["held_out/input"]
    assert rows[0].gains != rows[1].gains
    assert rows[0].results[0].noisy == rows[1].results[0].noisy
    with Image.open(output / "toy.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 5


def test_what_has_ended_is_not_trained_again(conducted, bases, monkeypatch, capsys):
    output, rows = conducted
    monkeypatch.setattr(loop, "train", no_training)
    arguments = ["--output", str(output), "--seeds", "1", "--variants", "last"]
    before = (output / "toy.json").read_text()
    assert command.main(TOY, arguments) == 0
    assert capsys.readouterr().out.strip() == table(rows, "all")
    assert (output / "toy.json").read_text() == before
    with pytest.raises(AssertionError, match=r"base,seed=1 was trained"):
        command.main(TOY, ["--output", str(output), "--seeds", "2", "--variants", "last"])


def test_a_stopped_run_has_no_result(base, bases, tmp_path, monkeypatch, capsys):
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
        monkeypatch.setattr(loop, "train", lambda *_, n=number: loop.Ended(1, None, n))
        assert command.main(TOY, ["--output", str(tmp_path)]) == status
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.rglob("*.json"))


def test_a_result_of_other_settings_is_refused(conducted, base):
    output, _ = conducted
    for changes in ({"data.train": "elsewhere"}, {"optimizer.steps": 3}):
        with pytest.raises(UserError, match="of a run with other settings; choose another --out"):
            factor.run(factor.changed(base, changes), output / "base,seed=0")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"noisy": 1}', '{"noisy": 1, "stages": 2}'])
def test_a_damaged_result_is_told(base, tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match=r"result\.json: cannot be read; remove it"):
        factor.run(base, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--output"),
        (["--output", "OUT", "--scale", "huge"], "huge"),
        (["--output", "OUT", "--seeds", "0"], "--seeds is 0; it must be at least 1"),
        (["--output", "OUT", "--seeds", "few"], "few"),
        (["--output", "OUT", "--variants", "al"], "'al'"),
        (["--output", "OUT", "--scale", "full"], "--scale full needs --data and --validation"),
        (["--output", "OUT", "--data", "here"], "--data and --validation go together"),
        (["--output", "OUT", "--data", "gone", "--validation", "gone"], "gone"),
        (["--output", "setup.cfg"], "setup.cfg"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, part, bases, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [str(output) if word == "OUT" else word for word in arguments]
    assert command.main(TOY, arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert part in line


def rows():
    gains = {"few": (8.0, 7.0, 9.0), "some": (8.5, 7.25, 9.0)}
    return [
        Row(name, 1234, 5.678, [Result(20.0, (22.0, 20.0 + gain)) for gain in values])
        for name, values in gains.items()
    ]


def test_the_table_compares_seed_by_seed():
    few, some = table(rows(), "few").splitlines()[2:]
    assert few == "| few (base) | 1,234 | 5.7 | 8.00 ± 1.00 | 8.00, 7.00, 9.00 |  |  |"
    assert some.startswith("| some | 1,234 | 5.7 | 8.25 ± 0.90 | 8.50, 7.25, 9.00 |")
    assert some.endswith("| +0.25 ± 0.25 | +0.50, +0.25, +0.00 |")
    (line,) = (line for line in table(_first_seeds(1), "some").splitlines() if "few" in line)
    assert line == "| few | 1,234 | 5.7 | 8.00 | 8.00 | -0.50 | -0.50 |"


def test_the_numbers_have_every_run():
    few, some = numbers(rows(), "few")
    assert few["minus_base"] == [0, 0, 0]
    assert some["minus_base"] == [0.5, 0.25, 0]
    assert some["gain_mean"] == 8.25
    assert some["gain_deviation"] == pytest.approx(np.std([8.5, 7.25, 9.0], ddof=1))
    assert some["runs"][1] == {"noisy": 20.0, "stages": (22.0, 27.25)}
    assert numbers(_first_seeds(1), "few")[0]["gain_deviation"] is None


def test_the_figure_has_a_dot_for_every_seed(tmp_path):
    draw(rows(), "Toy", tmp_path / "three.png")
    draw(_first_seeds(1), "Toy", tmp_path / "one.png")
    three, one = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("three.png", "one.png")
    )
    # Dots and the lines that join them are grey.
    grey = [((image == 127).all(axis=-1)).sum() for image in (three, one)]
    assert grey[0] > 2 * grey[1] > 0


def _first_seeds(count):
    return [dataclasses.replace(row, results=row.results[:count]) for row in rows()]

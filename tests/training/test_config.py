import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dgunet_jax import DGUNetConfig, UserError
from dgunet_jax.data.config import DataConfig
from dgunet_jax.main import parse
from dgunet_jax.training.config import (
    OptimizerConfig,
    TrainConfig,
    from_config_dict,
    read_config,
    to_config_dict,
)


def settings():
    return {
        "model": {"width": 4, "growth": 2, "last_growth": 2, "num_stages": 3},
        "data": {
            "train": "photographs:astronaut",
            "validation": "photographs:chelsea",
            "degradation": "gaussian(25)",
            "patch": 16,
            "batch": 2,
        },
        "optimizer": {"steps": 4, "learning_rate": 1e-3},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].update(widht=3), "unknown model.widht"),
        (lambda s: s.pop("data"), "no data"),
        (lambda s: s["data"].pop("train"), "train is ''; it must be a folder"),
        (lambda s: s["optimizer"].update(steps="many"), "optimizer.steps of the wrong type"),
        (lambda s: s["optimizer"].update(steps=True), "optimizer.steps of the wrong type, True"),
        (lambda s: s["optimizer"].pop("steps"), "epochs is None and steps is None; one of them"),
        (lambda s: s["optimizer"].update(epochs=3), "epochs is 3 and steps is 4; one of them"),
        (lambda s: s["optimizer"].update(loss="hinge"), "no loss 'hinge'"),
        (lambda s: s["optimizer"].update(schedule="step"), "schedule is 'step'; it must be one"),
        (
            lambda s: s["optimizer"].update(loss_stages="first"),
            "loss_stages is 'first'; it must be",
        ),
        (lambda s: s["optimizer"].update(warmup_steps=9), "warmup_steps is 9; it must be below"),
        (lambda s: s["optimizer"].update(accumulate=0), "accumulate is 0; it must be at least 1"),
        (lambda s: s["optimizer"].update(average=1.0), "average is 1.0; it must lie between"),
        (lambda s: s["optimizer"].update(seed=2**32), "seed is 4294967296; it must be at least 0"),
        (
            lambda s: s["optimizer"].update(weight_decay=float("nan")),
            "weight_decay is nan; it must",
        ),
        (lambda s: s["optimizer"].update(clip_norm=0.0), "clip_norm is 0.0; it must be above 0"),
        (lambda s: s["data"].update(patch=20), "patch is 20; it must be a multiple of 8"),
        (lambda s: s["data"].update(batch=0), "batch is 0"),
        (lambda s: s["model"].update(channels=1), "channels is 1 and data.color is 'rgb'"),
        (lambda s: s["model"].update(memory="perfect"), "memory is 'perfect'"),
        (lambda s: s.update(report={"save_every": 0}), "save_every is 0"),
        (lambda s: s.update(guard={"most_skipped": 0}), "most_skipped is 0"),
        (lambda s: s.update(report=3), "report that is no group of settings"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    values = settings()
    change(values)
    with pytest.raises(UserError, match=message):
        from_config_dict(values)


def test_settings_survive_the_way_to_a_file_and_back():
    config = TrainConfig(
        DGUNetConfig(width=8, dtype="bfloat16"),
        DataConfig("a", "b", validation_crop=64),
        OptimizerConfig(1e-3, epochs=3, clip_norm=1.0),
        init_from="start.pth",
    )
    assert from_config_dict(to_config_dict(config)) == config
    values: Any = to_config_dict(config)
    values.optimizer.average = 0.99  # None has the type of what may stand there
    assert from_config_dict(values).optimizer == dataclasses.replace(config.optimizer, average=0.99)


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_opens_with_its_command(path):
    names = runpy.run_path(str(path))
    variants = ("", "plus") if ":plus" in names["__doc__"] else ("",)
    for variant in variants:
        config = from_config_dict(names["get_config"](*([variant] if variant else [])))
        assert config.model.share_middle == (variant == "")
    assert f"python -m dgunet_jax.main --config configs/{path.name} --workdir" in names["__doc__"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--config is needed"),
        (["--config", "configs/quickstart.py"], "--workdir is needed"),
        (["--config", "gone.py", "--workdir", "x"], "--config gone.py: no such file"),
        (["--config=configs/gopro.py:foo", "--workdir", "x"], "gopro.py: has no variant 'foo'"),
        (["--config=configs/quickstart.py:plus", "--workdir", "x"], "quickstart.py: has no var"),
        (["--config=wrong.py", "--workdir", "x"], "wrong.py: cannot be used: ValueError: my words"),
        (["--config", "configs/quickstart.py", "--wrokdir", "x"], "wrokdir"),
        (["--config", "configs/quickstart.py", "--workdir", "x", "--config.data.bach=3"], "bach"),
        (
            ["--config.data.patch=20", "--config", "configs/quickstart.py", "--workdir", "x"],
            "is 20",
        ),
        (
            [
                "--config",
                "configs/quickstart.py",
                "--workdir",
                "x",
                "--config.data.degradation=None",
            ],
            "the photographs are no pairs",
        ),
        (["--config", "configs/quickstart.py", "--workdir", "setup.cfg"], "setup.cfg"),
        (
            ["--config", "configs/gopro.py", "--workdir", "x", "--config.data.train=gone"],
            "gone",
        ),
        (
            ["--config", "configs/quickstart.py", "--workdir", "nowhere://bucket/run"],
            "nowhere://: is not a known storage",
        ),
        (
            ["--config", "configs/quickstart.py", "--workdir", "x", "--restart", "--mode=evaluate"],
            "--restart is for --mode train",
        ),
        (
            ["--config", "configs/quickstart.py", "--workdir", "x", "--dataset", "gopro"],
            "--dataset is for --mode evaluate",
        ),
        (
            ["--config", "a.py", "--workdir", "x", "--mode=evaluate", "--dataset", "gopro"],
            "--dataset and --data go together; one of them is missing",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(arguments, part, tmp_path):
    (tmp_path / "wrong.py").write_text('def get_config(): raise ValueError("my words")')
    places = {"x": str(tmp_path / "x"), "--config=wrong.py": f"--config={tmp_path}/wrong.py"}
    arguments = [places.get(word, word) for word in arguments]
    result = subprocess.run(
        [sys.executable, "-m", "dgunet_jax.main", *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert part in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A configuration file in the home directory, with a variant."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        f"def get_config(variant=''):\n    values = {settings()!r}\n"
        "    values['model']['width'] = {'': 4, 'wide': 8}[variant]\n    return values\n"
    )
    return "~/mine.py"


def test_read_config_takes_variants_and_changes(file):
    assert read_config(file).model.width == 4
    changes = {
        "data.train": "None",  # a folder
        "data.degradation": "none",
        "data.batch": "4",
        "optimizer.learning_rate": "1e-2",
        "model.remat": "true",
        "model.unroll": "3",
        "model.memory_scales": "(0, 1)",
        "init_from": "a.pth",
    }
    config = read_config(f"{file}:wide", changes)
    assert (config.model.width, config.model.remat, config.model.unroll) == (8, True, 3)
    assert config.model.memory_scales == (0, 1)
    assert (config.data.train, config.data.degradation, config.data.batch) == ("None", None, 4)
    assert (config.optimizer.learning_rate, config.init_from) == (1e-2, "a.pth")


def test_parse_takes_settings_in_every_form():
    words = ["--config.data.degradation=None", "--config", "a.py:plus", "--workdir", "w"]
    words += ["--config.data.batch", "4", "--noconfig.model.remat", "--config.data.check"]
    options, changes = parse([*words, "--config.data.degradation=gaussian(15)"])
    assert (options.config, options.workdir, options.mode) == ("a.py:plus", Path("w"), "train")
    assert changes == {
        "data.degradation": "gaussian(15)",  # the last one counts
        "data.batch": "4",
        "model.remat": "False",
        "data.check": "True",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.foo", "1", "no setting data.foo; data has train, validation, sources"),
        ("modl.remat", "True", "no setting modl.remat; a config has model, data, optimizer"),
        ("data.patch.x", "1", "no setting data.patch.x; data.patch is a value"),
        ("data.patch", "None", "data.patch: must have a value"),
        ("data.patch", "x", "data.patch is 'x'; it must be a whole number"),
        ("optimizer.weight_decay", "x", "optimizer.weight_decay is 'x'; it must be a number"),
        ("data.check", "maybe", "data.check is 'maybe'; it must be True or False"),
        ("data", "x", "data: is a group of settings"),
    ],
)
def test_read_config_names_settings_that_do_not_exist_and_wrong_values(file, name, text, message):
    with pytest.raises(UserError, match=message):
        read_config(file, {name: text})


@pytest.mark.parametrize("name", ["gopro", "gopro.py", "configs/gopro.py"])
def test_recipes_are_found_by_their_names_anywhere(name, tmp_path, monkeypatch):
    recipe = Path(__file__).parents[2] / "configs" / "gopro.py"
    expected = read_config(f"{recipe}:plus")
    monkeypatch.chdir(tmp_path)
    assert read_config(f"{name}:plus") == expected
    Path(tmp_path, name).parent.mkdir(exist_ok=True)
    Path(tmp_path, name).write_text(Path(recipe).read_text().replace("batch=BATCH", "batch=3"))
    assert read_config(f"{name}:plus").data.batch == 3  # a file of one's own comes first

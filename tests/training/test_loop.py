import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.training.config import from_config_dict
from dgunet_jax.training.loop import train
from tests.small import equal


def settings(steps=4, **pipeline):
    return {
        "model": {"width": 4, "growth": 2, "last_growth": 2, "num_stages": 3},
        "pictures": {"train": ["astronaut", "rocket"], "held_out": ["chelsea"]},
        "pipeline": {"patch": 16, "batch": 2, "sigma": 25.0, "seed": 3, **pipeline},
        "optimizer": {
            "steps": steps,
            "warmup_steps": 1,
            "peak_learning_rate": 1e-3,
            "final_learning_rate": 1e-5,
        },
        "report": {"progress_every": 1, "evaluate_every": 2, "save_every": 2},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train(from_config_dict(settings()), workdir)


def test_a_run_leaves_a_model_and_pictures_of_it(finished):
    workdir, scores = finished
    assert len(scores.stages) == 3
    assert 15 < scores.noisy < 25
    model, variables = dgunet_jax.load(workdir / "model.safetensors")
    assert model.config.width == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
    for name in ("comparison.png", "stages.png"):
        with Image.open(workdir / name) as written:
            assert np.asarray(written.convert("L")).std() > 10


def test_the_workdir_is_a_checkpoint(finished):
    workdir, _ = finished
    assert dgunet_jax.load(workdir)[0].config.num_stages == 3


def test_going_on_gives_what_an_unbroken_run_gives(finished, tmp_path, monkeypatch):
    import dgunet_jax.training.loop as loop

    class Stopped(Exception):
        pass

    original = loop.RunCheckpoints.save

    def save_and_stop(self, state, psnr):
        original(self, state, psnr)
        self.close()
        raise Stopped

    monkeypatch.setattr(loop.RunCheckpoints, "save", save_and_stop)
    with pytest.raises(Stopped):
        train(from_config_dict(settings()), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    monkeypatch.undo()
    train(from_config_dict(settings()), tmp_path)
    workdir, _ = finished
    again = dgunet_jax.load(tmp_path / "model.safetensors")[1]
    assert equal(again, dgunet_jax.load(workdir / "model.safetensors")[1])


def test_another_network_in_the_same_workdir_is_refused(finished):
    workdir, _ = finished
    other = settings()
    other["model"]["width"] = 6
    with pytest.raises(UserError, match="was trained with another model config"):
        train(from_config_dict(other), workdir)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path):
    wild = settings(steps=6)
    wild["optimizer"]["peak_learning_rate"] = 1e30
    wild["report"] = {"evaluate_every": 100, "save_every": 100}
    with pytest.raises(UserError, match=r"step \d+: the loss or its gradient is not finite"):
        train(from_config_dict(wild), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].update(widht=3), "unknown model.widht"),
        (lambda s: s.pop("pipeline"), "no pipeline"),
        (lambda s: s["optimizer"].pop("steps"), "no optimizer.steps"),
        (
            lambda s: s["optimizer"].update(steps="many"),
            "optimizer.steps of the wrong type, 'many'",
        ),
        (lambda s: s["optimizer"].update(steps=True), "optimizer.steps of the wrong type, True"),
        (lambda s: s["optimizer"].update(loss="hinge"), "no loss 'hinge'"),
        (lambda s: s["optimizer"].update(warmup_steps=9), "shorter warm-up"),
        (lambda s: s["pipeline"].update(patch=20), "patch is 20; it must be a multiple of 8"),
        (lambda s: s["model"].update(channels=1), "the photographs have 3"),
        (lambda s: s["model"].update(memory="perfect"), "memory is 'perfect'"),
        (lambda s: s["pictures"].update(held_out=["rocket"]), "rocket stand in both"),
        (lambda s: s["report"].update(save_every=0), "save_every is 0"),
        (lambda s: s.update(report=3), "report that is no group of settings"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    values = settings()
    change(values)
    with pytest.raises(UserError, match=message):
        from_config_dict(values)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--config and --workdir are needed"),
        (["--config", "gone.py", "--workdir", "x"], "gone.py"),
        (["--config", "configs/quickstart.py", "--wrokdir", "x"], "wrokdir"),
        (
            ["--config", "configs/quickstart.py", "--workdir", "x", "--config.pipeline.bach=3"],
            "bach",
        ),
        (["--config", "configs/quickstart.py", "--workdir", "setup.cfg"], "setup.cfg"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(arguments, part):
    result = subprocess.run(
        [sys.executable, "-m", "dgunet_jax.main", *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert part in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("error: ")

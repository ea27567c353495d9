"""What a user or a machine can get wrong: one line each, and nothing is lost."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax import UserError
from dgunet_jax.training import loop
from dgunet_jax.training.preparing import Prepared
from tests.small import equal
from tests.training.settings import settings
from tests.training.test_loop import model

Usage = namedtuple("Usage", "total used free")


def write(path, size=(40, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def pairs(folder, sizes=((40, 32), (40, 32))):
    for name, other in zip(("input", "target"), sizes, strict=True):
        write(folder / name / "a.png", other)
    return {"train": str(folder), "validation": str(folder), "degradation": None}


def fails(config, workdir, message):
    with pytest.raises(UserError, match=message) as caught:
        loop.train(config, workdir)
    assert len(str(caught.value).splitlines()) == 1


def saved(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*"))


def test_a_full_disk_costs_nothing_that_is_written(start, tmp_path, monkeypatch):
    config = settings(init_from=start)
    quiet = loop.train(config, tmp_path / "quiet")
    asked = []

    def usage(path):
        asked.append(path)
        return Usage(10**9, 10**9, 0 if len(asked) > 2 else 10**9)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    fails(
        config,
        tmp_path / "full",
        r"full/checkpoints: has 0.0 MB left; a checkpoint needs 0.[1-9] MB",
    )
    assert saved(tmp_path / "full") == [2, 4]
    monkeypatch.undo()
    assert loop.train(config, tmp_path / "full").step == quiet.step
    assert equal(model(tmp_path / "full"), model(tmp_path / "quiet"))


def test_a_checkpoint_that_cannot_be_written(start, tmp_path, monkeypatch):
    def refuse(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", refuse)
    config = settings(init_from=start)
    fails(config, tmp_path, "checkpoints: cannot be written: No space left on device")


@pytest.mark.parametrize("workdir", ["/proc/none", "/dev/null/run"])
def test_a_place_that_cannot_be_written(workdir):
    fails(settings(), Path(workdir), f"{workdir}: cannot be written")


def test_a_picture_with_damage_that_training_reaches(start, tmp_path):
    for name in ("a.png", "bb.png"):
        write(tmp_path / "data" / name)
    damaged = tmp_path / "data" / "bb.png"
    damaged.write_bytes(damaged.read_bytes()[:1500])
    config = settings(
        init_from=start,
        data={"train": str(tmp_path / "data"), "samples_per_picture": 4},
        report={"save_every": 100},
    )
    fails(config, tmp_path / "run", "bb.png: ")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [(((40, 32), (40, 31)), "a.png"), (None, "data: ")],
)
def test_pairs_that_do_not_fit_and_folders_without_any(sizes, message, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    chosen = pairs(folder, sizes) if sizes else {"train": str(folder), "degradation": None}
    fails(settings(data=chosen), tmp_path / "run", message)
    assert not saved(tmp_path / "run")


def test_weights_to_begin_with_that_are_none(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nothing of the kind")
    fails(settings(init_from=str(path)), tmp_path / "run", "weights.safetensors: ")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("tfds:gs://bucket/set", "gs://bucket/set: records are read from a disk"),
        ("nowhere://bucket/set", "nowhere://: is not a known storage"),
        ("memory://bucket/set", "memory://bucket/set: no such folder"),
    ],
)
def test_storage_that_cannot_be_trained_from(tmp_path, where, message):
    fails(settings(data={"train": where}), tmp_path / "run", message)
    assert not saved(tmp_path / "run")


def test_weights_in_the_home_directory(start, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(start).parent))
    config = settings(init_from=f"~/{Path(start).name}")
    assert Prepared.of(config, tmp_path).given is not None


def test_a_workdir_that_vanishes_is_told_once(start, tmp_path, monkeypatch, capsys):
    original = loop.Progress.show

    def show(self, step, metrics, throughput):
        original(self, step, metrics, throughput)
        if step == 3:
            shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(loop.Progress, "show", show)
    config = settings(init_from=start, report={"evaluate_every": 100, "save_every": 4})
    message = "run/checkpoints: cannot be written: No such file or directory$"
    fails(config, tmp_path / "run", message)
    assert "cannot be written" not in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_a_profile_that_cannot_be_written_is_told_once(start, tmp_path, capsys):
    (tmp_path / "tensorboard").touch()
    report = {"profile_from": 1, "profile_steps": 1, "evaluate_every": 100, "pictures_every": 100}
    assert loop.train(settings(init_from=start, report=report), tmp_path).step == 6
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    assert len(said) == 2
    assert f"{tmp_path}/tensorboard: the profile cannot be written: " in said[1]


def test_a_profile_of_the_steps_that_were_asked_for(start, tmp_path):
    report = {"profile_from": 2, "profile_steps": 2, "evaluate_every": 100}
    loop.train(settings(init_from=start, report=report), tmp_path)
    (profile,) = (tmp_path / "tensorboard/plugins/profile").glob("*/*.xplane.pb")
    assert profile.stat().st_size > 1000

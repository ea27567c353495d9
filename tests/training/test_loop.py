import contextlib
import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import dgunet_jax
from dgunet_jax import UserError, checkpoints
from dgunet_jax.system.files import locked
from dgunet_jax.training import loop
from dgunet_jax.training.guard import DeadRun
from dgunet_jax.training.preparing import check_batch
from dgunet_jax.training.saving import RunCheckpoints
from dgunet_jax.training.step import make_optimizer, state_of
from tests.small import equal
from tests.training.settings import settings

# Orbax leaves tasks behind that end with an exception when an array is damaged.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, start):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, loop.train(settings(init_from=start), workdir)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def model(workdir):
    return dgunet_jax.load(workdir / "model.safetensors")[1]


def test_a_run_leaves_a_model_and_pictures_of_it(finished):
    workdir, ended = finished
    assert (ended.step, ended.signal) == (6, None)
    assert len(ended.scores.stages) == 3
    assert 15 < ended.scores.noisy < 25
    for name in ("comparison.png", "stages.png"):
        with Image.open(workdir / name) as written:
            assert np.asarray(written.convert("L")).std() > 10
    about = checkpoints.read(workdir / "model.safetensors").about
    assert (about.patch, about.steps, about.degradation) == (16, 6, "gaussian(25)")
    assert about.scores["held out"] == pytest.approx((ended.scores.noisy, ended.scores.restored))
    assert dataclasses.replace(about, scores={}) == checkpoints.read(workdir).about
    run_directory, variables = dgunet_jax.load(workdir)
    assert run_directory.config.num_stages == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_a_run_leaves_its_scalars_and_what_it_was_made_with(finished):
    workdir, ended = finished
    steps = [line for line in lines(workdir) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    for name in ("loss/stage_3", "psnr/stage_1", "step_size/stage_2", "gradient_norm"):
        assert np.isfinite([line[name] for line in steps]).all()
    assert steps[0]["learning_rate"] == 0
    assert steps[1]["learning_rate"] == pytest.approx(1e-3)
    held_out = [line for line in lines(workdir) if "held_out/stage_3" in line]
    assert [line["step"] for line in held_out] == [0, 2, 4, 6]
    assert held_out[-1]["held_out/stage_3"] == pytest.approx(ended.scores.restored)
    (run,) = json.loads((workdir / "run.json").read_text())
    assert run["config"]["data"]["patch"] == 16
    assert run["versions"]["jax"] == jax.__version__
    (events,) = (workdir / "tensorboard").iterdir()
    content = events.read_bytes()
    for part in (b"loss/stage_1", b"held_out/input", b"\x89PNG"):
        assert part in content


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(finished, start, tmp_path, stopped):
    ended = stopped(settings(init_from=start), tmp_path)
    assert (ended.signal, ended.scores) == (signal.SIGTERM, None)
    assert 3 <= ended.step <= 4
    assert not (tmp_path / "model.safetensors").exists()
    ended = loop.train(settings(init_from=start), tmp_path)
    workdir, unbroken = finished
    assert ended.scores == unbroken.scores
    assert equal(model(tmp_path), model(workdir))
    assert [line["step"] for line in lines(tmp_path)] == [line["step"] for line in lines(workdir)]
    assert len(json.loads((tmp_path / "run.json").read_text())) == 2


def flip_a_bit(checkpoint):
    arrays = max((checkpoint / "params").rglob("d/*"), key=lambda p: p.stat().st_size)
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)


def remove_weights(checkpoint):
    shutil.rmtree(checkpoint / "params")


@pytest.mark.parametrize("damage", [flip_a_bit, remove_weights])
def test_a_damaged_checkpoint_is_told_and_the_one_before_used(
    finished, start, tmp_path, capsys, damage
):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "checkpoints/6")
    (tmp_path / "checkpoints/6.damaged").mkdir()  # by an earlier accident
    ended = loop.train(settings(init_from=start), tmp_path)
    said = capsys.readouterr().err
    assert f"{tmp_path}/checkpoints/6: is damaged" in said
    assert "it is 6.damaged2 now" in said
    assert (tmp_path / "checkpoints/6.damaged2/training").is_dir()
    assert "going on from step 4" in said
    assert ended.step == 6
    assert equal(model(tmp_path), model(workdir))


@pytest.mark.parametrize("stream", [None, "/dev/full"])
def test_a_run_ends_though_it_cannot_say_so(finished, start, tmp_path, monkeypatch, stream):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    with contextlib.ExitStack() as stack:
        file = stream if stream is None else stack.enter_context(open(stream, "w"))
        monkeypatch.setattr("sys.stderr", file)
        assert loop.train(settings(init_from=start), tmp_path).step == 6
    assert equal(model(tmp_path), model(workdir))


@pytest.mark.parametrize("content", ["", "[]", '{"psnr": "high"}', None])
def test_a_checkpoint_without_its_score_is_gone_on_from(finished, start, tmp_path, capsys, content):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    metrics = tmp_path / "checkpoints/6/metrics"
    shutil.rmtree(metrics) if content is None else (metrics / "metrics").write_text(content)
    with RunCheckpoints(tmp_path, settings().model, {}):
        pass
    said = capsys.readouterr().err
    assert said == f"{tmp_path}/checkpoints/6: has lost its score and counts as the worst now\n"
    assert json.loads((metrics / "metrics").read_text()) == {"psnr": -1e9}
    if content is None:
        assert loop.train(settings(init_from=start), tmp_path).step == 6
        assert "going on from step 6" in capsys.readouterr().err


def test_a_run_begins_again_only_if_it_is_told_to(finished, start, tmp_path, capsys):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for step in (4, 6):
        flip_a_bit(tmp_path / f"checkpoints/{step}")
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            loop.train(settings(init_from=start), tmp_path)
        assert str(caught.value) == (
            f"{tmp_path}/checkpoints: no checkpoint to go on from, but 4.damaged, 6.damaged;"
            " --restart moves them aside and begins again at step 0"
        )
    before = (tmp_path / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert loop.train(settings(init_from=start), tmp_path, restart=True).step == 6
    said = capsys.readouterr().err
    for name in ("checkpoints", "metrics.jsonl", "tensorboard"):
        assert f"{tmp_path}/{name}: is {name}.1 now" in said
    assert (tmp_path / "metrics.jsonl.1").read_bytes() == before
    assert sorted(os.listdir(tmp_path / "checkpoints.1")) == ["4.damaged", "6.damaged"]
    assert equal(model(tmp_path), model(workdir))
    assert len(json.loads((tmp_path / "run.json").read_text())) == 2


def test_a_score_that_cannot_be_read_is_kept(tmp_path):
    metrics = tmp_path / "checkpoints/6/metrics/metrics"
    metrics.mkdir(parents=True)  # which cannot be read either
    message = f"{metrics}: cannot be read: Is a directory"
    with pytest.raises(UserError, match=message):
        RunCheckpoints(tmp_path, settings().model, {})
    assert os.listdir(tmp_path / "checkpoints") == ["6"]


@pytest.mark.parametrize(("name", "held"), [("6 copy", None), ("old", "params"), ("\u00b2", None)])
def test_restore_newest_refuses_what_looks_like_a_checkpoint(tmp_path, name, held):
    (tmp_path / "checkpoints" / name / (held or "")).mkdir(parents=True)
    with (
        RunCheckpoints(tmp_path, settings().model, {}) as saved,
        pytest.raises(UserError, match=f"no checkpoint to go on from, but {name}; --restart"),
    ):
        saved.restore_newest(None)


def test_restore_newest_ignores_what_is_not_a_checkpoint(tmp_path):
    for name in ("4.orbax-checkpoint-tmp-7", "lost+found", ".snapshot"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    with RunCheckpoints(tmp_path, settings().model, {}) as saved:
        assert saved.restore_newest(None) is None


def test_another_precision_is_told_and_kept(start, tmp_path):
    config = settings(init_from=start, report={"evaluate_every": 100, "pictures_every": 100})
    _, variables = dgunet_jax.load(start)
    optimizer = make_optimizer(config.optimizer)
    state = state_of(variables["params"], optimizer, config.optimizer)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, state
        )
        with RunCheckpoints(tmp_path, config.model, {}) as saved:
            saved.save(wide.replace(step=wide.step + 1), None)
        with RunCheckpoints(tmp_path, config.model, {}) as saved:
            restored = saved.restore_newest(wide)
        assert restored is not None
        assert equal(restored.params, wide.params)
    message = (
        "checkpoints/1/params: holds float64 numbers, where this process computes in float32;"
        " start it with JAX_ENABLE_X64=1"
    )
    with (
        RunCheckpoints(tmp_path, config.model, {}) as saved,
        pytest.raises(UserError, match=message),
    ):
        saved.restore_newest(state)
    assert os.listdir(tmp_path / "checkpoints") == ["1"]


def test_what_cannot_be_read_now_is_kept(finished, start, tmp_path, monkeypatch):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for error, message in (
        (OSError(116, "Stale file handle"), "checkpoints/6: cannot be read: Stale file handle"),
        (MemoryError(), "checkpoints/6: cannot be read: MemoryError"),
        (RuntimeError("of an unknown kind"), "checkpoints/6: cannot be read: of an unknown kind"),
    ):

        def fail(*arguments, error=error, **more):
            raise error

        with monkeypatch.context() as patched, pytest.raises(UserError, match=message):
            patched.setattr("orbax.checkpoint.CheckpointManager.restore", fail)
            loop.train(settings(init_from=start), tmp_path)
    path = tmp_path / "checkpoints/6/model/metadata"
    path.write_text(path.read_text().replace('\\"blockwise\\"', '\\"new_choice\\"'))
    assert "new_choice" in path.read_text()
    with pytest.raises(UserError, match=r"checkpoints/6: .*: new_choice; choose"):
        loop.train(settings(init_from=start), tmp_path)
    names = {p.name for p in (workdir / "checkpoints").iterdir()}
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == names


def test_what_changes_only_the_cost_may_be_changed(finished, start, tmp_path):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    changes = {"model": {"remat": True}, "optimizer": {"accumulate": 2}}
    assert loop.train(settings(init_from=start, **changes), tmp_path).step == 6


def test_a_run_that_was_begun_before_a_setting_existed_goes_on(finished, start, tmp_path):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("checkpoints/*/model/metadata"):
        content = json.loads(path.read_text())
        del content["training"]["settings"]["data.symmetries"]
        path.write_text(json.dumps(content))
    assert loop.train(settings(init_from=start), tmp_path).step == 6
    with pytest.raises(UserError, match=r"other settings \(data\.symmetries\)"):
        data = {"symmetries": "flip_transpose"}
        loop.train(settings(init_from=start, data=data), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": {"train": "photographs:ihc,rocket,retina"}},
            "began with other training pictures",
        ),
        ({"optimizer": {"steps": 9}}, r"was trained with other settings \(optimizer\.steps\)"),
        ({"data": {"patch": 24}}, r"was trained with other settings \(data\.patch\)"),
    ],
)
def test_another_run_in_the_same_workdir_is_refused(finished, start, changes, message):
    workdir, _ = finished
    with pytest.raises(UserError, match=message):
        loop.train(settings(init_from=start, **changes), workdir)


def test_another_network_in_the_same_workdir_is_refused(finished):
    workdir, _ = finished
    other = dataclasses.replace(settings().model, last_adds="estimate")
    with (
        RunCheckpoints(workdir, other, {}) as saved,
        pytest.raises(UserError, match="was trained with another model config"),
    ):
        saved.restore_newest(None)


def test_two_runs_at_once_are_refused(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="another run is using it"):
        loop.train(settings(), tmp_path)


def test_a_run_that_is_not_finite_stops_and_says_where(start, tmp_path):
    wild = settings(
        init_from=start,
        optimizer={"learning_rate": 1e30, "steps": 40},
        report={"evaluate_every": 100, "save_every": 100},
        guard={"most_skipped": 3},
    )
    with pytest.raises(DeadRun) as caught:
        loop.train(wild, tmp_path)
    message = str(caught.value)
    assert "is not finite, and the updates of the last 3 steps were left out" in message
    assert "astronaut" in message or "rocket" in message
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))
    assert [line["skipped"] for line in lines(tmp_path) if "loss" in line] == [0, 0, 1, 2]


def test_weights_of_another_network_are_refused(start, tmp_path):
    with pytest.raises(UserError, match="is another network than the config's model"):
        loop.train(settings(init_from=start, model={"width": 6}), tmp_path)


def test_a_workdir_that_cannot_be_written(tmp_path):
    Path(tmp_path, "file").touch()
    with pytest.raises(UserError, match="file/run: cannot be written: Not a directory"):
        loop.train(settings(), tmp_path / "file" / "run")


def test_a_batch_that_cannot_be_divided_says_what_would():
    config = settings(data={"batch": 12}, optimizer={"accumulate": 2})
    with pytest.raises(UserError, match=r"multiple of 8 \(4 devices times accumulate 2\): 8, or"):
        check_batch(config, devices=4)

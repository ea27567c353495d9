"""What a run writes of itself, and says, where it can and where it cannot."""

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.training import log
from dgunet_jax.training.log import Progress, Recorder, Throughput
from tests.evaluation.disk import full_disk
from tests.training.test_guard import metrics

NOISE = np.random.default_rng(0).random((128, 128, 3))


def events(workdir) -> bytes:
    return b"".join(path.read_bytes() for path in (workdir / "tensorboard").iterdir())


def lines(workdir) -> list[str]:
    return (workdir / "metrics.jsonl").read_text().splitlines()


def test_recorder_writes_lines_and_events(tmp_path):
    with Recorder(tmp_path, 0) as recorder:
        recorder.write(1, {"loss": 0.5, "wild": np.inf})
        recorder.draw(1, "stages", NOISE)
    assert lines(tmp_path) == ['{"step": 1, "loss": 0.5, "wild": null}']
    written = events(tmp_path)
    assert b"brain.Event:2" in written
    assert b"loss" in written
    assert b"\x89PNG" in written
    assert b"wild" not in written


def test_recorder_goes_on_without_events_on_a_full_disk(tmp_path, capsys):
    with full_disk(20_000), Recorder(tmp_path, 0) as recorder:
        for step in range(1, 31):  # more than the queue of tensorboardX's thread holds
            recorder.draw(step, "stages", NOISE)
            recorder.write(step, {"loss": step / 2})
    assert len(lines(tmp_path)) == 30
    assert capsys.readouterr().err == (
        f"{tmp_path}/tensorboard: cannot be written: File too large; the run goes on without"
        " TensorBoard's events\n"
    )


def test_recorder_goes_on_without_a_folder_for_events(tmp_path, capsys):
    (tmp_path / "tensorboard").touch()
    with Recorder(tmp_path, 0) as recorder:
        recorder.write(1, {"loss": 0.5})
        recorder.draw(1, "stages", NOISE)
    assert lines(tmp_path) == ['{"step": 1, "loss": 0.5}']
    assert capsys.readouterr().err == (
        f"{tmp_path}/tensorboard: cannot be written: File exists; the run goes on without"
        " TensorBoard's events\n"
    )


def test_recorder_tells_once_that_lines_cannot_be_written(tmp_path, capsys):
    message = "metrics.jsonl: cannot be written: File too large$"
    with (
        pytest.raises(UserError, match=message),
        full_disk(80),
        Recorder(tmp_path, 0) as recorder,
    ):
        for step in range(100):
            recorder.write(step, {"loss": 0.5})
    (said,) = capsys.readouterr().err.splitlines()  # the lines are told by the error alone
    assert "TensorBoard" in said
    with Recorder(tmp_path, 1):  # which drops a line that was cut off
        pass
    assert lines(tmp_path) == ['{"step": 0, "loss": 0.5}', '{"step": 1, "loss": 0.5}']


def test_recorder_drops_lines_that_are_not_text(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff\xfe\n{"step": 2}\n')
    with Recorder(tmp_path, 2):
        pass
    assert lines(tmp_path) == ['{"step": 1}', '{"step": 2}']


def test_progress_renews_its_line_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(steps=4, every=1)
    progress.show(1, metrics(), {})
    progress.show(2, metrics(), {})
    progress.say("held out")
    progress.say("saved")
    first, *after = capsys.readouterr().err.split("\n")
    assert [part[:8] for part in first.split("\r\x1b[K")] == ["", "step 1/4", "step 2/4"]
    assert after == ["held out", "saved", ""]


def test_progress_needs_no_standard_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    progress = Progress(steps=4, every=1)
    progress.show(1, metrics(), {})
    progress.say("held out")


def test_throughput_counts_what_it_waits_for_and_leaves_out_the_rest(monkeypatch, capsys):
    now = [0.0]

    def batches():
        while True:
            now[0] += 1.0  # to prepare a batch
            yield "batch"

    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    throughput, source = Throughput(images=12), batches()
    throughput.gflop = 6000.0
    assert throughput.next(source) == "batch"
    assert throughput.scalars() == {}
    now[0] += 50  # compiling
    throughput.next(source)
    assert throughput.scalars() == {}
    now[0] += 3.0  # a step
    throughput.next(source)
    now[0] += 3.0
    now[0] += 100  # validating
    throughput.pause(100)
    throughput.next(source)
    # Two steps in eight seconds, two of which were spent waiting.
    found = throughput.scalars()
    assert found == {
        "throughput/images_per_second": 3.0,
        "throughput/tflops": 1.5,
        "throughput/waiting": 0.25,
    }
    progress = Progress(steps=9, every=1)
    progress.show(1, metrics(), {})
    now[0] += 1
    progress.show(2, metrics(), found)
    assert "3.0 images/s  1.5 TFLOP/s  25% waiting for data" in capsys.readouterr().err

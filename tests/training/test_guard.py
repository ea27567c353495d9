import numpy as np
import pytest

from dgunet_jax.training.config import GuardConfig
from dgunet_jax.training.guard import DeadRun, check
from dgunet_jax.training.log import Recorder
from dgunet_jax.training.step import Metrics

GUARD = GuardConfig(most_skipped=3, most_collapsed=200)


def metrics(**changes):
    values = {
        "losses": np.array([1.0, 2.0, 3.0]),
        "psnr": np.array([30.0, 20.0, 6.4]),
        "input_psnr": np.array(25.0),
        "gradient_norm": np.array(1.0),
        "learning_rate": np.array(1e-4),
        "step_sizes": np.array([0.5, 0.5, 0.5]),
        "skipped": np.array(0),
        "finite_stages": np.array([True, True, True]),
        "skipped_in_row": np.array(0),
        "collapsed_in_row": np.array(0),
    }
    return Metrics(**(values | changes))


def files(step):
    return [f"{step}.png", "a.png", "a.png"]


def test_a_healthy_run_and_one_that_stumbles_go_on():
    check(GUARD, metrics(), 7, files)
    check(GUARD, metrics(skipped_in_row=np.array(2), collapsed_in_row=np.array(199)), 7, files)


def test_the_first_stage_that_is_not_finite_is_named():
    bad = metrics(skipped_in_row=np.array(3), finite_stages=np.array([True, False, False]))
    with pytest.raises(DeadRun) as caught:
        check(GUARD, bad, 7, files)
    assert str(caught.value) == (
        "step 7: the estimate of stage 2 is not finite, and the updates of the last 3 steps were"
        " left out; the batch: 7.png, a.png"
    )


def test_a_gradient_that_is_not_finite_is_named():
    with pytest.raises(DeadRun, match="step 7: the gradient is not finite"):
        check(GUARD, metrics(skipped_in_row=np.array(3)), 7, files)


def test_a_collapsed_run_is_described():
    with pytest.raises(DeadRun) as caught:
        check(GUARD, metrics(collapsed_in_row=np.array(200)), 900, files)
    message = str(caught.value)
    for part in ("step 900", "for 200 steps", "6.40 dB", "25.00 dB", "from stage 2 on", "900.png"):
        assert part in message
    check(GuardConfig(most_collapsed=0), metrics(collapsed_in_row=np.array(999)), 7, files)


def test_scalars_after_the_step_a_run_goes_on_from_are_dropped(tmp_path):
    with Recorder(tmp_path, 0) as recorder:
        for step in (1, 2, 3):
            recorder.write(step, {"loss": step / 2, "wild": np.inf})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # cut off by a kill
    with Recorder(tmp_path, 2) as recorder:
        recorder.write(3, {"loss": 9.0})
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"step": 1, "loss": 0.5, "wild": null}',
        '{"step": 2, "loss": 1.0, "wild": null}',
        '{"step": 3, "loss": 9.0}',
    ]

"""Whether an accelerator computes what was recorded, and goes on from a checkpoint as it was."""

import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from benchmarks.accelerator_process import first_line
from benchmarks.accelerator_programs import known, quick_options
from benchmarks.weights import random_params
from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.compilation import highest
from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.losses import stage_losses
from dgunet_jax.training.saving import RunCheckpoints
from dgunet_jax.training.step import (
    TrainState,
    divided,
    make_mesh,
    make_optimizer,
    make_train_step,
    replicated,
    state_of,
)

# Wherever the command is started, and whatever package of this name is installed.
_tests = types.ModuleType("tests")
_tests.__path__ = [str(Path(__file__).resolve().parents[1] / "tests")]
sys.modules.setdefault("tests", _tests)

from tests import golden_numbers  # noqa: E402

_MOST = 4.0  # times the released code's own float32 error
_LOSS = 1e-5  # relative
_GRADIENT = 0.02, 0.02 * 5e-4  # of a gradient's norm, and of the largest; see tests/golden
_THREADS = 4  # tracing takes turns
_STEPS = 4


def together(
    checks: Sequence[tuple[str, Mapping[str, Any]]], tiny: bool
) -> Iterator[dict[str, Any]]:
    """Yield what checks find, and which `row` it is, as they end; they are compiled together.

    Args:
      checks: of each its function in this module, and arguments.
      tiny: compile quickly.
    """
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        found = {
            pool.submit(globals()[name], **arguments, tiny=tiny): row
            for row, (name, arguments) in enumerate(checks)
        }
        for future in as_completed(found):
            yield _outcome(future) | {"row": found[future]}


def golden(name: str, tiny: bool) -> dict[str, Any]:
    """Return how far stages, loss and gradients are from a golden.

    Products are float32 in full. All but small goldens are compiled with the kernels that XLA takes
    without trying them: what is compared is what they compute.
    """
    untried = known({"xla_gpu_autotune_level": 0}) | (quick_options() if tiny else {})
    options = untried if tiny or name not in golden_numbers.SMALL else {}
    try:
        return _compared(name, options)
    except jax.errors.JaxRuntimeError:  # not every version can do without trying
        if not options:
            raise
        return _compared(name, {})


def sizes(name: str, tiny: bool) -> dict[str, Any]:
    """Return how far a golden's images are from it in a corner of a larger array of rubbish."""
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name), golden.num_stages)
    n, height, width, channels = golden.images.shape
    images = np.full((n, height + 16, width + 24, channels), np.nan, np.float32)
    images[:, :height, :width] = golden.images
    options = quick_options() if tiny else None
    restored = jax.jit(highest(model.apply), compiler_options=options)(
        variables, images, np.array([[height, width]] * n)
    )
    stages = np.array(restored.stages)
    inside = stages[:, :, :height, :width].copy()
    stages[:, :, :height, :width] = 0
    return _told({"stages": _worst_stage(inside, golden)}, black=not stages.any())


def sharding(name: str, tiny: bool) -> dict[str, Any]:
    """Return how far a golden's first image is from it with its rows divided among all devices."""
    count = jax.device_count()
    if count == 1:
        return {"state": "skipped", "note": "there is one device"}
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name), golden.num_stages)
    mesh = jax.make_mesh((count,), ("height",), axis_types=(AxisType.Auto,))
    stages = Restorer(model, variables, mesh=mesh).stages(golden.images[0])
    told = _told({"stages": _worst_stage(stages[:, None], golden, images=1)})
    return told | {"note": f"{count} devices: {told['note']}"}


def resume(deterministic: bool, tiny: bool) -> dict[str, Any]:
    """Return whether training that is saved and gone on with is the same, bit for bit.

    What is read must always be what was saved. Going on must give the same as not stopping where
    the same steps always do so: on a GPU only if its kernels are made to.

    Args:
      deterministic: compile the steps with XLA's deterministic kernels.
      tiny: compile them quickly.
    """
    wanted = {"xla_gpu_deterministic_ops": True} if deterministic else {}
    options = known(wanted) | (quick_options() if tiny else {})
    config = DGUNetConfig(width=8, growth=4, last_growth=4, num_stages=2 if tiny else 4)
    run, first = _training(config, options)
    straight, repeated, half = run(first, 0, _STEPS), run(first, 0, _STEPS), run(first, 0, 2)
    with tempfile.TemporaryDirectory() as folder:
        with RunCheckpoints(Path(folder), config, {}) as checkpoints:
            checkpoints.save(half, None)
        with RunCheckpoints(Path(folder), config, {}) as checkpoints:
            restored = checkpoints.restore_newest(first)
    assert restored is not None
    errors = {
        "saved and read": _difference(half, restored),
        "gone on and not stopped": _difference(run(restored, 2, _STEPS), straight),
        "twice the same steps": _difference(repeated, straight),
    }
    on_gpu = jax.devices()[0].platform == "gpu"
    repeats = not on_gpu or (deterministic and wanted.keys() <= options.keys())
    wrong = errors["saved and read"] or (repeats and errors["gone on and not stopped"])
    words = [f"{name}: {f'off by {e:.2g}' if e else 'equal'}" for name, e in errors.items()]
    return {"state": "red" if wrong else "ok", "note": "; ".join(words), "errors": errors}


@highest
def _compared(name: str, options: dict[str, Any]) -> dict[str, Any]:
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name), golden.num_stages)

    def total(variables: Any) -> tuple[jax.Array, jax.Array]:
        restored: Any = model.apply(variables, golden.images)
        losses = stage_losses(golden.loss_name, restored.stages, jnp.asarray(golden.target))
        return losses.sum(), restored.stages

    gradient = jax.jit(jax.value_and_grad(total, has_aux=True), compiler_options=options)
    (loss, stages), gradients = gradient(variables)
    official = to_pytorch(model, jax.device_get(gradients))
    worst, _ = golden_numbers.worst_gradient(golden, official, *_GRADIENT)
    return _told(
        {
            "stages": _worst_stage(np.asarray(stages), golden),
            "loss": abs(float(loss) / golden.loss - 1),
            "gradients": worst,
        }
    )


def _outcome(computed: Future[dict[str, Any]]) -> dict[str, Any]:
    """Return what was computed, or that it failed."""
    if error := computed.exception():
        return {"state": "failed", "note": first_line(error)}
    return computed.result()


def _worst_stage(
    stages: np.ndarray, golden: golden_numbers.Golden, images: int | None = None
) -> float:
    """Return the largest error of any stage over the released code's own in float32."""
    return float(np.abs(stages - golden.stages[:, :images]).max() / golden.float32_error)


def _told(errors: dict[str, float], black: bool = True) -> dict[str, Any]:
    """Return the fields of a row; `black` is whether nothing is outside of the pictures."""
    limits = {"stages": _MOST, "loss": _LOSS, "gradients": 1.0}
    # Not-a-number is not below a limit either.
    good = black and all(error < limits[name] for name, error in errors.items())
    words = [f"{name} {e:.2g} (below {limits[name]:g})" for name, e in errors.items()]
    note = ", ".join(words if black else [*words, "not zero outside of the pictures"])
    return {"state": "ok" if good else "red", "note": note, "errors": errors}


def _training(
    network: DGUNetConfig, options: dict[str, Any]
) -> tuple[Callable[[TrainState, int, int], TrainState], TrainState]:
    """Return what trains from a state, from one step to another, and the first state."""
    settings = OptimizerConfig(learning_rate=1e-3, steps=_STEPS, schedule="constant", average=0.9)
    optimizer, mesh = make_optimizer(settings), make_mesh()
    step: Any = make_train_step(DGUNet(network), optimizer, lambda step: 1e-3, settings, mesh)
    params = jax.device_put(random_params(network), replicated(mesh))
    state = jax.jit(lambda params: state_of(params, optimizer, settings))(params)
    targets = np.random.default_rng(0).random((_STEPS, 2 * mesh.size, 32, 32, 3), np.float32)
    batches = [
        jax.device_put({"input": 0.9 * target, "target": target}, divided(mesh))
        for target in targets
    ]
    compiled = step.lower(state, batches[0]).compile(compiler_options=options)

    def run(state: TrainState, begin: int, end: int) -> TrainState:
        state = _copy(state)  # a step reuses the memory of its state
        for batch in batches[begin:end]:
            state, _ = compiled(state, batch)
        return state

    return run, state


@jax.jit
def _copy(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def _difference(a: TrainState, b: TrainState) -> float:
    """Return the largest difference of two states; of not-a-numbers, infinity."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    largest = 0.0
    for x, y in ((np.asarray(x), np.asarray(y)) for x, y in pairs):
        if x.tobytes() != y.tobytes():
            off = float(np.abs(x.astype(np.float64) - y).max())
            largest = max(largest, off if off > 0 else np.inf)
    return largest

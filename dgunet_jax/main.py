"""python -m dgunet_jax.main --config configs/quickstart.py --workdir DIR"""

import contextlib
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging
from ml_collections import config_flags

from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, one_line
from dgunet_jax.system.files import local_path

if TYPE_CHECKING:
    from dgunet_jax.training.config import TrainConfig

_CONFIG = config_flags.DEFINE_config_file("config", None, "Settings of the run.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints and results are written.")
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "dry_run"],
    "train: or go on where the run in workdir stopped; evaluate: score its best checkpoint on the"
    " held-out pictures, or on --dataset; dry_run: compile the step and tell what it costs.",
)
_RESTART = flags.DEFINE_bool(
    "restart",
    False,
    "Begin at step 0 although workdir holds checkpoints; they are moved aside, as checkpoints.1.",
)
_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "With --mode evaluate: score this data set as dgunet evaluate does; results go to"
    " evaluation/DATASET in workdir. rgb and luma: any folder of pairs.",
)
_DATA = flags.DEFINE_string("data", None, "Folder of --dataset.")
_TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "With --mode dry_run: compile for this slice of TPUs, such as v5e:2x4, which need not be here;"
    " libtpu must be installed.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of process 0, where several train together (JAX_COORDINATOR_ADDRESS), or auto on"
    " Cloud TPU, Slurm and Open MPI.",
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many there are (JAX_NUM_PROCESSES).")
_PROCESS = flags.DEFINE_integer("process", None, "Which this is, from 0 on (JAX_PROCESS_ID).")
_CACHE = flags.DEFINE_bool("cache", True, "Keep compiled programs for the next start.")
_unset: list[str] = []  # settings that the command line gives as None


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        raise UserError(f"unexpected argument {arguments[1]!r}")
    if _RESTART.value and _MODE.value != "train":
        raise UserError("--restart is for --mode train")
    if _TOPOLOGY.value is not None and _MODE.value != "dry_run":
        raise UserError("--topology is for --mode dry_run")
    workdir = local_path(_WORKDIR.value or "")
    try:
        settings = dict(_CONFIG.value or {})  # a file that failed to load says so here
    except OSError as error:
        raise UserError(f"--config cannot be used: {one_line(error)}") from error
    if not settings or not (_WORKDIR.value or _MODE.value == "dry_run"):
        raise UserError("--config and --workdir are needed")
    from dgunet_jax.system.compilation import use_cache
    from dgunet_jax.training import hosts
    from dgunet_jax.training.config import from_config_dict, unset

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.FATAL)  # Orbax tells every step of a save otherwise
    sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
    # JAX keeps programs for absent devices, but cannot read them.
    use_cache(_CACHE.value and _TOPOLOGY.value is None)
    config = from_config_dict(unset(settings, _unset))
    if not hosts.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value):
        return _run_mode(config, workdir)
    # When process 0 is gone, JAX says so and aborts; where the others were is of no use then.
    faulthandler.disable()
    status = 1
    try:
        status = terminal.run(lambda: _run_together(config, workdir))
    except SystemExit as ended:
        status = _number(ended)
    except Exception:
        traceback.print_exc()
    finally:
        # JAX would wait for the others, which may never come, before it lets the process end.
        os._exit(status)


def _run_together(config: "TrainConfig", workdir: Path) -> int:
    """Do what `_run_mode` does with other processes, and wait for them."""
    from dgunet_jax.training import hosts

    try:
        status = _run_mode(config, workdir)
        hosts.leave()
    except hosts.PeerLost as error:
        terminal.say(f"error: {error}")
        return 1
    return status


def _run_mode(config: "TrainConfig", workdir: Path) -> int:
    from dgunet_jax.system.compilation import check_platform

    if _TOPOLOGY.value is None:
        check_platform()
    if (_DATASET.value is None) != (_DATA.value is None):
        raise UserError("--dataset and --data go together; one of them is missing")
    if _DATASET.value is not None:
        return _evaluate(_DATASET.value, local_path(_DATA.value or ""), workdir)
    if _MODE.value == "dry_run":
        return _dry_run(config)
    from dgunet_jax.training import hosts, loop

    if _MODE.value == "evaluate":
        scores = loop.evaluate(config, workdir)
    else:
        ended = loop.train(config, workdir, restart=_RESTART.value)
        if ended.scores is None:
            return 128 + signal.SIGINT if ended.signal == signal.SIGINT else 0
        scores = ended.scores
    if hosts.is_first():
        terminal.show(f"PSNR input {scores.noisy:.2f} dB, restored {scores.restored:.2f} dB")
    return 0


def _dry_run(config: "TrainConfig") -> int:
    """Tell what a step costs on the devices of this machine, or on those of --topology."""
    import jax

    from dgunet_jax.training import cost
    from dgunet_jax.training.cost import trace_step

    devices = options = None
    if _TOPOLOGY.value is not None:
        jax.config.update("jax_platforms", "cpu")  # nothing runs, so no accelerator is taken
        devices, options = cost.tpu_devices(_TOPOLOGY.value), cost.QUICK
    _, cost = trace_step(config, devices).compile(options)
    terminal.show("\n".join(cost.lines()))
    return 0


def _evaluate(dataset: str, data: Path, workdir: Path) -> int:
    """Do what `dgunet evaluate` does, for the best checkpoint of a run."""
    import jax

    from dgunet_jax import cli

    if _MODE.value != "evaluate":
        raise UserError("--dataset is for --mode evaluate")
    if jax.process_count() > 1:
        raise UserError("--dataset is evaluated by one process, on all its devices")
    words = ["--dataset", dataset, "--data", f"{data}", "--checkpoint", f"{workdir}"]
    words += ["--output", f"{workdir / 'evaluation' / dataset}"]
    return cli.main(["evaluate", *words, *([] if _CACHE.value else ["--no-cache"])])


def run() -> None:
    """Run `main` and end the process; a user's mistake is one line and exit status 2."""
    if status := terminal.run(_command):
        # After a save that failed Orbax's threads would tell at length what one line has said.
        os._exit(status)


def _command() -> int:
    try:
        app.run(main, flags_parser=_parse)
    except SystemExit as ended:  # which is how absl returns
        return _number(ended)
    return 0


def _number(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else 0


def _without_closed_loops(hook: Callable[..., object]) -> Callable[..., object]:
    """Return the hook without what threads of TensorStore report when Orbax has met a damaged file.

    They speak to event loops that Orbax has closed by then; the error itself is told elsewhere.
    """

    def without(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not isinstance(error, RuntimeError) or str(error) != "Event loop is closed":
            hook(unraisable)

    return without


@contextlib.contextmanager
def _argv(words: list[str]) -> Iterator[list[str]]:
    """Put words in place of the command line, where ml_collections looks for the config file."""
    before, sys.argv = sys.argv, words
    try:
        yield words
    finally:
        sys.argv = before


def _parse(arguments: list[str]) -> list[str]:
    from dgunet_jax.training.config import look_at

    program, *words = arguments
    found = look_at(words)
    _unset.extend(found.unset)
    try:
        with _argv([program, *found.words]) as words:
            return flags.FLAGS(words)
    except flags.Error as error:
        # ml_collections gives a traceback as the message of what a config file raises.
        last = str(error).strip().splitlines()[-1]
        if found.variant and "positional argument" in last:
            raise UserError(f"--config {found.path}: has no variants") from error
        if "Traceback" in str(error):
            raise UserError(f"--config cannot be used: {last}") from error
        raise UserError(one_line(error)) from error
    except Exception as error:  # whatever the config file raises
        if found.variant and error.args == (found.variant,):
            raise UserError(f"--config {found.path}: has no variant {found.variant!r}") from error
        problem = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"--config cannot be used: {problem}") from error


if __name__ == "__main__":
    run()

"""python -m dgunet_jax.main --config configs/quickstart.py --workdir DIR"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dgunet_jax.options import Parser, add_processes, path
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError

if TYPE_CHECKING:
    from dgunet_jax.training.config import TrainConfig

_SETTING = re.compile(r"--?(?P<no>no)?config\.(?P<name>[^=]+)(?:=(?P<value>.*))?", re.S)
_EPILOG = """\
--config.GROUP.NAME=VALUE changes a setting of the configuration file, as --config.data.patch=64 or
--config.optimizer.epochs=None. A setting that is True or False needs no value: --config.model.remat
and --noconfig.model.remat.
"""


def parser() -> Parser:
    """Return the parser of all that does not begin with --config."""
    parser = Parser(
        prog="python -m dgunet_jax.main",
        description="Trains a network, or continues a training run; evaluates its best checkpoint;"
        " reports what a step costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add: Any = parser.add_argument
    add("--config", metavar="FILE[:VARIANT]", help="settings of the run, a Python file")
    add("--workdir", metavar="DIR", type=path, help="where checkpoints and results are written")
    add(
        "--mode",
        choices=("train", "evaluate", "dry_run"),
        type=lambda text: text.replace("-", "_"),
        default="train",
        help="train (default): also continues the run in DIR; evaluate: score its best checkpoint"
        " on the held-out images, or on --dataset; dry_run: compile a step and report its cost",
    )
    add(
        "--restart",
        action="store_true",
        help="begin at step 0 although DIR holds checkpoints; they are moved to checkpoints.1",
    )
    add(
        "--dataset",
        metavar="NAME",
        help="with --mode evaluate: score this data set as dgunet evaluate does; results go to"
        " DIR/evaluation/NAME. rgb and luma: any folder of pairs",
    )
    add("--data", metavar="FOLDER", type=path, help="of --dataset")
    add(
        "--topology",
        metavar="SLICE",
        help="with --mode dry_run: compile for this slice of TPUs, such as v5e:2x4, which need not"
        " be here; libtpu must be installed",
    )
    add_processes(parser)
    parser.add_argument(
        "--no-cache",
        "--nocache",
        action="store_true",
        help="do not keep compiled programs for the next start",
    )
    return parser


def parse(words: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Return the options, and the changes of settings by name.

    Raises:
      UserError: there is no such option or setting, or options do not fit each other.
    """
    made = parser()
    made.leaves_rest = True
    options, rest = made.parse_known_args(words)
    changes = {}
    while rest:
        word = rest.pop(0)
        if not (found := _SETTING.fullmatch(word)):
            made.error(f"unknown argument {word!r}")
        name, value = found["name"], found["value"]
        if value is None:
            value = _value_of(name, found["no"] is not None, rest)
        changes[name] = value
    if options.restart and options.mode != "train":
        raise UserError("--restart is for --mode train")
    if options.topology is not None and options.mode != "dry_run":
        raise UserError("--topology is for --mode dry_run")
    if options.dataset is not None and options.mode != "evaluate":
        raise UserError("--dataset is for --mode evaluate")
    if (options.dataset is None) != (options.data is None):
        raise UserError("--dataset and --data go together; one of them is missing")
    if not options.config:
        raise UserError("--config is needed")
    if not options.workdir and options.mode != "dry_run":
        raise UserError("--workdir is needed")
    return options, changes


def _value_of(name: str, negated: bool, rest: list[str]) -> str:
    """Return the value of a setting that stands without "=": the next word, or True or False."""
    from dgunet_jax.training.config import kind_of

    if kind_of(name) is bool:
        return str(not negated)
    if negated or not rest:
        raise UserError(f"--config.{name}: must have a value")
    return rest.pop(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 only if everything asked for was done."""
    options, changes = parse(sys.argv[1:] if arguments is None else arguments)
    from absl import logging

    from dgunet_jax.directories import without_closed_loops
    from dgunet_jax.system import hosts
    from dgunet_jax.system.compilation import use_cache
    from dgunet_jax.training.config import read_config

    logging.set_verbosity(logging.FATAL)  # Orbax reports every step of a save otherwise
    sys.unraisablehook = without_closed_loops(sys.unraisablehook)
    # JAX keeps programs for absent devices, but cannot read them.
    use_cache(not options.no_cache and options.topology is None)
    config = read_config(options.config, changes)
    if not hosts.join(options.coordinator, options.processes, options.process):
        return _run_mode(options, config)
    hosts.run_joined(lambda: _run_mode(options, config))


def _run_mode(options: argparse.Namespace, config: "TrainConfig") -> int:
    from dgunet_jax.system.compilation import check_platform

    if options.topology is None:
        check_platform()
    if options.dataset is not None:
        return _evaluate(options)
    if options.mode == "dry_run":
        return _dry_run(config, options.topology)
    from dgunet_jax.system import hosts
    from dgunet_jax.training import loop

    if options.mode == "evaluate":
        scores = loop.evaluate(config, options.workdir)
    else:
        ended = loop.train(config, options.workdir, restart=options.restart)
        if ended.scores is None:
            return 128 + signal.SIGINT if ended.signal == signal.SIGINT else 0
        scores = ended.scores
    if hosts.is_first():
        terminal.show(f"PSNR input {scores.noisy:.2f} dB, restored {scores.restored:.2f} dB")
    return 0


def _dry_run(config: "TrainConfig", topology: str | None) -> int:
    """Report what a step costs on the devices of this machine, or on those of a topology."""
    import jax

    from dgunet_jax.training import cost

    devices = options = None
    if topology is not None:
        jax.config.update("jax_platforms", "cpu")  # nothing runs, so no accelerator is taken
        devices, options = cost.tpu_devices(topology), cost.QUICK
    _, found = cost.trace_step(config, devices).compile(options)
    terminal.show("\n".join(found.lines()))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    """Do what `dgunet evaluate` does, for the best checkpoint of a run."""
    import jax

    from dgunet_jax.evaluation.command import Task, conduct
    from dgunet_jax.evaluation.protocols import SUITES, protocols
    from dgunet_jax.evaluation.samples import Method

    if jax.process_count() > 1:
        raise UserError("--dataset is evaluated by one process, on all its devices")
    output = options.workdir / "evaluation" / options.dataset
    method = Method(options.workdir, cache=not options.no_cache)
    task = Task(options.data, output, method)
    return conduct(protocols(options.dataset), task, SUITES.get(options.dataset))


def run() -> None:
    """Run `main` and end the process; a user's mistake is one line and exit status 2."""
    if status := terminal.run(main):
        # After a save that failed Orbax's threads would report at length what one line has said.
        os._exit(status)


if __name__ == "__main__":
    run()

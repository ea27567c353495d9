"""The command line that all experiments have.

python -m experiments.stages --output runs/experiments
python -m experiments.stages --output runs/full --scale full --data TRAIN --validation CBSD68
"""

import argparse
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from dgunet_jax.options import Parser, path
from dgunet_jax.system import terminal
from dgunet_jax.system.compilation import check_platform, use_cache
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import replacing
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.cost import trace_step
from experiments import summary
from experiments.bases import BASES
from experiments.factor import Experiment, Stopped, changed, run, run_name, seeded


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Run an experiment and return the exit status: 0, or 2 after a user's mistake.

    Interrupted, it goes on with the same command.
    """

    def command() -> int:
        options = _parser(experiment).parse_args(arguments)
        base = _base(options)
        logging.set_verbosity(logging.FATAL)  # Orbax tells every step of a save otherwise
        check_platform()
        use_cache()
        try:
            conduct(experiment, base, options.seeds, options.variants, options.output)
        except Stopped as stopped:
            (number,) = stopped.args
            return 128 + number if number == signal.SIGINT else 0
        return 0

    return terminal.run(command)


def conduct(
    experiment: Experiment, base: TrainConfig, seeds: int, variants: Sequence[str], output: Path
) -> list[summary.Row]:
    """Trains what is missing in `output`, then prints the table and writes NAME.json and NAME.png.

    Args:
      seeds: how many, from 0 on.
      variants: which; the base is always among them.

    Raises:
      UserError: as `factor.run`, or the results cannot be written.
    """
    reference = experiment.base(base)
    chosen = {n: c for n, c in experiment.variants.items() if n in variants or n == reference}
    # Seed by seed, so that an experiment that is cut short has compared all variants.
    results = {name: [] for name in chosen}
    for seed in range(seeds):
        for name, changes in chosen.items():
            terminal.say(f"{experiment.name}: {name}, seed {seed}")
            config = seeded(changed(base, changes), seed)
            results[name].append(run(config, output / run_name(base, changes, seed)))
    rows = []
    for name, changes in chosen.items():
        traced = trace_step(changed(base, changes))
        rows.append(summary.Row(name, traced.parameters, traced.gflop, results[name]))
    terminal.show(summary.table(rows, reference))
    with replacing(output / f"{experiment.name}.json") as file:
        file.write(json.dumps(summary.numbers(rows, reference), indent=1).encode())
    drawing = output / f"{experiment.name}.png"
    try:
        summary.draw(rows, experiment.title, drawing)
    except OSError as error:
        raise UserError(f"{drawing}: cannot be written: {reason(error)}") from error
    return rows


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = Parser(prog=f"python -m experiments.{experiment.name}", description=experiment.title)
    names = list(experiment.variants)
    add: Any = parser.add_argument
    add("--output", type=path, required=True, help="folder of the runs, the table and the figure")
    add("--scale", choices=list(BASES), default="small", help="small: minutes; full: the recipe")
    add("--seeds", type=int, default=3, help="runs of each variant (default: 3)")
    some = f"some of: {', '.join(names)}; the base is always run (default: all)"
    add("--variants", metavar="NAME", nargs="+", choices=names, default=names, help=some)
    add("--data", metavar="TRAIN", help="clean training pictures, in place of the scale's own")
    add("--validation", metavar="FOLDER", help="clean held-out pictures")
    return parser


def _base(options: argparse.Namespace) -> TrainConfig:
    if options.seeds < 1:
        raise UserError(f"--seeds is {options.seeds}; it must be at least 1")
    if (options.data is None) != (options.validation is None):
        raise UserError("--data and --validation go together; one of them is missing")
    base = BASES[options.scale]()
    if options.data is not None:
        return changed(base, {"data.train": options.data, "data.validation": options.validation})
    if options.scale == "full":
        raise UserError("--scale full needs --data and --validation")
    return base

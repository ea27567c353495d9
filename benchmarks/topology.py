"""What the networks cost on TPUs that are not here: compiled for a slice of them, never run.

python -m benchmarks.topology --topology v5e:2x4
python -m benchmarks.topology --topology v5e:2x4 --variants none --steps all --minutes 120
"""

import argparse
import dataclasses
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax

from configs import gopro, rain13k
from dgunet_jax.models.config import VARIANTS
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import replacing
from dgunet_jax.training import cost
from dgunet_jax.training.config import from_config_dict
from dgunet_jax.training.cost import Cost, Traced, trace_forward, trace_step

RECIPES = {
    "rain13k": (rain13k, ""),
    "rain13k:plus": (rain13k, "plus"),
    "gopro": (gopro, ""),
    "gopro:plus": (gopro, "plus"),
}
COLUMNS = (
    *("program", "of", "parameters", "GFLOP", "MB on each chip", "among chips", "compiled in, s"),
    *("CPU s", "GB here"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A program that was compiled, or was not.

    Attributes:
      program: "forward", restoring a picture of 256×256 on each chip, or "step", of a training.
      name: of a variant or a recipe.
      cost: None if it was not compiled, like the next two.
      cpu_seconds: that the process took to trace and compile.
      host_bytes: the most memory that it took.
      problem: why it was not compiled.
    """

    program: str
    name: str
    cost: Cost | None = None
    cpu_seconds: float | None = None
    host_bytes: int | None = None
    problem: str | None = None

    def __str__(self) -> str:
        if self.cost is None or self.cpu_seconds is None or self.host_bytes is None:
            return _line([self.program, self.name, self.problem or "", *[""] * (len(COLUMNS) - 3)])
        cost = self.cost
        available = f" of {cost.available} GB" if cost.available else ""
        return _line(
            [
                self.program,
                self.name,
                f"{cost.parameters:,}",
                f"{cost.gflop:,.0f}",
                f"{cost.memory / 1e6:,.0f}{available}",
                cost.exchanged,
                f"{cost.seconds:.0f}",
                f"{self.cpu_seconds:.0f}",
                f"{self.host_bytes / 1e9:.1f}",
            ]
        )


def main() -> int:
    arguments = _parse()
    programs = [("forward", name) for name in _chosen("variants", arguments.variants, VARIANTS)]
    programs += [("step", name) for name in _chosen("steps", arguments.steps, RECIPES)]
    if arguments.minutes <= 0:
        raise UserError(f"--minutes is {arguments.minutes:g}; it must be more than 0")
    devices = cost.tpu_devices(arguments.topology)
    terminal.show(f"{arguments.topology}: {len(devices)} × {devices[0].device_kind}\n")
    terminal.show(_line(COLUMNS) + "\n" + "|---" * len(COLUMNS) + "|")
    rows = []
    for program, name in programs:
        rows.append(compile_apart(arguments.topology, program, name, 60 * arguments.minutes))
        terminal.show(rows[-1])
        _write(arguments.json, arguments.topology, rows)
    return 0


def compile_apart(slice_name: str, program: str, name: str, seconds: float) -> Row:
    """Compile a program in a process of its own, which is ended after some seconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_compile, args=(theirs, slice_name, program, name))
    process.start()
    theirs.close()
    try:
        if ours.poll(seconds):
            return ours.recv()
        problem = f"not compiled in {seconds / 60:g} minutes"
    except EOFError:
        process.join()
        problem = f"not compiled: the process ended with status {process.exitcode}"
    finally:
        process.kill()
        process.join()
    return Row(program, name, problem=problem)


def _compile(answer: Connection, slice_name: str, program: str, name: str) -> None:
    """Send the row of a program."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    begin = time.process_time()
    try:
        traced = _trace(program, name, cost.tpu_devices(slice_name))
        _, price = traced.compile(cost.QUICK)
    except UserError as error:
        answer.send(Row(program, name, problem=f"not compiled: {error}"))
        return
    used = time.process_time() - begin
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB: libtpu is for Linux
    answer.send(Row(program, name, price, used, peak))


def _trace(program: str, name: str, devices: list[Any]) -> Traced:
    if program == "forward":
        return trace_forward(VARIANTS[name], devices)
    module, variant = RECIPES[name]
    return trace_step(from_config_dict(module.get_config(variant)), devices)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write(path: Path, slice_name: str, rows: list[Row]) -> None:
    """Write all rows there are as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "topology": slice_name,
        "options": cost.QUICK,
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "libtpu")},
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _chosen(option: str, text: str, known: Iterable[str]) -> list[str]:
    if text in ("all", "none"):
        return list(known) if text == "all" else []
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"--{option}: {name!r} is not all, none or one of {', '.join(known)}")
    return names


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.topology",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Any = parser.add_argument
    add("--topology", required=True, metavar="NAME", help="of the slice, such as v5e:2x4")
    forward = "whose forward pass is compiled, separated by commas, all or none (default: all)"
    add("--variants", default="all", metavar="NAMES", help=forward)
    steps = f"whose training step is compiled: {', '.join(RECIPES)}, all or none (default: none)"
    add("--steps", default="none", metavar="NAMES", help=steps)
    limit = "after which a compilation is given up (default: 30)"
    add("--minutes", default=30.0, type=float, metavar="N", help=limit)
    place = "where all figures go (default: runs/topology.json)"
    add("--json", default=Path("runs/topology.json"), type=Path, metavar="PATH", help=place)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(terminal.run(main))

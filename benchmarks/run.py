"""What the networks cost: operations, memory, compilation and, for the small ones, time.

python -m benchmarks.run
python -m benchmarks.run --variants derain --repeats 9
"""

import argparse
import gc
import sys
from pathlib import Path

import jax
from rich.console import Console

from benchmarks import programs, timing
from benchmarks.report import Row, describe_machine, print_table, write
from benchmarks.weights import count_params
from dgunet_jax.models.config import VARIANTS
from dgunet_jax.system.errors import UserError

TIMED = ("derain", "cs")
PROGRAMS = {"forward": programs.forward, "step": programs.training_step}
DEPTHS = ("trace", "rolled", "all")


def main(argv: list[str] | None = None) -> int:
    arguments = _parse(argv)
    try:
        variants = _variants(arguments.variants)
        if arguments.repeats < 0:
            raise UserError(f"--repeats is {arguments.repeats}; it must be at least 0")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A compilation found on disk would have taken no time.
    jax.config.update("jax_enable_compilation_cache", False)
    console = Console()
    begin = describe_machine()["load_average"]
    rows = []
    for variant in variants:
        for name in PROGRAMS:
            with console.status(f"{variant} {name}"):
                rows.append(_measure(variant, name, arguments.large, arguments.repeats))
            gc.collect()
    # A pipe is as wide as the table needs; a terminal has its own width.
    print_table(rows, console if console.is_terminal else Console(width=140))
    write(arguments.json, rows, describe_machine() | {"load_average_before": begin})
    console.print(f"written to {arguments.json}")
    return 0


def _measure(variant: str, name: str, large: str, repeats: int) -> Row:
    timed = variant in TIMED
    depth = "all" if timed else large
    rolled = PROGRAMS[name](variant, 1)
    row = Row(variant, name, count_params(VARIANTS[variant]), rolled.gflop, rolled.trace_seconds)
    if depth == "trace":
        return row
    compiled = rolled.compile()
    row.compile_seconds, row.memory_mb = compiled.compile_seconds, compiled.memory_mb
    if depth == "rolled":
        return row
    unrolled = PROGRAMS[name](variant, True).compile()
    row.unrolled_compile_seconds = unrolled.compile_seconds
    row.unrolled_memory_mb = unrolled.memory_mb
    if timed and repeats:
        row.take(timing.measure(compiled, unrolled, repeats))
    return row


def _variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"there is no variant {name!r}; the variants are {', '.join(VARIANTS)}")
    return names


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--variants",
        default=",".join(VARIANTS),
        metavar="NAMES",
        help="which ones, separated by commas (default: all)",
    )
    parser.add_argument(
        "--large",
        default="rolled",
        choices=DEPTHS,
        help=f"variants other than {' and '.join(TIMED)}: only count operations, compile them "
        "rolled, or unrolled as well (default: rolled)",
    )
    parser.add_argument(
        "--repeats",
        default=5,
        type=int,
        metavar="N",
        help=f"rounds of timing of {' and '.join(TIMED)}, four runs each; 0: none (default: 5)",
    )
    parser.add_argument(
        "--json",
        default=Path("runs/bench.json"),
        type=Path,
        metavar="PATH",
        help="where all figures go (default: runs/bench.json)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

"""The measurements as a table and as a file."""

import dataclasses
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Times

LEGEND = """\
forward: one picture of 256×256; step: loss, gradient and Adam on two patches of 64×64.
GFLOP: convolutions and matrix products of the program, loop bodies times their length (XLA's own
count takes a body once). Memory: arguments, results and temporaries of the compiled program.
Share: GFLOP per second as part of a 2048×2048 matrix product's, measured in turns with the program.
rolled: the middle stages as a loop; unrolled: written out."""


@dataclasses.dataclass
class Row:
    """One program of one variant; None where it was not measured.

    Attributes:
      variant, program: names.
      parameters: of the variant.
      gflop: of one run.
      trace_seconds: of the rolled program, like all that follow without a word.
      compile_seconds, unrolled_compile_seconds: XLA's.
      memory_mb, unrolled_memory_mb: 10⁶ bytes.
      seconds: median of a run.
      matrix_product_gflops: GFLOP/s of the matrix product meanwhile.
      share: of that rate.
      rolled_over_unrolled: times.
      times: all that was measured.
    """

    variant: str
    program: str
    parameters: int
    gflop: float
    trace_seconds: float
    compile_seconds: float | None = None
    unrolled_compile_seconds: float | None = None
    memory_mb: float | None = None
    unrolled_memory_mb: float | None = None
    seconds: float | None = None
    matrix_product_gflops: float | None = None
    share: float | None = None
    rolled_over_unrolled: float | None = None
    times: Times | None = None

    def take(self, times: Times) -> None:
        """Fills in what the times of its runs give."""
        self.times = times
        self.seconds = times.seconds
        self.matrix_product_gflops = times.rate
        self.share = times.share(self.gflop)
        self.rolled_over_unrolled = times.ratio


def print_table(rows: list[Row], console: Console) -> None:
    table = Table(caption=LEGEND, caption_justify="left")
    table.add_column("variant")
    table.add_column("program")
    for name in (
        "parameters\n10⁶",
        "GFLOP",
        "memory MB\nrolled",
        "\nunrolled",
        "compile s\nrolled",
        "\nunrolled",
        "run s",
        "matmul\nGFLOP/s",
        "share",
        "rolled/\nunrolled",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.variant,
            row.program,
            f"{row.parameters / 1e6:.2f}",
            f"{row.gflop:.1f}",
            _cell(row.memory_mb, ".0f"),
            _cell(row.unrolled_memory_mb, ".0f"),
            _cell(row.compile_seconds, ".1f"),
            _cell(row.unrolled_compile_seconds, ".1f"),
            _cell(row.seconds, ".3f"),
            _cell(row.matrix_product_gflops, ".0f"),
            _cell(row.share, ".0%"),
            _cell(row.rolled_over_unrolled, ".3f"),
            end_section=row.program == "step",
        )
    console.print(table)


def write(path: Path, rows: list[Row], machine: dict[str, Any]) -> None:
    """Writes machine and rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "rows": [dataclasses.asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe_machine() -> dict[str, Any]:
    """Versions, processor, and how busy the machine was in the last minutes."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "device": jax.devices()[0].device_kind,
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_average": os.getloadavg(),  # of 1, 5 and 15 minutes
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)

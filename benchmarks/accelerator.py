"""What an accelerator computes, how fast, and how fast PyTorch does on it.

python -m benchmarks.accelerator --output runs/accelerator --minutes 8

Exactness against the golden numbers comes first, then the machine's ceilings, then times of this
project and of the PyTorch peer, the most telling ones first. Every row is written when it is there.
On a CPU, networks and images are tiny.
"""

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accelerator_process import Failed, Processes
from benchmarks.accelerator_table import Row, Table
from dgunet_jax.options import Parser, path
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import check_folder
from dgunet_jax.system.terminal import run, show

SMALL_GOLDENS = ("tiny", "tiny_plus", "tiny_cs")
GOLDENS = (
    *("deblur", "derain", *SMALL_GOLDENS, "derain_plus", "deblur_plus", "denoise", "denoise_plus"),
    *("cs", "cs_plus", "cs_deblock", "cs_plus_deblock"),
)
PRECISIONS = ("bfloat16", "default", "float32")
STEPS = ("deblur step 8×256²", "derain step 16×128²")
FORWARDS = ("derain forward 8×256²", "deblur forward 8×256²", "deblur forward 1×720×1280")
# Single choices of the convolutions' form: what is left of that for the CPU.
FORMS = {
    "the CPU's form": (),
    "the CPU's form without filling": ("filling",),
    "the CPU's form without copies": ("copies",),
    "declared layouts alone": ("filling", "copies"),
}
_PARTIAL = 0.5  # of the time that exactness may take
_STARTING = 120.0  # seconds that a process may take to say what there is


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process is asked for.

    Attributes:
      target: the function, "module:name".
      arguments: of it.
      rows: what it gives, in this order, before it is known.
      seconds: that it is expected to take, until one of the same family has told better.
      process: "ours" or "peer".
      most: of all the time, what it may take.
    """

    target: str
    arguments: dict[str, Any]
    rows: tuple[Row, ...]
    seconds: float
    process: str = "ours"
    most: float = 1.0

    @property
    def family(self) -> tuple[Any, ...]:
        return self.target, self.arguments.get("compiled")


def main(argv: list[str] | None = None) -> int:
    return run(lambda: _command(argv))


def _command(argv: list[str] | None) -> int:
    parser = Parser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=path,
        required=True,
        help="where table.md, figures.json and log.txt go",
    )
    parser.add_argument(
        "--minutes",
        metavar="M",
        type=float,
        default=8.0,
        help="after which nothing is begun or gone on with; what is not done is named (default: 8)",
    )
    parser.add_argument("--tiny", action="store_true", help="tiny networks and images")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.minutes < math.inf:
        raise UserError(f"--minutes is {arguments.minutes}; it must be at least 0")
    check_folder(arguments.output)
    arguments.output.mkdir(parents=True, exist_ok=True)
    return conduct(arguments.output, arguments.minutes, arguments.tiny)


def conduct(folder: Path, minutes: float, tiny: bool) -> int:
    """Carry out the plan in the given time and return the exit status, 1 if exactness is red.

    Args:
      folder: where results go.
      tiny: whether networks and images are tiny, as they always are on a CPU.

    Raises:
      UserError: JAX finds no device, or the results cannot be written.
    """
    end = time.monotonic() + 60 * minutes
    with Processes(folder / "log.txt") as processes:
        header = _header(processes, tiny)
        tiny = bool(header["tiny"])
        table = Table(folder, header | {"minutes": minutes})

        def add(row: Row) -> None:
            table.add(row)
            show(_line(row))

        pace: dict[Any, float] = {}
        missing = None  # why there is no peer, once it was looked for
        for job in plan(tiny):
            if job.process == "peer" and missing is None and time.monotonic() < end:
                missing = _look_for_peer(processes, table, tiny)
                if missing:
                    add(Row("peer", "PyTorch", state="skipped", note=missing))
            if job.process == "peer" and missing:
                continue
            for row in _carry_out(job, processes, end, 60 * minutes, pace):
                add(row)
    show(f"written to {folder / 'table.md'} and figures.json")
    return int(any(row.state == "red" for row in table.rows))


def plan(tiny: bool) -> Iterator[Job]:
    """Yield all jobs, the most telling first; of tiny ones a few of each kind."""
    yield from _exactness(tiny)
    for precision in PRECISIONS:
        row = Row("ceiling", "matrix product", precision)
        arguments = {"precision": precision, "tiny": tiny}
        yield Job("benchmarks.accelerator_programs:product", arguments, (row,), 4)
    row = Row("ceiling", "copy")
    yield Job("benchmarks.accelerator_programs:copy", {"tiny": tiny}, (row,), 3)
    yield from _tiny_times() if tiny else _times()


def _times() -> Iterator[Job]:
    works = (*STEPS, *FORWARDS)
    yield from (_ours(work, "bfloat16") for work in works)
    yield from (_peer(work, "bfloat16") for work in works)
    yield from (_peer(work, "bfloat16", compiled=True) for work in works[:3])
    yield from (_ours(work, "default") for work in works[:4])
    yield from _choices("bfloat16")
    yield from (_peer(work, "default") for work in works)
    yield from (_ours(work, "float32") for work in works)
    yield from (_peer(work, "float32") for work in works)
    yield _ours(works[4], "default")
    yield from (_peer(work, "bfloat16", compiled=True) for work in works[3:])
    for precision in PRECISIONS[1:]:
        yield from (_peer(work, precision, compiled=True) for work in works)
        yield from _choices(precision)


def _tiny_times() -> Iterator[Job]:
    step, forward = STEPS[0], FORWARDS[0]
    yield _ours(step, "bfloat16", tiny=True)
    yield _ours(forward, "bfloat16", tiny=True)
    yield _ours(forward, "float32", tiny=True)
    words, without = list(FORMS.items())[-1]
    yield _ours(forward, "float32", words, without, tiny=True, kernels="cpu")
    yield _peer(forward, "float32", tiny=True)


def _exactness(tiny: bool) -> Iterator[Job]:
    module = "benchmarks.accelerator_exactness"
    names = ("tiny",) if tiny else GOLDENS
    rows = tuple(Row("exactness", f"golden {name}", "float32") for name in names)
    arguments = {"names": names, "tiny": tiny}
    yield Job(f"{module}:goldens", arguments, rows, 15 if tiny else 60, most=_PARTIAL)
    for name in ("tiny",) if tiny else ("derain", "tiny_plus"):
        row = Row("exactness", f"sizes of golden {name}", "float32")
        yield Job(f"{module}:sizes", {"name": name, "tiny": tiny}, (row,), 15)
    name = "tiny" if tiny else "derain"
    row = Row("exactness", f"height sharding of golden {name}", "float32")
    yield Job(f"{module}:sharding", {"name": name}, (row,), 15)
    for deterministic in (False,) if tiny else (False, True):
        words = "resumed training" + (", deterministic kernels" if deterministic else "")
        arguments = {"deterministic": deterministic, "tiny": tiny}
        yield Job(f"{module}:resume", arguments, (Row("exactness", words, "default"),), 20)


def _choices(precision: str) -> Iterator[Job]:
    """Yield a network's choices one by one, at the smaller network and then some at the larger."""
    deblur, derain = STEPS
    yield _ours(derain, precision, "unrolled", unroll=True)
    yield _ours(derain, precision, "remat", remat=True)
    yield _ours(deblur, precision, "remat", remat=True)
    yield _ours(FORWARDS[0], precision, "unrolled", unroll=True)
    for work in (FORWARDS[0], derain):
        for words, without in FORMS.items():
            yield _ours(work, precision, words, without, kernels="cpu")
    yield _ours(deblur, precision, "unrolled", unroll=True)
    yield _ours(deblur, precision, "the CPU's form", kernels="cpu")


def _ours(
    work: str,
    precision: str,
    words: str = "",
    without: tuple[str, ...] = (),
    *,
    tiny: bool = False,
    **choices: Any,
) -> Job:
    name = _label(work, tiny) + (f", {words}" if words else "")
    arguments = {"work": work, "precision": precision, "choices": choices, "without": without}
    return Job(
        "benchmarks.accelerator_programs:measure",
        arguments | {"tiny": tiny},
        (Row("ours", name, precision, work=work),),
        (75 if work in STEPS else 30) * (2 if "unroll" in choices else 1) * (0.1 if tiny else 1),
    )


def _peer(work: str, precision: str, *, compiled: bool = False, tiny: bool = False) -> Job:
    name = f"{_label(work, tiny)}, {'compiled' if compiled else 'eager'}"
    arguments = {"work": work, "precision": precision, "compiled": compiled, "tiny": tiny}
    seconds = (120 if work in STEPS else 60) if compiled else 15
    return Job(
        "benchmarks.accelerator_peer:measure",
        arguments,
        (Row("peer", name, precision, work=work),),
        seconds * (0.1 if tiny else 1),
        process="peer",
    )


def _label(work: str, tiny: bool) -> str:
    return f"tiny {work.rpartition(' ')[0]} 2×16²" if tiny else work


def _header(processes: Processes, tiny: bool) -> dict[str, Any]:
    """Return what is known of the machine, and whether networks are tiny."""
    try:
        (header,) = processes.ask("ours", "benchmarks.accelerator_programs:describe", {}, _STARTING)
    except Failed as error:
        raise UserError(str(error)) from error
    started = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return {"tiny": tiny or header["platform"] == "cpu", "started": started, **header}


def _look_for_peer(processes: Processes, table: Table, tiny: bool) -> str:
    """Return why there is no peer, or nothing; its versions go into the header."""
    target = "benchmarks.accelerator_peer:describe"
    try:
        (peer,) = processes.ask("peer", target, {"tiny": tiny}, _STARTING)
    except Failed as error:
        return f"PyTorch cannot be used here: {error}"
    missing = peer.pop("missing", "")
    table.header |= peer
    return missing


def _carry_out(
    job: Job, processes: Processes, end: float, seconds: float, pace: dict[Any, float]
) -> Iterator[Row]:
    """Yield a job's rows, measured, failed or skipped.

    Args:
      end: when all must be done.
      seconds: that there are in all.
      pace: of each family of jobs, the time taken over the time expected; a job adds its own.
    """
    left = end - time.monotonic()
    needed = job.seconds * pace.get(job.family, 1.0)
    waiting = list(job.rows)
    if needed > left:
        note = f"takes about {needed:.0f} s, and {max(0, left):.0f} s were left"
        yield from (dataclasses.replace(row, state="skipped", note=note) for row in waiting)
        return
    begin = since = time.monotonic()
    try:
        most = min(left, job.most * seconds)
        for fields in processes.ask(job.process, job.target, job.arguments, most):
            now = time.monotonic()
            yield dataclasses.replace(waiting.pop(0), **fields, wall_seconds=now - since)
            since = now
        pace[job.family] = (time.monotonic() - begin) / job.seconds
    except Failed as error:
        yield dataclasses.replace(
            waiting[0], state="failed", note=str(error), wall_seconds=time.monotonic() - since
        )
        note = "the job ended before"
        yield from (dataclasses.replace(row, state="skipped", note=note) for row in waiting[1:])


def _line(row: Row) -> str:
    words = " ".join(filter(None, (row.section, row.name, row.precision)))
    time = "" if row.seconds is None else f" {row.seconds:.4g} s"
    return f"{row.state:7} {words}:{time}{' ' + row.note if row.note else ''}"


if __name__ == "__main__":
    sys.exit(main())

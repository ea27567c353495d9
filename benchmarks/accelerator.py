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

GOLDENS = ("tiny", "derain", "tiny_plus", "deblur")
MORE_GOLDENS = (
    *("tiny_cs", "derain_plus", "deblur_plus", "denoise", "denoise_plus"),
    *("cs", "cs_plus", "cs_deblock", "cs_plus_deblock"),
)
PRECISIONS = ("bfloat16", "default", "float32")
STEPS = ("deblur step 8×256²", "derain step 16×128²")
FORWARDS = ("derain forward 8×256²", "deblur forward 8×256²", "deblur forward 1×720×1280")
_PARTIAL = 0.3  # of the time that a part of exactness may take
_Check = tuple[str, dict[str, Any], str, str]  # function, arguments, and what its row is called
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
    derain_step, derain, deblur = STEPS[1], *FORWARDS[:2]
    first = [(derain, "bfloat16"), (derain_step, "bfloat16"), (deblur, "bfloat16")]
    yield from _together(first)
    yield from (_peer(*program) for program in first)
    yield from (_peer(*program, compiled=True) for program in first[:2])
    yield from _choices("bfloat16")
    second = [(STEPS[0], "bfloat16"), (derain, "default"), (derain_step, "default")]
    yield from _together(second)
    yield from (_peer(*program) for program in second)
    yield from _more_exactness()
    third = [(work, precision) for work in (*STEPS, *FORWARDS) for precision in PRECISIONS]
    third = [program for program in third if program not in first + second]
    for program in third:
        yield _ours(*program)
        yield _peer(*program)
    for precision in PRECISIONS:
        compiled = [(work, precision) for work in (*STEPS, *FORWARDS)]
        yield from (_peer(*each, compiled=True) for each in compiled if each not in first[:2])
        if precision != "bfloat16":
            yield from _choices(precision)


def _together(programs: list[tuple[str, str]], *, tiny: bool = False) -> Iterator[Job]:
    yield _compile_together(programs, tiny=tiny)
    yield from (_ours(*program, tiny=tiny) for program in programs)


def _tiny_times() -> Iterator[Job]:
    step, forward = STEPS[0], FORWARDS[0]
    yield from _together([(step, "bfloat16"), (forward, "float32")], tiny=True)
    yield _ours(forward, "float32", "plain convolutions", tiny=True, kernels="plain")
    yield _peer(forward, "float32", tiny=True)


def _exactness(tiny: bool) -> Iterator[Job]:
    checks: list[_Check] = [
        ("golden", {"name": name}, f"golden {name}", "float32")
        for name in (("tiny",) if tiny else GOLDENS)
    ]
    for deterministic in (False,) if tiny else (False, True):
        words = "resumed training" + (", deterministic kernels" if deterministic else "")
        checks.append(("resume", {"deterministic": deterministic}, words, "default"))
    name = "tiny" if tiny else "derain"
    checks.append(("sizes", {"name": name}, f"sizes of golden {name}", "float32"))
    checks.append(("sharding", {"name": name}, f"height sharding of golden {name}", "float32"))
    yield _checks(checks, tiny)


def _more_exactness() -> Iterator[Job]:
    for names in (MORE_GOLDENS[:5], MORE_GOLDENS[5:]):
        yield _checks([("golden", {"name": n}, f"golden {n}", "float32") for n in names], False)


def _checks(checks: list[_Check], tiny: bool) -> Job:
    return Job(
        "benchmarks.accelerator_exactness:together",
        {"checks": [check[:2] for check in checks], "tiny": tiny},
        tuple(Row("exactness", words, precision) for *_, words, precision in checks),
        30 if tiny else 90,
        most=1.0 if tiny else _PARTIAL,
    )


def _choices(precision: str) -> Iterator[Job]:
    """Yield a network's choices one by one, at the smaller network and then some at the larger."""
    deblur, derain = STEPS
    yield _ours(FORWARDS[0], precision, "plain convolutions", kernels="plain")
    yield _ours(derain, precision, "plain convolutions", kernels="plain")
    yield _ours(FORWARDS[0], precision, "unrolled", unroll=True)
    yield _ours(derain, precision, "remat", remat=True)
    yield _ours(derain, precision, "unrolled", unroll=True)
    yield _ours(deblur, precision, "remat", remat=True)


def _compile_together(programs: list[tuple[str, str]], *, tiny: bool = False) -> Job:
    """Return what compiles works in precisions ahead, so that this takes as long as the slowest."""
    row = Row("compiling", f"{programs[0][0]} and {len(programs) - 1} more", programs[0][1])
    arguments = {"programs": programs, "tiny": tiny}
    seconds = 20 if tiny else 150
    return Job("benchmarks.accelerator_programs:compile_together", arguments, (row,), seconds)


def _ours(
    work: str,
    precision: str,
    words: str = "",
    *,
    tiny: bool = False,
    **choices: Any,
) -> Job:
    name = _label(work, tiny) + (f", {words}" if words else "")
    arguments = {"work": work, "precision": precision, "choices": choices}
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
    waiting = dict(enumerate(job.rows))
    if needed > left:
        note = f"takes about {needed:.0f} s, and {max(0, left):.0f} s were left"
        yield from (
            dataclasses.replace(row, state="skipped", note=note) for row in waiting.values()
        )
        return
    begin = since = time.monotonic()
    try:
        most = min(left, job.most * seconds)
        for fields in processes.ask(job.process, job.target, job.arguments, most):
            now = time.monotonic()
            row = waiting.pop(fields.pop("row", min(waiting)))
            yield dataclasses.replace(row, **fields, wall_seconds=now - since)
            since = now
        pace[job.family] = (time.monotonic() - begin) / job.seconds
    except Failed as error:
        first, *others = waiting.values()
        yield dataclasses.replace(
            first, state="failed", note=str(error), wall_seconds=time.monotonic() - since
        )
        note = "the job ended before"
        yield from (dataclasses.replace(row, state="skipped", note=note) for row in others)


def _line(row: Row) -> str:
    words = " ".join(filter(None, (row.section, row.name, row.precision)))
    time = "" if row.seconds is None else f" {row.seconds:.4g} s"
    return f"{row.state:7} {words}:{time}{' ' + row.note if row.note else ''}"


if __name__ == "__main__":
    sys.exit(main())

"""Folders of exotic files through `dgunet restore`; `make fuzz` runs a thousand of them.

python -m tests.fuzz.restoring --count 1000 --seed 7
"""

import argparse
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import dgunet_jax
from dgunet_jax.images import read
from dgunet_jax.system.errors import printable
from tests.fuzz.hostile import make_hostile
from tests.fuzz.kinds import READABLE
from tests.fuzz.pictures import Case, make
from tests.small import network

REDIRECTIONS = {">&-": 0, "2>&-": 0, "| true": 0, "2> /dev/full": 0, "> /dev/full": 2}
"""Standard output or error that is closed, full, or has a reader that goes away; the status."""

_PRIVILEGES = "-dac_override,-dac_read_search"
_UNPRIVILEGED = "setpriv", f"--bounding-set={_PRIVILEGES}", f"--inh-caps={_PRIVILEGES}"
# A process begins with the size of the one that starts it, so a small one does.
_MEASURED = """
import pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
pathlib.Path(sys.argv[1]).write_text(str(peak))
sys.exit(status)
"""
_MEMORY = 200_000_000  # bytes that hostile files are restored with


def run(folder: Path, count: int, seed: int) -> Counter[str]:
    """Restores `count` files in a process of its own and checks that nothing went lost.

    Every readable picture is restored, everything else is named, each exactly once.

    Returns:
      How many files were restored, failed and left out.

    Raises:
      AssertionError: otherwise; it names the file.
    """
    cases = make(folder / "in", count, seed)
    return _restored(folder, cases)


def run_hostile(folder: Path, seed: int) -> Counter[str]:
    """Restores what `make_hostile` makes within a limited memory, and checks the same.

    The largest size of the process stays below what it is for a small picture and 1.3 times the
    memory allowed.
    """
    cases = make_hostile(folder / "in", np.random.default_rng(seed))
    for case in cases:
        if case.kind == "a large picture":
            (folder / "small").mkdir()
            shutil.copy(case.path, folder / "small")
    base = restore(folder, "small", "--output", "base", "--tile", "64")
    assert base.status == 0, base.errors
    fates = _restored(folder, cases, "--memory", f"{_MEMORY}", "--tile", "auto", most=base)
    return fates


def run_locked(folder: Path) -> Counter[str] | None:
    """Restores files and folders that may not be read; None where that cannot be tried.

    An administrator may read everything, unless that privilege is taken away.
    """
    bound = [] if os.geteuid() else [*_UNPRIVILEGED]
    if bound and shutil.which(bound[0]) is None:
        return None
    cases = [
        Case(folder / "in" / name, name, name == "open.png") for name in ("open.png", "locked.png")
    ]
    content = READABLE["PNG RGB of Pillow {}"](np.random.default_rng(0), (16, 24))
    (folder / "in" / "closed").mkdir(parents=True)
    for case in cases:
        case.path.write_bytes(content)
    cases[1].path.chmod(0)
    (folder / "in" / "closed" / "inner.png").write_bytes(content)
    (folder / "in" / "closed").chmod(0)
    done = restore(folder, "in", "--output", "out", before=bound)
    said = done.errors.splitlines()
    assert done.status == 2, done.errors
    assert sum(line.startswith("error: in/closed: ") for line in said) == 1, done.errors
    assert sum(line.startswith("error: in/locked.png: ") for line in said) == 1, done.errors
    assert (folder / "out" / "open.png").exists()
    return Counter(failed=2, restored=1)


def run_redirected(folder: Path, redirections: Mapping[str, int]) -> None:
    """Restores with streams that a shell redirects; the pictures are written all the same.

    Args:
      redirections: what the shell does, and the status the command must end with.
    """
    (folder / "in").mkdir(parents=True)
    content = READABLE["PNG RGB of Pillow {}"](np.random.default_rng(0), (16, 24))
    for name in ("a.png", "b.png"):
        (folder / "in" / name).write_bytes(content)
    for number, (redirection, status) in enumerate(redirections.items()):
        done = restore(folder, "in", "--output", f"out{number}", shell=redirection)
        assert done.status == status, (redirection, done)
        assert len(list((folder / f"out{number}").iterdir())) == 2, redirection


@dataclasses.dataclass(frozen=True)
class Done:
    """What came of a process: its status, what it printed, seconds, and the most memory it had."""

    status: int
    output: str
    errors: str
    seconds: float
    peak: int


def restore(folder: Path, *arguments: str, shell: str = "", before: Sequence[str] = ()) -> Done:
    """Runs `dgunet restore` in a folder with a small network.

    Args:
      shell: what a shell does with the command's streams.
      before: words in front of the command.
    """
    checkpoint = folder / "net.safetensors"
    if not checkpoint.exists():
        dgunet_jax.save(checkpoint, *network(num_stages=2))
    program = [sys.executable, "-m", "dgunet_jax.cli", "restore", "--checkpoint", checkpoint.name]
    words = [*before, *program, "--no-cache", *arguments]
    if shell:
        words = ["bash", "-c", f"set -o pipefail; {shlex.join(words)} {shell}"]
    start = time.monotonic()
    with tempfile.NamedTemporaryFile() as peak:
        ran = subprocess.run(
            [sys.executable, "-c", _MEASURED, peak.name, *words], cwd=folder, capture_output=True
        )
        most = 1024 * int(peak.read())
    seconds = time.monotonic() - start
    done = Done(ran.returncode, ran.stdout.decode(), ran.stderr.decode(), seconds, most)
    assert "Traceback" not in done.errors + done.output, done.errors
    return done


def _restored(
    folder: Path, cases: list[Case], *options: str, most: Done | None = None
) -> Counter[str]:
    """Restores the files of cases and checks what came of each, and of time and memory."""
    before = {case.path: case.path.read_bytes() for case in cases if case.path.exists()}
    done = restore(folder, "in", "--output", "out", *options)
    said = done.errors.splitlines()
    fates = Counter(_fate(case, folder, said) for case in cases)
    assert done.status == (2 if fates["failed"] else 0), done.errors
    written = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert len(written) == fates["restored"], set(written)
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path} was changed"
    if most is not None:
        assert done.peak < most.peak + 1.3 * _MEMORY, (done.peak, most.peak)
        assert done.seconds < 10 * most.seconds + 60, (done.seconds, most.seconds)
    return fates


def _fate(case: Case, folder: Path, said: list[str]) -> str:
    place = case.path.relative_to(folder)
    shown = printable(place)
    failed = sum(line.startswith(f"error: {shown}: ") for line in said)
    left_out = said.count(f"left out, not a picture: {shown}")
    parent = folder / "out" / place.relative_to("in").parent
    written = os.listdir(parent) if parent.exists() else []
    outputs = [parent / name for name in {f"{place.stem}.png", f"{place.name}.png"} & {*written}]
    told = f"{case}: {failed} errors, {left_out} times left out, {len(outputs)} outputs"
    assert failed + left_out + len(outputs) == 1, told
    assert case.readable is None or case.readable == bool(outputs), told
    if not outputs:
        return "failed" if failed else "left out"
    source, restored = read(case.path), read(outputs[0])
    assert restored.pixels.shape == source.pixels.shape, told
    assert restored.pixels.dtype == source.pixels.dtype, told
    assert (restored.alpha is None) == (source.alpha is None), told
    assert source.alpha is None or np.array_equal(restored.alpha, source.alpha), told
    return "restored"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fates = run(Path(folder) / "exotic", options.count, options.seed)
        fates += run_hostile(Path(folder) / "hostile", options.seed)
        fates += run_locked(Path(folder) / "locked") or Counter()
        run_redirected(Path(folder) / "redirected", REDIRECTIONS)
    print(", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

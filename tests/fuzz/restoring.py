"""Folders of exotic files through `dgunet restore`; `make fuzz` runs a thousand of them.

python -m tests.fuzz.restoring --count 1000 --seed 7
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import dgunet_jax
from dgunet_jax.images.reading import read
from tests.fuzz.pictures import Case, make
from tests.small import network


def run(folder: Path, count: int, seed: int) -> Counter[str]:
    """Restores `count` files in a process of its own and checks that nothing went lost.

    Every readable picture is restored, everything else is named, each exactly once.

    Returns:
      How many files were restored, failed and left out.

    Raises:
      AssertionError: otherwise; it names the file.
    """
    cases = make(folder / "in", count, seed)
    before = {case.path: case.path.read_bytes() for case in cases}
    dgunet_jax.save(folder / "net.safetensors", *network(num_stages=2))
    words = [sys.executable, "-m", "dgunet_jax.cli", "restore", "--checkpoint", "net.safetensors"]
    done = subprocess.run(
        [*words, "in", "--output", "out"], cwd=folder, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    said = done.stderr.splitlines()
    fates = Counter(_fate(case, folder, said) for case in cases)
    assert done.returncode == (2 if fates["failed"] else 0), done.returncode
    written = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert len(written) == fates["restored"], set(written)
    for case in cases:
        assert case.path.read_bytes() == before[case.path], f"{case.path} was changed"
    return fates


def _fate(case: Case, folder: Path, said: list[str]) -> str:
    place = case.path.relative_to(folder)
    failed = sum(line.startswith(f"error: {place}: ") for line in said)
    left_out = said.count(f"left out, not a picture: {place}")
    parent = folder / "out" / place.relative_to("in").parent
    names = {f"{place.stem}.png", f"{place.name}.png"}
    outputs = [parent / name for name in names if (parent / name).exists()]
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
        fates = run(Path(folder), options.count, options.seed)
    print(", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

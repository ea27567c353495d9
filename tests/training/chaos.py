"""Kills a run at random moments and damages its checkpoints; the end must be that of a quiet run.

python -m tests.training.chaos --kills 20 --seed 0
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dgunet_jax
from dgunet_jax.system.runs import is_committed
from dgunet_jax.system.storage import as_path
from tests.bucket import NAME, Server, served
from tests.small import equal


class Chaos:
    """Starts the same command again and again.

    Args:
      config: the run's configuration file.
      folder: where everything is written.
      log: is told what happens.
    """

    def __init__(self, config: str, folder: Path, log: Callable[[str], None]):
        self._words = [sys.executable, "-m", "dgunet_jax.main", "--config", config]
        # Compiled once, so that a start takes seconds.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        self._environment = os.environ | cache | {"JAX_ENABLE_COMPILATION_CACHE": "true"}
        self._log = log

    def finish(self, workdir: Path, *more: str) -> None:
        """Runs until the end."""
        words = [*self._words, "--workdir", str(workdir), *more]
        done = subprocess.run(words, env=self._environment, stderr=subprocess.PIPE, text=True)
        said = done.stderr.splitlines()
        no_traceback(said)
        if done.returncode:
            raise RuntimeError(said[-1])

    def kill(self, workdir: Path, when: Callable[[Path, float], bool], *more: str) -> bool:
        """Starts or goes on and kills at the moment that `when` names.

        Args:
          when: of the working directory and the seconds since the first step.

        Returns:
          Whether the run was killed before its end.
        """
        words = [*self._words, "--workdir", str(workdir), *more]
        with subprocess.Popen(
            words,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            said: list[str] = []
            stepping = threading.Event()

            def listen() -> None:
                assert process.stderr is not None
                for line in process.stderr:
                    said.append(line.rstrip())
                    if line.startswith("step ") and not line.startswith("step 0:"):
                        stepping.set()

            listener = threading.Thread(target=listen)
            listener.start()
            while process.poll() is None and not stepping.wait(0.01):
                pass
            begin = time.monotonic()
            while process.poll() is None and not when(workdir, time.monotonic() - begin):
                time.sleep(0.001)
            killed = process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            listener.join()
        no_traceback(said)
        began = [line for line in said if line.startswith("going on")] or ["from the start"]
        last = [line for line in said if line.startswith("step ")][-1:]
        self._log(f"{began[-1]}; {'killed' if killed else 'ended'} after {''.join(last)[:40]!r}")
        for line in said:
            if "is damaged" in line:
                self._log(line)
        if not killed and process.returncode:
            raise RuntimeError(said[-1])
        return killed


def no_traceback(said: list[str]) -> None:
    """Raises a RuntimeError if a process has told of an error in Python's way."""
    if any(line.startswith("Traceback") for line in said):
        raise RuntimeError("\n".join(said))


def saving(workdir: Path, seconds: float) -> bool:
    """The moment in which a checkpoint is being written."""
    return any("tmp" in path.name or not is_committed(path) for path in _checkpoints(workdir))


def saved(workdir: Path, seconds: float) -> bool:
    """A moment after a checkpoint has been written."""
    return bool(complete(workdir))


def complete(workdir: Path) -> list[Path]:
    """The checkpoints that have been written."""
    return [path for path in _checkpoints(workdir) if path.name.isdigit() and is_committed(path)]


def _checkpoints(workdir: Path) -> list[Path]:
    try:
        return [*(workdir / "checkpoints").iterdir()]
    except OSError:  # nothing has been written yet
        return []


def after(delay: float) -> Callable[[Path, float], bool]:
    return lambda workdir, seconds: seconds >= delay


def damage(workdir: Path, rng: random.Random) -> str:
    """Flips a byte of the newest checkpoint's arrays, or cuts a file off."""
    newest = max(complete(workdir), key=lambda p: int(p.name))
    files = sorted(p for p in newest.glob("*/d/*") if p.stat().st_size > 100)
    files = files or sorted(p for p in newest.rglob("*/d/*") if p.stat().st_size > 100)
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        what = f"bit of byte {place} flipped"
    else:
        del content[rng.randrange(len(content)) :]
        what = f"cut off at byte {len(content)}"
    path.write_bytes(content)
    return f"{path.relative_to(workdir)}: {what}"


def same(a: Path, b: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit."""
    return equal(*(dgunet_jax.load(path / "model.safetensors")[1] for path in (a, b)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0, help="at most between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bucket", type=int, metavar="N", help="in a bucket, whose server is killed N times"
    )
    options = parser.parse_args()
    rng = random.Random(options.seed)
    more = ["--config.report.save_every=4", "--config.report.progress_every=1"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = None
        if options.bucket is not None:
            server = stack.enter_context(served(folder / "server"))
        chaos = Chaos(options.config, folder, print)
        chaos.finish(folder / "quiet", *more)
        print("a quiet run has ended", flush=True)
        kills, runs = 0, 1
        place = folder
        if server is not None:
            place = as_path(f"gs://{NAME}")
            threading.Thread(
                target=_interrupt, args=(server, options.bucket, rng.random()), daemon=True
            ).start()
        while kills < options.kills:
            workdir = place / f"killed{runs}"
            workers = f"--config.data.workers={rng.randrange(3)}"
            when = saving if rng.random() < 0.3 else after(rng.uniform(0, options.seconds))
            if not chaos.kill(workdir, when, *more, workers):
                if not same(folder / "quiet", workdir):
                    return _differ(workdir)
                runs += 1
                continue
            kills += 1
            if options.bucket is None and rng.random() < 0.4 and len(complete(workdir)) > 1:
                print(damage(workdir, rng), flush=True)
        chaos.finish(workdir, *more)
        if not same(folder / "quiet", workdir):
            return _differ(workdir)
    print(f"the same weights, bit for bit, in {runs} run(s) with {kills} kills")
    return 0


def _interrupt(server: Server, kills: int, seed: float) -> None:
    """Kill the bucket's server now and then, for some seconds each time."""
    rng = random.Random(seed)
    for _ in range(kills):
        server.interrupt(rng.uniform(20, 60), rng.uniform(1, 8))
        print("the server was killed and is there again", flush=True)


def _differ(workdir: Path) -> int:
    print(f"{workdir.name}: the weights differ")
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Where a run keeps its checkpoints, and which of them is the best."""

import json
import math
import re
from pathlib import Path

from dgunet_jax.system.errors import UserError, one_line
from dgunet_jax.system.storage import is_remote

RUN_FOLDER = "checkpoints"


def best_of_run(workdir: Path) -> Path:
    """The directory of a run's best checkpoint; the newest one if none was evaluated."""
    steps = steps_of_run(workdir / RUN_FOLDER)
    if not steps:
        raise UserError(f"{workdir}: is neither a checkpoint nor a run's working directory")

    def rank(step: Path) -> tuple[float, int]:
        try:
            return score_of(step), int(step.name)
        except ValueError:
            return -math.inf, int(step.name)

    return max(steps, key=rank)


def steps_of_run(folder: Path) -> list[Path]:
    """The directories of a run's checkpoints in their folder, which need not exist."""
    if not folder.is_dir():
        return []
    steps = (step for step in folder.iterdir() if re.fullmatch(r"[0-9]+", step.name))
    return sorted(step for step in steps if step.is_dir() and is_committed(step))


def is_committed(step: Path) -> bool:
    """Whether the directory of a checkpoint has been written to its end.

    On a disk it gets its name then; on remote storage Orbax adds a file.
    """
    return not is_remote(step) or (step / "commit_success.txt").exists()


def score_of(step: Path) -> float:
    """The score in dB that a checkpoint of a run is ranked by.

    Raises:
      ValueError: its file is damaged, or missing.
    """
    metrics = step / "metrics" / "metrics"
    try:
        return float(json.loads(metrics.read_text())["psnr"])
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{metrics.name}: {one_line(error)}") from error

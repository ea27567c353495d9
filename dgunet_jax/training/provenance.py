"""What a run was made with."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from dgunet_jax.files import replacing
from dgunet_jax.provenance import versions
from dgunet_jax.training.config import TrainConfig


def record(workdir: Path, config: TrainConfig) -> None:
    """Writes `run.json`: settings, command, versions, devices and the state of the sources.

    A run that goes on adds an entry.
    """
    path = workdir / "run.json"
    try:
        runs = json.loads(path.read_text())
    except (OSError, ValueError):
        runs = []
    runs.append(
        {
            "config": dataclasses.asdict(config),
            "command": sys.argv,
            "git": git_state(),
            "versions": versions(),
            "devices": [str(device) for device in jax.devices()],
            "processes": jax.process_count(),
        }
    )
    with replacing(path) as file:
        file.write(json.dumps(runs, indent=1).encode())


def git_state() -> dict[str, Any] | None:
    """Commit of the sources and whether they were changed since; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None

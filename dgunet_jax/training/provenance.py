"""What a run was made with."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import read_bytes, replacing
from dgunet_jax.system.provenance import versions
from dgunet_jax.training.config import TrainConfig


def record(workdir: Path, config: TrainConfig) -> None:
    """Writes `run.json`: settings, command, versions, devices and the state of the sources.

    A run that goes on adds an entry.

    Raises:
      UserError: what is there is damaged, or it cannot be written.
    """
    path = workdir / "run.json"
    runs: Any = []
    if path.exists():
        content = read_bytes(path)
        try:
            runs = json.loads(content)
        except ValueError:
            runs = None
        if not isinstance(runs, list):
            raise UserError(f"{path}: is no record of a run; move it away to go on without it")
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
    """Commit of the sources and whether they were changed since; None outside a checkout.

    An environment within somebody else's repository is none.
    """
    file = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None

"""What something was made with."""

import contextlib
import dataclasses
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from dgunet_jax import __version__
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import read_bytes, replacing

_LIBRARIES = (
    "flax", "grain", "imagecodecs", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "pillow",
    "scipy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that training and scores depend on."""
    found = {"dgunet_jax": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):  # some come with extras
            found[name] = metadata.version(name)
    try:  # which comes in distributions of several names, and need not be there
        import cv2
    except ImportError:
        return found
    return found | {"opencv": cv2.__version__}


def checkpoint_hash(path: Path, variables: Mapping[str, Any]) -> str:
    """The SHA-256 of a checkpoint file or, if it is a directory, of the weights in it.

    That of weights is computed of each leaf's name, type, shape and bytes, by name.

    Raises:
      UserError: the file cannot be read.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for name, leaf in sorted(flatten_dict(variables["params"], sep=".").items()):
            array = np.ascontiguousarray(jax.device_get(leaf))
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def record(workdir: Path, config: Any) -> None:
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

"""What something was made with."""

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgunet_jax._version import __version__
from dgunet_jax.models.network import flatten
from dgunet_jax.system.errors import UserError, reason

_LIBRARIES = (
    "flax", "grain", "imagecodecs", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "pillow",
    "scipy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that training and scores depend on."""
    found = {"dgunet_jax": __version__, "python": platform.python_version()}
    found |= {name: metadata.version(name) for name in _LIBRARIES}
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
        for name, leaf in sorted(flatten(variables["params"]).items()):
            array = np.ascontiguousarray(jax.device_get(leaf))
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error

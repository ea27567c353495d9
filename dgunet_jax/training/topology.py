"""Slices of TPUs that are not here, to compile for."""

import os
from typing import Any

import jax
from jax.experimental import topologies

from dgunet_jax.system.errors import UserError, one_line

QUICK = {"exec_time_optimization_effort": -1.0, "memory_fitting_effort": -1.0}
"""Compiler options that take a fraction of the time.

No array is moved into a chip's fast memory then, so that more lies in its main memory.
"""

_ENVIRONMENT = {
    # libtpu would look these up in Google Cloud.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # any; the name of the topology decides
    "TPU_WORKER_HOSTNAMES": "localhost",
    # It would let no other process of this machine load it, though no chip is used.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}


def tpu_devices(name: str) -> list[Any]:
    """Return the devices of a slice of TPUs, which can be compiled for and nothing else.

    JAX's persistent cache must be off when they are: it writes their programs and cannot read them.

    Args:
      name: kind and arrangement of the chips, such as "v5e:2x4".

    Raises:
      UserError: libtpu is not installed, knows no such slice, or has several devices on a chip.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        devices = topologies.get_topology_desc(name, "tpu").devices
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--topology {name}: {one_line(error)}") from error
    except RuntimeError as error:  # whose text is about using TPUs
        raise UserError(
            f"--topology {name}: libtpu, which compiles for TPUs, is not installed; it comes with"
            " this package's extra tpu"
        ) from error
    if any(device.core_on_chip for device in devices):
        raise UserError(f"--topology {name}: has several devices on a chip; take v5e, v5p or v6e")
    return list(devices)

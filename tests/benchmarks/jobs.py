"""What processes of the accelerator's benchmark are asked for in its tests; and a run to be killed.

python -m tests.benchmarks.jobs FOLDER
"""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from benchmarks import accelerator
from benchmarks.accelerator import Job
from benchmarks.accelerator_table import Row


def job(name: str, *rows: str, seconds: float = 0.1, **settings: Any) -> Job:
    made = tuple(Row("ours", row) for row in rows or [name])
    return Job(f"{__name__}:{name}", {}, made, seconds, **settings)


def good() -> Iterator[dict[str, Any]]:
    yield {"seconds": 0.5}


def out_of_memory() -> Iterator[dict[str, Any]]:
    yield {"seconds": 0.25}
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocated here\nand there")


def aborts() -> Iterator[dict[str, Any]]:
    os._exit(7)
    yield {}


def hangs() -> Iterator[dict[str, Any]]:
    time.sleep(600)
    yield {}


def wrong() -> Iterator[dict[str, Any]]:
    yield {"state": "red", "note": "off by 5"}


if __name__ == "__main__":
    with (
        mock.patch.object(accelerator, "plan", lambda tiny: iter([job("good"), job("hangs")])),
        mock.patch.object(accelerator, "_header", lambda *given: {"tiny": True}),
    ):
        sys.exit(accelerator.main(["--output", sys.argv[1]]))

"""Processes that compute: what fails, hangs or takes the device's memory ends with its process."""

import importlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self
from unittest import mock

from dgunet_jax.system.errors import UserError

# A compilation found on disk would have taken no time.
_ENVIRONMENT = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
# The peer's process uses JAX to make its weights, and must leave the device to PyTorch.
_ENVIRONMENTS = {"ours": _ENVIRONMENT, "peer": _ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}}


class Failed(Exception):
    """What was asked for could not be done; the message is its first line."""


class Processes:
    """A process for this project and one for the peer, one at a time, so that each has all memory.

    Args:
      log: where their output goes.
    """

    def __init__(self, log: Path):
        self._log = log
        self._kind = ""
        self._process: Any = None
        self._connection: Any = None

    def ask(
        self, kind: str, target: str, arguments: Mapping[str, Any], seconds: float
    ) -> Iterator[Any]:
        """Yield what a generator function yields in another process.

        Args:
          kind: "ours" or "peer".
          target: the function, as "module:name".
          arguments: what it is called with.
          seconds: after which the process is ended.

        Raises:
          Failed: the function raised, its process ended, or the time was over.
        """
        end = time.monotonic() + seconds
        if self._kind != kind:
            self.close()
            self._start(kind)
        done = False
        try:
            self._connection.send((target, dict(arguments)))
            while not done:
                if not self._connection.poll(max(0.0, end - time.monotonic())):
                    raise Failed("not done when the time was over")
                word, value = self._connection.recv()
                if word == "error":
                    raise Failed(value)
                done = word == "done"
                if not done:
                    yield value
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise Failed(
                f"the process ended with status {self._process.exitcode}; see {self._log.name}"
            ) from error
        finally:
            # An error may leave memory taken, or a device that answers nothing any more.
            if not done:
                self.close()

    def close(self) -> None:
        """End the process that runs."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._kind, self._process, self._connection = "", None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, kind: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._log), daemon=True)
        with mock.patch.dict(os.environ, _ENVIRONMENTS[kind]):
            self._process.start()
        theirs.close()
        self._kind = kind


def first_line(error: BaseException) -> str:
    """Return what an error says, not more than 200 characters; of most with the error's class."""
    line = next(iter(str(error).strip().splitlines()), "")[:200]
    return line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"


def _serve(connection: Connection, log: Path) -> None:
    """Answer until the other side is gone."""
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    while True:
        try:
            target, arguments = connection.recv()
            _answer(connection, target, arguments)
        except (EOFError, ConnectionError):
            return


def _answer(connection: Connection, target: str, arguments: Mapping[str, Any]) -> None:
    module, _, name = target.partition(":")
    try:
        for value in getattr(importlib.import_module(module), name)(**arguments):
            connection.send(("value", value))
    except ConnectionError:
        raise
    except Exception as error:  # of any library: out of memory, an unknown option, a bug
        traceback.print_exc()
        connection.send(("error", first_line(error)))
    else:
        connection.send(("done", None))

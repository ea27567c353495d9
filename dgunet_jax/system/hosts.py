"""Several processes, on one or many hosts, that train one network or share pictures."""

import contextlib
import dataclasses
import faulthandler
import ipaddress
import os
import re
import socket
import traceback
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, one_line

Item = TypeVar("Item")

_NAMES = (
    "--coordinator (JAX_COORDINATOR_ADDRESS)",
    "--processes (JAX_NUM_PROCESSES)",
    "--process (JAX_PROCESS_ID)",
)
_LOOPBACK = re.compile(r"localhost|::1|127\.[\d.]+")
_PATIENCE = 60  # seconds without a sign of life after which a process counts as lost


class PeerLost(RuntimeError):
    """Another process of the run has died or cannot be reached."""


def join(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> bool:
    """Join the processes that train together; to be called before JAX does anything.

    They trust each other and their network: whoever reaches the coordinator takes part. Process 0
    listens at its address alone. Only if this is not an address of its machine, or a name that
    means a loopback address there, it listens at all of them.

    Args:
      coordinator: host:port at which process 0 is reached.
      processes: how many there are.
      process: which of them this is, from 0 on. What is None is taken from the environment:
        `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`. "auto" as coordinator
        asks JAX, which knows Cloud TPU, Slurm and Open MPI.

    Returns:
      Whether there is anybody to join: False if neither arguments nor environment tell of any.

    Raises:
      UserError: something is missing or out of range, or the others cannot be reached.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    found = coordinator, *_asked(processes, process)
    if all(value is None for value in found):
        return False
    arguments: dict[str, Any] = {}
    if coordinator != "auto":
        count, number = _numbers("train together", found, _NAMES)
        arguments = {
            "coordinator_address": (address := _address(coordinator or "")),
            "coordinator_bind_address": _listening(address),
            "num_processes": count,
            "process_id": number,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=_PATIENCE, **arguments)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes cannot join: {one_line(error)}") from error
    return True


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of some work a process does: every `processes`-th item, from `process` on."""

    process: int = 0
    processes: int = 1

    @property
    def suffix(self) -> str:
        """What tells the names of this process' files from those of the first one."""
        return f".{self.process}" if self.process else ""

    def of(self, items: Sequence[Item]) -> list[Item]:
        return [*items[self.process :: self.processes]]


ALL = Share()
"""The share of a process that is alone."""


def share(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> tuple[Share, bool]:
    """Return this process' share of work in which processes need not know each other.

    Args:
      coordinator: only where the numbers must be asked for ("auto"), or where JAX needs its
        processes to join, as on a slice of TPUs.
      processes: how many there are.
      process: which of them this is, from 0 on. What is None is taken from the environment, as by
        `join`.

    Returns:
      The share, and whether the processes have joined.

    Raises:
      UserError: a number is missing or out of range, or the others cannot be reached.
    """
    if coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"):
        join(coordinator, processes, process)
        return Share(jax.process_index(), jax.process_count()), True
    found = _asked(processes, process)
    if all(value is None for value in found):
        return ALL, False
    count, number = _numbers("share work", found, _NAMES[1:])
    return Share(number, count), False


def run_joined(work: Callable[[], int]) -> NoReturn:
    """Do the work of a process that has joined others, wait for them and end the process."""

    def work_and_leave() -> int:
        try:
            status = work()
            jax.distributed.shutdown()  # which waits for the others
        except PeerLost as error:
            terminal.say(f"error: {error}")
            return 1
        return status

    # When process 0 is gone, JAX says so and aborts; where the others were is of no use then.
    faulthandler.disable()
    status = 1
    try:
        status = terminal.run(work_and_leave)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except Exception:
        traceback.print_exc()
    finally:
        # JAX would wait for the others, which may never come, before it lets the process end.
        os._exit(status)


def is_first() -> bool:
    """Whether this process is the one that speaks and writes for all."""
    return jax.process_index() == 0


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """A block that no process leaves unless all can.

    Within it processes exchange nothing, since one of them may have left.

    Raises:
      UserError: of this process, or if there is none, one that names those that have one.
    """
    problem: UserError | None = None
    try:
        yield
    except UserError as error:
        problem = error
    failed = gathered(np.array([problem is not None]))[:, 0]
    if problem is not None:
        raise problem
    if failed.any():
        names = ", ".join(str(i) for i in np.flatnonzero(failed))
        raise UserError(f"process {names} has failed and says why; so this one ends too")


@contextlib.contextmanager
def lost_peers() -> Iterator[None]:
    """A block in which what JAX raises for a process that is gone becomes a `PeerLost`.

    It may be the cause of another error: that a checkpoint, of which every process writes its
    part, could not be written.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or (found := _of_jax(error)) is None:
            raise
        raise PeerLost(
            f"process {jax.process_index()} of {jax.process_count()}: another process of this run"
            " is gone; start all of them again with the same command, which goes on from the"
            f" newest checkpoint ({one_line(found)[:200]})"
        ) from error


def gathered(array: np.ndarray) -> np.ndarray:
    """What each process has, stacked: (processes, *shape)."""
    if jax.process_count() == 1:
        return array[None]
    return np.asarray(multihost_utils.process_allgather(array))


def processes_here() -> int:
    """How many processes of the run are on this machine."""
    machine = zlib.crc32(f"{uuid.getnode()} {os.uname().nodename}".encode())
    return int((gathered(np.array(machine, np.uint32)) == machine).sum())


def wait_for_all(name: str) -> None:
    """Returns when every process has come here."""
    multihost_utils.sync_global_devices(name)


def _of_jax(error: BaseException | None) -> BaseException | None:
    """Return the error of JAX's runtime that caused an error, unless memory ran out."""
    while error is not None and not isinstance(error, jax.errors.JaxRuntimeError):
        error = error.__cause__
    return None if "RESOURCE_EXHAUSTED" in str(error) else error


def local(tree: Any) -> Any:
    """Arrays that every device holds whole, as this process's first device holds them."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"the coordinator is {text!r}; it must be host:port, or auto")
    return text


def _listening(address: str) -> str:
    """Return where process 0 listens, as host:port."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        for family, kind, _, _, place in found:
            with socket.socket(family, kind) as probe:
                probe.bind((place[0], 0))  # fails for an address of another machine
    except OSError:
        return f"[::]:{port}"
    loopback = any(ipaddress.ip_address(place[0]).is_loopback for *_, place in found)
    # A machine may know its own name as 127.0.1.1, and others by an address in the network.
    named = not _LOOPBACK.fullmatch(host)
    return f"[::]:{port}" if loopback and named else address


def _asked(processes: int | None, process: int | None) -> tuple[Any, Any]:
    """Return how many processes there are and which this is, or else what the environment says."""
    return (
        os.environ.get("JAX_NUM_PROCESSES") if processes is None else processes,
        os.environ.get("JAX_PROCESS_ID") if process is None else process,
    )


def _numbers(what: str, found: Sequence[Any], names: Sequence[str]) -> tuple[int, int]:
    """Return the number of processes and that of this one, the last two that were found."""
    if missing := [name for name, v in zip(names, found, strict=True) if v is None]:
        raise UserError(f"processes that {what} need {' and '.join(missing)} too")
    try:
        count, number = (int(value) for value in found[-2:])
    except ValueError as error:
        raise UserError(f"{' and '.join(_NAMES[1:])}: {one_line(error)}") from error
    if not 0 <= number < count:
        raise UserError(
            f"the process is {number} of {count}; it must be at least 0 and below their number"
        )
    return count, number

"""Options that several commands of `dgunet` have; nothing heavy is imported for them."""

import argparse
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import local_path


class Parser(argparse.ArgumentParser):
    """Raises a UserError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


class Arguments(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...


def path(text: str) -> Path:
    """Return an argument that is a path: `~` is expanded, and remote storage refused."""
    try:
        return local_path(text)
    except UserError as error:  # argparse would replace the message of a ValueError
        raise argparse.ArgumentTypeError(str(error)) from error


CHECKPOINTS = (
    "an official .pth or .pkl file, a safetensors file, a checkpoint or run directory; content"
    " decides, not the ending"
)


def add_checkpoint(
    arguments: Arguments, *, required: bool = False, help: str = CHECKPOINTS
) -> None:
    arguments.add_argument("--checkpoint", metavar="C", type=path, required=required, help=help)


def add_reading(arguments: Arguments) -> None:
    """How a checkpoint is read: --num-stages and --weights."""
    arguments.add_argument(
        "--num-stages",
        metavar="K",
        type=int,
        help="stages of a DGUNet (default: what the file says or, as official ones do not, 7)",
    )
    arguments.add_argument(
        "--weights",
        metavar="NAME",
        help="of several sets of weights in a file, the one under these keys, joined by dots"
        " (default: the average over training, ema, if there is one)",
    )


def add_pairs(arguments: Arguments) -> None:
    arguments.add_argument(
        "--pairs",
        metavar="PATTERN",
        help="how the names of inputs and targets differ, as '{}_rain.png -> {}_clean.png'; with"
        " folders, as '{}/blur/{}.png -> {}/sharp/{}.png', below the data's (default: found out)",
    )


def add_computation(arguments: Arguments, *, mesh_default: str) -> None:
    """How pictures are restored: --mesh, --tile, --memory, --dtype, --precision, --no-cache."""
    arguments.add_argument(
        "--mesh",
        metavar="AXIS=N",
        help="batch=4: give each of 4 devices other pictures; height=4: divide every picture among"
        f" them, which is exact (default: {mesh_default})",
    )
    arguments.add_argument(
        "--tile",
        metavar="PIXELS",
        help="restore larger pictures in overlapping tiles of this side; auto: what does not fit"
        " into memory, in tiles as large as do. The network has global operations (instance"
        " statistics, attention, subspace projection), so tiles are an approximation",
    )
    arguments.add_argument(
        "--memory",
        metavar="SIZE",
        help="use no more on each device, as 6G or 500M; on a CPU, for pictures too (default: all)",
    )
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation")
    arguments.add_argument(
        "--precision",
        choices=("highest", "default"),
        default="highest",
        help="of products: highest (default) is full float32 everywhere; default is the platform's"
        " fast mode, TF32 on GPUs and bfloat16 on TPUs",
    )
    add_no_cache(arguments)


def add_no_cache(arguments: Arguments) -> None:
    arguments.add_argument(
        "--no-cache", action="store_true", help="do not keep compiled programs for the next start"
    )

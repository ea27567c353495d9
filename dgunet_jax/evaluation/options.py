"""The options of `dgunet evaluate`."""

import argparse
from pathlib import Path

from dgunet_jax.evaluation.protocols import DATASETS, GENERIC, SUITES


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser; nothing heavy is imported for that."""
    what = parser.add_mutually_exclusive_group(required=True)
    names = ", ".join((*DATASETS, *SUITES))
    what.add_argument("--dataset", metavar="NAME", help=f"one of {names} (see docs/datasets.md)")
    what.add_argument(
        "--protocol", choices=GENERIC, help="for pairs of your own, in input/ and target/ of DIR"
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the data set")
    parser.add_argument(
        "--output",
        metavar="OUT",
        type=Path,
        help="folder for results.json, images.csv and report.html; a run that was stopped goes on"
        " there",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--checkpoint",
        metavar="C",
        type=Path,
        help="what restores: an official .pth file, a .safetensors file, a checkpoint or run"
        " directory",
    )
    who.add_argument(
        "--restored",
        metavar="DIR",
        type=Path,
        help="pictures that are restored already, named like the inputs",
    )
    who.add_argument("--check", action="store_true", help="only say what is missing of the data")
    parser.add_argument(
        "--limit", metavar="N", type=int, help="score only the first N pictures, by name"
    )
    parser.add_argument(
        "--save-images", action="store_true", help="write the restored pictures to OUT/images"
    )
    work = parser.add_argument_group("computation, with a checkpoint")
    work.add_argument(
        "--self-ensemble",
        action=argparse.BooleanOptionalAction,
        help="average over the eight flips and rotations (default: as the published numbers were"
        " made)",
    )
    work.add_argument(
        "--num-stages",
        metavar="K",
        type=int,
        help="stages of a DGUNet, whose official file does not tell (default: 7)",
    )
    work.add_argument(
        "--mesh",
        metavar="AXIS=N",
        help="batch=4: give each of 4 devices other pictures; height=4: divide every picture among"
        " them (default: batch, over all devices)",
    )
    work.add_argument(
        "--tile",
        metavar="PIXELS",
        help="restore larger pictures in overlapping tiles of this side, which is an approximation;"
        " auto: only what does not fit into memory",
    )
    work.add_argument(
        "--memory", metavar="SIZE", help="use no more on each device, as 6G or 500M (default: all)"
    )
    work.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation")
    work.add_argument(
        "--no-cache", action="store_true", help="do not keep compiled programs for the next start"
    )

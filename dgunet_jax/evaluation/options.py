"""The options of `dgunet evaluate`."""

import argparse

from dgunet_jax.evaluation.protocols import DATASETS, GENERIC, SUITES
from dgunet_jax.options import (
    CHECKPOINTS,
    add_checkpoint,
    add_computation,
    add_pairs,
    add_reading,
    path,
)


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser; nothing heavy is imported for that."""
    what = parser.add_mutually_exclusive_group(required=True)
    names = ", ".join((*DATASETS, *SUITES))
    what.add_argument("--dataset", metavar="NAME", help=f"one of {names} (see docs/datasets.md)")
    what.add_argument(
        "--protocol", choices=GENERIC, help="for pairs of your own, in input/ and target/ of DIR"
    )
    parser.add_argument("--data", metavar="DIR", type=path, required=True, help="the data set")
    add_pairs(parser)
    parser.add_argument(
        "--output",
        metavar="OUT",
        type=path,
        help="folder for results.json, images.csv and report.html; a run that was stopped goes on"
        " there",
    )
    who = parser.add_mutually_exclusive_group()
    add_checkpoint(who, help=f"what restores: {CHECKPOINTS}")
    who.add_argument(
        "--restored",
        metavar="DIR",
        type=path,
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
    add_reading(work)
    add_computation(work, mesh_default="batch, over all devices")

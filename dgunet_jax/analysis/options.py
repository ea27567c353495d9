"""The options of `dgunet analyze`."""

import argparse

from dgunet_jax.options import add_checkpoint, add_no_cache, add_reading, path


def add_analysis(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser, required=True)
    parser.add_argument(
        "image",
        metavar="IMAGE",
        type=path,
        help="the degraded picture; for compressive sensing the clean one",
    )
    parser.add_argument(
        "--clean", metavar="IMAGE", type=path, help="the clean picture, if there is one"
    )
    parser.add_argument("--output", metavar="DIR", type=path, required=True)
    parser.add_argument(
        "--patch",
        metavar=("X", "Y", "W", "H"),
        nargs=4,
        type=int,
        help="whose origin is explained, in pixels of the picture (default: 16×16 in the middle)",
    )
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=int,
        default=256,
        help="larger pictures are cut to this side around the patch (default: 256)",
    )
    parser.add_argument(
        "--crop",
        metavar="PIXELS",
        type=int,
        default=128,
        help="contraction and attribution, which are costly, are measured on this side around the"
        " patch, which must fit into it (default: 128)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="128×128 pixels, without contraction, iteration beyond the depth of training and"
        " attribution",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of random directions, 0 … 2³² − 1 (default: 0)"
    )
    add_reading(parser)
    add_no_cache(parser)

"""The options of `dgunet restore` and `dgunet sense`."""

import argparse

from dgunet_jax.options import add_checkpoint, add_computation, add_reading, path


def add_restoring(restore: argparse.ArgumentParser) -> None:
    add_checkpoint(restore, required=True)
    restore.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=lambda text: str(path(text)),
        help="pictures, folders and quoted patterns (**/*.png)",
    )
    restore.add_argument("--output", metavar="DIR", type=path, required=True)
    add_reading(restore)
    files = restore.add_argument_group("files")
    files.add_argument(
        "--format",
        choices=("png", "tiff", "webp", "jpeg", "bmp", "same"),
        default="png",
        help="of what is written (default: png, which keeps everything); same: that of each input",
    )
    files.add_argument("--suffix", default="", help="goes between name and ending")
    files.add_argument(
        "--skip-existing", action="store_true", help="go on where an earlier run was stopped"
    )
    files.add_argument(
        "--compare", action="store_true", help="also write input and restored side by side"
    )
    files.add_argument(
        "--stages", action="store_true", help="also write input and all estimates side by side"
    )
    work = restore.add_argument_group("computation")
    work.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over the eight flips and rotations: a little better, eight times the work",
    )
    add_computation(work, mesh_default="one device")

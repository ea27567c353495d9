"""The `dgunet` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dgunet_jax._version import __version__
from dgunet_jax.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0, or 2 after a user's mistake, told in one line."""
    try:
        options = _parser().parse_args(arguments)
        return options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dgunet", description="Deep unfolding for image restoration.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser(
        "convert",
        help="convert a checkpoint between formats",
        description="Reads any checkpoint and writes it in the format that OUT's ending names.",
    )
    convert.add_argument("source", metavar="IN", type=Path, help="what is read: see dgunet info")
    convert.add_argument(
        "target",
        metavar="OUT",
        type=Path,
        help=".safetensors, .pth (official names), or no ending: a checkpoint directory",
    )
    _add_num_stages(convert)
    convert.set_defaults(run=_convert)

    info = commands.add_parser(
        "info",
        help="say what a checkpoint holds",
        description="Says which network a checkpoint belongs to.",
    )
    info.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help="an official .pth/.pkl file, a .safetensors file, a checkpoint or run directory",
    )
    _add_num_stages(info)
    info.set_defaults(run=_info)

    restore = commands.add_parser(
        "restore",
        help="restore pictures",
        description="Restores 8-bit pictures of any size; writes PNG under the same names.",
    )
    restore.add_argument("--checkpoint", metavar="C", type=Path, required=True)
    restore.add_argument("images", metavar="IMAGE", type=Path, nargs="+")
    restore.add_argument("--output", metavar="DIR", type=Path, required=True)
    _add_num_stages(restore)
    restore.set_defaults(run=_restore)
    return parser


def _add_num_stages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-stages",
        metavar="K",
        type=int,
        help="stages of a DGUNet, whose official file does not tell (default: 7)",
    )


def _convert(options: argparse.Namespace) -> int:
    from dgunet_jax.checkpoints import load, save
    from dgunet_jax.convert.report import describe

    if options.source.resolve() == options.target.resolve():
        raise UserError(f"{options.target}: is the input; choose another output")
    model, variables = load(options.source, options.num_stages)
    print(describe(options.source, model.config))
    save(options.target, model, variables)
    print(f"wrote {options.target}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from dgunet_jax.checkpoints import load
    from dgunet_jax.convert.report import describe

    model, _ = load(options.checkpoint, options.num_stages)
    print(describe(options.checkpoint, model.config))
    return 0


def _restore(options: argparse.Namespace) -> int:
    from dgunet_jax.compilation import use_cache
    from dgunet_jax.restoration.files import restore_files

    use_cache()
    failures = restore_files(options.checkpoint, options.images, options.output, options.num_stages)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

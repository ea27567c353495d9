"""The `dgunet` command."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgunet_jax import __version__
from dgunet_jax.options import (
    CHECKPOINTS,
    OUTPUT,
    Parser,
    add_analysis,
    add_demo,
    add_evaluation,
    add_export,
    add_installed,
    add_pairs,
    add_preparing,
    add_reading,
    add_restoring,
    path,
)
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, counted, printable

if TYPE_CHECKING:
    from dgunet_jax.checkpoints import Checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 only if everything asked for was done."""

    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["train"]:
        from dgunet_jax.main import main as train

        return terminal.run(lambda: train(words[1:]))

    def command() -> int:
        options = parser().parse_args(words)
        if options.run in (_pack, _prepare):  # which need no JAX
            return options.run(options)
        from dgunet_jax.system import hosts
        from dgunet_jax.system.compilation import check_platform

        def work() -> int:
            check_platform()
            return options.run(options)

        if options.run not in (_restore, _evaluate):
            return work()
        options.share, joined = hosts.share(options.coordinator, options.processes, options.process)
        return hosts.run_joined(work) if joined else work()

    return terminal.run(command)


def parser() -> argparse.ArgumentParser:
    """What reads the command's arguments; it raises a UserError for those it does not know."""
    parser = Parser(
        prog="dgunet",
        description="Deep unfolding for image restoration.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser(
        "convert",
        help="convert a checkpoint between formats",
        description="Reads any checkpoint and writes it in the format that OUT's ending names.",
    )
    convert.add_argument("source", metavar="IN", type=path, help="what is read: see dgunet info")
    convert.add_argument(
        "target",
        metavar="OUT",
        type=path,
        help=".safetensors, .pth (official names), or no ending: a checkpoint directory",
    )
    add_reading(convert)
    convert.set_defaults(run=_convert)

    info = commands.add_parser(
        "info",
        help="say what a checkpoint holds",
        description="Says which network a checkpoint belongs to.",
    )
    info.add_argument("checkpoint", metavar="CHECKPOINT", type=path, help=CHECKPOINTS)
    info.add_argument(
        "--parameters",
        action="store_true",
        help="also list every array: shape, type, size, mean and standard deviation",
    )
    add_reading(info)
    info.set_defaults(run=_info)

    models = commands.add_parser(
        "models",
        help="list the networks that come with the package",
        description="Lists the networks that come with the package: what they restore, what they"
        " were trained on, and how well they do. PSNR in dB of the inputs and of what is restored.",
    )
    models.set_defaults(run=_models)

    pack = commands.add_parser(
        "pack",
        help="write a training set into a few large files",
        description="Writes the pictures of FOLDER, their files as they are, into records of"
        " TensorFlow Datasets (ArrayRecord), which training reads with"
        " --config.data.train=tfds:DIR.",
    )
    pack.add_argument("folder", metavar="FOLDER", type=path, help="of pairs or of clean pictures")
    pack.add_argument(*OUTPUT, metavar="DIR", type=path, required=True)
    add_pairs(pack)
    pack.set_defaults(run=_pack)

    prepare = commands.add_parser(
        "prepare",
        help="cut training sets into crops, and check them",
        description="Makes training sets of published ones. What was stopped is completed by the"
        " same command.",
    )
    add_preparing(prepare)
    prepare.set_defaults(run=_prepare)

    commands.add_parser(
        "train",
        help="train a network: the same as python -m dgunet_jax.main",
        add_help=False,
    )
    _add_restore(commands)
    _add_evaluate(commands)
    _add_analyze(commands)
    demo = commands.add_parser(
        "demo",
        help="show restoring on a local page, stage by stage",
        description="Serves a page that restores pictures and shows every stage of the network."
        " Pictures stay on this machine. Needs pip install 'dgunet_jax[demo]'.",
    )
    demo.set_defaults(run=_demo)
    add_demo(demo)
    _add_export(commands)
    return parser


def _add_restore(commands: Any) -> None:
    restore = commands.add_parser(
        "restore",
        help="restore pictures",
        description="Restores pictures of any size and kind: PNG, JPEG, WebP, BMP and TIFF; grey,"
        " colour, palette, CMYK and 1-bit, 8 and 16 bits, with and without alpha channel. Depth,"
        " alpha, colour profile and EXIF data are kept. Folders keep their tree.",
    )
    restore.set_defaults(run=_restore, sense=False)
    add_restoring(restore)
    add_installed(restore)
    sense = commands.add_parser(
        "sense",
        help="sample pictures and reconstruct them (compressive sensing)",
        description="Takes the luma of each picture, samples its 32×32 blocks with the checkpoint's"
        " matrix, and writes what the network reconstructs from the measurements, in grey. Of a"
        " .npy, .npz or .mat file, (H/32, W/32, M), the measurements are taken as they are.",
    )
    alone = {"model": None, "operator": None, "sigma": None, "strength": 1.0}
    sense.set_defaults(run=_restore, sense=True, **alone)
    add_restoring(sense)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score a checkpoint, or restored pictures, on a data set",
        description="Scores pictures by the protocol of a data set and puts the published numbers"
        " beside theirs.",
    )
    evaluate.set_defaults(run=_evaluate)
    add_evaluation(evaluate)


def _add_analyze(commands: Any) -> None:
    analyze = commands.add_parser(
        "analyze",
        help="measure what every stage does",
        description="Measures, at a picture, how far each stage's gradient step is one and how its"
        " proximal step behaves; writes analysis.json, figures and report.html.",
    )
    analyze.set_defaults(run=_analyze)
    add_analysis(analyze)


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a network for programs without this package",
        description="Writes a network and its weights as one file that other programs run, for"
        " pictures of every size (see docs/export.md).",
    )
    export.set_defaults(run=_export)
    add_export(export)


def _convert(options: argparse.Namespace) -> int:
    from dgunet_jax.checkpoints import read_aloud, save

    with contextlib.suppress(OSError):  # one of them does not exist
        if options.source.samefile(options.target):
            raise UserError(f"{options.target}: is the input; choose another output")
    checkpoint = read_aloud(options.source, options.num_stages, options.weights)
    terminal.show(_describe(options.source, checkpoint))
    save(options.target, checkpoint.model, checkpoint.variables, checkpoint.about)
    terminal.show(f"wrote {printable(options.target)}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from dgunet_jax.checkpoints import read_aloud

    checkpoint = read_aloud(options.checkpoint, options.num_stages, options.weights)
    terminal.show(_describe(options.checkpoint, checkpoint))
    if options.parameters:
        from clu import parameter_overview

        terminal.show(parameter_overview.get_parameter_overview(checkpoint.variables["params"]))
    return 0


def _models(options: argparse.Namespace) -> int:
    from dgunet_jax.checkpoints import installed, installed_file, read

    for name in installed():
        terminal.show("\n  ".join([name, *read(installed_file(name)).about.lines()]))
    return 0


def _describe(path: Path, checkpoint: "Checkpoint") -> str:
    from dgunet_jax.convert.pytorch import describe

    network = describe(path, checkpoint.model.config, assumed=checkpoint.stages_assumed)
    return "\n".join([network, *checkpoint.about.lines()])


def _pack(options: argparse.Namespace) -> int:
    from dgunet_jax.data.pairs import Pattern
    from dgunet_jax.data.records import pack
    from dgunet_jax.data.sources import files_of_any_kind

    pattern = None if options.pairs is None else Pattern.parse(options.pairs)
    files = files_of_any_kind(options.folder, pattern)
    pack(files, options.output)
    held = counted(len(files), "pair" if len(files[0].paths) == 2 else "clean picture")
    terminal.show(f"wrote {held}; train with --config.data.train=tfds:{options.output}")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from dgunet_jax.prepare import run

    return run(options)


def _restore(options: argparse.Namespace) -> int:
    from dgunet_jax.restoration.command import run

    return run(options)


def _evaluate(options: argparse.Namespace) -> int:
    from dgunet_jax.evaluation.command import run

    return run(options)


def _analyze(options: argparse.Namespace) -> int:
    from dgunet_jax.analysis.command import run

    return run(options)


def _demo(options: argparse.Namespace) -> int:
    from dgunet_jax.demo.command import run

    return run(options)


def _export(options: argparse.Namespace) -> int:
    from dgunet_jax.export import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())

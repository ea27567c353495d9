"""The options of `dgunet`; nothing heavy is imported for them."""

import argparse
import difflib
import re
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dgunet_jax.evaluation.protocols import DATASETS, GENERIC, SUITES
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import user_path


class Parser(argparse.ArgumentParser):
    """Raises a UserError where argparse would print its usage and end the process.

    Attributes:
      leaves_rest: whether what it does not know is left to its caller.
    """

    leaves_rest = False

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest and not self.leaves_rest:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            near = difflib.get_close_matches(rest[0].partition("=")[0], known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found, rest


class Arguments(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...


def path(text: str) -> Path:
    """Return an argument that is a path, on the machine or on remote storage; `~` is expanded."""
    try:
        return user_path(text)
    except UserError as error:  # argparse would replace the message of a ValueError
        raise argparse.ArgumentTypeError(str(error)) from error


SIDD_PAIRS = "{}/{}_NOISY_SRGB_{}.PNG -> {}/{}_GT_SRGB_{}.PNG"  # as the set is published
CHECKPOINTS = (
    "an official .pth or .pkl file, a safetensors file, a checkpoint or run directory (content"
    " decides, not the ending), the name of an installed network, or hf://OWNER/NAME"
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
        "--window",
        metavar="PIXELS",
        type=int,
        default=0,
        help="take the statistics of instance normalisation and channel attention over a square of"
        " this side around each pixel, a multiple of 8; of a network trained on small patches about"
        " twice their side (default: of the whole picture, as the published numbers are made)",
    )
    add_memory(arguments)
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation")
    arguments.add_argument(
        "--precision",
        choices=("highest", "default"),
        default="highest",
        help="of products: highest (default) is full float32 everywhere; default is the platform's"
        " fast mode, TF32 on GPUs and bfloat16 on TPUs",
    )
    add_no_cache(arguments)


def add_memory(arguments: Arguments) -> None:
    arguments.add_argument(
        "--memory",
        metavar="SIZE",
        help="use no more on each device, as 6G or 500M; on a CPU, for pictures too (default: all)",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Which of several processes this is: --coordinator, --processes and --process."""
    add = parser.add_argument_group("several processes").add_argument
    add(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0 (JAX_COORDINATOR_ADDRESS), or auto on Cloud TPU, Slurm and Open MPI;"
        " processes that restore or evaluate need none elsewhere",
    )
    add("--processes", metavar="N", type=int, help="how many there are (JAX_NUM_PROCESSES)")
    add("--process", metavar="I", type=int, help="which this is, from 0 on (JAX_PROCESS_ID)")


def add_no_cache(arguments: Arguments) -> None:
    arguments.add_argument(
        "--no-cache", action="store_true", help="do not keep compiled programs for the next start"
    )


OUTPUT = ("-o", "--output")
BESIDE = "_restored"  # goes behind the names of results that lie beside their inputs
DENOISER = "denoise"  # the installed network that restores pictures by itself,
CAMERA = "camera"  # that for the files of cameras and phones,
DEBLOCKER = "deblock"  # that for JPEG files of a quality below this,
GOOD_QUALITY = 85
ANY_OPERATOR = "any_operator"  # and the one that `--operator` takes
DEFAULT_SIGMA = 2.0  # of photographs; on the [0, 255] scale


def add_installed(restore: argparse.ArgumentParser) -> None:
    """What of the package restores: --model, --strength, --operator and --sigma."""
    restore.add_argument(
        "--model",
        metavar="NAME",
        help="a network that comes with the package, in place of --checkpoint: denoise, Gaussian"
        " noise (not that of cameras, JPEG or blur); camera, noise of cameras and phones (not"
        " strong noise or JPEG); deblock, JPEG (not noise); any_operator, with --operator (not an"
        f" unknown blur). Default: auto, of JPEG files {DEBLOCKER} below quality {GOOD_QUALITY} and"
        f" {CAMERA} from there on, as of HEIC and AVIF; of all others {DENOISER}",
    )
    restore.add_argument(
        "--strength",
        metavar="S",
        type=float,
        default=1.0,
        help="how much of what is restored takes the place of the input, 0 to 1 (default: 1)",
    )
    restore.add_argument(
        "--operator",
        metavar="KIND:VALUE",
        help="what measured the pictures: blur:KERNEL (a picture or array file), mask:MASK (0 where"
        " pixels are missing), downsample:FACTOR, bayer:RGGB, fourier:MASK, sampling:MATRIX, or"
        " MODULE:FUNCTION, which returns the operator of a measurement; {} stands for the name of"
        " each picture",
    )
    restore.add_argument(
        "--sigma",
        metavar="S",
        type=float,
        help=f"noise of what was measured, from 0 to 255 (default: {DEFAULT_SIGMA:g})",
    )


def add_restoring(restore: argparse.ArgumentParser) -> None:
    add_checkpoint(restore)
    restore.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=lambda text: str(path(text)),
        help="pictures, folders and quoted patterns (**/*.png); or measurements (.npy, .npz, .mat)",
    )
    restore.add_argument(
        *OUTPUT, metavar="DIR", type=path, help=f"(default: beside each input, as NAME{BESIDE})"
    )
    add_reading(restore)
    files = restore.add_argument_group("files")
    files.add_argument(
        "--format",
        choices=("png", "tiff", "webp", "jpeg", "bmp", "same"),
        type=lambda text: {"jpg": "jpeg", "tif": "tiff"}.get(text.lower(), text.lower()),
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
    add_processes(restore)


def add_preparing(prepare: argparse.ArgumentParser) -> None:
    """The three forms of `dgunet prepare`."""
    commands = prepare.add_subparsers(required=True, metavar="WHAT", dest="what")
    sidd = commands.add_parser(
        "sidd",
        help="random crops of SIDD-Medium's pairs (sRGB)",
        description="Cuts random squares out of SIDD-Medium's 320 pairs as they are published"
        " (FOLDER/0001_.../0001_NOISY_SRGB_010.PNG and so on) into OUT/train.",
    )
    crops = commands.add_parser(
        "crops",
        help="overlapping crops of any pairs or clean pictures",
        description="Cuts every pair or clean picture of FOLDER into squares that overlap.",
    )
    check = commands.add_parser(
        "check",
        help="say what a training set holds and what of it cannot be used",
        description="Decodes all pictures or pairs of FOLDER: how many, of what sizes, and which"
        " are unreadable, of two sizes, of more than 8 bits or without counterpart.",
    )
    for parser in (sidd, crops, check):
        parser.add_argument("folder", metavar="FOLDER", type=path)
    for parser, side in ((sidd, 256), (crops, 512)):
        parser.add_argument(*OUTPUT, metavar="OUT", type=path, required=True)
        parser.add_argument(
            "--side", metavar="PIXELS", type=int, default=side, help=f"(default: {side})"
        )
    sidd.add_argument(
        "--count", metavar="N", type=int, default=300, help="crops of each pair (default: 300)"
    )
    sidd.add_argument("--seed", metavar="N", type=int, default=0, help="of the places (default: 0)")
    sidd.add_argument(
        "--validation",
        metavar="DIR",
        type=path,
        help="of ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, whose blocks become"
        " OUT/validation",
    )
    sidd.set_defaults(pairs=SIDD_PAIRS)
    crops.add_argument(
        "--step",
        metavar="PIXELS",
        type=int,
        default=256,
        help="from one crop to the next (default: 256); the last ones end with the picture",
    )
    crops.set_defaults(seed=0)
    for parser in (crops, check):
        add_pairs(parser)


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser; nothing heavy is imported for that."""
    what = parser.add_mutually_exclusive_group(required=True)
    # One for all levels of noise and ratios.
    names = ", ".join(dict.fromkeys(re.sub(r"_\d+", "_N", each) for each in (*DATASETS, *SUITES)))
    what.add_argument("--dataset", metavar="NAME", help=f"one of {names} (see docs/datasets.md)")
    what.add_argument(
        "--protocol", choices=GENERIC, help="for pairs of your own, in input/ and target/ of DIR"
    )
    what.add_argument(
        "--degradation",
        metavar="TEXT",
        help="for clean pictures in DIR, which are degraded as in training: 'gaussian(25) | round',"
        " or a known operator, 'motion_blur(17, 5..15) | gaussian(2)' (see docs/operators.md)",
    )
    parser.add_argument("--data", metavar="DIR", type=path, required=True, help="the data set")
    add_pairs(parser)
    parser.add_argument(
        *OUTPUT,
        metavar="OUT",
        type=path,
        help="folder for results.json, images.csv, report.html and the table as table.md and"
        " table.tex; a run that was stopped goes on there",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--checkpoint",
        metavar="C",
        type=path,
        nargs="+",
        help=f"what restores: {CHECKPOINTS}; several are compared in one table, with the results of"
        " each in a folder of its name",
    )
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
    add_processes(parser)


def add_analysis(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser, required=True)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        type=path,
        nargs="+",
        help="the degraded picture; for compressive sensing and with --degradation the clean one;"
        " of several each has a folder of its name in DIR",
    )
    parser.add_argument(
        "--clean",
        metavar="IMAGE",
        type=path,
        action="append",
        help="the clean picture, if there is one; of several pictures one for each, in their order",
    )
    parser.add_argument(
        "--degradation",
        metavar="TEXT",
        help="degrade IMAGE, which is clean then, as in training (see docs/operators.md); a network"
        " that is told its operator needs it",
    )
    parser.add_argument(*OUTPUT, metavar="DIR", type=path, required=True)
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


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        metavar="C",
        nargs="+",
        type=path,
        default=[],
        help=f"also offer these networks: {CHECKPOINTS}",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="of this machine, at which it answers (default: 127.0.0.1, to this machine alone)",
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=7860, help="0: any free one (default: 7860)"
    )
    add_memory(parser)
    add_no_cache(parser)


def add_export(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser, required=True)
    parser.add_argument(
        "--format",
        choices=("stablehlo", "onnx"),
        required=True,
        help="stablehlo: for JAX, on CPUs, GPUs and TPUs; onnx: for ONNX Runtime and others",
    )
    parser.add_argument(
        *OUTPUT,
        metavar="FILE",
        type=path,
        required=True,
        help="its ending is that of the format: .stablehlo or .onnx",
    )
    parser.add_argument(
        "--stages", action="store_true", help="give every stage's estimate, not only the last"
    )
    add_reading(parser)

"""What `dgunet restore` and `dgunet sense` do."""

import argparse
import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import PIL.Image
from jax.sharding import AxisType, Mesh

from dgunet_jax.checkpoints import installed, installed_file, read_aloud
from dgunet_jax.images import jpeg_quality, read_header
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.options import (
    ANY_OPERATOR,
    BESIDE,
    CAMERA,
    DEBLOCKER,
    DEFAULT_SIGMA,
    DENOISER,
    GOOD_QUALITY,
)
from dgunet_jax.restoration.inputs import Input, Job, find, place
from dgunet_jax.restoration.known import Named
from dgunet_jax.restoration.measured import restore_measured
from dgunet_jax.restoration.pipeline import restore_files, sort_out
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.arrays import is_array_file
from dgunet_jax.system.compilation import use_cache
from dgunet_jax.system.errors import UserError, counted, listed
from dgunet_jax.system.files import check_folder
from dgunet_jax.system.hosts import Share
from dgunet_jax.system.terminal import say

_OF_PHONES = ("HEIC", "AVIF")
_ENDINGS = {"jpeg": ".jpg", "tiff": ".tif", "same": None}


def run(options: argparse.Namespace) -> int:
    """Restores the pictures of a command line; returns 0, or 2 if any of them failed.

    Raises:
      UserError: nothing could be restored at all.
    """
    use_cache(not options.no_cache)
    with pictures_of_any_size():
        return _restore(options)


@contextlib.contextmanager
def pictures_of_any_size() -> Iterator[None]:
    """Let Pillow decode large pictures, which it refuses for fear of what that takes.

    The plan does so, before anything is decoded.
    """
    limit = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def _restore(options: argparse.Namespace) -> int:
    if "/" in options.suffix or "\\" in options.suffix:
        raise UserError(f"--suffix {options.suffix}: must not contain a path")
    mesh = parse_mesh(options.mesh)
    memory = parse_bytes(options.memory)
    if options.output is not None:
        check_folder(options.output)
    suffix = options.suffix or (BESIDE if options.output is None else "")
    named = None if options.operator is None else Named.parse(options.operator)
    _check_options(options)
    checkpoint = options.checkpoint or _named(options)
    found, failures = find(options.inputs, options.output)
    arrays = [Input(f.path, f.place, (0, 0)) for f in found if f.meant and is_array_file(f.path)]
    if arrays and not (named or options.sense):
        raise UserError(
            f"{arrays[0].path}: is a measurement; say what measured it by --operator, or restore it"
            " with dgunet sense"
        )
    paths = {each.path for each in arrays}
    inputs, unreadable, others = sort_out([each for each in found if each.path not in paths])
    failures += unreadable
    inputs = [*inputs, *arrays]
    jobs = place(
        inputs,
        options.output,
        ending=_ENDINGS.get(options.format, f".{options.format}"),
        suffix=suffix,
        compare=options.compare,
        stages=options.stages,
        kept=[each.path for each in found],
    )
    for path in others:
        say(f"left out, not a picture: {path}")
    share: Share = options.share
    jobs = share.of(jobs)
    # One process reports each file that cannot be read.
    failures = share.of(failures)
    if options.skip_existing:
        waiting = [job for job in jobs if not all(target.exists() for target in job.targets)]
        say(f"{len(jobs) - len(waiting)} exist already")
        jobs = waiting
    for path, of_path in _by_checkpoint(checkpoint, jobs).items():
        if checkpoint is None:
            say(f"{path.stem} for {counted(len(of_path), 'picture')}; --model chooses another")
        alone = [job for job in of_path if named or job.path in paths]
        failures += _restore_with(options, path, of_path, alone, named, mesh, memory)
    for failure in failures:
        say(f"error: {failure}")
    return 2 if failures else 0


def _restore_with(
    options: argparse.Namespace,
    checkpoint: Path,
    jobs: Sequence[Job],
    alone: Sequence[Job],
    named: Named | None,
    mesh: Mesh | None,
    memory: int | None,
) -> list[str]:
    """Restore pictures with a network, those that were measured `alone`.

    Returns:
      One line for each that failed.
    """
    read = read_aloud(checkpoint, options.num_stages, options.weights)
    model = read.model
    _check_task(options, checkpoint, model.config)
    restorer = Restorer(
        model,
        read.variables,
        self_ensemble=options.self_ensemble,
        tile=parse_tile(options.tile),
        mesh=mesh,
        window=options.window,
        dtype=options.dtype,
        precision=options.precision,
        memory=memory,
        noise=_noise(options, model.config),
    )
    failures = restore_measured(restorer, alone, named, read.remark) if alone else []
    if len(alone) < len(jobs):
        rest = [job for job in jobs if job not in alone]
        outcome = restore_files(restorer, rest, read.remark, options.strength)
        failures += outcome.failures
        say(outcome.summary())
    return failures


def _by_checkpoint(checkpoint: Path | None, jobs: Sequence[Job]) -> dict[Path, list[Job]]:
    """Return the pictures by what is to restore them: the installed network for the kind of file
    where no checkpoint is given."""
    found: dict[Path, list[Job]] = {}
    for job in jobs:
        found.setdefault(checkpoint or installed_file(_suited(job.path)), []).append(job)
    return found


def _suited(path: Path) -> str:
    """Return the name of the installed network for a file, by its format and quality."""
    if (quality := jpeg_quality(path)) is not None:
        return DEBLOCKER if quality < GOOD_QUALITY else CAMERA
    return CAMERA if read_header(path).format in _OF_PHONES else DENOISER


def _check_options(options: argparse.Namespace) -> None:
    """Raise a UserError if options do not fit each other."""
    if options.share.processes > 1 and options.output is None:
        raise UserError(
            "--processes: needs --output; one process would take another's results for inputs"
        )
    if options.checkpoint is None and options.sense:
        raise UserError("--checkpoint: is missing")
    if options.checkpoint is not None and options.model is not None:
        raise UserError("--model: is in place of --checkpoint; give one of them")
    if not 0 <= options.strength <= 1:
        raise UserError(f"--strength {options.strength:g}: must be from 0 to 1")
    if options.strength != 1 and options.operator is not None:
        raise UserError("--strength: is not for --operator; what is measured is another picture")
    if options.operator is not None and options.compare:
        raise UserError("--compare: is not for --operator; what is measured is another picture")
    if options.sigma is not None and not (options.operator and 0 <= options.sigma <= 255):
        raise UserError(f"--sigma {options.sigma:g}: must be from 0 to 255, and go with --operator")


def _named(options: argparse.Namespace) -> Path | None:
    """Return the file of the installed network that a command line names; None: one for each."""
    name = options.model or "auto"
    if name == "auto":
        return installed_file(ANY_OPERATOR) if options.operator else None
    if name not in (names := installed()):
        raise UserError(f"--model {name}: is not a model; the models are {listed(names)}")
    return installed_file(name)


def _noise(options: argparse.Namespace, config: DGUNetConfig) -> float | None:
    """Return the σ that a network is told; in the images' unit."""
    if not config.noise_input:
        if options.sigma is not None:
            raise UserError(f"--sigma {options.sigma:g}: this network is told no noise")
        return None
    return (DEFAULT_SIGMA if options.sigma is None else options.sigma) / 255


def _check_task(options: argparse.Namespace, checkpoint: Path, config: DGUNetConfig) -> None:
    """Raises a UserError unless the checkpoint is for this command."""
    known = config.takes_operator
    if known != (options.operator is not None):
        rule = "needs --operator, which says" if known else "takes no --operator; it has learned"
        raise UserError(f"{checkpoint}: {rule} what degrades the pictures")
    if known:
        return
    if config.measurements and not options.sense:
        raise UserError(
            f"{checkpoint}: is for compressive sensing; it samples and reconstructs pictures with"
            f" dgunet sense --checkpoint {checkpoint} INPUT... --output {options.output}"
        )
    if options.sense and not config.measurements:
        raise UserError(
            f"{checkpoint}: is not for compressive sensing; it restores pictures with"
            f" dgunet restore --checkpoint {checkpoint} INPUT... --output {options.output}"
        )
    if not options.sense and config.channels != 3:
        raise UserError(
            f"{checkpoint}: takes images of {config.channels} channels; pictures have 3"
        )


def parse_tile(text: str | None) -> Any:
    if text is None or text == "auto":
        return text
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError(f"--tile {text}: must be a number of pixels or auto")
    return int(text)


def parse_mesh(text: str | None) -> Mesh | None:
    """AXIS=N as a mesh of the first N devices."""
    if text is None:
        return None
    match = re.fullmatch(r"(height|batch)=([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--mesh {text}: must be height=N or batch=N")
    axis, count = match[1], int(match[2])
    devices = jax.local_devices()
    if count > len(devices):
        raise UserError(f"--mesh {text}: needs {count} devices; there are {len(devices)}")
    return jax.make_mesh((count,), (axis,), axis_types=(AxisType.Auto,), devices=devices[:count])


def parse_bytes(text: str | None) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([KMGT]?)B?", text.strip().upper())
    if match is None or not float(match[1]):
        raise UserError(f"--memory {text}: must be a size such as 6G or 500M")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))

"""`dgunet analyze`: its input, and the files that it writes."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.analysis import report
from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.analysis.stages import LOSS
from dgunet_jax.analysis.study import analyze
from dgunet_jax.checkpoints import read_aloud
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.images import read_image
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.system.compilation import use_cache
from dgunet_jax.system.errors import UserError, listed, one_line, printable, reason
from dgunet_jax.system.files import check_folder, read_bytes, replacing
from dgunet_jax.system.provenance import checkpoint_hash, versions
from dgunet_jax.system.terminal import say, show
from dgunet_jax.training.losses import LOSSES, LossStages

_SEEDS = 2**32
_OF_STAGES = {"all": "all stages, summed", "last": "the last stage"}


def run(options: argparse.Namespace) -> int:
    """Analyze a checkpoint at images; write analysis.json, figures and report.html of each.

    Raises:
      UserError: the checkpoint, an image or an option cannot be used, or nothing can be written.
    """
    use_cache(not options.no_cache)
    images, clean = options.images, options.clean or [None] * len(options.images)
    if len(clean) != len(images):
        raise UserError(f"--clean: is given {len(clean)} times, for {len(images)} pictures")
    folders = [image.stem for image in images] if len(images) > 1 else [""]
    if len(set(folders)) < len(folders):
        raise UserError(f"{listed([*map(str, images)])}: must have different names")
    for image, one, folder in zip(images, clean, folders, strict=True):
        changed = {"image": image, "clean": one, "output": options.output / folder}
        _analyze(argparse.Namespace(**{**vars(options), **changed}))
    return 0


def _analyze(options: argparse.Namespace) -> None:
    if not 0 <= options.seed < _SEEDS:
        raise UserError(f"--seed {options.seed}: must be from 0 to {_SEEDS - 1}")
    check_folder(options.output)
    checkpoint = read_aloud(options.checkpoint, options.num_stages, options.weights)
    config = checkpoint.model.config
    image, clean, degradation = _images(options, config)
    loss, loss_stages, origin = _loss(options.checkpoint)
    began = time.monotonic()

    def log(line: str) -> None:
        say(f"{time.monotonic() - began:5.0f} s  {line}")

    try:
        study = analyze(
            checkpoint.model,
            checkpoint.variables,
            image,
            clean,
            patch=None if options.patch is None else Patch(*options.patch),
            size=options.size,
            crop=options.crop,
            quick=options.quick,
            seed=options.seed,
            loss=loss,
            loss_stages=loss_stages,
            degradation=degradation,
            say=log,
        )
    except UserError as error:
        raise UserError(f"{options.image}: {error}") from error
    log("figures")
    sections = report.fill(study)
    numbers = report.numbers(study)
    verdicts = {section.name: section.verdict for section in sections if section.verdict}
    place = study.region
    facts = [
        _network(options.checkpoint, config),
        f"{printable(options.image.name)}: {place.width}×{place.height} of"
        f" {image.shape[1]}×{image.shape[0]} pixels, from column {place.x} and row {place.y} on"
        + ("" if options.clean is None else f"; clean image: {printable(options.clean.name)}"),
    ]
    if options.degradation is not None:
        facts.append(f"degraded by {printable(options.degradation)}, seed {options.seed}")
    if clean is not None:
        facts.append(f"gradient flow: loss {loss} of {_OF_STAGES[loss_stages]}, {origin}")
    content = {
        "checkpoint": printable(options.checkpoint),
        "checkpoint_sha256": checkpoint_hash(checkpoint.path, checkpoint.variables),
        **({"stages_assumed": True} if checkpoint.stages_assumed else {}),
        "image": printable(options.image),
        "clean": None if options.clean is None else printable(options.clean),
        "degradation": options.degradation,
        "quick": options.quick,
        "seed": options.seed,
        **numbers,
        "sentences": verdicts,
        "versions": versions(),
    }
    title = f"{printable(options.checkpoint.name)}: every stage"
    files = {f"{section.name}.png": section.png for section in sections}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    files["analysis.json"] = text.encode()
    files["report.html"] = report.page(title, facts, sections, numbers["stages"]).encode()
    _write(options.output, files)
    for line in (*facts, *verdicts.values(), f"wrote {options.output / 'report.html'}"):
        show(line)


def _loss(checkpoint: Path) -> tuple[str, LossStages, str]:
    """Return the loss that a run's working directory records, of which stages, and why this one.

    Raises:
      UserError: the record cannot be read.
    """
    record = checkpoint / "run.json"
    if not record.is_file():
        return LOSS, "all", "as the checkpoint does not name its own"
    content = read_bytes(record)
    try:
        optimizer = json.loads(content)[-1]["config"]["optimizer"]
        name, stages = optimizer["loss"], optimizer["loss_stages"]
        if name not in [*LOSSES] or stages not in [*_OF_STAGES]:  # which may be of any type
            raise ValueError(f"loss {name!r} of {stages!r}")
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{record}: not the record of a run: {one_line(error)}") from error
    return name, stages, "as the run was trained"


def _images(
    options: argparse.Namespace, config: DGUNetConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, Degradation | None]:
    """Return the network's input, the clean image, and by what it is measured.

    For compressive sensing and known operators the input is the clean image.
    """
    known = config.takes_operator
    if known or options.degradation is not None:
        return _degraded(options, config, known)
    return *_pair(options, config), None


def _degraded(
    options: argparse.Namespace, config: DGUNetConfig, known: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], Degradation | None]:
    """Return what `_images` does of a clean image that is degraded here."""
    if options.degradation is None:
        raise UserError(
            f"{options.checkpoint}: is told what degrades pictures; say it of the clean IMAGE by"
            " --degradation 'motion_blur(17, 10) | gaussian(2)'"
        )
    if options.clean is not None:
        raise UserError(f"--clean {options.clean}: with --degradation IMAGE is the clean one")
    degradation = Degradation.parse(options.degradation)
    if degradation.known != known:
        rule = "is told what degrades pictures" if known else "is not told what degrades pictures"
        raise UserError(f"{options.checkpoint}: {rule}; --degradation is {options.degradation}")
    clean = read_image(options.image, config.channels)
    if known:
        return clean, clean, degradation
    return degradation.apply(clean, np.random.default_rng(options.seed)), clean, None


def _pair(
    options: argparse.Namespace, config: DGUNetConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the network's input and the clean image, which for sensing is the same."""
    if config.measurements and options.clean is not None:
        raise UserError(
            f"--clean {options.clean}: is not for compressive sensing, which samples IMAGE"
        )
    if config.channels != 3 and not config.measurements:
        raise UserError(
            f"{options.checkpoint}: takes images of {config.channels} channels; files have 3"
        )
    image = read_image(options.image, config.channels)
    if options.clean is None:
        return image, image if config.measurements else None
    clean = read_image(options.clean, config.channels)
    if clean.shape != image.shape:
        sizes = [f"{width}×{height}" for height, width in (image.shape[:2], clean.shape[:2])]
        raise UserError(
            f"{options.clean}: is {sizes[1]} pixels large; {options.image} is {sizes[0]}"
        )
    return image, clean


def _network(checkpoint: Path, config: DGUNetConfig) -> str:
    shared = config.share_middle and config.num_middle > 1
    weights = "the middle ones share weights" if shared else "weights of their own"
    return (
        f"{printable(checkpoint.name)}: {config.num_stages} stages, {weights};"
        f" width {config.width}, growth {config.growth}; degradation {config.degradation}, memory"
        f" {config.memory}"
    )


def _write(output: Path, files: dict[str, bytes]) -> None:
    """Write the files, and remove figures of an earlier analysis that this one has not."""
    figures = {f"{section.name}.png" for section in report.SECTIONS}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in figures - files.keys():
            (output / name).unlink(missing_ok=True)
        for name, content in files.items():
            with replacing(output / name) as file:
                file.write(content)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {reason(error)}") from error

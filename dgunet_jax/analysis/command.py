"""What `dgunet analyze` does."""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.analysis import figures, report
from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.analysis.sentences import sentences
from dgunet_jax.analysis.stages import LOSS
from dgunet_jax.analysis.study import Study, study
from dgunet_jax.checkpoints import read_aloud
from dgunet_jax.images.picture import grey
from dgunet_jax.images.reading import read
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.system.compilation import use_cache
from dgunet_jax.system.errors import UserError, either, one_line, printable, reason
from dgunet_jax.system.files import check_folder, read_bytes, replacing
from dgunet_jax.system.provenance import checkpoint_hash, versions
from dgunet_jax.system.terminal import say, show
from dgunet_jax.training.losses import LOSSES, LossStages

_SEEDS = 2**32


def run(options: argparse.Namespace) -> int:
    """Analyses a checkpoint at a picture; writes analysis.json, figures and report.html.

    Raises:
      UserError: the checkpoint, a picture or an option cannot be used, or nothing can be written.
    """
    use_cache(not options.no_cache)
    if not 0 <= options.seed < _SEEDS:
        raise UserError(f"--seed {options.seed}: must be from 0 to {_SEEDS - 1}")
    check_folder(options.output)
    checkpoint = read_aloud(options.checkpoint, options.num_stages, options.weights)
    model, variables = checkpoint.model, checkpoint.variables
    image, clean = _pictures(options, model.config)
    patch = None if options.patch is None else Patch(*options.patch)
    loss = _loss(options.checkpoint)
    began = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - began:5.0f} s  {line}")

    try:
        found = study(
            model,
            variables,
            image,
            clean,
            patch=patch,
            size=options.size,
            crop=options.crop,
            quick=options.quick,
            seed=options.seed,
            loss=loss.name,
            loss_stages=loss.stages,
            say=tell,
        )
    except UserError as error:
        raise UserError(f"{options.image}: {error}") from error
    tell("figures")
    place = found.region
    facts = [
        _network(options.checkpoint, model.config),
        f"{printable(options.image.name)}: {place.width}×{place.height} of"
        f" {image.shape[1]}×{image.shape[0]} pixels, from column {place.x} and row {place.y} on"
        + ("" if options.clean is None else f"; clean picture: {printable(options.clean.name)}"),
    ]
    if clean is not None:
        facts.append(f"gradient flow: loss {loss.name} of {_WHOSE[loss.stages]}, {loss.origin}")
    said = sentences(found)
    content = {
        "checkpoint": printable(options.checkpoint),
        "checkpoint_sha256": checkpoint_hash(options.checkpoint, variables),
        **({"stages_assumed": True} if checkpoint.stages_assumed else {}),
        "image": printable(options.image),
        "clean": None if options.clean is None else printable(options.clean),
        "quick": options.quick,
        "seed": options.seed,
        **_numbers(found),
        "sentences": said,
        "versions": versions(),
    }
    title = f"{printable(options.checkpoint.name)}: every stage"
    _write(options.output, title, facts, found, said, content)
    for line in (*facts, *said.values(), f"wrote {options.output / 'report.html'}"):
        show(line)
    return 0


class _Loss(NamedTuple):
    name: str = LOSS
    stages: LossStages = "all"
    origin: str = "as the checkpoint does not tell its own"


_WHOSE = {"all": "all stages, summed", "last": "the last stage"}


def _loss(checkpoint: Path) -> _Loss:
    """What a run's working directory was trained with; the default for any other checkpoint.

    Raises:
      UserError: the run's record cannot be read.
    """
    record = checkpoint / "run.json"
    if not record.is_file():
        return _Loss()
    content = read_bytes(record)
    try:
        optimizer = json.loads(content)[-1]["config"]["optimizer"]
        name, stages = optimizer["loss"], optimizer["loss_stages"]
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{record}: is no record of a run: {one_line(error)}") from error
    if name not in [*LOSSES] or stages not in [*_WHOSE]:  # which may be of any type
        raise UserError(
            f"{record}: loss {name!r} of {stages!r}: the losses are {', '.join(LOSSES)}, of"
            f" {either(_WHOSE)}"
        )
    return _Loss(name, stages, "as the run was trained")


def _pictures(
    options: argparse.Namespace, config: DGUNetConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The network's input and the clean picture."""
    if config.measurements:
        if options.clean is not None:
            raise UserError(
                f"--clean {options.clean}: is not for compressive sensing, which samples IMAGE"
            )
        image = _read(options.image, 1)
        return image, image
    if config.channels != 3:
        raise UserError(
            f"{options.checkpoint}: takes images of {config.channels} channels; pictures have 3"
        )
    image = _read(options.image, 3)
    if options.clean is None:
        return image, None
    clean = _read(options.clean, 3)
    if clean.shape != image.shape:
        sizes = [f"{width}×{height}" for height, width in (image.shape[:2], clean.shape[:2])]
        raise UserError(
            f"{options.clean}: is {sizes[1]} pixels large; {options.image} is {sizes[0]}"
        )
    return image, clean


def _read(path: Path, channels: int) -> NDArray[np.float32]:
    picture = read(path)
    if picture.alpha is not None and picture.alpha.min() < np.iinfo(picture.alpha.dtype).max:
        raise UserError(f"{path}: has transparent pixels; flatten it onto a background first")
    return picture.colours() if channels == 3 else grey(picture).colours()[..., :1]


def _network(checkpoint: Path, config: DGUNetConfig) -> str:
    shared = config.share_middle and config.num_middle > 1
    weights = "the middle ones share weights" if shared else "weights of their own"
    return (
        f"{printable(checkpoint.name)}: {config.num_stages} stages, {weights};"
        f" width {config.width}, growth {config.growth}; degradation {config.degradation}, memory"
        f" {config.memory}"
    )


def _numbers(found: Study) -> dict[str, Any]:
    cosines, explained = found.flow_cosines, found.explained
    return {
        "region": found.region._asdict(),
        "input": found.input,
        "stages": found.stages,
        "depth": found.depth,
        "loss": found.loss,
        "loss_stages": found.loss_stages,
        "flow_cosines": None if cosines is None else cosines.tolist(),
        "attribution": None
        if explained is None
        else {
            "crop": explained.crop._asdict(),
            "patch": explained.patch._asdict(),
            "integrated_gradients_error": explained.error,
        },
    }


def _write(
    output: Path,
    title: str,
    facts: list[str],
    found: Study,
    said: dict[str, str],
    content: dict[str, Any],
) -> None:
    images = {name: report.encode(figure) for name, figure in figures.figures(found).items()}
    text = report.page(title, facts, images, said, found.stages)
    files = {f"{name}.png": image for name, image in images.items()}
    files["analysis.json"] = json.dumps(
        _finite(content), indent=1, ensure_ascii=False, allow_nan=False
    ).encode()
    files["report.html"] = text.encode()
    # What an earlier analysis has drawn there, and this one has not.
    old = [output / f"{name}.png" for name in report.TITLES if name not in images]
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path in old:
            path.unlink(missing_ok=True)
        for name, data in files.items():
            with replacing(output / name) as file:
                file.write(data)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {reason(error)}") from error


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

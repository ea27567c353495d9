"""Restoring picture files."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dgunet_jax.checkpoints import load
from dgunet_jax.errors import UserError
from dgunet_jax.images import read_rgb, to_uint8, write_png
from dgunet_jax.restoration.restorer import restore


def restore_files(
    checkpoint: Path, images: Sequence[Path], output: Path, num_stages: int | None = None
) -> list[str]:
    """Restores every picture and writes it as `output/NAME.png`.

    Returns:
      One line for each picture that could not be restored; the others are written all the same.

    Raises:
      UserError: the checkpoint cannot be read or is not for colour pictures; two outputs would have
        one name, or an output would replace an input. Nothing is written then.
    """
    targets = [output / f"{image.stem}.png" for image in images]
    inputs = {image.resolve() for image in images}
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        if target in targets[:i]:
            raise UserError(f"{image}: {target} is the output of another input too")
        if target.resolve() in inputs:
            raise UserError(f"{target}: is an input; choose another --output")
    model, variables = load(checkpoint, num_stages)
    if model.config.measurements:
        raise UserError(
            f"{checkpoint}: is for compressive sensing; it takes measurements, not pictures"
        )
    if model.config.channels != 3:
        raise UserError(f"{checkpoint}: takes {model.config.channels} channels; pictures have 3")

    failures = []
    for image, target in zip(images, targets, strict=True):
        try:
            pixels = read_rgb(image).astype(np.float32) / 255
            print(f"{image}: {pixels.shape[1]}×{pixels.shape[0]}", file=sys.stderr, flush=True)
            write_png(target, to_uint8(restore(model, variables, pixels)))
        except UserError as error:
            message = str(error)
            failures.append(message if str(image) in message else f"{image}: {message}")
        else:
            print(f"wrote {target}", flush=True)
    return failures

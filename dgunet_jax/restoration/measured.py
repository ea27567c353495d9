"""Pictures that are restored from what known operators measured, one by one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images import Picture, check_writable, grey, read, side_by_side, write
from dgunet_jax.restoration.inputs import Job
from dgunet_jax.restoration.known import Named, fitting, forms
from dgunet_jax.restoration.pipeline import GAP
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.arrays import is_array_file, read_array
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.terminal import Progress

Array = NDArray[Any]


def restore_measured(
    restorer: Restorer, jobs: Sequence[Job], named: Named | None, remark: str | None = None
) -> list[str]:
    """Restore every picture or measurement and write it; what fails is told, the rest is done.

    Grey pictures go through a colour model as three equal channels, as others do. A result of the
    picture's size keeps its depth, transparency and metadata; of a measurement alone, 16 bits are
    written where the format has them.

    Args:
      restorer: with the network.
      jobs: pictures, or files with what was measured.
      named: the operator; None: the network's own matrix, of compressive sensing.
      remark: on how the pictures were made, which goes into the files.

    Returns:
      One line for each that failed.
    """
    failures: list[str] = []
    with Progress(len(jobs), len(jobs)) as progress:
        for job in jobs:
            try:
                picture, estimates = _restored(restorer, job, named)
                _write(job, dataclasses.replace(picture, remark=remark), estimates)
            except UserError as error:
                text = str(error)
                known = text.startswith((str(job.path), *map(str, job.targets), "--operator"))
                failures.append(text if known else f"{job.path}: {text}")
                progress.advance(f"failed {job.path}", 1)
            else:
                progress.advance(f"wrote {job.restored}", 1)
    return failures


def _restored(restorer: Restorer, job: Job, named: Named | None) -> tuple[Picture, Array]:
    """Return a picture as it was read, or an empty one, and its estimates (K, H, W, 3)."""
    channels = restorer.planner.config.channels
    if is_array_file(job.path):
        picture, candidates = None, forms(read_array(job.path, "y"), channels)
    else:
        picture = read(job.path)
        shown = grey(picture) if channels == 1 else picture
        colours = shown.colours()[None]
        candidates = [colours[..., :channels]]
        if shown.pixels.shape[2] == 1:
            candidates.append(colours[..., :1])
    known = None if named is None else named.of(candidates[0], job.path.stem)
    y = candidates[0] if known is None else fitting(known.operator, candidates, channels)
    operator = None if known is None else known.operator
    estimates = restorer.measured(y[0], operator, stages=job.stages is not None)
    estimates = estimates if job.stages is not None else estimates[None]
    if picture is not None and known is not None and known.corner is not None:
        (top, left), (height, width) = known.corner, picture.pixels.shape[:2]
        estimates = estimates[:, top : top + height, left : left + width]
    if picture is None:
        # Several channels of equal measurements are grey.
        is_grey = y.shape[-1] == channels and (y == y[..., :1]).all()
        picture = _empty(estimates, 1 if is_grey else 3, job.restored.suffix)
    elif picture.pixels.shape[:2] != estimates.shape[1:3] or y.shape[-1] != channels:
        if picture.alpha is not None:
            raise UserError("is transparent, and its result has another size; flatten it first")
        colours = 3 if y.shape[-1] != channels else picture.pixels.shape[2]
        pixels = np.zeros((*estimates.shape[1:3], colours), picture.pixels.dtype)
        picture = dataclasses.replace(picture, pixels=pixels)
    check_writable(job.restored.suffix, picture)
    return picture, np.broadcast_to(estimates, (*estimates.shape[:3], 3))


def _empty(estimates: Array, channels: int, suffix: str) -> Picture:
    """Return a picture of the estimates' size, of as many bits as the format holds."""
    picture = Picture(np.zeros((*estimates.shape[1:3], channels), np.uint16))
    try:
        check_writable(suffix, picture)
    except UserError:
        return Picture(picture.pixels.astype(np.uint8))
    return picture


def _write(job: Job, picture: Picture, estimates: Array) -> None:
    if job.stages is not None:
        images = [picture.with_colours(each).pixels for each in estimates]
        strip = side_by_side(images, GAP)
        write(job.stages, dataclasses.replace(picture, pixels=strip, alpha=None, exif=None))
    write(job.restored, picture.with_colours(estimates[-1]))

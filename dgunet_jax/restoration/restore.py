"""Restoring whatever somebody has, in one call."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images.reading import read
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.files import sort_out
from dgunet_jax.restoration.inputs import find
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.errors import UserError

Image = NDArray[Any] | jax.Array
Restored = NDArray[np.float32]
PathLike = str | os.PathLike[str]


@overload
def restore(model: DGUNet, variables: Mapping[str, Any], images: Image) -> Restored: ...
@overload
def restore(
    model: DGUNet, variables: Mapping[str, Any], images: PathLike
) -> Restored | dict[Path, Restored]: ...
@overload
def restore(
    model: DGUNet, variables: Mapping[str, Any], images: Sequence[Image | PathLike]
) -> list[Restored]: ...
def restore(model, variables, images):
    """Restores an image, a picture file, a list of them or a folder, with few compilations.

    Tiles, several devices, the self-ensemble and many calls with the same weights: see `Restorer`.
    Files of every kind into files: the command `dgunet restore`.

    Args:
      images: an array (H, W, C), floating point, values in [0, 1]; the path of a picture, read as
        RGB; a list of arrays and such paths; or a folder: the pictures in it and in its folders.

    Returns:
      For an array or a picture (H, W, C), float32, not clamped. For a list a list of them. For a
      folder a dict from the paths of its pictures, in the order of their names.

    Raises:
      UserError: an array of another shape or dtype, with values that are not finite or cannot be
        those of an image in [0, 1]; a file that cannot be read; a picture that does
        not fit into memory.
    """
    restorer = Restorer(model, variables)
    if isinstance(images, list | tuple):
        return _restore_all(restorer, [_pixels(image) for image in images])
    if isinstance(images, str | os.PathLike) and Path(images).is_dir():
        found, failures = find([images], output=None)
        pictures, unreadable, _ = sort_out(found)
        if failures + unreadable:
            raise UserError((failures + unreadable)[0])
        # Told before anything is decoded.
        for each, why in restorer.schedule(p.size for p in pictures).arrange(pictures)[1]:
            raise UserError(f"{each.path}: {why}")
        paths = [each.path for each in pictures]
        restored = _restore_all(restorer, [_pixels(path) for path in paths])
        return dict(zip(paths, restored, strict=True))
    return restorer(_pixels(images))


def _pixels(image: Any) -> NDArray[np.floating]:
    return read(image).colours() if isinstance(image, str | os.PathLike) else np.asarray(image)


def _restore_all(restorer: Restorer, images: list[NDArray[np.floating]]) -> list[Restored]:
    for image in images:
        restorer.check(image)
        restorer.warn_of_range(image)
    schedule = restorer.schedule(image.shape[:2] for image in images)
    restored = dict(restorer.each(enumerate(images), schedule))
    return [restored[i][0] for i in range(len(images))]

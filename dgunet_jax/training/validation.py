"""PSNR on held-out pictures, and the pictures that show it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from numpy.typing import NDArray

from dgunet_jax.data.pipeline import HeldOut, Pair
from dgunet_jax.images import side_by_side
from dgunet_jax.metrics import psnr
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.pipeline import ahead
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import replacing
from dgunet_jax.training import hosts

_GAP = 4  # white pixels between pictures side by side


@dataclasses.dataclass(frozen=True)
class Scores:
    """Mean PSNR in dB over the pictures.

    Attributes:
      noisy: of the inputs, clamped to [0, 1] as any file that shows them is.
      stages: of every stage's clamped estimate, first stage first.
    """

    noisy: float
    stages: tuple[float, ...]

    @property
    def restored(self) -> float:
        return self.stages[-1]


def validate(model: DGUNet, params: Mapping[str, Any], held_out: HeldOut) -> Scores:
    """Restore pictures and score every stage: RGB PSNR, clamped and not rounded.

    Processes share the pictures, and the devices of each restore and score its own in batches.

    Raises:
      UserError: a picture cannot be read.
    """
    scores = np.zeros((len(held_out), 1 + model.config.num_stages))
    own = range(jax.process_index(), len(held_out), jax.process_count())
    with hosts.all_or_none():
        if own:
            for i, found in _scores(model, params, held_out, own):
                scores[i] = found
    noisy, *stages = hosts.gathered(scores).sum(axis=0).mean(axis=0).tolist()
    return Scores(noisy=noisy, stages=tuple(stages))


def _scores(
    model: DGUNet, params: Mapping[str, Any], held_out: HeldOut, own: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    devices = jax.local_devices()[: len(own)]
    mesh = Mesh(devices, ("batch",), axis_types=(AxisType.Auto,)) if devices[1:] else None
    restorer = Restorer(model, {"params": params}, mesh=mesh)
    schedule = restorer.schedule(held_out.size(i) for i in own)

    def pairs() -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        for i, arrays in ahead(held_out.arrays, own):
            if isinstance(arrays, UserError):
                raise arrays
            degraded, target = arrays
            yield i, degraded, target

    yield from restorer.scores(pairs(), schedule)


def strip(model: DGUNet, params: Mapping[str, Any], pair: Pair) -> NDArray[np.float32]:
    """A held-out input, every estimate and the target side by side."""
    estimates = _estimates(Restorer(model, {"params": params}), pair)
    return side_by_side([pair["input"], *estimates, pair["target"]], _GAP)


def show(
    model: DGUNet, params: Mapping[str, Any], pairs: Sequence[Pair], folder: Path
) -> list[Path]:
    """Writes `comparison.png` (input, restored, target) and `stages.png` (every estimate)."""
    restorer = Restorer(model, {"params": params})
    restored = [_estimates(restorer, pair).clip(0, 1) for pair in pairs]
    comparison = [
        [
            (f"input {_decibel(pair['input'].clip(0, 1), pair)}", pair["input"].clip(0, 1)),
            (f"restored {_decibel(estimates[-1], pair)}", estimates[-1]),
            ("target", pair["target"]),
        ]
        for pair, estimates in zip(pairs, restored, strict=True)
    ]
    stages = [("y", pairs[0]["input"].clip(0, 1))]
    stages += [(f"x{k} {_decibel(x, pairs[0])}", x) for k, x in enumerate(restored[0], 1)]
    written = [folder / "comparison.png", folder / "stages.png"]
    _draw(comparison, written[0])
    _draw([stages], written[1])
    return written


def _estimates(restorer: Restorer, pair: Pair) -> NDArray[np.float32]:
    """Every stage's estimate, (K, H, W, C); noise of any strength is meant, and not warned of."""
    schedule = restorer.schedule([pair["input"].shape[:2]])
    ((_, estimates),) = restorer.each([(None, pair["input"])], schedule, stages=True)
    return estimates


def _decibel(image: np.ndarray, pair: Pair) -> str:
    return f"{psnr(image, pair['target']):.2f} dB"


def _draw(rows: list[list[tuple[str, np.ndarray]]], path: Path) -> None:
    from matplotlib.figure import Figure

    height, width, _ = rows[0][0][1].shape
    figure = Figure(
        figsize=(3.2 * len(rows[0]), len(rows) * (3.2 * height / width + 0.3)), layout="compressed"
    )
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for row, pictures in zip(axes, rows, strict=True):
        for ax, (title, image) in zip(row, pictures, strict=True):
            ax.imshow(image)
            ax.set_title(title, fontsize=9)
            ax.axis("off")
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format="png")

"""PSNR on held-out pictures, and the pictures that show it."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from numpy.typing import NDArray

from dgunet_jax.data.pipeline import HeldOut
from dgunet_jax.images import side_by_side
from dgunet_jax.metrics import psnr
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.pipeline import ahead
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system import hosts
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import replacing
from dgunet_jax.training.step import inputs_of

_GAP = 4  # white pixels between pictures side by side


@dataclasses.dataclass(frozen=True)
class Scores:
    """Mean PSNR in dB over the pictures.

    Attributes:
      noisy: of the inputs, clamped to [0, 1] as any file that shows them is.
      stages: of every stage's clamped estimate, first stage first.
      sources: those of several sources, by name, of which these are the means.
    """

    noisy: float
    stages: tuple[float, ...]
    sources: "Mapping[str, Scores]" = dataclasses.field(default_factory=dict)

    @property
    def restored(self) -> float:
        return self.stages[-1]

    @property
    def each(self) -> "Mapping[str, Scores]":
        """The means under "", and those of several sources by name."""
        return {"": self, **self.sources}


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
            score = _measured_scores if _is_measured(model, held_out) else _scores
            for i, found in score(model, params, held_out, own):
                scores[i] = found
    noisy, *stages = hosts.gathered(scores).sum(axis=0).mean(axis=0).tolist()
    return Scores(noisy=noisy, stages=tuple(stages))


def validate_each(
    model: DGUNet, params: Mapping[str, Any], held_out: Mapping[str, HeldOut]
) -> Scores:
    """Return `validate` of the only set, or of several sets and the means of these."""
    found = {name: validate(model, params, each) for name, each in held_out.items()}
    if len(found) == 1:
        return found.popitem()[1]
    noisy = np.mean([each.noisy for each in found.values()])
    stages = np.mean([each.stages for each in found.values()], axis=0)
    return Scores(float(noisy), tuple(stages.tolist()), found)


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


@dataclasses.dataclass(frozen=True)
class Shown:
    """A held-out picture: what the network began with, every estimate (K, H, W, C), the target."""

    start: NDArray[np.float32]
    estimates: NDArray[np.float32]
    target: NDArray[np.float32]


def strip(
    model: DGUNet, params: Mapping[str, Any], held_out: Mapping[str, HeldOut]
) -> NDArray[np.float32]:
    """The first held-out input, every estimate and the target side by side."""
    (shown,) = _shown(model, params, next(iter(held_out.values())), 1)
    return side_by_side([shown.start, *shown.estimates, shown.target], _GAP)


def show(
    model: DGUNet,
    params: Mapping[str, Any],
    held_out: Mapping[str, HeldOut],
    folder: Path,
    count: int,
) -> list[Path]:
    """Write `comparison.png` (input, restored, target) and `stages.png` (every estimate).

    Args:
      count: how many of the pictures are compared, the first ones; of several sets, one of each.
    """
    count = 1 if len(held_out) > 1 else count
    pictures = [shown for each in held_out.values() for shown in _shown(model, params, each, count)]
    comparison = [
        [
            (f"input {_decibel(shown.start, shown)}", shown.start),
            (f"restored {_decibel(shown.estimates[-1], shown)}", shown.estimates[-1]),
            ("target", shown.target),
        ]
        for shown in pictures
    ]
    stages = [("input", pictures[0].start)]
    stages += [
        (f"x{k} {_decibel(x, pictures[0])}", x) for k, x in enumerate(pictures[0].estimates, 1)
    ]
    written = [folder / "comparison.png", folder / "stages.png"]
    _draw(comparison, written[0])
    _draw([stages], written[1])
    return written


def _shown(
    model: DGUNet, params: Mapping[str, Any], held_out: HeldOut, count: int
) -> Iterator[Shown]:
    """Yield the first pictures, clamped to [0, 1]; noise of any strength is meant."""
    indices = range(len(held_out))[:count]
    if _is_measured(model, held_out):
        yield from (_measured(model, params, held_out, index) for index in indices)
        return
    restorer = Restorer(model, {"params": params})
    for pair in held_out[: len(indices)]:
        schedule = restorer.schedule([pair["input"].shape[:2]])
        ((_, estimates),) = restorer.each([(None, pair["input"])], schedule, stages=True)
        yield Shown(pair["input"].clip(0, 1), estimates.clip(0, 1), pair["target"])


def _is_measured(model: DGUNet, held_out: HeldOut) -> bool:
    """Whether pictures are measured here, by known operators or by the network's own matrix."""
    return held_out.known or bool(model.config.measurements)


def _measured(model: DGUNet, params: Mapping[str, Any], held_out: HeldOut, index: int) -> Shown:
    """A picture that is measured here, restored, clamped to [0, 1]."""
    batch = held_out.measured(index)
    start, stages = _restored(model.config, params, batch)
    images = (np.asarray(start)[0], np.asarray(stages)[:, 0], batch["target"][0])
    return Shown(*(image.clip(0, 1) for image in images))


@functools.partial(jax.jit, static_argnums=0)
def _restored(config: DGUNetConfig, params: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
    """Return what the network begins with, see `Inputs`, and all estimates."""
    given = inputs_of(DGUNet(config), params, batch)
    restored: Any = given.network.apply({"params": params}, given.inputs, **given.told)
    return given.first, restored.stages


def _measured_scores(
    model: DGUNet, params: Mapping[str, Any], held_out: HeldOut, own: Sequence[int]
) -> Iterator[tuple[int, list[float]]]:
    for index in own:
        shown = _measured(model, params, held_out, index)
        yield index, [psnr(image, shown.target) for image in (shown.start, *shown.estimates)]


def _decibel(image: np.ndarray, shown: Shown) -> str:
    return f"{psnr(image, shown.target):.2f} dB"


def _draw(rows: list[list[tuple[str, np.ndarray]]], path: Path) -> None:
    from matplotlib.figure import Figure

    height, width, _ = rows[0][0][1].shape
    figure = Figure(
        figsize=(3.2 * len(rows[0]), len(rows) * (3.2 * height / width + 0.3)), layout="compressed"
    )
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for row, pictures in zip(axes, rows, strict=True):
        for ax, (title, image) in zip(row, pictures, strict=True):
            ax.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))  # of luma too
            ax.set_title(title, fontsize=9)
            ax.axis("off")
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format="png")

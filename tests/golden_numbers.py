"""The golden numbers of tests/golden/README.md, and what this project computes in their place.

Images and estimates are turned to this project's form: NHWC, first stage first.
"""

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
from dgunet_jax.models.network import DGUNet
from dgunet_jax.training.losses import stage_losses
from tests.quick import compiler_options

FOLDER = pathlib.Path(__file__).parent / "golden"
SMALL = ("tiny", "tiny_plus", "tiny_cs")
NAMES = (
    *SMALL,
    *("derain", "derain_plus", "deblur", "deblur_plus", "denoise", "denoise_plus"),
    *("cs", "cs_plus", "cs_deblock", "cs_plus_deblock"),
)
_LOSSES = {
    "char_edge": "charbonnier_edge",
    "char_clamp": "clamped_charbonnier",
    "mse_clamp": "clamped_squares",
}


@dataclasses.dataclass(frozen=True)
class Golden:
    """What was recorded of one model.

    Attributes:
      num_stages: K.
      num_parameters: in the official state dict, tied ones once.
      images: what goes in, (N, H, W, C) float32.
      target: the clean images.
      stages: every estimate, (K, N, H, W, C).
      float32_error: how far the official float32 run is from `stages`.
      loss_name: its name in this project.
      loss: summed over the stages.
      gradients: official key to (norm, inner product with `probe`), None for an unused weight.
    """

    num_stages: int
    num_parameters: int
    images: np.ndarray
    target: np.ndarray
    stages: np.ndarray
    float32_error: float
    loss_name: str
    loss: float
    gradients: dict[str, tuple[float, float] | None]


def load(name: str) -> Golden:
    record = _record(name)
    with np.load(FOLDER / f"{name}.npz") as arrays:
        images, target, outputs = (arrays[key] for key in ("input", "target", "outputs"))
    return Golden(
        num_stages=record["num_stages"],
        num_parameters=record["num_parameters"],
        images=nhwc(images),
        target=nhwc(target),
        stages=nhwc(outputs[::-1]),
        float32_error=record["official_float32_max_error"],
        loss_name=_LOSSES[record["loss_kind"]],
        loss=record["loss"],
        gradients={k: v if v is None else (v[0], v[1]) for k, v in record["gradients"].items()},
    )


def official_weights(name: str) -> dict[str, np.ndarray]:
    """The state dict, made from the names of its tensors."""
    record = _record(name)
    tied, seed = record["tied"], record["seed"]
    return {k: _weight(k, tied.get(k, k), shape, seed) for k, shape in record["state_dict"]}


def probe(key: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(f"probe:{key}".encode())).standard_normal(shape)


def nhwc(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -3, -1)


@dataclasses.dataclass(frozen=True)
class Computed:
    """What this project computes: estimates, loss and its gradient under official names."""

    stages: np.ndarray
    loss: float
    gradients: Mapping[str, np.ndarray]


def compute(name: str, dtype: type, *, gradients: bool = True) -> Computed:
    """Estimates, loss and gradients in one compilation, in `dtype` from the weights on."""
    golden = load(name)
    with jax.enable_x64(dtype is np.float64):
        model, variables = from_pytorch(official_weights(name), golden.num_stages)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)
        wanted = jax.value_and_grad(_loss, argnums=2, has_aux=True) if gradients else _loss
        found = jax.jit(
            wanted,
            static_argnums=(0, 1),
            compiler_options=compiler_options(dtype),
        )(
            model,
            golden.loss_name,
            variables,
            golden.images.astype(dtype),
            golden.target.astype(dtype),
        )
        (loss, stages), gradient = found if gradients else (found, None)
        official = to_pytorch(model, gradient) if gradients else {}
        return Computed(np.asarray(stages), float(loss), official)


def worst_gradient(
    golden: Golden, gradients: Mapping[str, np.ndarray], own: float, largest: float
) -> tuple[float, str]:
    """The largest distance of a gradient's norm or inner product from the recorded ones.

    It is told over `own` · its norm + `largest` · the largest norm of all, with the weight's name.
    An unused weight with a gradient is infinitely far.
    """
    top = max(recorded[0] for recorded in golden.gradients.values() if recorded)
    ratios = []
    for key, recorded in golden.gradients.items():
        gradient = np.asarray(gradients[key], np.float64)
        if recorded is None:
            ratios.append((np.inf if gradient.any() else 0.0, key))
            continue
        found = np.linalg.norm(gradient), np.sum(gradient * probe(key, gradient.shape))
        distance = np.max(np.abs(np.subtract(found, recorded)))
        ratios.append((float(distance / (own * recorded[0] + largest * top)), key))
    return max(ratios)


def _loss(model: DGUNet, loss_name: str, variables: Any, images: jax.Array, target: jax.Array):
    restored: Any = model.apply(variables, images)
    return stage_losses(loss_name, restored.stages, target).sum(), restored.stages


def _record(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _weight(key: str, drawn_as: str, shape: list[int], seed: int) -> np.ndarray:
    z = np.random.RandomState(zlib.crc32(drawn_as.encode()) ^ seed).standard_normal(shape)
    if key.endswith("Phi"):
        z /= np.sqrt(shape[1])
    elif len(shape) == 4:
        z *= 0.6 / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("norm.weight"):
        z = 1 + 0.1 * z
    elif key.endswith("bias"):
        z *= 0.05
    elif key.endswith("weight"):
        z = 0.25 + 0.05 * z
    else:
        z = 0.5 + 0.1 * z
    return z.astype(np.float32)

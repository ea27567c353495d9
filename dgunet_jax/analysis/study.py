"""All measures of a network at one picture."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.analysis import attribution
from dgunet_jax.analysis.attribution import Patch, central_patch, region, within
from dgunet_jax.analysis.operators import (
    Adjointness,
    GradientQuality,
    adjointness,
    gradient_quality,
    step,
)
from dgunet_jax.analysis.progress import Progress, progress
from dgunet_jax.analysis.stages import LOSS, contraction, flow, iterate
from dgunet_jax.metrics._psnr import psnr
from dgunet_jax.metrics._ssim import ssim_uniform
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import StageTrace, Trace, Unfolded, trace, trace_stage, unfold
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError
from dgunet_jax.training.losses import LossStages

Array = jax.Array
Image = NDArray[np.float32]
Say = Callable[[str], None]

COSTLY_SIDE = 128  # pixels of the crop whose stages are differentiated as a whole, and if quick
ITERATIONS = 50
_BLUR, _POINTS = 8.0, 13  # the path of integrated gradients: pixels, images


@dataclasses.dataclass(frozen=True)
class Explained:
    """Where a patch comes from, on the crop.

    Attributes:
      crop: in the picture's coordinates.
      patch: in the crop's coordinates.
      saliency: of every stage's estimate, (K, h, w).
      integrated: integrated gradients of the result, (h, w).
      error: by how much these do not add up, relative.
    """

    crop: Patch
    patch: Patch
    saliency: NDArray[np.floating]
    integrated: NDArray[np.floating]
    error: float


@dataclasses.dataclass(frozen=True)
class Study:
    """What was measured.

    Attributes:
      config: of the network.
      stages: one mapping for every stage, first first: names of measures, or of groups of them, to
        numbers, None where there is none. The numbers are those of the measures' own classes; of
        contraction, `image_converged` and `state_converged` say which of its two norms are certain.
        Without a gradient step there is no Φ: residual is None, and gradient, adjointness and step
        are not there.
      input: psnr and ssim of the input; None where the clean image is not known.
      depth: lists over n of residual (of x_{n−1}; None without a gradient step), change, psnr (of
        x_n) and psnr_result (of what the last stage makes of it); diverged_at, the first n, or
        None; trained, the n of the network itself. None if no stage is shared, or if quick.
      flow_cosines: between the uses of the shared weights; None if there are none.
      loss, loss_stages: whose gradients flow.
      region: what was analysed, in the picture's coordinates.
      inputs, clean: that part of the pictures, (h, w, C).
      start: x₀, (h, w, C).
      g, v, x: directions, gradient steps and estimates of every stage, each (h, w, C).
      explained: None where quick.
    """

    config: DGUNetConfig
    stages: list[dict[str, Any]]
    input: dict[str, float] | None
    depth: dict[str, Any] | None
    flow_cosines: NDArray[np.floating] | None
    loss: str
    loss_stages: LossStages
    region: Patch
    inputs: Image
    clean: Image | None
    start: Image
    g: list[Image]
    v: list[Image]
    x: list[Image]
    explained: Explained | None

    @property
    def subjects(self) -> list[str]:
        """What it has numbers about, in the order of a report: the names of its figures."""
        steps, explained = self.config.degradation != "none", self.explained is not None
        has = {
            "progress": steps or self.clean is not None,
            "moves": True,
            "gradient": steps,
            "adjointness": steps,
            "steps": steps,
            "contraction": explained,
            "depth": self.depth is not None,
            "flow": "flow" in self.stages[0],
            "attribution": explained,
        }
        return [name for name, there in has.items() if there]


@flax.struct.dataclass
class _Inspected:
    """A stage's measures that are made in one compiled program."""

    traced: StageTrace
    g: Array
    progress: Progress
    gradient: GradientQuality
    adjointness: Adjointness


@highest
def study(
    model: DGUNet,
    variables: Mapping[str, Any],
    image: Image,
    clean: Image | None = None,
    *,
    patch: Patch | None = None,
    size: int = 256,
    crop: int = COSTLY_SIDE,
    quick: bool = False,
    seed: int = 0,
    loss: str = LOSS,
    loss_stages: LossStages = "all",
    say: Say = lambda line: None,
) -> Study:
    """Measures every stage of a network at a picture.

    The costly measures (contraction, attribution) are made on a crop around the patch.

    Args:
      model, variables: as `dgunet_jax.load` gives them.
      image: the network's input, (H, W, C), nominally in [0, 1]; the clean image of a network for
        compressive sensing.
      clean: the clean image of the same shape, if it is known.
      patch: whose origin is explained; None: 16×16 in the middle.
      size: larger pictures are cut to squares of this side around the patch.
      crop: the side of what the costly measures are made on, pixels; it holds the patch.
      quick: at most 128², and neither contraction nor iteration nor attribution.
      seed: of random directions, from 0 to 2³² − 1.
      loss, loss_stages: as the network was trained with, see `flow`.
      say: is told what is being done.

    Raises:
      UserError: the picture is too small, the patch does not fit, or an estimate is not finite.
    """
    side = min(size, COSTLY_SIDE) if quick else size
    config, multiple = model.config, model.config.multiple
    place = region(image.shape[0], image.shape[1], side, multiple, patch)
    if not quick:
        # A patch that does not fit is told before the work, in the picture's coordinates.
        region(image.shape[0], image.shape[1], min(side, crop), multiple, patch, option="crop")
    image, clean = _cut(image, place), None if clean is None else _cut(clean, place)
    patch = None if patch is None else within(patch, place)
    unfolded = unfold(model, variables)
    inputs = jnp.asarray(image)[None]
    target = None if clean is None else jnp.asarray(clean)[None]

    start, y = unfolded.start(inputs)
    key = jax.random.key(seed)
    inspected = _inspect_all(unfolded, start, y, target, key, say)
    traced = Trace(start=start, y=y, stages=tuple(each.traced for each in inspected))
    stages = [_numbers(k, each, clean) for k, each in enumerate(inspected, 1)]
    if config.degradation == "none":
        _without_steps(stages)
    else:
        _step_sizes(unfolded, traced, stages, key, say)
    cosines = None
    if target is not None:
        say("gradient flow")
        flowing = flow(unfolded, inputs, traced, target, loss, loss_stages)
        cosines = None if flowing.cosines is None else np.asarray(flowing.cosines)
        for numbers, estimate, weights in zip(
            stages, flowing.estimates, flowing.weights, strict=True
        ):
            numbers["flow"] = {"estimate": _number(estimate), "weights": _number(weights[None])}
    explained = depth = None
    if not quick:
        depth = _depth(unfolded, traced, clean, say)
        around = region(place.height, place.width, min(side, crop), multiple, patch)
        sides = around.height, around.width
        inner = central_patch(*sides) if patch is None else within(patch, around)
        explained = _costly(unfolded, image, around, inner, stages, seed, say)
        explained = dataclasses.replace(
            explained, crop=around._replace(x=around.x + place.x, y=around.y + place.y)
        )
    return Study(
        config=config,
        stages=stages,
        input=None if clean is None or config.measurements else _scores(image, clean),
        depth=depth,
        flow_cosines=cosines,
        loss=loss,
        loss_stages=loss_stages,
        region=place,
        inputs=image,
        clean=clean,
        start=np.asarray(start[0]),
        g=[np.asarray(each.g[0]) for each in inspected],
        v=[np.asarray(each.traced.v[0]) for each in inspected],
        x=[np.asarray(each.traced.x[0]) for each in inspected],
        explained=explained,
    )


@jax.jit
def _inspect(stage, x, memory, y, clean, key) -> _Inspected:
    operator = stage.operator
    traced = trace_stage(stage, x, memory, y)
    return _Inspected(
        traced=traced,
        g=operator.adjoint(traced.residual, at=x),
        progress=progress(x, traced),
        gradient=gradient_quality(operator, stage.step_size, x, y, clean),
        adjointness=adjointness(operator, x, y, key),
    )


_iterate = jax.jit(iterate, static_argnames="count")


def _inspect_all(
    unfolded: Unfolded, x: Array, y: Array, clean: Array | None, key: Array, say: Say
) -> list[_Inspected]:
    inspected, memory, count = [], None, len(unfolded.stages)
    for k, stage in enumerate(unfolded.stages, 1):
        say(f"stage {k} of {count}: progress, gradient, adjointness")
        each = _inspect(stage, x, memory, y, clean, jax.random.fold_in(key, k))
        x, memory = each.traced.x, each.traced.memory
        if not jnp.isfinite(x).all():
            raise UserError(f"stage {k} of {count}: its estimate of this picture is not finite")
        inspected.append(each)
    return inspected


def _step_sizes(
    unfolded: Unfolded, traced: Trace, stages: list[dict[str, Any]], key: Array, say: Say
) -> None:
    """Measures the steps; the numbers go into the stages' mappings."""
    before = [traced.start, *(each.x for each in traced.stages[:-1])]
    for k, (stage, x, numbers) in enumerate(zip(unfolded.stages, before, stages, strict=True), 1):
        say(f"stage {k} of {len(stages)}: step size")
        numbers["step"] = _floats(step(stage, x, jax.random.fold_in(key, len(stages) + k)))


def _without_steps(stages: list[dict[str, Any]]) -> None:
    """Takes out what was measured of the identity that stands for the Φ of no step."""
    for numbers in stages:
        del numbers["gradient"], numbers["adjointness"]
        numbers["residual"] = None


def _depth(
    unfolded: Unfolded, traced: Trace, clean: Image | None, say: Say
) -> dict[str, Any] | None:
    config = unfolded.model.config
    if not config.share_middle or not config.num_middle:
        return None
    say(f"the shared stage, {ITERATIONS} times")
    first, shared, last = traced.stages[0], unfolded.stages[1], unfolded.stages[-1]
    found = _iterate(shared, last, first.x, first.memory, traced.y, count=ITERATIONS)
    diverged = np.flatnonzero(np.asarray(found.diverged[:, 0]))
    numbers: dict[str, Any] = {
        "residual": None
        if config.degradation == "none"
        else np.asarray(found.residual[:, 0]).tolist(),
        "change": np.asarray(found.change[:, 0]).tolist(),
        "diverged_at": int(diverged[0]) + 1 if diverged.size else None,
        "trained": config.num_middle,
    }
    if clean is not None:
        numbers["psnr"] = [_psnr(x[0], clean) for x in np.asarray(found.estimates)]
        numbers["psnr_result"] = [_psnr(x[0], clean) for x in np.asarray(found.results)]
    return numbers


def _costly(
    unfolded: Unfolded,
    image: Image,
    crop: Patch,
    patch: Patch,
    stages: list[dict[str, Any]],
    seed: int,
    say: Say,
) -> Explained:
    """Measures contraction and attribution on a crop; the numbers go into the stages' mappings."""
    inputs = jnp.asarray(_cut(image, crop))[None]
    traced = trace(unfolded, inputs)
    x, memory, key = traced.start, None, jax.random.key(seed)
    saliencies = []
    for k, (stage, computed, numbers) in enumerate(
        zip(unfolded.stages, traced.stages, stages, strict=True), 1
    ):
        say(f"stage {k} of {len(stages)}: contraction, attribution")
        found = contraction(stage, x, memory, traced.y, jax.random.fold_in(key, k))
        numbers["contraction"] = {
            "image": _number(found.image.value),
            "image_converged": _number(found.image.converged),
            "state": _number(found.state.value),
            "state_converged": _number(found.state.converged),
            "symmetry_gap": _number(found.proximal.gap),
            "lowest_quotient": _number(found.proximal.lowest_quotient),
            "negative": _number(found.proximal.negative),
        }
        x, memory = computed.x, computed.memory
        saliency = np.asarray(attribution.saliency(unfolded, inputs, traced, patch, k)[0])
        radii = attribution.effective_radius(saliency, patch)
        numbers["attribution"] = {"radius_50": _number(radii[:1]), "radius_95": _number(radii[1:])}
        saliencies.append(saliency)
    say("integrated gradients")
    score = attribution.patch_score(unfolded, patch)
    path = attribution.blur_path(np.asarray(inputs), _BLUR, _POINTS)
    found = attribution.integrated_gradients(score, path)
    return Explained(crop, patch, np.stack(saliencies), found.map[0], float(found.error[0]))


def _numbers(k: int, each: _Inspected, clean: Image | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"stage": k}
    for name, images in (("v", each.traced.v), ("x", each.traced.x)):
        scores = {"psnr": None, "ssim": None}
        if clean is not None:
            scores = _scores(np.asarray(images[0]), clean)
        numbers |= {f"{measure}_{name}": value for measure, value in scores.items()}
    numbers |= _floats(each.progress)
    for group in ("gradient", "adjointness"):
        numbers[group] = _floats(getattr(each, group))
    return numbers


def _floats(measured: Any) -> dict[str, Any]:
    """The fields of a measure of one picture."""
    fields = [field.name for field in dataclasses.fields(measured)]
    return {name: _number(getattr(measured, name)) for name in fields}


def _number(values: Array | NDArray[np.floating] | None) -> Any:
    """The first picture's number; None where there is none, or it is not finite."""
    value = None if values is None else np.asarray(values)[0].item()
    return value if value is not None and np.isfinite(value) else None


def _scores(image: Image, clean: Image) -> dict[str, float]:
    shown = image.clip(0, 1)
    return {"psnr": psnr(shown, clean), "ssim": ssim_uniform(shown, clean, peak=1.0)}


def _psnr(image: Image, clean: Image) -> float | None:
    """Of an iterate, which may not be finite."""
    return psnr(image.clip(0, 1), clean) if np.isfinite(image).all() else None


def _cut(image: Image, place: Patch) -> Image:
    return image[place.y : place.y + place.height, place.x : place.x + place.width]

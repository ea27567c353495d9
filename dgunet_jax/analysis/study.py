"""All measures of a network at one image."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.analysis import attribution, operators, stages
from dgunet_jax.analysis.attribution import Patch, region
from dgunet_jax.analysis.operators import Adjointness, GradientQuality, Step
from dgunet_jax.analysis.stages import LOSS, Contraction, Flow, Progress
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.measurements import simulate_one
from dgunet_jax.metrics import psnr, ssim_uniform
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import Trace, Unfolded, trace, trace_stage, unfold
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError
from dgunet_jax.training.losses import LossStages

Array = jax.Array
Image = NDArray[np.float32]
Numbers = NDArray[np.float64]
Say = Callable[[str], None]
Measure = TypeVar("Measure")

COSTLY_SIDE = 128  # pixels of the crop whose stages are differentiated as a whole, and if quick
ITERATIONS = 50  # of the shared stage
_PATCH = 16  # pixels, side of the patch that is explained by default
_BLUR, _POINTS = 8.0, 13  # the path of integrated gradients: pixels, images


class Scores(NamedTuple):
    """PSNR in dB and uniform SSIM of clamped images, each (N,)."""

    psnr: Numbers
    ssim: Numbers


@dataclasses.dataclass(frozen=True)
class OperatorMeasures:
    """What is measured of Φ, Φᵀ and ρ."""

    gradient: GradientQuality
    adjointness: Adjointness
    step: Step


@dataclasses.dataclass(frozen=True)
class Depth:
    """The shared stage iterated n = 1, 2 … times.

    Attributes:
      residual: of x_{n−1}, root mean squares; None without a gradient step.
      change: from x_{n−1} to x_n, root mean squares.
      diverged_at: the first n at which the iteration counts as diverged, or None.
      trained: the n of the network itself.
      psnr: of x_n, dB; None if the clean image is not known.
      psnr_result: of what the last stage makes of x_n, dB; None like `psnr`.
    """

    residual: Numbers | None
    change: Numbers
    diverged_at: int | None
    trained: int
    psnr: Numbers | None
    psnr_result: Numbers | None


@dataclasses.dataclass(frozen=True)
class PatchAttribution:
    """Which pixels of a crop a patch depends on.

    Attributes:
      crop: in the image's coordinates.
      patch: in the crop's coordinates.
      saliency: of every stage's estimate, (K, h, w).
      radii: of the discs that hold 50 % and 95 % of it, pixels, (K, 2).
      integrated: integrated gradients of the result, (h, w).
      error: relative difference between their sum and what they explain.
    """

    crop: Patch
    patch: Patch
    saliency: NDArray[np.floating]
    radii: Numbers
    integrated: NDArray[np.floating]
    error: float


@dataclasses.dataclass(frozen=True)
class Study:
    """The measures of a network with K stages at one image.

    The fields of measures, which functions fill with a number for each image of a batch, hold
    arrays (K,) here, a number for each stage. It is NaN where it is not finite.

    Attributes:
      config: of the network.
      loss, loss_stages: whose gradients `flow` measures.
      region: what is analysed, in the image's coordinates.
      inputs, clean: that part of the images, (h, w, C); clean is None if it is not known. The input
        of a known operator is its x₀.
      start: x₀, (h, w, C).
      g, v, x: directions, gradient steps and estimates of every stage, each (h, w, C).
      input_scores: of the input, (1,); NaN if clean is None, or if the input is not an image.
      v_scores, x_scores: of v and x, (K,); NaN if clean is None.
      progress: its residual is NaN without a gradient step.
      operators: None without a gradient step.
      flow: with estimates (K,); None if clean is None.
      depth: None if no stage is shared, or if quick.
      contraction, attribution: on a crop; None if quick.
    """

    config: DGUNetConfig
    loss: str
    loss_stages: LossStages
    region: Patch
    inputs: Image
    clean: Image | None
    start: Image
    g: list[Image]
    v: list[Image]
    x: list[Image]
    input_scores: Scores
    v_scores: Scores
    x_scores: Scores
    progress: Progress
    operators: OperatorMeasures | None
    flow: Flow | None
    depth: Depth | None
    contraction: Contraction | None
    attribution: PatchAttribution | None


@highest
def analyze(
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
    degradation: Degradation | None = None,
    say: Say = lambda line: None,
) -> Study:
    """Measure every stage of a network at an image.

    The costly measures (contraction, attribution) are made on a crop around the patch.

    Args:
      model, variables: as `dgunet_jax.load` returns them.
      image: the network's input, (H, W, C), nominally in [0, 1]; the clean image of a network for
        compressive sensing or for a known operator.
      clean: the clean image of the same shape, if it is known.
      patch: whose origin is explained; None: 16×16 pixels in the middle.
      size: larger images are cut to squares of this side around the patch, pixels.
      crop: the side of what the costly measures are made on, pixels; it holds the patch.
      quick: at most 128×128 pixels, without contraction, iteration and attribution.
      seed: of random directions, from 0 to 2³² − 1.
      loss, loss_stages: as the network was trained with, see `flow`.
      degradation: what is measured of the image by a known operator, drawn by `seed`; None for
        other networks.
      say: called with a line about each part of the work before it begins.

    Raises:
      UserError: the image is too small, the patch does not fit, or an estimate is not finite.
    """
    side = min(size, COSTLY_SIDE) if quick else size
    config, multiple = model.config, model.config.multiple
    place = region(image.shape[0], image.shape[1], side, multiple, patch)
    if not quick:
        # Refuse a patch that does not fit before the work, in the image's coordinates.
        region(image.shape[0], image.shape[1], min(side, crop), multiple, patch, option="crop")
    image, clean = _cut(image, place), None if clean is None else _cut(clean, place)
    patch = None if patch is None else patch.moved(-place.x, -place.y)
    given = _Given(model, variables, degradation, seed)
    unfolded, inputs = given.of(image)
    target = None if clean is None else jnp.asarray(clean)[None]

    start, y = unfolded.start(inputs)
    key = jax.random.key(seed)
    traced, g, moves, learned = _inspect_all(unfolded, start, y, target, key, say)
    v, x = ([np.asarray(getattr(each, name)[0]) for each in traced.stages] for name in ("v", "x"))
    if config.degradation == "none":
        moves = dataclasses.replace(moves, residual=np.full(len(x), np.nan))
    flow = depth = contraction = explained = None
    if target is not None:
        say("gradient flow")
        flow = stages.flow(unfolded, inputs, traced, target, loss, loss_stages)
        flow = dataclasses.replace(flow, estimates=flow.estimates[:, 0])
        flow = jax.tree.map(_finite, flow)
    if not quick:
        depth = _depth(unfolded, traced, clean, say)
        around = region(place.height, place.width, min(side, crop), multiple, patch)
        if patch is None:
            patch = region(around.height, around.width, _PATCH, 1, None)
        else:
            patch = patch.moved(-around.x, -around.y)
        contraction, explained = _costly(*given.of(_cut(image, around)), patch, seed, say)
        if explained is not None:
            explained = dataclasses.replace(explained, crop=around.moved(place.x, place.y))
    begun = np.asarray(start[0])
    if degradation is not None:
        image = begun
    return Study(
        config=config,
        loss=loss,
        loss_stages=loss_stages,
        region=place,
        inputs=image,
        clean=clean,
        start=begun,
        g=[np.asarray(each[0]) for each in g],
        v=v,
        x=x,
        input_scores=_scores([image], None if config.measurements else clean),
        v_scores=_scores(v, clean),
        x_scores=_scores(x, clean),
        progress=moves,
        operators=None if config.degradation == "none" else learned,
        flow=flow,
        depth=depth,
        contraction=contraction,
        attribution=explained,
    )


@dataclasses.dataclass(frozen=True)
class _Given:
    """A network and what it is given of an image."""

    model: DGUNet
    variables: Mapping[str, Any]
    degradation: Degradation | None
    seed: int

    def of(self, image: Image) -> tuple[Unfolded, Any]:
        """Return the network's stages and its inputs, of a batch of one."""
        if self.degradation is None:
            return unfold(self.model, self.variables), jnp.asarray(image)[None]
        rng = np.random.default_rng(self.seed)
        chain = int(rng.integers(len(self.degradation.chains)))
        drawn = self.degradation.measure(image.shape, rng, chain)
        operator, y = simulate_one(drawn, image)
        noise = drawn["sigma"] / 255 if self.model.config.noise_input else None
        return unfold(self.model.clone(operator=operator), self.variables, noise), y


@jax.jit
def _inspect(stage, x, memory, y, clean, key):
    operator = stage.operator
    traced = trace_stage(stage, x, memory, y)
    return (
        traced,
        operator.adjoint(traced.residual, at=x),
        stages.progress(x, traced),
        operators.gradient_quality(operator, stage.step_size, x, y, clean),
        operators.adjointness(operator, x, y, key),
    )


_iterate = jax.jit(stages.iterate, static_argnames="count")


def _inspect_all(
    unfolded: Unfolded, start: Array, y: Array, clean: Array | None, key: Array, say: Say
) -> tuple[Trace, tuple[Array, ...], Progress, OperatorMeasures]:
    """Return the trace, every g, and the measures."""
    x, memory, count, found = start, None, len(unfolded.stages), []
    for k, stage in enumerate(unfolded.stages, 1):
        say(f"stage {k} of {count}: progress, gradient, adjointness, step size")
        measured = _inspect(stage, x, memory, y, clean, jax.random.fold_in(key, k))
        if not jnp.isfinite(measured[0].x).all():
            raise UserError(f"stage {k} of {count}: its estimate of this image is not finite")
        step = operators.step(stage, x, jax.random.fold_in(key, count + k))
        found.append((*measured, step))
        x, memory = measured[0].x, measured[0].memory
    traced, g, moves, *learned = zip(*found, strict=True)
    measures: list[Any] = [_stack(each) for each in learned]
    return Trace(start, y, traced), g, _stack(moves), OperatorMeasures(*measures)


def _depth(unfolded: Unfolded, traced: Trace, clean: Image | None, say: Say) -> Depth | None:
    config = unfolded.config
    if not config.share_middle or not config.num_middle:
        return None
    say(f"the shared stage, {ITERATIONS} times")
    first, shared, last = traced.stages[0], unfolded.stages[1], unfolded.stages[-1]
    found = _iterate(shared, last, first.x, first.memory, traced.y, count=ITERATIONS)
    diverged = np.flatnonzero(found.diverged[:, 0])

    def psnrs(images: Array) -> Numbers | None:
        return None if clean is None else _scores([*np.asarray(images[:, 0])], clean).psnr

    return Depth(
        residual=None if config.degradation == "none" else _finite(found.residual[:, 0]),
        change=_finite(found.change[:, 0]),
        psnr=psnrs(found.estimates),
        psnr_result=psnrs(found.results),
        diverged_at=int(diverged[0]) + 1 if diverged.size else None,
        trained=config.num_middle,
    )


def _costly(
    unfolded: Unfolded, inputs: Any, patch: Patch, seed: int, say: Say
) -> tuple[Contraction, PatchAttribution | None]:
    """Measure contraction and attribution on a crop; the latter where the input is an image."""
    traced = trace(unfolded, inputs)
    x, memory, key = traced.start, None, jax.random.key(seed)
    is_image = getattr(inputs, "shape", None) == x.shape and inputs.dtype == x.dtype
    contractions, maps = [], []
    for k, (stage, computed) in enumerate(zip(unfolded.stages, traced.stages, strict=True), 1):
        say(f"stage {k} of {len(traced.stages)}: contraction, attribution")
        key_k = jax.random.fold_in(key, k)
        contractions.append(stages.contraction(stage, x, memory, traced.y, key_k))
        if is_image:
            maps.append(np.asarray(attribution.saliency(unfolded, inputs, traced, patch, k)[0]))
        x, memory = computed.x, computed.memory
    if not is_image:
        return _stack(contractions), None
    say("integrated gradients")
    score = attribution.patch_score(unfolded, patch)
    path = attribution.blur_path(np.asarray(inputs), _BLUR, _POINTS)
    integrated = attribution.integrated_gradients(score, path)
    return _stack(contractions), PatchAttribution(
        crop=Patch(0, 0, x.shape[2], x.shape[1]),
        patch=patch,
        saliency=np.stack(maps),
        radii=np.stack([attribution.effective_radius(each, patch) for each in maps]),
        integrated=integrated.map[0],
        error=float(integrated.error[0]),
    )


def _stack(measures: Sequence[Measure]) -> Measure:
    """Put the stages' measures at one image together: every field becomes an array (K,)."""

    def stack(*values: Array) -> NDArray[Any]:
        return _finite(np.stack(values)[:, 0])

    return jax.tree.map(stack, *measures)


def _finite(values: Array | NDArray[Any]) -> NDArray[Any]:
    """Return numbers in float64, NaN where they are not finite, and booleans as they are."""
    values = np.asarray(values)
    if values.dtype == bool:
        return values
    return np.where(np.isfinite(values), values.astype(np.float64), np.nan)


def _scores(images: Sequence[Image], clean: Image | None) -> Scores:
    """Return the scores of images; NaN of those that are not finite."""
    scores = np.full((2, len(images)), np.nan)
    for i, image in enumerate(images):
        if clean is not None and np.isfinite(image).all():
            shown = image.clip(0, 1)
            scores[:, i] = psnr(shown, clean), ssim_uniform(shown, clean, peak=1.0)
    return Scores(*scores)


def _cut(image: Image, place: Patch) -> Image:
    return image[place.y : place.y + place.height, place.x : place.x + place.width]

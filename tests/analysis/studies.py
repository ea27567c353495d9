"""Studies made by hand, whose numbers are known."""

import dataclasses
from typing import Any

import numpy as np

from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.analysis.operators import Adjointness, GradientQuality, Step
from dgunet_jax.analysis.stages import Contraction, Flow, Progress
from dgunet_jax.analysis.study import Depth, OperatorMeasures, PatchAttribution, Scores, Study
from dgunet_jax.models.config import DGUNetConfig

SIDE = 8
NUMBERS: dict[str, Any] = {
    "psnr_v": 24.0, "ssim_v": 0.7, "psnr_x": 25.0, "ssim_x": 0.8,
    "residual": 0.2, "change": 0.05, "gradient_move": 0.04, "proximal_move": 0.06,
    "cosine": 0.5, "relative_error": 0.9, "data_ratio": 0.8, "towards_clean": 0.3,
    "random": 0.5, "in_use": 0.25,
    "step_size": 0.5, "curvature": 1.5, "product": 0.75, "converged": True,
    "estimates": 0.01, "weights": 0.1,
    "image": 0.9, "image_converged": True, "state": 1.5, "state_converged": True,
    "symmetry_gap": 0.2, "lowest_quotient": 0.1, "negative": False,
    "radius_50": 1.0, "radius_95": 2.0,
}  # fmt: skip
SENSING: dict[str, Any] = {
    "channels": 1, "degradation": "known", "measurements": 256, "last_adds": "estimate",
}  # fmt: skip


def made(
    count: int = 3,
    *,
    clean: bool = True,
    quick: bool = False,
    network: dict[str, Any] | None = None,
    given: float = 20.0,
    cosines: Any = None,
    depth: Depth | None = None,
    error: float = 0.031,
    fields: dict[str, Any] | None = None,
    **numbers: Any,
) -> Study:
    """A study of so many stages; numbers, for all stages or each, replace those above."""
    config = DGUNetConfig(num_stages=count, **(network or {}))
    columns = {name: np.array([value] * count) for name, value in NUMBERS.items()}
    for name, values in numbers.items():
        columns[name][:] = values

    def of(kind: Any) -> Any:
        return kind(**{field.name: columns[field.name] for field in dataclasses.fields(kind)})

    def scores(name: str) -> Scores:
        unknown = np.full(count, np.nan)
        psnr, ssim = columns[f"psnr_{name}"], columns[f"ssim_{name}"]
        return Scores(psnr, ssim) if clean else Scores(unknown, unknown)

    rng = np.random.default_rng(0)
    inputs, target, start, *images = rng.random(
        (3 + 3 * count, SIDE, SIDE, config.channels), np.float32
    )
    place = Patch(0, 0, SIDE, SIDE)
    progress, operators = (
        of(Progress),
        OperatorMeasures(of(GradientQuality), of(Adjointness), of(Step)),
    )
    if not clean:
        operators = dataclasses.replace(
            operators, gradient=dataclasses.replace(operators.gradient, towards_clean=None)
        )
    if config.degradation == "none":
        progress = dataclasses.replace(
            progress, residual=np.full(count, np.nan), gradient_move=np.zeros(count)
        )
    explained = PatchAttribution(
        crop=place,
        patch=Patch(2, 2, 4, 4),
        saliency=rng.random((count, SIDE, SIDE)),
        radii=np.stack([columns["radius_50"], columns["radius_95"]], axis=1),
        integrated=rng.random((SIDE, SIDE)),
        error=error,
    )
    begin = given if clean and not config.measurements else np.nan
    study = Study(
        config=config,
        loss="clamped_charbonnier",
        loss_stages="all",
        region=place,
        inputs=inputs,
        # What is sampled for compressive sensing is the clean image.
        clean=(inputs if config.measurements else target) if clean else None,
        start=start,
        g=images[:count],
        v=images[count : 2 * count],
        x=images[2 * count :],
        input_scores=Scores(np.array([begin]), np.array([0.5])),
        v_scores=scores("v"),
        x_scores=scores("x"),
        progress=progress,
        operators=None if config.degradation == "none" else operators,
        flow=Flow(columns["estimates"], columns["weights"], cosines) if clean else None,
        depth=depth,
        contraction=None if quick else of(Contraction),
        attribution=None if quick else explained,
    )
    return dataclasses.replace(study, **(fields or {}))


def depth(**changes: Any) -> Depth:
    """The shared stage iterated fifty times: it settles, and the result is best at n = 3."""
    n = np.arange(1, 51)
    made = Depth(
        residual=0.1 + 0.1 * 0.9**n,
        change=0.1 * 0.8**n,
        diverged_at=None,
        trained=5,
        psnr=28 - 0.01 * n,
        psnr_result=30 - 0.02 * np.abs(n - 3),
    )
    return dataclasses.replace(made, **changes)

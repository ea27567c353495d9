"""Studies made by hand, whose numbers are known."""

import copy
from typing import Any

import numpy as np

from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.analysis.study import Explained, Study
from dgunet_jax.models.config import DGUNetConfig

SIDE = 8
_STAGE: dict[str, Any] = {
    "psnr_v": 24.0, "ssim_v": 0.7, "psnr_x": 25.0, "ssim_x": 0.8,
    "residual": 0.2, "change": 0.05, "gradient_move": 0.04, "proximal_move": 0.06,
    "gradient": {"cosine": 0.5, "relative_error": 0.9, "data_ratio": 0.8, "towards_clean": 0.3},
    "adjointness": {"random": 0.5, "in_use": 0.25},
    "step": {"step_size": 0.5, "curvature": 1.5, "product": 0.75, "converged": True},
    "flow": {"estimate": 0.01, "weights": 0.1},
    "contraction": {
        "image": 0.9, "image_converged": True, "state": 1.5, "state_converged": True,
        "symmetry_gap": 0.2, "lowest_quotient": 0.1, "negative": False,
    },
    "attribution": {"radius_50": 1.0, "radius_95": 2.0},
}  # fmt: skip


def made(
    *changes: dict[str, Any],
    clean: bool = True,
    quick: bool = False,
    network: dict[str, Any] | None = None,
    **more: Any,
) -> Study:
    """A study of as many stages as there are changes; groups are named as in `gradient__cosine`."""
    config = DGUNetConfig(num_stages=max(2, len(changes)), **(network or {}))
    stages = []
    for k, change in enumerate(changes, 1):
        stage = {"stage": k, **copy.deepcopy(_STAGE)}
        for name, value in change.items():
            group, _, field = name.partition("__")
            if field:
                stage[group][field] = value
            else:
                stage[name] = value
        if not clean:
            stage |= dict.fromkeys(("psnr_v", "ssim_v", "psnr_x", "ssim_x"))
            stage["gradient"]["towards_clean"] = None
            del stage["flow"]
        if quick:
            del stage["contraction"], stage["attribution"]
        if config.degradation == "none":
            del stage["gradient"], stage["adjointness"], stage["step"]
            stage |= {"residual": None, "gradient_move": 0.0}
        stages.append(stage)
    rng = np.random.default_rng(0)
    shape = SIDE, SIDE, config.channels
    images = [rng.random(shape, np.float32) for _ in range(3 + 3 * len(stages))]
    count = len(stages)
    place = Patch(0, 0, SIDE, SIDE)
    explained = Explained(
        place, Patch(2, 2, 4, 4), rng.random((count, SIDE, SIDE)), rng.random((SIDE, SIDE)), 0.031
    )
    defaults: dict[str, Any] = {
        "config": config,
        "stages": stages,
        "input": {"psnr": 20.0, "ssim": 0.5} if clean and not config.measurements else None,
        "depth": None,
        "flow_cosines": None,
        "loss": "clamped_charbonnier",
        "loss_stages": "all",
        "region": place,
        "inputs": images[0],
        # What is sampled for compressive sensing is the clean image.
        "clean": images[0 if config.measurements else 1] if clean else None,
        "start": images[-1],
        "g": images[2 : 2 + count],
        "v": images[2 + count : 2 + 2 * count],
        "x": images[2 + 2 * count : -1],
        "explained": None if quick else explained,
    }
    return Study(**{**defaults, **more})


SENSING: dict[str, Any] = {
    "channels": 1, "degradation": "known", "measurements": 256, "last_adds": "estimate",
}  # fmt: skip


def depth(**changes: Any) -> dict[str, Any]:
    """The shared stage iterated fifty times: it settles, and the result is best at n = 3."""
    n = np.arange(1, 51)
    numbers: dict[str, Any] = {
        "residual": (0.1 + 0.1 * 0.9**n).tolist(),
        "change": (0.1 * 0.8**n).tolist(),
        "diverged_at": None,
        "trained": 5,
        "psnr": (28 - 0.01 * n).tolist(),
        "psnr_result": (30 - 0.02 * np.abs(n - 3)).tolist(),
    }
    return numbers | changes

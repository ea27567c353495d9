"""Studies made by hand, whose numbers are known."""

import copy
from typing import Any

import numpy as np

from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.analysis.study import Explained, Study

SIDE = 8
_STAGE: dict[str, Any] = {
    "psnr_v": 24.0, "ssim_v": 0.7, "psnr_x": 25.0, "ssim_x": 0.8,
    "residual": 0.2, "change": 0.05, "gradient_move": 0.04, "proximal_move": 0.06,
    "gradient": {"cosine": 0.5, "relative_error": 0.9, "data_ratio": 0.8, "towards_clean": 0.3},
    "adjointness": {"random": 0.5, "in_use": 0.25},
    "step": {"step_size": 0.5, "curvature": 1.5, "product": 0.75, "converged": True},
    "flow": {"estimate": 0.01, "weights": 0.1},
    "contraction": {
        "image": 0.9, "state": 1.5, "converged": True, "symmetry_gap": 0.2, "lowest_quotient": 0.1,
    },
    "attribution": {"radius_50": 3.0, "radius_95": 20.0},
}  # fmt: skip


def made(*changes: dict[str, Any], clean: bool = True, quick: bool = False, **more: Any) -> Study:
    """A study of as many stages as there are changes; groups are named as in `gradient__cosine`."""
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
        stages.append(stage)
    rng = np.random.default_rng(0)
    images = [rng.random((SIDE, SIDE, 3), np.float32) for _ in range(2 + 3 * len(stages))]
    count = len(stages)
    place = Patch(0, 0, SIDE, SIDE)
    explained = Explained(
        place, Patch(2, 2, 4, 4), rng.random((count, SIDE, SIDE)), rng.random((SIDE, SIDE)), 0.031
    )
    defaults: dict[str, Any] = {
        "stages": stages,
        "input": {"psnr": 20.0, "ssim": 0.5} if clean else None,
        "depth": None,
        "flow_cosines": None,
        "region": place,
        "inputs": images[0],
        "clean": images[1] if clean else None,
        "g": images[2 : 2 + count],
        "v": images[2 + count : 2 + 2 * count],
        "x": images[2 + 2 * count :],
        "explained": None if quick else explained,
    }
    return Study(**{**defaults, **more})


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

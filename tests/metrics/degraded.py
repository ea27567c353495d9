"""Pairs of 8-bit images: what was recorded of photographs, and small ones."""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import skimage.data

_RECORD = pathlib.Path(__file__).parents[1] / "golden" / "metrics.json"


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The metrics of a degraded photograph, by the names of tests/golden/metrics.json."""

    photograph: str
    degradation: str
    scores: dict[str, float]

    @property
    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """The degraded photograph and the photograph, uint8 (H, W, 3)."""
        return _pair(self.photograph, self.degradation)


def recorded(score: str) -> dict[str, Recorded]:
    """All degraded photographs of which a score was recorded, by a name."""
    found = {}
    for entry in json.loads(_RECORD.read_text())["synthetic"]:
        photograph, degradation = entry.pop("photograph"), entry.pop("degradation")
        if score in entry:
            found[f"{photograph}-{degradation}"] = Recorded(photograph, degradation, entry)
    assert found
    return found


def small_pair(height: int = 37, width: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """A noisy cut-out of a photograph and the cut-out, uint8 (H, W, 3)."""
    target = skimage.data.chelsea()[100 : 100 + height, 150 : 150 + width]
    return _to_uint8(target + 20 * np.random.default_rng(0).standard_normal(target.shape)), target


@functools.cache
def _pair(photograph: str, degradation: str) -> tuple[np.ndarray, np.ndarray]:
    target = getattr(skimage.data, photograph)()[..., :3]
    rng = np.random.RandomState(7)
    if degradation == "noise15":
        degraded = target + 15 * rng.standard_normal(target.shape)
    elif degradation == "shift_dim":
        moved = np.roll(target, (1, 2), (0, 1))
        degraded = 0.9 * moved + 2 * rng.standard_normal(target.shape)
    else:
        assert degradation == "dark"
        degraded = 0.4 * target
    return _to_uint8(degraded), target


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)

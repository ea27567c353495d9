"""The pictures of an evaluation that are worth looking at: the worst and the best."""

import heapq
from collections.abc import Mapping, Sequence

from dgunet_jax.evaluation.measures import Scores
from dgunet_jax.evaluation.restored import Restored, Source
from dgunet_jax.evaluation.samples import Sample
from dgunet_jax.system.errors import UserError

MOST = 3  # of either kind


class Showcase:
    """Keeps the worst and the best of the pictures it is shown."""

    def __init__(self):
        self._kept: dict[str, tuple[float, Restored]] = {}

    def show(self, scores: Scores, restored: Restored) -> None:
        self._kept[restored.sample.name] = scores.psnr, restored
        worst, best = extremes({name: psnr for name, (psnr, _) in self._kept.items()})
        self._kept = {name: self._kept[name] for name in (*worst, *best)}

    def pictures(
        self, names: Sequence[str], samples: Mapping[str, Sample], source: Source
    ) -> dict[str, Restored]:
        """The restored pictures of these names.

        Those that were not shown, because they were scored in an earlier run, are restored again;
        what fails is left out.
        """
        found = {name: self._kept[name][1] for name in names if name in self._kept}
        missing = [samples[name] for name in names if name not in found]
        for turn in source.turns(missing):
            for sample, restored in source.each(turn, lambda line: None):
                if not isinstance(restored, UserError):
                    found[sample.name] = restored
        return found


def extremes(psnr: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Names of the worst pictures, the worst first, and of the best others, the best first."""

    def key(name: str) -> tuple[float, str]:
        return psnr[name], name

    worst = heapq.nsmallest(min(MOST, (len(psnr) + 1) // 2), psnr, key=key)
    best = heapq.nlargest(MOST, (name for name in psnr if name not in worst), key=key)
    return worst, best

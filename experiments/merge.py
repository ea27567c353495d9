"""How should middle stages take up the attention features of the stage before?

python -m experiments.merge --output runs/experiments

Small scale, 300 s a run on one core that other programs used too. Concatenation is better with
every seed after 300 steps; long trainings were not tried.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| subspace (base) | 169,300 | 6.5 | 8.15 ± 0.16 | 8.00, 8.31, 8.14 |  |  |
| concat | 166,972 | 6.0 | 8.49 ± 0.13 | 8.47, 8.63, 8.38 | +0.34 ± 0.12 | +0.47, +0.32, +0.23 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="merge",
    title="Merge of attention features",
    variants={name: {"model.merge": name} for name in ("subspace", "concat")},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))

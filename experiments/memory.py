"""What does it help a stage to see the features of the one before, and at which scales?

python -m experiments.memory --output runs/experiments --variants none additive adaptive

Small scale, 85 to 100 s a run on one core. No difference exceeds the spread of the seeds. The
variants that leave out scales have not been run.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| adaptive (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| additive | 154,804 | 5.8 | 8.10 ± 0.24 | 7.82, 8.26, 8.22 | -0.06 ± 0.13 | -0.19, -0.05, +0.07 |
| none | 142,036 | 5.3 | 8.15 ± 0.05 | 8.09, 8.18, 8.17 | +0.00 ± 0.11 | +0.08, -0.13, +0.03 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="memory",
    title="Memory between stages",
    variants={
        "adaptive": {"model.memory": "adaptive"},
        "additive": {"model.memory": "additive"},
        "none": {"model.memory": "none"},
        "finest": {"model.memory_scales": (0,)},
        "two finest": {"model.memory_scales": (0, 1)},
        "coarsest": {"model.memory_scales": (2,)},
    },
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))

"""How many stages?

python -m experiments.stages --output runs/experiments

Small scale, 60 s (3 stages) to 180 s (9) a run on one core. After 300 steps more are worse, but for
one seed from 7 to 9; long trainings were not tried.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| 3 | 169,300 | 3.2 | 8.32 ± 0.23 | 8.09, 8.55, 8.33 | +0.17 ± 0.08 | +0.09, +0.24, +0.18 |
| 5 (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| 7 | 169,300 | 9.9 | 7.92 ± 0.10 | 7.82, 8.02, 7.92 | -0.23 ± 0.06 | -0.18, -0.29, -0.23 |
| 9 | 169,300 | 13.2 | 7.84 ± 0.24 | 7.60, 7.85, 8.07 | -0.31 ± 0.21 | -0.40, -0.46, -0.07 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="stages",
    title="Number of stages",
    variants={str(stages): {"model.num_stages": stages} for stages in (3, 5, 7, 9)},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))

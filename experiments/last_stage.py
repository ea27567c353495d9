"""What should the last stage add its correction to?

python -m experiments.last_stage --output runs/experiments

Small scale, 100 s a run on one core. The difference is smaller than its spread.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| input (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| estimate | 169,300 | 6.5 | 8.19 ± 0.23 | 8.26, 8.37, 7.94 | +0.04 ± 0.24 | +0.26, +0.06, -0.21 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="last_stage",
    title="What the last stage adds to",
    variants={name: {"model.last_adds": name} for name in ("input", "estimate")},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))

"""How should middle stages take up the attention features of the stage before?

python -m experiments.merge --output runs/experiments

Not run yet, at either scale.
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

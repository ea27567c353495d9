"""python -m dgunet_jax: the `dgunet` command."""

import sys

from dgunet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())

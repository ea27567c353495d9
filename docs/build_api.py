"""Build the reference of the public names from their docstrings; warnings are errors.

python docs/build_api.py DIR
"""

import importlib
import sys
import warnings
from pathlib import Path

import pdoc

PACKAGES = ("analysis", "images", "metrics", "operators")


def main(folder: str) -> None:
    """Write the pages to a folder; what packages re-export is on their page, not on a module's."""
    warnings.simplefilter("error")
    for each in ("dgunet_jax", *(f"dgunet_jax.{name}" for name in PACKAGES)):
        package = importlib.import_module(each)
        for name in package.__all__:  # some are imported when they are first used
            setattr(package, name, getattr(package, name))
    pdoc.render.configure(docformat="google", search=False)
    public = "|".join(PACKAGES)
    private = rf"!dgunet_jax\.(?!({public})$).+"
    pdoc.pdoc("dgunet_jax", private, output_directory=Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])

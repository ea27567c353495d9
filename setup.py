"""What setup.cfg cannot say: the recipes go into the package, and the README to PyPI without what
lies beside it. Everything else is in setup.cfg."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies configs/ to dgunet_jax/configs."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "dgunet_jax", "configs")
            target.mkdir(parents=True, exist_ok=True)
            for recipe in sorted(Path("configs").glob("*.py")):
                shutil.copy(recipe, target)


def description() -> str:
    """Return the README without pictures and links that are relative."""
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n\n(\*[^*]+\*\n\n)?", "", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


setup(
    cmdclass={"build_py": BuildWithRecipes},
    long_description=description(),
    long_description_content_type="text/markdown",
)

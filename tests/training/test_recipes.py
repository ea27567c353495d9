"""Every recipe finds its data sets as they are published, and makes batches of them."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dgunet_jax.training.config import read_config
from dgunet_jax.training.preparing import Prepared
from tests.training import layouts

CONFIGS = Path("configs").resolve()
VARIANTS = {
    "cs": ("", "step2", "plus", "plus_step2"),
    "cs_cpu": ("", "step2"),
    "gaussian_color": ("", "several", "blind", "plus", "plus_several", "plus_blind"),
    "gopro": ("", "plus"),
    "pretrained": ("denoise", "camera", "deblock"),
    "rain13k": ("", "plus"),
    "sidd": ("", "plus"),
}
RECIPES = [
    f"{path.stem}:{variant}".removesuffix(":")
    for path in sorted(CONFIGS.glob("*.py"))
    for variant in VARIANTS.get(path.stem, ("",))
]
SMALL = {"data.batch": "2", "data.workers": "0", "model.width": "4", "model.growth": "2"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    layouts.make(root)
    return root


def small(recipe, **changes):
    """A recipe with a small network, and patches that fit into small pictures."""
    name, _, variant = recipe.partition(":")
    file = f"{CONFIGS / name}.py" + (f":{variant}" if variant else "")
    config = read_config(file, SMALL | changes)
    if config.data.patch > 128:
        config = read_config(file, SMALL | changes | {"data.patch": "128"})
    return config


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_finds_its_data(root, tmp_path, monkeypatch, recipe):
    monkeypatch.chdir(root)
    config = small(recipe)
    prepared = Prepared.of(config, tmp_path)
    batches = prepared.batches(0)
    batch = next(batches)
    leaves = jax.tree.leaves(batch)
    assert {leaf.shape[0] for leaf in leaves} == {2}
    side = config.data.patch
    assert any(leaf.shape == (2, side, side, config.data.channels) for leaf in leaves)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
    batches.close()
    for held_out in prepared.held_out.values():
        held_out.close()


def test_every_recipe_is_here():
    assert {recipe.partition(":")[0] for recipe in RECIPES} == {
        path.stem for path in CONFIGS.glob("*.py")
    }

"""Measures of what every stage of a network does; `analyze` makes all of them at one image."""

from dgunet_jax.analysis.attribution import (
    Patch,
    blur_path,
    effective_radius,
    integrated_gradients,
    patch_score,
    saliency,
)
from dgunet_jax.analysis.operators import adjointness, gradient_quality, step
from dgunet_jax.analysis.spectra import largest_singular_value, symmetry
from dgunet_jax.analysis.stages import contraction, flow, iterate, progress, sweep
from dgunet_jax.analysis.study import Study, analyze

__all__ = ["Patch", "Study", "adjointness", "analyze", "blur_path", "contraction"]
__all__ += ["effective_radius", "flow", "gradient_quality", "integrated_gradients", "iterate"]
__all__ += ["largest_singular_value", "patch_score", "progress", "saliency", "step", "sweep"]
__all__ += ["symmetry"]
